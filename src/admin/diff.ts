import { formatPath, isSecretPath } from '../config/load/issue.ts';
import { HIDDEN, hideSecrets } from '../vault/sealed-spec.ts';
import type { FieldChange } from './contract.ts';

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every field in which two values differ, in the order of the old one, new fields last; secrets hidden. */
export function diffFields(
  before: unknown,
  after: unknown,
  path: readonly PropertyKey[] = [],
): FieldChange[] {
  if (isObject(before) && isObject(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((key) => diffFields(before[key], after[key], [...path, key]));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    const length = Math.max(before.length, after.length);
    return Array.from({ length }, (_, index) =>
      diffFields(before[index], after[index], [...path, index]),
    ).flat();
  }
  if (Object.is(before, after)) return [];
  return [{ path: formatPath(path), ...side('before', before, path), ...side('after', after, path) }];
}

function side(name: 'before' | 'after', value: unknown, path: readonly PropertyKey[]): Partial<FieldChange> {
  if (value === undefined) return {};
  return { [name]: isSecretPath(path) && !isReference(path) ? HIDDEN : hideSecrets(value) };
}

/** Where a secret comes from is no secret, unlike its value. */
function isReference(path: readonly PropertyKey[]): boolean {
  const last = path.at(-1);
  return last === 'env' || last === 'file';
}
