import type { Snapshot, VirtualKey } from '../core/snapshot.ts';
import type { KeysPosition } from './messages.ts';

/** Snapshots that are kept: requests go on with the version they began with, on whichever worker. */
export const SNAPSHOTS_KEPT = 4;

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
   * The key, also one that has expired: who asks has the clock.
   *
   * @param hash SHA-256 of the presented key, 64 lower-case hex digits
   */
  get(hash: string): VirtualKey | undefined {
    return this.#keys.get(hash);
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

/** What a worker holds: its snapshots, the current one and the few before it, and the virtual keys. */
export class SnapshotStore {
  readonly keys = new KeyTable();
  /** Oldest first; replaced as a whole, never changed. The last is the current one. */
  #kept: readonly Snapshot[] = [];

  /** What new requests use; undefined until the first snapshot has arrived. */
  get current(): Snapshot | undefined {
    return this.#kept.at(-1);
  }

  /** The versions at hand, oldest first. */
  get versions(): string[] {
    return this.#kept.map(({ version }) => version);
  }

  /** The version that a request began with, or undefined where it is too old. */
  get(version: string): Snapshot | undefined {
    return this.#kept.find((kept) => kept.version === version);
  }

  /** Makes this the current snapshot, at once for all requests that begin from now on. */
  put(snapshot: Snapshot): void {
    const others = this.#kept.filter(({ version }) => version !== snapshot.version);
    this.#kept = [...others, snapshot].slice(-SNAPSHOTS_KEPT);
  }
}
