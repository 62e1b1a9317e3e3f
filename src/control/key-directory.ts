import type { VirtualKey } from '../core/snapshot.ts';

/** What changed between two key tables. */
export interface KeyChange {
  readonly upsert: readonly VirtualKey[];
  /** Hashes. */
  readonly remove: readonly string[];
}

/**
 * All virtual keys in force, from configuration and database. Where both have one hash, the configuration's
 * counts, as for every other resource.
 */
export class KeyDirectory {
  #declared: ReadonlyMap<string, VirtualKey> = new Map();
  #stored: ReadonlyMap<string, VirtualKey> = new Map();
  #inForce: ReadonlyMap<string, VirtualKey> = new Map();

  /** Keys that the configuration declares. */
  setDeclared(keys: readonly VirtualKey[]): KeyChange {
    this.#declared = byHash(keys);
    return this.#apply();
  }

  /** Keys of the database that are neither revoked nor deleted. */
  setStored(keys: readonly VirtualKey[]): KeyChange {
    this.#stored = byHash(keys);
    return this.#apply();
  }

  #apply(): KeyChange {
    const next = new Map([...this.#stored, ...this.#declared]);
    const upsert = [...next.values()].filter((key) => !sameKey(this.#inForce.get(key.hash), key));
    const remove = [...this.#inForce.keys()].filter((hash) => !next.has(hash));
    this.#inForce = next;
    return { upsert, remove };
  }
}

function byHash(keys: readonly VirtualKey[]): ReadonlyMap<string, VirtualKey> {
  return new Map(keys.map((key) => [key.hash, key]));
}

function sameKey(left: VirtualKey | undefined, right: VirtualKey): boolean {
  if (left === undefined) return false;
  if (left === right) return true;
  return (
    left.id === right.id &&
    left.user === right.user &&
    left.team === right.team &&
    left.expiresAt === right.expiresAt &&
    left.models?.join('\n') === right.models?.join('\n')
  );
}
