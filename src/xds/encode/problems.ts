import { LimenError } from '../../core/errors.ts';

/** One fault in a resource: where it is (`listeners.main.filter_chains[0].name`) and what is expected there. */
export interface EncodeProblem {
  readonly path: string;
  readonly message: string;
}

/**
 * A resource cannot be said in protobuf. The message lists every problem, one a line, and never a value: a
 * resource may be a secret. Not an error of a client's request, but a fault of whoever built the resource.
 */
export class EncodeError extends LimenError {
  readonly problems: readonly EncodeProblem[];

  constructor(problems: readonly EncodeProblem[]) {
    super('internal_error', problems.map(({ path, message }) => `${path}: ${message}`).join('\n'));
    this.name = 'EncodeError';
    this.problems = problems;
  }
}

/** Collects problems, so that one attempt shows all of them. */
export class Problems {
  readonly list: EncodeProblem[] = [];

  add(path: string, message: string): void {
    this.list.push({ path, message });
  }

  throwIfAny(): void {
    if (this.list.length > 0) throw new EncodeError(this.list);
  }
}

/** What kind of JSON a value is, for messages: `an array`, `a string`. Never the value itself. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Uint8Array) return 'bytes';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** `parent.key`, or `parent["odd key"]` where the key is no plain name. */
export function joinPath(parent: string, key: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) return `${parent}[${JSON.stringify(key)}]`;
  return parent === '' ? key : `${parent}.${key}`;
}
