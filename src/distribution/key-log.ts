import type { VirtualKey } from '../core/snapshot.ts';
import { encodeMessage, KEYS_PER_MESSAGE } from './messages.ts';

/** What is new, different or gone. */
export interface KeyPublication {
  readonly upsert: readonly VirtualKey[];
  /** Hashes. */
  readonly remove: readonly string[];
  /** `upsert` is the whole table: what it does not hold is removed. */
  readonly reset?: boolean;
}

interface Change {
  readonly sequence: number;
  readonly size: number;
  /** The same bytes for every worker, made when the first one needs them. */
  readonly bytes: () => Buffer;
}

/** A message with some of the keys of a table. */
export interface TablePart {
  readonly sequence: number;
  /** From 1: receipts with part 0 are those of changes. */
  readonly part: number;
  readonly last: boolean;
  readonly bytes: Buffer;
}

/** Keys in remembered changes; a worker that missed more gets the whole table. */
const REMEMBERED_KEYS = 20_000;

/** The control plane's key table and the latest changes to it. */
export class KeyLog {
  readonly #epoch: string;
  readonly #table = new Map<string, VirtualKey>();
  #changes: Change[] = [];
  #sequence = 0;

  /** @param epoch A name that no other control plane process uses, ever. */
  constructor(epoch: string) {
    this.#epoch = epoch;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Number of the latest change; 0 as long as the table is not complete. */
  get sequence(): number {
    return this.#sequence;
  }

  get size(): number {
    return this.#table.size;
  }

  /**
   * Changes the table. Until `complete`, or a publication with `reset`, the table counts as a part only and no
   * worker is to be sent it: it would lose keys to that.
   *
   * @returns the sequence at which all of it is in force
   */
  publish({ upsert, remove, reset = false }: KeyPublication): number {
    if (this.#sequence === 0) {
      if (reset) this.#table.clear();
      for (const hash of remove) this.#table.delete(hash);
      for (const key of upsert) this.#table.set(key.hash, key);
      if (reset) this.complete();
      return 1;
    }
    const given = new Set(upsert.map(({ hash }) => hash));
    const removed = reset
      ? [...this.#table.keys()].filter((hash) => !given.has(hash))
      : remove.filter((hash) => this.#table.has(hash) && !given.has(hash));
    const changed = upsert.filter((key) => !isSame(this.#table.get(key.hash), key));
    for (const hash of removed) this.#table.delete(hash);
    for (const key of changed) this.#table.set(key.hash, key);
    // Revocations are told first.
    for (const part of batches(removed)) this.#remember([], part);
    for (const part of batches(changed)) this.#remember(part, []);
    return this.#sequence;
  }

  /** From now on the table is the whole truth. */
  complete(): void {
    this.#sequence = Math.max(this.#sequence, 1);
  }

  /** The change with this sequence, as a message; undefined where it is no longer remembered. */
  change(sequence: number): Buffer | undefined {
    const first = this.#changes[0];
    return first === undefined ? undefined : this.#changes[sequence - first.sequence]?.bytes();
  }

  /**
   * The whole table in messages, each made when it is asked for. It counts as the table of the sequence at the
   * start; changes that come meanwhile may or may not be in it, and are to be sent after it in any case.
   */
  *whole(): Generator<TablePart> {
    const sequence = this.#sequence;
    let part = 1;
    let keys: VirtualKey[] = [];
    const make = (last: boolean): TablePart => {
      const bytes = encodeMessage({ type: 'key-table', epoch: this.#epoch, sequence, part, last, keys });
      return { sequence, part, last, bytes };
    };
    for (const key of this.#table.values()) {
      if (keys.length === KEYS_PER_MESSAGE) {
        yield make(false);
        part += 1;
        keys = [];
      }
      keys.push(key);
    }
    yield make(true);
  }

  #remember(upsert: readonly VirtualKey[], remove: readonly string[]): void {
    this.#sequence += 1;
    const sequence = this.#sequence;
    let encoded: Buffer | undefined;
    this.#changes.push({
      sequence,
      size: upsert.length + remove.length,
      bytes: () =>
        (encoded ??= encodeMessage({
          type: 'key-change',
          epoch: this.#epoch,
          sequence,
          upsert: [...upsert],
          remove: [...remove],
        })),
    });
    let remembered = this.#changes.reduce((sum, { size }) => sum + size, 0);
    let dropped = 0;
    while (remembered > REMEMBERED_KEYS && dropped < this.#changes.length) {
      remembered -= this.#changes[dropped]?.size ?? 0;
      dropped += 1;
    }
    if (dropped > 0) this.#changes = this.#changes.slice(dropped);
  }
}

function* batches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let at = 0; at < items.length; at += KEYS_PER_MESSAGE) yield items.slice(at, at + KEYS_PER_MESSAGE);
}

function isSame(left: VirtualKey | undefined, right: VirtualKey): boolean {
  return left === right || (left !== undefined && JSON.stringify(left) === JSON.stringify(right));
}
