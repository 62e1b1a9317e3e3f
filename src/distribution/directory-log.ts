import { entryName, sameEntry, type DirectoryEntry } from '../core/access.ts';
import { encodeMessage, ENTRIES_PER_MESSAGE, weightOf } from './messages.ts';

/** What is new, different or gone. */
export interface DirectoryPublication {
  readonly upsert: readonly DirectoryEntry[];
  /** Names (entryName). */
  readonly remove: readonly string[];
  /** `upsert` is the whole directory: what it does not hold is removed. */
  readonly reset?: boolean;
}

interface Change {
  readonly sequence: number;
  readonly size: number;
  /** The same bytes for every worker, made when the first one needs them. */
  readonly bytes: () => Buffer;
}

/** A message with some of the entries of the directory. */
export interface TablePart {
  readonly sequence: number;
  /** From 1: receipts with part 0 are those of changes. */
  readonly part: number;
  readonly last: boolean;
  readonly bytes: Buffer;
}

/** Weight of the remembered changes; a worker that missed more gets the whole table. */
const REMEMBERED = 20_000;

/** In which order the entries of one publication are told. */
const URGENCY: readonly (readonly DirectoryEntry['type'][])[] = [
  ['revocation'],
  ['user'],
  ['issuer-keys', 'key'],
];

/** The control plane's directory and the latest changes to it. */
export class DirectoryLog {
  readonly #epoch: string;
  readonly #table = new Map<string, DirectoryEntry>();
  #changes: Change[] = [];
  #remembered = 0;
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
   * worker is to be sent it: it would lose entries to that.
   *
   * @returns the sequence at which all of it is in force
   */
  publish({ upsert, remove, reset = false }: DirectoryPublication): number {
    const given = new Map(upsert.map((entry) => [entryName(entry), entry]));
    if (this.#sequence === 0) {
      if (reset) this.#table.clear();
      for (const name of remove) this.#table.delete(name);
      for (const [name, entry] of given) this.#table.set(name, entry);
      if (reset) this.complete();
      return 1;
    }
    const removed = (reset ? [...this.#table.keys()] : remove).filter(
      (name) => this.#table.has(name) && !given.has(name),
    );
    const changed = [...given].filter(([name, entry]) => !sameEntry(this.#table.get(name), entry));
    for (const name of removed) this.#table.delete(name);
    for (const [name, entry] of changed) this.#table.set(name, entry);
    // Revocations are told first: keys that are gone, tokens that are revoked, users who may be disabled.
    for (const part of batches(removed, () => 1)) this.#remember([], part);
    const urgentFirst = URGENCY.flatMap((types) =>
      changed.flatMap(([, entry]) => (types.includes(entry.type) ? [entry] : [])),
    );
    for (const part of batches(urgentFirst, weightOf)) this.#remember(part, []);
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
    const make = (last: boolean, entries: DirectoryEntry[]): TablePart => {
      const bytes = encodeMessage({
        type: 'directory-table',
        epoch: this.#epoch,
        sequence,
        part,
        last,
        entries,
      });
      return { sequence, part, last, bytes };
    };
    // One batch is held back, because only the last one knows that it is.
    let held: DirectoryEntry[] = [];
    for (const entries of batches(this.#table.values(), weightOf)) {
      if (held.length > 0) {
        yield make(false, held);
        part += 1;
      }
      held = entries;
    }
    yield make(true, held);
  }

  #remember(upsert: DirectoryEntry[], remove: string[]): void {
    this.#sequence += 1;
    const sequence = this.#sequence;
    const size = upsert.reduce((sum, entry) => sum + weightOf(entry), remove.length);
    let encoded: Buffer | undefined;
    const bytes = (): Buffer =>
      (encoded ??= encodeMessage({ type: 'directory-change', epoch: this.#epoch, sequence, upsert, remove }));
    this.#changes.push({ sequence, size, bytes });
    this.#remembered += size;
    let dropped = 0;
    while (this.#remembered > REMEMBERED && dropped < this.#changes.length) {
      this.#remembered -= this.#changes[dropped]?.size ?? 0;
      dropped += 1;
    }
    if (dropped > 0) this.#changes = this.#changes.slice(dropped);
  }
}

/** Splits into parts of at most ENTRIES_PER_MESSAGE together; one that weighs more alone has a part of its own. */
function* batches<Item>(items: Iterable<Item>, weight: (item: Item) => number): Generator<Item[]> {
  let batch: Item[] = [];
  let sum = 0;
  for (const item of items) {
    const own = weight(item);
    if (batch.length > 0 && sum + own > ENTRIES_PER_MESSAGE) {
      yield batch;
      batch = [];
      sum = 0;
    }
    batch.push(item);
    sum += own;
  }
  if (batch.length > 0) yield batch;
}
