import type { Position } from '../origin.ts';

/** One thing that is wrong in the configuration, wherever it comes from. No secret stands in it. */
export interface ConfigIssue {
  /** File as the user named it; absent for what came through the API or lies in the database. */
  readonly file?: string | undefined;
  /** Line and column, from 1. */
  readonly line?: number | undefined;
  readonly column?: number | undefined;
  /** `Kind/name` of the resource, as far as it is known. */
  readonly resource?: string | undefined;
  /** Field in the resource: `spec.targets[0].weight`; empty for the whole. */
  readonly path: string;
  /** The value as JSON, shortened; `(hidden)` where a secret may stand. Absent where there is none to show. */
  readonly value?: string | undefined;
  /** What is wrong, as the end of a sentence about the value: `is not allowed`. */
  readonly message: string;
  /** What would be right. */
  readonly allowed?: string | undefined;
  /** The likely fix: `did you mean type?`. */
  readonly hint?: string | undefined;
}

/** Path of a field as people write it: `['spec', 'targets', 0]` → `spec.targets[0]`. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      const name = String(part);
      if (!/^[A-Za-z_$][\w$-]*$/.test(name)) return `[${JSON.stringify(name)}]`;
      return index === 0 ? name : `.${name}`;
    })
    .join('');
}

/** An issue in one line: `limen.yaml:12:7 spec.targets[0].weight: 0 is not allowed; at least 1`. */
export function formatIssue(issue: ConfigIssue): string {
  const place =
    issue.file === undefined ? issue.resource : `${issue.file}:${issue.line ?? 1}:${issue.column ?? 1}`;
  const lead = [place, issue.path].filter(Boolean).join(' ');
  const value = issue.value === undefined ? '' : `${issue.value} `;
  const advice = issue.hint ?? issue.allowed;
  return `${lead}${lead ? ': ' : ''}${value}${issue.message}${advice ? `; ${advice}` : ''}`;
}

/** Whatever may be a credential: the wire forms that providers and Limen itself hand out. */
const CREDENTIAL_LIKE =
  /\b(sk|pk|tw|rk|gsk|xai|ghp|gho|github_pat|xox[abp]|hf)[-_][\w-]{8,}|\bAIza[\w-]{10,}|\bAKIA\w{12,}|bearer\s/i;

const SECRET_FIELD = /^(credential|\w*secret)$/i;

/** Whether a value at this path may be a secret, so that no message shows it. */
export function isSecretPath(path: readonly PropertyKey[]): boolean {
  return path.some((part) => typeof part === 'string' && SECRET_FIELD.test(part));
}

const LONGEST_SHOWN = 80;

/** A value for a message: short, on one line, and without what may be a secret. */
export function showValue(value: unknown, path: readonly PropertyKey[]): string {
  if (isSecretPath(path)) return '(hidden)';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string') {
    if (CREDENTIAL_LIKE.test(value)) return '(hidden)';
    const safe = value.replace(/\/\/[^/@\s]*@/, '//…@');
    return JSON.stringify(safe.length > LONGEST_SHOWN ? `${safe.slice(0, LONGEST_SHOWN)}…` : safe);
  }
  return String(value);
}

/** Places an issue in its file. */
export function placed(issue: ConfigIssue, file: string, position: Position): ConfigIssue {
  return { ...issue, file, line: position.line, column: position.column };
}

/** Every issue in reading order: by file, line and column. */
export function inReadingOrder(issues: readonly ConfigIssue[]): ConfigIssue[] {
  return [...issues].sort(
    (left, right) =>
      (left.file ?? '').localeCompare(right.file ?? '') ||
      (left.line ?? 0) - (right.line ?? 0) ||
      (left.column ?? 0) - (right.column ?? 0),
  );
}
