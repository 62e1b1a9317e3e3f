import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../core/errors.ts';
import type { GatewayLogStore, QueuedRow, RowQueue } from '../core/ledger.ts';
import type { Logger } from '../telemetry/logger.ts';
import { onceAMinute } from '../telemetry/once-a-minute.ts';
import { readAttempt, readRow } from './records.ts';

/** Who is told what happens, for metrics. */
export interface WriterObserver {
  rowsWritten(count: number): void;
  /** A row that cost more than was left of what this limit had reserved. */
  overran(rule: string): void;
  writeFailed(): void;
  /** A queued row that cannot be read; it is logged and removed. */
  rowUnreadable(): void;
}

export interface LedgerWriterOptions {
  readonly queue: RowQueue;
  readonly store: GatewayLogStore;
  readonly logger: Logger;
  readonly observer: WriterObserver;
  /** Most rows of one insert. */
  readonly batchRows?: number;
  /** How long the first row of a batch waits for others. */
  readonly batchWaitMs?: number;
  /** After this time a row that was taken and not acknowledged is taken again. */
  readonly claimIdleMs?: number;
}

/** How long one look into an empty queue waits; also the longest that `stop` waits for it. */
const POLL_MS = 1000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 5000;

/**
 * Carries rows from the queue to the database. A row leaves the queue only after the database has it, so a row
 * may be written twice (a crash in between, two writers) and is never lost; the database shows it once.
 */
export class LedgerWriter {
  readonly #queue: RowQueue;
  readonly #store: GatewayLogStore;
  readonly #logger: Logger;
  readonly #observer: WriterObserver;
  readonly #batchRows: number;
  readonly #batchWaitMs: number;
  readonly #claimIdleMs: number;
  readonly #stop = new AbortController();
  readonly #mayLog = onceAMinute();
  #nextClaim = 0;
  #running: Promise<void> | undefined;

  constructor(options: LedgerWriterOptions) {
    this.#queue = options.queue;
    this.#store = options.store;
    this.#logger = options.logger;
    this.#observer = options.observer;
    this.#batchRows = options.batchRows ?? 5000;
    this.#batchWaitMs = options.batchWaitMs ?? 500;
    this.#claimIdleMs = options.claimIdleMs ?? 5000;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends after the batch in hand; one that the database does not take stays in the queue. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let retryMs = 0;
    while (!this.#stop.signal.aborted) {
      try {
        await this.writeBatch(POLL_MS);
        retryMs = 0;
      } catch (error) {
        this.#failed(error);
        retryMs = Math.min(LONGEST_RETRY_MS, Math.max(FIRST_RETRY_MS, retryMs * 2));
        await this.#pause(retryMs);
      }
    }
  }

  /**
   * Takes one batch and writes it; returns how many rows and failed tries. Rejects where the queue or the database is away: what
   * was taken is taken again later, once it has been idle for long enough.
   */
  async writeBatch(waitMs: number): Promise<number> {
    const taken = await this.#take(waitMs);
    if (taken.length === 0) return 0;
    const rows = this.#readable(taken, 'row', readRow).map(([row, { overrun }]) =>
      overrun === undefined || overrun.length === 0 ? row : { ...row, overrun },
    );
    const attempts = this.#readable(taken, 'attempt', readAttempt).map(([attempt]) => attempt);
    if (attempts.length > 0) await this.#insert(() => this.#store.insertAttempts(attempts));
    if (rows.length > 0) await this.#insert(() => this.#store.insert(rows));
    this.#observer.rowsWritten(rows.length);
    for (const { overrun = [] } of rows) for (const rule of overrun) this.#observer.overran(rule);
    await this.#queue.acknowledge(taken.map(({ id }) => id));
    return rows.length + attempts.length;
  }

  async #take(waitMs: number): Promise<readonly QueuedRow[]> {
    const now = performance.now();
    if (now >= this.#nextClaim) {
      const left = await this.#queue.reclaim(this.#claimIdleMs, this.#batchRows);
      if (left.length > 0) return left;
      this.#nextClaim = now + this.#claimIdleMs;
    }
    const first = await this.#queue.read(this.#batchRows, waitMs);
    if (first.length === 0 || first.length >= this.#batchRows) return first;
    await this.#pause(this.#batchWaitMs);
    return [...first, ...(await this.#queue.read(this.#batchRows - first.length, 0))];
  }

  #readable<Row>(
    taken: readonly QueuedRow[],
    kind: QueuedRow['kind'],
    read: (json: string) => Row | undefined,
  ): (readonly [Row, QueuedRow])[] {
    return taken.flatMap((queued): (readonly [Row, QueuedRow])[] => {
      const { id, json, kind: itsKind } = queued;
      if (itsKind !== kind) return [];
      const row = read(json);
      if (row !== undefined) return [[row, queued]];
      this.#observer.rowUnreadable();
      this.#logger.error({ id }, 'a queued ledger row cannot be read and is dropped');
      return [];
    });
  }

  /** Keeps trying while the database is away, rather than leave the batch to be claimed again. */
  async #insert(write: () => Promise<void>): Promise<void> {
    for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(LONGEST_RETRY_MS, retryMs * 2)) {
      try {
        await write();
        return;
      } catch (error) {
        if (this.#stop.signal.aborted) throw error;
        this.#failed(error);
        await this.#pause(retryMs);
      }
    }
  }

  #failed(error: unknown): void {
    this.#observer.writeFailed();
    if (!this.#mayLog()) return;
    this.#logger.warn({ reason: messageOf(error) }, 'ledger rows wait: a store is away');
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
