import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../telemetry/logger.ts';
import { onceAMinute } from '../../telemetry/once-a-minute.ts';
import type { RedisClient } from './connection.ts';
import { STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import { RENEW } from './ledger-scripts.ts';
import { settleItems, type CircuitSettings, type OutboxItem } from './settlement-items.ts';

/** Who is told what happens, for metrics. */
export interface OutboxObserver {
  /** Rows that left this process for the rows stream. */
  settled(rows: number): void;
  /** Rows lost for good because the queue was full. */
  dropped(rows: number): void;
  settleFailed(): void;
}

export interface OutboxOptions {
  readonly redis: RedisClient;
  readonly logger: Logger;
  readonly observer: OutboxObserver;
  readonly keys: LedgerKeys;
  readonly circuitBreaker: () => CircuitSettings;
  /** How long a renewed request counts as alive. */
  readonly leaseMs?: number | undefined;
  /** Rows held while Redis is away; beyond, the oldest are dropped. About 1 KiB each. */
  readonly maxQueuedRows?: number | undefined;
  readonly maxWaitingRows?: number | undefined;
}

/** What is on its way. Until Redis has answered it is sent again as it is, so that Redis can tell it did that already. */
interface Batch {
  readonly number: number;
  readonly items: readonly OutboxItem[];
}

/** Lease of an open request: eight times the interval of Envoy's periodic access log. */
export const LEASE_MS = 120_000;

const MAX_QUEUED_ROWS = 50_000;
const BATCH_ROWS = 200;
const BATCH_WAIT_MS = 50;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2000;

/** What a worker has to tell Redis after a request: sent in batches, held while Redis is away, bounded. */
export class RedisOutbox {
  readonly #options: OutboxOptions;
  /** Of the number of the last batch, in Redis. */
  readonly #batchKey: string;
  readonly #leaseMs: number;
  readonly #maxQueuedRows: number;
  readonly #maxWaitingRows: number;
  readonly #mayLogDrop = onceAMinute();

  #queue: OutboxItem[] = [];
  #batches = 0;
  #inFlight: Batch | undefined;
  #renewals = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #retryMs = 0;
  #closed = false;
  #droppedSinceLog = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#batchKey = options.keys.batch(randomUUID());
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
    this.#maxQueuedRows = options.maxQueuedRows ?? MAX_QUEUED_ROWS;
    this.#maxWaitingRows = options.maxWaitingRows ?? STREAM_LIMITS.rows;
  }

  /** Rows that have not reached Redis. */
  get queued(): number {
    return this.#queue.length + (this.#inFlight?.items.length ?? 0);
  }

  push(item: OutboxItem): void {
    this.#queue.push(item);
    // A request that is over needs no lease.
    this.#renewals.delete(item.intentId);
    this.#dropExcess();
    if (this.#queue.length >= BATCH_ROWS && this.#retryMs === 0) this.#flushNow();
    else this.#flushLater();
  }

  renew(intentIds: readonly string[]): void {
    for (const id of intentIds) {
      if (id !== '' && this.#renewals.size < this.#maxQueuedRows) this.#renewals.add(id);
    }
    if (this.#renewals.size > 0) this.#flushLater();
  }

  /** The oldest go first: their requests are the likeliest to be closed by the reconciler already. */
  #dropExcess(): void {
    const count = Math.min(this.queued - this.#maxQueuedRows, this.#queue.length);
    if (count <= 0) return;
    this.#queue.splice(0, count);
    this.#options.observer.dropped(count);
    this.#droppedSinceLog += count;
    if (!this.#mayLogDrop()) return;
    this.#options.logger.error(
      { rows: this.#droppedSinceLog },
      'ledger rows dropped: Redis has been away for too long',
    );
    this.#droppedSinceLog = 0;
  }

  #flushLater(): void {
    if (this.#timer !== undefined || this.#flushing !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => this.#flushNow(), Math.max(BATCH_WAIT_MS, this.#retryMs));
  }

  #flushNow(): void {
    if (this.#flushing !== undefined || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushing = this.#flushAndGoOn();
  }

  async #flushAndGoOn(): Promise<void> {
    await this.#flush();
    this.#flushing = undefined;
    if (this.queued > 0 || this.#renewals.size > 0) this.#flushLater();
  }

  /** Sends everything that waits. False after a failure: the next flush then waits longer. Never rejects. */
  async #flush(): Promise<boolean> {
    try {
      // First: where there is no room for rows, what is open must stay alive none the less.
      while (this.#renewals.size > 0) await this.#sendRenewals();
      while (this.queued > 0) await this.#sendRows();
      this.#retryMs = 0;
      return true;
    } catch {
      this.#options.observer.settleFailed();
      const doubled = this.#retryMs === 0 ? FIRST_RETRY_MS : this.#retryMs * 2;
      this.#retryMs = Math.min(doubled, LONGEST_RETRY_MS);
      return false;
    }
  }

  /** A batch whose answer got lost, or that found no room, is sent again unchanged: Redis does none of them twice. */
  async #sendRows(): Promise<void> {
    const { redis, logger, observer, circuitBreaker } = this.#options;
    if (this.#inFlight === undefined) {
      this.#batches += 1;
      this.#inFlight = { number: this.#batches, items: this.#queue.splice(0, BATCH_ROWS) };
    }
    const { number, items } = this.#inFlight;
    const { problems } = await settleItems(redis, items, {
      keys: this.#options.keys,
      batch: { key: this.#batchKey, number },
      circuits: circuitBreaker(),
      maxWaitingRows: this.#maxWaitingRows,
      leaseMs: this.#leaseMs,
    });
    this.#inFlight = undefined;
    if (problems.length > 0)
      logger.error({ reasons: problems.slice(0, 3) }, 'not all of what has ended could be settled');
    observer.settled(items.length);
  }

  async #sendRenewals(): Promise<void> {
    const { redis, keys } = this.#options;
    const ids = [...this.#renewals].slice(0, BATCH_ROWS);
    const { intents, leases, reservations, counters } = keys;
    await RENEW.run(redis, [intents, leases, reservations, counters], [this.#leaseMs, ...ids]);
    for (const id of ids) this.#renewals.delete(id);
  }

  /**
   * Sends what waits, for at most `withinMs`, and stops. Returns the number of rows that could not be sent;
   * their intents stay open, and the reconciler closes them.
   */
  async close(withinMs: number): Promise<number> {
    const deadline = performance.now() + withinMs;
    clearTimeout(this.#timer);
    this.#closed = true;
    await this.#flushing;
    for (;;) {
      const sent = await this.#flush();
      const remaining = deadline - performance.now();
      if (sent || remaining <= 0) break;
      await delay(Math.min(FIRST_RETRY_MS, remaining));
    }
    const left = this.queued;
    if (left > 0) this.#options.logger.error({ rows: left }, 'ledger rows left unsent at shutdown');
    return left;
  }
}
