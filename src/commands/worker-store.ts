import type { KeptAnswers, Ledger } from '../core/ledger.ts';
import type { RedisClient } from '../store/redis/connection.ts';
import { DomainKeptAnswers, DomainLedger } from '../store/redis/domains.ts';
import { RedisKeptAnswers, type KeptAnswersObserver } from '../store/redis/kept-answers.ts';
import { RedisLedger, type LedgerObserver, type RedisLedgerOptions } from '../store/redis/ledger.ts';

export interface WorkerStoreOptions extends Pick<
  RedisLedgerOptions,
  'logger' | 'circuitBreaker' | 'leaseMs' | 'patienceMs'
> {
  readonly redis: RedisClient;
  readonly observer: LedgerObserver & KeptAnswersObserver;
  /** Limit domains, one at least. */
  readonly domains: readonly string[];
}

/** What a worker has in Redis. */
export interface WorkerStore {
  readonly ledger: Ledger;
  readonly keptAnswers: KeptAnswers;
  /** Rows that have not reached Redis. */
  queued(): number;
  /** Sends what waits, for at most `withinMs`, and stops. */
  close(withinMs: number): Promise<void>;
}

/** One ledger for each limit domain, all over one connection; where there is but one domain, nothing is between. */
export function openWorkerStore({ domains, ...options }: WorkerStoreOptions): WorkerStore {
  const ledgers = domains.map((domain, index): readonly [string, RedisLedger] => {
    const place = { index, count: domains.length };
    return [domain, new RedisLedger({ ...options, domain, place })];
  });
  const answers = domains.map((domain): readonly [string, RedisKeptAnswers] => [
    domain,
    new RedisKeptAnswers({ ...options, domain }),
  ]);
  const [[, onlyLedger] = [], [, onlyAnswers] = []] = [ledgers[0], answers[0]];
  const isOne = domains.length === 1;
  return {
    ledger: isOne && onlyLedger !== undefined ? onlyLedger : new DomainLedger(new Map(ledgers)),
    keptAnswers: isOne && onlyAnswers !== undefined ? onlyAnswers : new DomainKeptAnswers(new Map(answers)),
    queued: () => ledgers.reduce((sum, [, ledger]) => sum + ledger.queued, 0),
    close: async (withinMs) => {
      await Promise.all([
        ...ledgers.map(([, ledger]) => ledger.close(withinMs)),
        ...answers.map(([, kept]) => kept.flush()),
      ]);
    },
  };
}
