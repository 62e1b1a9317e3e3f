import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { ChargedAttempt, LedgerSettlement, OpenIntent, RecoveryBook } from '../../core/ledger.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { ledgerKeys, STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import { attemptItem, rowItem, settleItems, type CircuitSettings } from './settlement-items.ts';

export interface RecoveryBookOptions {
  readonly redis: Redis;
  readonly logger: Logger;
  readonly circuitBreaker: () => CircuitSettings;
  readonly leaseMs: number;
  /** Limit domain; `default` unless said otherwise. */
  readonly domain?: string;
}

/** Settles what no worker has settled, and what none will. */
export class RedisRecoveryBook implements RecoveryBook {
  readonly #options: RecoveryBookOptions;
  readonly #keys: LedgerKeys;
  readonly #batchKey: string;
  #batches = 0;

  constructor(options: RecoveryBookOptions) {
    this.#options = options;
    this.#keys = ledgerKeys(options.domain ?? 'default');
    this.#batchKey = this.#keys.batch(randomUUID());
  }

  async open(after: string, limit: number): Promise<readonly OpenIntent[]> {
    const from = after === '' ? '-' : `(${after}`;
    const entries = await this.#options.redis.xrange(this.#keys.intents, from, '+', 'COUNT', limit);
    return entries.map(([intentId, [, requestId = '', , json = '']]) => ({ intentId, requestId, json }));
  }

  async settle(
    attempts: readonly ChargedAttempt[],
    settlements: readonly LedgerSettlement[],
  ): Promise<number> {
    const { redis, logger, circuitBreaker, leaseMs } = this.#options;
    this.#batches += 1;
    // What a try cost is taken out of the reservation that the row gives back.
    const tries = attempts.map((attempt) => ({ ...attemptItem(attempt), lesson: '' }));
    const rows = settlements.map((settlement) => rowItem(settlement, 'recovered'));
    const options = {
      keys: this.#keys,
      batch: { key: this.#batchKey, number: this.#batches },
      circuits: circuitBreaker(),
      maxWaitingRows: STREAM_LIMITS.rows,
      leaseMs,
    };
    if (tries.length > 0) await settleItems(redis, tries, options);
    this.#batches += 1;
    const batch = { ...options.batch, number: this.#batches };
    const { problems, left } = await settleItems(redis, rows, { ...options, batch });
    if (problems.length > 0) logger.error({ reasons: problems.slice(0, 3) }, 'limits could not be charged');
    return rows.length - left;
  }
}
