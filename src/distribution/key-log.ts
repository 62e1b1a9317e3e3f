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

  /** Number of the latest change; 0 as long as no whole table was published. */
  get sequence(): number {
    return this.#sequence;
  }

  get size(): number {
    return this.#table.size;
  }

  /**
   * @returns the sequence at which all of it is in force
   * @throws where the first publication is not the whole table: workers would lose keys to it
   */
  publish({ upsert, remove, reset = false }: KeyPublication): number {
    if (this.#sequence === 0) {
      if (!reset) throw new Error('the first publication of keys has to be the whole table (reset)');
      for (const key of upsert) this.#table.set(key.hash, key);
      this.#sequence = 1;
      return this.#sequence;
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

  /** The change with this sequence, as a message; undefined where it is no longer remembered. */
  change(sequence: number): Buffer | undefined {
    const first = this.#changes[0];
    return first === undefined ? undefined : this.#changes[sequence - first.sequence]?.bytes();
  }

  /**
   * The whole table in messages, each made when it is asked for. It counts as the table of the sequence at the
   * start; changes that come meanwhile may or may not be in it, and are to be sent after it in any case.
   */
  *whole(): Generator<Buffer> {
    const sequence = this.#sequence;
    const position = { type: 'key-table', epoch: this.#epoch, sequence } as const;
    let part = 0;
    let keys: VirtualKey[] = [];
    for (const key of this.#table.values()) {
      if (keys.length === KEYS_PER_MESSAGE) {
        yield encodeMessage({ ...position, part, last: false, keys });
        part += 1;
        keys = [];
      }
      keys.push(key);
    }
    yield encodeMessage({ ...position, part, last: true, keys });
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
