import type { Snapshot } from '../core/snapshot.ts';
import { KeyLog, type KeyPublication } from './key-log.ts';
import { decodeToControl, encodeMessage } from './messages.ts';
import { SNAPSHOTS_KEPT } from './store.ts';
import { WorkerConnection, type PublishedSnapshot, type Subject } from './worker-connection.ts';

/** What became of a publication; each connected worker is in exactly one list. */
export interface WorkerReport {
  readonly acknowledged: readonly string[];
  readonly nacked: readonly { readonly worker: string; readonly message: string }[];
  readonly timedOut: readonly string[];
}

/** One connected worker, for `limen get` and `limen doctor`. */
export interface WorkerStatus {
  readonly worker: string;
  /** Unix time in milliseconds. */
  readonly connectedAt: number;
  /** Version that it said it has in force; empty before the first. */
  readonly snapshot: string;
  /** Whether it has every change of the key table in force. */
  readonly keysUpToDate: boolean;
  /** What it refused last, and when (Unix time in milliseconds). */
  readonly lastRefusal: { readonly message: string; readonly at: number } | undefined;
}

/** One open stream, as the transport sees it. */
export interface OpenWorkerStream {
  /** @throws where the bytes are no message: the stream is of no use then. */
  handle(bytes: Buffer): void;
  /** The transport takes data again. */
  resume(): void;
  /** The stream ended, broke or was cancelled; more than one call does no harm. */
  close(): void;
}

/**
 * The control plane's half of the distribution, without gRPC: the last snapshots, all keys, and everyone who
 * listens. What is published before a worker connects reaches it when it does.
 */
export class DistributionHub {
  readonly #now: () => number;
  readonly #keys: KeyLog;
  readonly #connections = new Set<WorkerConnection>();
  readonly #waiters = new Set<() => void>();
  #snapshots: readonly PublishedSnapshot[] = [];
  #ordinal = 0;

  /**
   * @param options.epoch a name that no other control plane process uses, ever
   * @param options.now Unix time in milliseconds
   */
  constructor(options: { readonly epoch: string; readonly now: () => number }) {
    this.#now = options.now;
    this.#keys = new KeyLog(options.epoch);
  }

  /** Makes a snapshot the current one; it may be one that was current before. */
  publishSnapshot(snapshot: Snapshot): void {
    this.#ordinal += 1;
    const ordinal = this.#ordinal;
    let encoded: Buffer | undefined;
    const published: PublishedSnapshot = {
      ordinal,
      version: snapshot.version,
      bytes: () => (encoded ??= encodeMessage({ type: 'snapshot', ordinal, snapshot })),
    };
    const others = this.#snapshots.filter(({ version }) => version !== snapshot.version);
    this.#snapshots = [...others, published].slice(-SNAPSHOTS_KEPT);
    this.#pump();
  }

  /**
   * Changes the key table; workers hear of it once it was complete (`keysComplete`).
   *
   * @returns the sequence to wait for with `awaitAcknowledged`
   */
  publishKeys(publication: KeyPublication): number {
    const sequence = this.#keys.publish(publication);
    this.#pump();
    return sequence;
  }

  /** All keys were published: from now on workers get the table and its changes. */
  keysComplete(): void {
    this.#keys.complete();
    this.#pump();
  }

  /**
   * Waits until every connected worker has answered, or until `timeoutMs` has passed. A worker that disconnects
   * is waited for no longer; with none connected it resolves at once.
   *
   * @param subject a snapshot's version, or the sequence that `publishKeys` returned
   */
  async awaitAcknowledged(
    ...[kind, subject, timeoutMs]:
      | [kind: 'snapshot', version: string, timeoutMs: number]
      | [kind: 'keys', sequence: number, timeoutMs: number]
  ): Promise<WorkerReport> {
    const awaited: Subject =
      kind === 'snapshot'
        ? { kind, ordinal: this.#snapshots.find(({ version }) => version === subject)?.ordinal ?? 0 }
        : { kind, sequence: subject };
    if (this.#report(awaited).timedOut.length > 0) {
      await new Promise<void>((resolve) => {
        const finish = (): void => {
          clearTimeout(timer);
          this.#waiters.delete(check);
          resolve();
        };
        const check = (): void => {
          if (this.#report(awaited).timedOut.length === 0) finish();
        };
        const timer = setTimeout(finish, timeoutMs);
        this.#waiters.add(check);
      });
    }
    return this.#report(awaited);
  }

  /** Every connected worker that has said who it is. */
  status(): WorkerStatus[] {
    return [...this.#connections]
      .filter(({ worker }) => worker !== '')
      .map((connection) => ({
        worker: connection.worker,
        connectedAt: connection.connectedAt,
        snapshot: connection.snapshotInForce,
        keysUpToDate:
          connection.settlement({ kind: 'keys', sequence: this.#keys.sequence }) === 'acknowledged',
        lastRefusal: connection.lastRefusal,
      }));
  }

  /** @param send Takes a message; false means: full, wait for `resume`. */
  open(send: (bytes: Buffer) => boolean): OpenWorkerStream {
    const connection = new WorkerConnection({
      send,
      keys: this.#keys,
      snapshots: () => this.#snapshots,
      now: this.#now,
    });
    this.#connections.add(connection);
    return {
      handle: (bytes) => {
        connection.handle(decodeToControl(bytes));
        this.#settled();
      },
      resume: () => connection.resume(),
      close: () => {
        if (this.#connections.delete(connection)) this.#settled();
      },
    };
  }

  #pump(): void {
    for (const connection of this.#connections) connection.pump();
    this.#settled();
  }

  #settled(): void {
    for (const check of [...this.#waiters]) check();
  }

  #report(subject: Subject): WorkerReport {
    const acknowledged: string[] = [];
    const nacked: { worker: string; message: string }[] = [];
    const timedOut: string[] = [];
    for (const connection of this.#connections) {
      const { worker } = connection;
      if (worker === '') continue;
      const settlement = connection.settlement(subject);
      if (settlement === 'acknowledged') acknowledged.push(worker);
      else if (settlement === 'waiting') timedOut.push(worker);
      else nacked.push({ worker, message: settlement.refused });
    }
    return { acknowledged, nacked, timedOut };
  }
}
