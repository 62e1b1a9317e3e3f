import type { Snapshot } from '../core/snapshot.ts';
import { DirectoryTable } from './directory-table.ts';

/** Snapshots that are kept: requests go on with the version they began with, on whichever worker. */
export const SNAPSHOTS_KEPT = 4;

/** What a worker holds: its snapshots, the current one and the few before it, and the directory. */
export class SnapshotStore {
  readonly directory = new DirectoryTable();
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
