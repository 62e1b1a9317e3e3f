import { messageOf } from '../core/errors.ts';
import type { CircuitBook, IntentBook, RecoveryBook } from '../core/ledger.ts';
import type { LimitBook, ShareBook } from '../core/limits.ts';
import { RedisCircuitBook } from '../store/redis/circuit-book.ts';
import type { RedisClient } from '../store/redis/connection.ts';
import { DomainCircuitBook, DomainIntentBook, DomainRecoveryBook } from '../store/redis/domains.ts';
import { RedisIntentBook } from '../store/redis/intent-book.ts';
import { RedisLimitBook } from '../store/redis/limit-book.ts';
import { RedisRecoveryBook, type RecoveryBookOptions } from '../store/redis/recovery-book.ts';
import { RedisShareBook } from '../store/redis/share-book.ts';
import { onceAMinute } from '../telemetry/once-a-minute.ts';

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
  const circuits = domains.map((domain) => [domain, new RedisCircuitBook(redis, domain)] as const);
  const mayLog = new Map(domains.map((domain) => [domain, onceAMinute()]));
  const onAway = (domain: string, error: unknown): void => {
    if (mayLog.get(domain)?.() !== true) return;
    const reason = messageOf(error);
    options.logger.warn({ domain, reason }, 'a limit domain is away; the others go on without it');
  };
  const [[, onlyIntents] = [], [, onlyRecovery] = []] = [intents[0], recovery[0]];
  const isOne = domains.length === 1;
  return {
    intents:
      isOne && onlyIntents !== undefined ? onlyIntents : new DomainIntentBook(new Map(intents), onAway),
    recovery:
      isOne && onlyRecovery !== undefined ? onlyRecovery : new DomainRecoveryBook(new Map(recovery), onAway),
    circuits: new DomainCircuitBook(new Map(circuits), onAway),
    limits: new RedisLimitBook(redis, domains, onAway),
    shares: new RedisShareBook(redis, domains),
  };
}
