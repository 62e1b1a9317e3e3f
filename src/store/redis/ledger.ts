import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { GatewayLogRow, Intent, Ledger } from '../../core/ledger.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { ledgerKeys, STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import { ADMIT, RENEW, SETTLE } from './scripts.ts';

/** Why an intent was not written: no answer, an error at once, too many open ones, or Redis known to be silent. */
export type AdmitFailure = 'timeout' | 'away' | 'full' | 'skipped';

/** Who is told what happens, for metrics. */
export interface LedgerObserver {
  admitFailed(reason: AdmitFailure): void;
  /** Rows that left this process for the rows stream. */
  settled(rows: number): void;
  /** Rows lost for good because the queue was full. */
  dropped(rows: number): void;
  settleFailed(): void;
}

export interface RedisLedgerOptions {
  readonly redis: Redis;
  readonly logger: Logger;
  readonly observer: LedgerObserver;
  /** Limit domain; `default` unless said otherwise. */
  readonly domain?: string;
  /** How long a renewed request counts as alive. */
  readonly leaseMs?: number;
  /** Rows held while Redis is away; beyond, the oldest are dropped. About 1 KiB each. */
  readonly maxQueuedRows?: number;
  readonly maxOpenIntents?: number;
  readonly maxWaitingRows?: number;
}

/** Lease of an open request: eight times the interval of Envoy's periodic access log. */
const LEASE_MS = 120_000;

const MAX_QUEUED_ROWS = 50_000;
const BATCH_ROWS = 200;
const BATCH_WAIT_MS = 50;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2000;
const DROP_LOG_INTERVAL_MS = 60_000;

/** After this many timeouts in a row no intent waits for Redis until it answers again … */
const TIMEOUTS_UNTIL_SKIPPED = 3;
/** … but for one each so often, which finds out. */
const PROBE_INTERVAL_MS = 1000;

interface Waiting {
  readonly json: string;
  readonly intentId: string;
}

/** The ledger of one worker: intents written at once, rows in batches. */
export class RedisLedger implements Ledger {
  readonly #redis: Redis;
  readonly #logger: Logger;
  readonly #observer: LedgerObserver;
  readonly #keys: LedgerKeys;
  readonly #leaseMs: number;
  readonly #maxQueuedRows: number;
  readonly #maxOpenIntents: number;
  readonly #maxWaitingRows: number;

  #queue: Waiting[] = [];
  #renewals = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #retryMs = 0;
  #closed = false;

  #timeouts = 0;
  #nextProbe = 0;
  #lastDropLog = Number.NEGATIVE_INFINITY;
  #droppedSinceLog = 0;

  constructor(options: RedisLedgerOptions) {
    this.#redis = options.redis;
    this.#logger = options.logger;
    this.#observer = options.observer;
    this.#keys = ledgerKeys(options.domain ?? 'default');
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
    this.#maxQueuedRows = options.maxQueuedRows ?? MAX_QUEUED_ROWS;
    this.#maxOpenIntents = options.maxOpenIntents ?? STREAM_LIMITS.intents;
    this.#maxWaitingRows = options.maxWaitingRows ?? STREAM_LIMITS.rows;
  }

  /** Rows that have not reached Redis. */
  get queued(): number {
    return this.#queue.length;
  }

  async admit(intent: Intent): Promise<string> {
    if (!this.#mayAsk()) return this.#notAdmitted('skipped');
    try {
      const { intents } = this.#keys;
      const args = [intent.requestId, JSON.stringify(intent), this.#maxOpenIntents];
      const id = await ADMIT.run(this.#redis, [intents], args);
      this.#timeouts = 0;
      return typeof id === 'string' && id !== '' ? id : this.#notAdmitted('full');
    } catch (error) {
      const timedOut = error instanceof Error && error.message === 'Command timed out';
      if (timedOut) this.#timeouts += 1;
      return this.#notAdmitted(timedOut ? 'timeout' : 'away');
    }
  }

  /** A stopped Redis answers nothing and refuses nothing: do not make every request wait for it. */
  #mayAsk(): boolean {
    if (this.#timeouts < TIMEOUTS_UNTIL_SKIPPED) return true;
    const now = performance.now();
    if (now < this.#nextProbe) return false;
    this.#nextProbe = now + PROBE_INTERVAL_MS;
    return true;
  }

  #notAdmitted(reason: AdmitFailure): '' {
    this.#observer.admitFailed(reason);
    return '';
  }

  settle(row: GatewayLogRow, intentId: string): void {
    this.#queue.push({ json: JSON.stringify(row), intentId });
    // A request that is over needs no lease.
    this.#renewals.delete(intentId);
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
    const count = this.#queue.length - this.#maxQueuedRows;
    if (count <= 0) return;
    this.#queue.splice(0, count);
    this.#observer.dropped(count);
    this.#droppedSinceLog += count;
    const now = performance.now();
    if (now - this.#lastDropLog < DROP_LOG_INTERVAL_MS) return;
    this.#lastDropLog = now;
    this.#logger.error(
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
    if (this.#queue.length > 0 || this.#renewals.size > 0) this.#flushLater();
  }

  /** Sends everything that waits. False after a failure: the next flush then waits longer. Never rejects. */
  async #flush(): Promise<boolean> {
    try {
      while (this.#queue.length > 0) await this.#sendRows();
      while (this.#renewals.size > 0) await this.#sendRenewals();
      this.#retryMs = 0;
      return true;
    } catch {
      this.#observer.settleFailed();
      const doubled = this.#retryMs === 0 ? FIRST_RETRY_MS : this.#retryMs * 2;
      this.#retryMs = Math.min(doubled, LONGEST_RETRY_MS);
      return false;
    }
  }

  /**
   * A batch whose answer got lost is sent again: the row is then in the stream twice, with the same id and
   * revision, and the database shows it once.
   */
  async #sendRows(): Promise<void> {
    const batch = this.#queue.splice(0, BATCH_ROWS);
    const { rows, intents, leases } = this.#keys;
    const args = batch.flatMap(({ json, intentId }) => [json, intentId]);
    try {
      const reply = await SETTLE.run(this.#redis, [rows, intents, leases], [this.#maxWaitingRows, ...args]);
      if (!Array.isArray(reply)) throw new Error('the rows stream is full');
    } catch (error) {
      this.#queue.unshift(...batch);
      this.#dropExcess();
      throw error;
    }
    this.#observer.settled(batch.length);
  }

  async #sendRenewals(): Promise<void> {
    const ids = [...this.#renewals].slice(0, BATCH_ROWS);
    await RENEW.run(this.#redis, [this.#keys.intents, this.#keys.leases], [this.#leaseMs, ...ids]);
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
    const left = this.#queue.length;
    if (left > 0) this.#logger.error({ rows: left }, 'ledger rows left unsent at shutdown');
    return left;
  }
}
