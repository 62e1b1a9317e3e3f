import { REFUSALS, type Refusal } from './errors.ts';

/** Clients that are counted apart; clients that nobody declared are counted together. */
const UNKNOWN = '(unknown)';
const MINUTE_MS = 60_000;

interface Counts {
  exchanged: number;
  readonly refused: Map<Refusal, number>;
  /** Minute in which tokens end → how many. */
  readonly endings: Map<number, number>;
}

/** What one client has done since the control plane started. */
export interface ClientStatistics {
  readonly client: string;
  readonly exchanged: number;
  /** By reason; those that did not happen left out. */
  readonly refused: Readonly<Partial<Record<Refusal, number>>>;
  /** Tokens that have not expired; revoked ones among them. */
  readonly active: number;
}

/** Counts exchanges in memory: as many clients as are declared, for each at most an hour of minutes. */
export class ExchangeStatistics {
  readonly #clients = new Map<string, Counts>();
  readonly #now: () => number;
  /** Unix time in milliseconds. */
  readonly since: number;

  constructor(now: () => number) {
    this.#now = now;
    this.since = now();
  }

  exchanged(client: string, expiresAt: number): void {
    const counts = this.#of(client);
    counts.exchanged += 1;
    const minute = Math.ceil(expiresAt / MINUTE_MS);
    counts.endings.set(minute, (counts.endings.get(minute) ?? 0) + 1);
    prune(counts, this.#now());
  }

  /** @param client a declared one; undefined for any other */
  refused(client: string | undefined, refusal: Refusal): void {
    const { refused } = this.#of(client ?? UNKNOWN);
    refused.set(refusal, (refused.get(refusal) ?? 0) + 1);
  }

  all(): readonly ClientStatistics[] {
    return [...this.#clients].map(([client, counts]) => {
      prune(counts, this.#now());
      return {
        client,
        exchanged: counts.exchanged,
        refused: Object.fromEntries(
          REFUSALS.flatMap((refusal) => {
            const count = counts.refused.get(refusal);
            return count === undefined ? [] : [[refusal, count] as const];
          }),
        ),
        active: [...counts.endings.values()].reduce((sum, count) => sum + count, 0),
      };
    });
  }

  #of(client: string): Counts {
    const known = this.#clients.get(client) ?? { exchanged: 0, refused: new Map(), endings: new Map() };
    this.#clients.set(client, known);
    return known;
  }
}

function prune({ endings }: Counts, now: number): void {
  for (const minute of endings.keys()) if (minute * MINUTE_MS <= now) endings.delete(minute);
}
