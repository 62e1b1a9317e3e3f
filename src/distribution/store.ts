import type { Snapshot, VirtualKey } from '../core/snapshot.ts';
import type { KeysPosition } from './messages.ts';

/** Snapshots that are kept: requests go on with the version they began with, on whichever worker. */
export const SNAPSHOTS_KEPT = 4;

interface Kept<Compiled> {
  readonly version: string;
  readonly compiled: Compiled;
}

/**
 * A worker's snapshots: the current one and the few before it. `Compiled` is what the worker makes of a
 * snapshot once, so that requests need not.
 */
export class SnapshotStore<Compiled> {
  readonly #compile: (snapshot: Snapshot) => Compiled;
  /** Oldest first; replaced as a whole, never changed. The last is the current one. */
  #kept: readonly Kept<Compiled>[] = [];

  /** @param compile May throw: then the snapshot is refused and all stays as it is. */
  constructor(compile: (snapshot: Snapshot) => Compiled) {
    this.#compile = compile;
  }

  /** What new requests use; undefined until the first snapshot has arrived. */
  get current(): Compiled | undefined {
    return this.#kept.at(-1)?.compiled;
  }

  /** Version of the current one. */
  get currentVersion(): string | undefined {
    return this.#kept.at(-1)?.version;
  }

  /** The versions at hand, oldest first. */
  get versions(): string[] {
    return this.#kept.map(({ version }) => version);
  }

  /** The version that a request began with, or undefined where it is too old. */
  get(version: string): Compiled | undefined {
    return this.#kept.find((kept) => kept.version === version)?.compiled;
  }

  /** Makes this the current snapshot. @throws what `compile` throws */
  put(snapshot: Snapshot): void {
    this.#makeCurrent({ version: snapshot.version, compiled: this.#compile(snapshot) });
  }

  /** Makes a version that is at hand the current one; false where it is not at hand. */
  activate(version: string): boolean {
    const kept = this.#kept.find((candidate) => candidate.version === version);
    if (kept !== undefined) this.#makeCurrent(kept);
    return kept !== undefined;
  }

  #makeCurrent(current: Kept<Compiled>): void {
    const others = this.#kept.filter(({ version }) => version !== current.version);
    this.#kept = [...others, current].slice(-SNAPSHOTS_KEPT);
  }
}

/** What a presented key is. */
export type KeyLookup =
  | { readonly state: 'valid'; readonly key: VirtualKey }
  | { readonly state: 'expired'; readonly key: VirtualKey }
  | { readonly state: 'unknown' };

const UNKNOWN: KeyLookup = { state: 'unknown' };

/** A worker's virtual keys by hash. */
export class KeyTable {
  #keys = new Map<string, VirtualKey>();
  #position: KeysPosition | undefined;

  /** Undefined until a whole table has arrived: until then the worker knows no key and is not ready. */
  get position(): KeysPosition | undefined {
    return this.#position;
  }

  get size(): number {
    return this.#keys.size;
  }

  /**
   * @param hash SHA-256 of the presented key, 64 lower-case hex digits
   * @param now Unix time in milliseconds
   */
  lookup(hash: string, now: number): KeyLookup {
    const key = this.#keys.get(hash);
    if (key === undefined) return UNKNOWN;
    return { state: key.expiresAt !== undefined && key.expiresAt <= now ? 'expired' : 'valid', key };
  }

  /** Takes the place of all keys at once: no request sees a part of the table. */
  replace(keys: Map<string, VirtualKey>, position: KeysPosition): void {
    this.#keys = keys;
    this.#position = position;
  }

  change(upsert: readonly VirtualKey[], remove: readonly string[], position: KeysPosition): void {
    for (const hash of remove) this.#keys.delete(hash);
    for (const key of upsert) this.#keys.set(key.hash, key);
    this.#position = position;
  }
}
