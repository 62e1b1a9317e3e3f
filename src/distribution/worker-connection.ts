import type { DirectoryLog } from './directory-log.ts';
import { DirectorySync } from './directory-sync.ts';
import { encodeMessage, type FollowerMessage, type Receipt, type ToControl } from './messages.ts';
import { SNAPSHOTS_KEPT } from './store.ts';

/** A snapshot as it was published: the same bytes for every worker, made when the first one needs them. */
export interface PublishedSnapshot {
  /** Number of the publication. */
  readonly ordinal: number;
  readonly version: string;
  readonly bytes: () => Buffer;
}

/** What one may wait for. */
export type Subject =
  | { readonly kind: 'snapshot'; readonly ordinal: number }
  | { readonly kind: 'directory'; readonly sequence: number };

export type WorkerSettlement = 'acknowledged' | 'waiting' | { readonly refused: string };

export interface WorkerConnectionOptions {
  readonly send: (bytes: Buffer) => boolean;
  readonly directory: DirectoryLog;
  /** The snapshots to have, oldest first; the last is the current one. */
  readonly snapshots: () => readonly PublishedSnapshot[];
  readonly now: () => number;
}

/** Messages that a worker may leave unanswered: what it has not put in force yet is not piled up for it. */
const UNANSWERED_LIMIT = 4;

/**
 * One worker on its stream. Nothing is queued for it: whenever it can take more, what it lacks most is worked
 * out from what it has, so a slow worker costs no memory and gets several changes of the past as few messages.
 */
export class WorkerConnection {
  readonly connectedAt: number;
  readonly #options: WorkerConnectionOptions;
  readonly #directory: DirectorySync;
  /** By receipt; a snapshot's version, or empty. */
  readonly #unanswered = new Map<string, string>();
  #worker = '';
  #blocked = false;
  /** Versions that the worker has, said or sent, as it keeps them itself: oldest first, and no more than it keeps. */
  #versions: readonly string[] = [];
  #sentOrdinal = 0;
  #answeredOrdinal = 0;
  #snapshotRefusal: { readonly ordinal: number; readonly message: string } | undefined;
  #snapshotInForce = '';
  #lastRefusal: { readonly message: string; readonly at: number } | undefined;

  constructor(options: WorkerConnectionOptions) {
    this.#options = options;
    this.#directory = new DirectorySync(options.directory);
    this.connectedAt = options.now();
  }

  /** Empty until it has said who it is. */
  get worker(): string {
    return this.#worker;
  }

  get snapshotInForce(): string {
    return this.#snapshotInForce;
  }

  get lastRefusal(): { readonly message: string; readonly at: number } | undefined {
    return this.#lastRefusal;
  }

  /** What it says of itself and of what it was sent. */
  handle(message: FollowerMessage): void {
    if (message.type === 'hello') this.#hello(message);
    else this.#answer(message.receipt, message.type === 'refuse' ? message.message : undefined);
    this.pump();
  }

  /** The transport takes data again. */
  resume(): void {
    this.#blocked = false;
    this.pump();
  }

  settlement(subject: Subject): WorkerSettlement {
    if (subject.kind === 'directory') return this.#directory.settlement(subject.sequence);
    if (this.#answeredOrdinal < subject.ordinal) return 'waiting';
    const refusal = this.#snapshotRefusal;
    return refusal?.ordinal === subject.ordinal ? { refused: refusal.message } : 'acknowledged';
  }

  /** Sends what the worker lacks, as far as it and the transport take it. */
  pump(): void {
    if (this.#worker === '') return;
    while (!this.#blocked && this.#unanswered.size < UNANSWERED_LIMIT) {
      // Revocations first; a whole table, which takes longest, last.
      const bytes = this.#nextEntries('change') ?? this.#nextSnapshot() ?? this.#nextEntries('table');
      if (bytes === undefined) return;
      this.#send(bytes);
    }
  }

  #hello({ worker, snapshots, directory }: Extract<ToControl, { type: 'hello' }>): void {
    this.#worker = worker;
    this.#versions = snapshots.slice(-SNAPSHOTS_KEPT);
    this.#snapshotInForce = snapshots.at(-1) ?? '';
    this.#directory.begin(directory);
    this.#send(encodeMessage({ type: 'welcome' }));
  }

  #answer(receipt: Receipt, refusal: string | undefined): void {
    const version = this.#unanswered.get(nameOf(receipt));
    if (version === undefined) return;
    this.#unanswered.delete(nameOf(receipt));
    if (refusal !== undefined) this.#lastRefusal = { message: refusal, at: this.#options.now() };
    if (receipt.kind === 'directory') {
      this.#directory.answer(receipt, refusal);
      return;
    }
    this.#answeredOrdinal = Math.max(this.#answeredOrdinal, receipt.ordinal);
    if (refusal === undefined) this.#snapshotInForce = version;
    else {
      this.#snapshotRefusal = { ordinal: receipt.ordinal, message: refusal };
      this.#versions = this.#versions.filter((held) => held !== version);
    }
  }

  #nextEntries(kind: 'change' | 'table'): Buffer | undefined {
    const next = kind === 'change' ? this.#directory.nextChange() : this.#directory.nextTablePart();
    if (next !== undefined) this.#unanswered.set(nameOf(next.receipt), '');
    return next?.bytes;
  }

  #nextSnapshot(): Buffer | undefined {
    const snapshots = this.#options.snapshots();
    const current = snapshots.at(-1);
    for (const snapshot of snapshots) {
      if (snapshot.ordinal <= this.#sentOrdinal) continue;
      this.#sentOrdinal = snapshot.ordinal;
      const { ordinal, version } = snapshot;
      const has = this.#versions.includes(version);
      if (has && snapshot !== current) continue;
      const others = this.#versions.filter((held) => held !== version);
      this.#versions = [...others, version].slice(-SNAPSHOTS_KEPT);
      this.#unanswered.set(nameOf({ kind: 'snapshot', ordinal }), version);
      return has ? encodeMessage({ type: 'current', ordinal, version }) : snapshot.bytes();
    }
    return undefined;
  }

  #send(bytes: Buffer): void {
    this.#blocked = !this.#options.send(bytes);
  }
}

function nameOf(receipt: Receipt): string {
  return receipt.kind === 'snapshot'
    ? `snapshot ${receipt.ordinal}`
    : `directory ${receipt.epoch} ${receipt.sequence} ${receipt.part}`;
}
