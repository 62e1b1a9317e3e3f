import type { Snapshot } from '../core/snapshot.ts';
import type { Sighting } from '../core/access.ts';
import { DirectoryLog, type DirectoryPublication } from './directory-log.ts';
import { decodeToControl, encodeMessage, type KeyRequest } from './messages.ts';
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
  /** Whether it has every change of the directory in force. */
  readonly directoryUpToDate: boolean;
  /** What it refused last, and when (Unix time in milliseconds). */
  readonly lastRefusal: { readonly message: string; readonly at: number } | undefined;
}

/** Who hears what workers tell of their own accord. Must not throw. */
export interface WorkerReportListener {
  readonly onSighting?: (sighting: Sighting) => void;
  readonly onKeyRequests?: (requests: readonly KeyRequest[]) => void;
  /** Its stream has ended, in whatever way: it was stopped, has died, or is silent. */
  readonly onWorkerGone?: (worker: string) => void;
}

export interface DistributionHubOptions {
  /** A name that no other control plane process uses, ever. */
  readonly epoch: string;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly listener?: WorkerReportListener;
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
 * The control plane's half of the distribution, without gRPC: the last snapshots, the directory, and everyone who
 * listens. What is published before a worker connects reaches it when it does.
 */
export class DistributionHub {
  readonly #now: () => number;
  readonly #listener: WorkerReportListener;
  readonly #directory: DirectoryLog;
  readonly #connections = new Set<WorkerConnection>();
  readonly #waiters = new Set<() => void>();
  #snapshots: readonly PublishedSnapshot[] = [];
  #ordinal = 0;

  constructor(options: DistributionHubOptions) {
    this.#now = options.now;
    this.#listener = options.listener ?? {};
    this.#directory = new DirectoryLog(options.epoch);
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
   * Changes the directory; workers hear of it once it was complete (`directoryComplete`).
   *
   * @returns the sequence to wait for with `awaitAcknowledged`
   */
  publishDirectory(publication: DirectoryPublication): number {
    const sequence = this.#directory.publish(publication);
    this.#pump();
    return sequence;
  }

  /** Everything was published: from now on workers get the table and its changes. */
  directoryComplete(): void {
    this.#directory.complete();
    this.#pump();
  }

  /**
   * Waits until every connected worker has answered, or until `timeoutMs` has passed. A worker that disconnects
   * is waited for no longer; with none connected it resolves at once.
   *
   * @param subject a snapshot's version, or the sequence that `publishDirectory` returned
   */
  async awaitAcknowledged(
    ...[kind, subject, timeoutMs]:
      | [kind: 'snapshot', version: string, timeoutMs: number]
      | [kind: 'directory', sequence: number, timeoutMs: number]
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
        directoryUpToDate:
          connection.settlement({ kind: 'directory', sequence: this.#directory.sequence }) === 'acknowledged',
        lastRefusal: connection.lastRefusal,
      }));
  }

  /** @param send Takes a message; false means: full, wait for `resume`. */
  open(send: (bytes: Buffer) => boolean): OpenWorkerStream {
    const connection = new WorkerConnection({
      send,
      directory: this.#directory,
      snapshots: () => this.#snapshots,
      now: this.#now,
    });
    this.#connections.add(connection);
    return {
      handle: (bytes) => {
        const message = decodeToControl(bytes);
        if (message.type === 'sighting') this.#listener.onSighting?.(message);
        else if (message.type === 'key-request') this.#listener.onKeyRequests?.(message.requests);
        else {
          connection.handle(message);
          this.#settled();
        }
      },
      resume: () => connection.resume(),
      close: () => {
        if (!this.#connections.delete(connection)) return;
        this.#settled();
        if (connection.worker !== '') this.#listener.onWorkerGone?.(connection.worker);
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
