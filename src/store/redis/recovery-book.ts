import { randomUUID } from 'node:crypto';
import type { ChargedAttempt, LedgerSettlement, OpenIntent, RecoveryBook } from '../../core/ledger.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys, STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import {
  attemptItem,
  rowItem,
  settleItems,
  type CircuitSettings,
  type OutboxItem,
} from './settlement-items.ts';

export interface RecoveryBookOptions {
  readonly redis: RedisClient;
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

  constructor(options: RecoveryBookOptions) {
    this.#options = options;
    this.#keys = ledgerKeys(options.domain ?? 'default');
  }

  async open(after: string, limit: number): Promise<readonly OpenIntent[]> {
    const from = after === '' ? '-' : `(${after}`;
    const entries = await this.#options.redis.xrange(this.#keys.intents, from, '+', 'COUNT', limit);
    return entries.map(([intentId, [, , , json = '']]) => ({ intentId, json }));
  }

  async settle(
    attempts: readonly ChargedAttempt[],
    settlements: readonly LedgerSettlement[],
  ): Promise<number> {
    // First: what a try cost is taken out of the reservation that the row gives back. What it has to teach, its
    // provider's circuit may have learnt long ago.
    await this.#settle(attempts.map((attempt) => ({ ...attemptItem(attempt), lesson: '' })));
    return this.#settle(settlements.map((settlement) => rowItem(settlement, 'recovered')));
  }

  /** Returns how many of them had not been settled before. */
  async #settle(items: readonly OutboxItem[]): Promise<number> {
    if (items.length === 0) return 0;
    const { redis, logger, circuitBreaker, leaseMs } = this.#options;
    const { problems, left } = await settleItems(redis, items, {
      keys: this.#keys,
      // None is sent again, and they need not come in their order: who was settled is known by itself.
      batch: { key: this.#keys.batch(randomUUID()), number: 1 },
      circuits: circuitBreaker(),
      maxWaitingRows: STREAM_LIMITS.rows,
      leaseMs,
    });
    if (problems.length > 0)
      logger.error({ reasons: problems.slice(0, 3) }, 'not all of what has ended could be settled');
    return items.length - left;
  }
}
