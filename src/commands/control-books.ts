import type { CircuitBook, IntentBook, RecoveryBook } from '../core/ledger.ts';
import type { LimitBook, ShareBook } from '../core/limits.ts';
import { RedisCircuitBook } from '../store/redis/circuit-book.ts';
import type { RedisClient } from '../store/redis/connection.ts';
import { DomainCircuitBook, DomainIntentBook, DomainRecoveryBook } from '../store/redis/domains.ts';
import { RedisIntentBook } from '../store/redis/intent-book.ts';
import { RedisLimitBook } from '../store/redis/limit-book.ts';
import { RedisRecoveryBook, type RecoveryBookOptions } from '../store/redis/recovery-book.ts';
import { RedisShareBook } from '../store/redis/share-book.ts';

export interface ControlBooksOptions extends Pick<
  RecoveryBookOptions,
  'logger' | 'circuitBreaker' | 'leaseMs'
> {
  readonly redis: RedisClient;
  /** Limit domains, one at least. */
  readonly domains: readonly string[];
}

/** What the control plane has in Redis, all limit domains as one. */
export interface ControlBooks {
  readonly intents: IntentBook;
  readonly recovery: RecoveryBook;
  readonly circuits: CircuitBook;
  readonly limits: LimitBook;
  readonly shares: ShareBook;
}

export function openControlBooks({ redis, domains, ...options }: ControlBooksOptions): ControlBooks {
  const intents = domains.map((domain): readonly [string, IntentBook] => [
    domain,
    new RedisIntentBook(redis, domain),
  ]);
  const recovery = domains.map((domain): readonly [string, RecoveryBook] => [
    domain,
    new RedisRecoveryBook({ ...options, redis, domain }),
  ]);
  const [[, onlyIntents] = [], [, onlyRecovery] = []] = [intents[0], recovery[0]];
  const isOne = domains.length === 1;
  return {
    intents: isOne && onlyIntents !== undefined ? onlyIntents : new DomainIntentBook(new Map(intents)),
    recovery: isOne && onlyRecovery !== undefined ? onlyRecovery : new DomainRecoveryBook(new Map(recovery)),
    circuits: new DomainCircuitBook(domains.map((domain) => new RedisCircuitBook(redis, domain))),
    limits: new RedisLimitBook(redis, domains),
    shares: new RedisShareBook(redis, domains),
  };
}
