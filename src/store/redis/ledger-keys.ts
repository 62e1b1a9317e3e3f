/** The ledger's keys. One hash tag for all, so that one script may touch them on a Redis Cluster. */
export interface LedgerKeys {
  /** Stream of admitted requests that are not settled. */
  readonly intents: string;
  /** Sorted set: intent id → Unix milliseconds until which an open request counts as alive. */
  readonly leases: string;
  /** Stream of finished rows, and of failed tries, on their way to the database. */
  readonly rows: string;
  /** Who reconciles. */
  readonly leader: string;
  /** Hash of the circuits that are not closed and clean: provider → JSON (circuit-scripts.ts). */
  readonly circuits: string;
  /** Hash of what open requests have reserved: intent id → amounts by counter (MessagePack). */
  readonly reservations: string;
  /**
   * Sorted set of the counters of limits: rule, subject and name, with the unit separator between them → Unix
   * milliseconds at which to see whether it is still there. The counters themselves are `counters:NAME`.
   */
  readonly counters: string;
  /** Who moves shares of limits between domains, and the number of the last round; of the first domain alone. */
  readonly shareKeeper: string;
  readonly shareRounds: string;
  /** Highest threshold that was told of the sum of a counter over all domains; of the first domain alone. */
  readonly alerted: (counter: string) => string;
  /** Stream of thresholds that were crossed. */
  readonly alerts: string;
  /**
   * Sorted set of what was settled and may come again: ids of recovered intents, failed tries that were charged
   * (`REQUEST/TIME`) → Unix milliseconds until which that is remembered.
   */
  readonly settledOnce: string;
  /** Number of the last batch that was settled for a worker. */
  readonly batch: (worker: string) => string;
  /** Where an answer is kept, by its key in the answer cache. */
  readonly kept: (key: string) => string;
}

/** @param domain the limit domain; `default` for the whole installation */
export function ledgerKeys(domain: string): LedgerKeys {
  const key = (name: string) => `{limen:${domain}}:${name}`;
  return {
    intents: key('intents'),
    leases: key('leases'),
    rows: key('rows'),
    leader: key('reconciler'),
    circuits: key('circuits'),
    reservations: key('reservations'),
    counters: key('counters'),
    shareKeeper: key('share-keeper'),
    shareRounds: key('share-rounds'),
    alerted: (counter) => key(`counters-alerted:${counter}`),
    alerts: key('limit-alerts'),
    settledOnce: key('settled-once'),
    batch: (worker) => key(`batch:${worker}`),
    kept: (name) => key(`kept:${name}`),
  };
}

/**
 * Most entries of each stream, which bounds the memory: an intent takes about 0.5 KiB of Redis's memory, a row about
 * 1 KiB. Beyond, nothing is trimmed in silence: an intent is not written (the request goes on and is counted as
 * not admitted), and rows stay in the workers' own bounded queues.
 */
export const STREAM_LIMITS = { intents: 500_000, rows: 500_000 } as const;
