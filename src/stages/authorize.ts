import { LimenError } from '../core/errors.ts';
import { matchesPattern } from '../core/pattern.ts';
import type { VirtualKey } from '../core/snapshot.ts';

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
