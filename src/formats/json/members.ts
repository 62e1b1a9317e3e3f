import { LimenError } from '../../core/errors.ts';
import { readMember, type TopLevel } from './scan.ts';

/** Readers of single top-level members that every format's inspection needs; null counts as missing. */

/** Throws model_required where there is none, invalid_request where it is no string. */
export function readModel(body: Buffer, topLevel: TopLevel): string {
  const model = readMember(body, topLevel, 'model');
  if (model === undefined || model === null || model === '') {
    throw new LimenError('model_required', "The request names no model: set the field 'model'.", {
      param: 'model',
    });
  }
  if (typeof model !== 'string') throw wrongType('model', 'a string');
  return model;
}

export function readOptionalBoolean(body: Buffer, topLevel: TopLevel, key: string): boolean | undefined {
  const value = readMember(body, topLevel, key) ?? undefined;
  if (value !== undefined && typeof value !== 'boolean') throw wrongType(key, 'true or false');
  return value;
}

/** A whole number from 0. */
export function readOptionalInteger(body: Buffer, topLevel: TopLevel, key: string): number | undefined {
  const value = readMember(body, topLevel, key) ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw wrongType(key, 'a whole number');
  }
  return value;
}

function wrongType(param: string, expected: string): LimenError {
  return new LimenError('invalid_request', `The field '${param}' must be ${expected}.`, { param });
}
