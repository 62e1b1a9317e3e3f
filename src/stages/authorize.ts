import { LimenError } from '../core/errors.ts';
import type { VirtualKey } from '../core/snapshot.ts';

/** Whether a name fits a pattern in which `*` stands for any run of characters. Linear in both lengths. */
export function matchesPattern(pattern: string, name: string): boolean {
  const parts = pattern.split('*');
  const first = parts[0] ?? '';
  if (parts.length === 1) return name === first;
  if (!name.startsWith(first)) return false;
  const last = parts.at(-1) ?? '';
  let position = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, position);
    if (found === -1) return false;
    position = found + part.length;
  }
  return name.length - last.length >= position && name.endsWith(last);
}

/** Whether a key may use a model, under the name of the Model resource. */
export function mayUseModel(key: VirtualKey, model: string): boolean {
  return key.models === undefined || key.models.some((pattern) => matchesPattern(pattern, model));
}

/** Throws model_not_allowed where the key's list doesn't have the model. */
export function authorizeModel(key: VirtualKey, model: string): void {
  if (mayUseModel(key, model)) return;
  throw new LimenError('model_not_allowed', `This API key may not use the model "${model}".`, {
    param: 'model',
  });
}
