import {
  baseShare,
  type ShareAsk,
  type ShareBook,
  type ShareChange,
  type ShareState,
} from '../core/limits.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Rounds } from './rounds.ts';

export interface ShareKeeperOptions {
  readonly book: ShareBook;
  /** How many limit domains there are. */
  readonly domains: number;
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Time between two rounds. */
  readonly everyMs?: number;
}

/** Of the free room, a domain that asks gets so many times what one gets that does not. */
const WEIGHT_OF_ASKING = 4;
/** A share of a period that is over is kept for those whose clock is behind. */
const PERIOD_GRACE_MS = 3_600_000;

/** One counter of one domain, as the plan needs it. */
export interface PlannedDomain {
  /** What it may use. */
  readonly share: number;
  readonly base: number;
  /** Settled and reserved. */
  readonly used: number;
  /** Use that there should be room for; 0 where it does not ask. */
  readonly wanted: number;
}

/** A share that is nearly used up, or too little for a request, asks for more. */
export function isAsking({ share, wanted }: PlannedDomain): boolean {
  return wanted * 4 > share * 3;
}

/**
 * What each domain should have. Those that ask get first what they need: before all who have too little for the next
 * request (who has enough may be refused by another rule, and never use it), then the smallest need first. Then they get
 * most of what is free; those that do not ask keep the rest. With nothing in use and nobody asking all go back to their base.
 */
export function planShares(limit: number, domains: readonly PlannedDomain[]): readonly number[] {
  const asking = domains.map(isAsking);
  if (!asking.includes(true)) {
    return domains.map(({ share, base }) => (isAtRest(domains) ? base : share));
  }
  const targets = domains.map(({ used }) => used);
  let free = Math.max(0, limit - targets.reduce((sum, used) => sum + used, 0));
  const needs = domains
    .map(({ used, wanted, share }, index) => ({
      index,
      need: asking[index] === true ? Math.max(0, wanted - used) : 0,
      starves: wanted > share,
    }))
    .sort((left, right) => Number(right.starves) - Number(left.starves) || left.need - right.need);
  const give = (index: number, amount: number): void => {
    targets[index] = (targets[index] ?? 0) + amount;
    free -= amount;
  };
  for (const { index, need } of needs) if (need <= free) give(index, need);
  const weights = asking.map((asks) => (asks ? WEIGHT_OF_ASKING : 1));
  const whole = weights.reduce((sum, weight) => sum + weight, 0);
  const rest = free;
  for (const [index, weight] of weights.entries()) give(index, Math.floor((rest / whole) * weight));
  const [neediest] = needs.filter(({ index }) => asking[index]);
  if (neediest !== undefined) give(neediest.index, free);
  return targets;
}

function isAtRest(domains: readonly PlannedDomain[]): boolean {
  return domains.every(({ used, wanted }) => used === 0 && wanted === 0);
}

/** What is to be done about one counter. */
interface Plan {
  readonly targets: readonly number[];
  /** Change of a domain to a share. */
  readonly change: (index: number, share: number) => ShareChange;
  readonly limit: number;
}

/**
 * Moves room of limits that several limit domains share to where it is asked for: first it is taken where it is neither
 * used nor reserved, and only then given. Whatever happens in between, the shares never add up to more than the limit:
 * a keeper that dies, or whose round another one has ended, leaves less, and the next round finds what is missing.
 */
export class ShareKeeper {
  readonly #options: ShareKeeperOptions;
  readonly #everyMs: number;
  readonly #rounds: Rounds;

  constructor(options: ShareKeeperOptions) {
    this.#options = options;
    this.#everyMs = options.everyMs ?? 1000;
    this.#rounds = new Rounds({
      everyMs: this.#everyMs,
      round: () => this.keep(),
      logger: options.logger,
      failure: 'shares of limits cannot be moved between limit domains',
    });
  }

  start(): void {
    this.#rounds.start();
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  /** One round. Rejects where the store is away, or another round has begun: then what was taken is free until the next. */
  async keep(): Promise<void> {
    const { book } = this.#options;
    const round = await book.begin(this.#everyMs * 5);
    if (round === undefined) return;
    const asked = await this.#each((domain) => book.asked(round, domain));
    const counters = [
      ...new Set(asked.flatMap(({ asks, given }) => [...asks.map(({ counter }) => counter), ...given])),
    ];
    if (counters.length === 0) return;
    const asksOf = asked.map(({ asks }) => new Map(asks.map((ask) => [ask.counter, ask])));
    // The name of each domain is known to all of them from here on: nobody but this round changes a share.
    const states = await this.#each((domain) => book.states(round, domain, counters));
    const plans = counters.flatMap((counter, at) => {
      const asks = asksOf.map((its) => its.get(counter));
      const plan = this.#plan(
        counter,
        asks,
        states.flatMap((domain) => domain[at] ?? []),
      );
      return plan === undefined ? [] : [plan];
    });
    await this.#move(round, plans);
    const crossed = counters.flatMap((counter, at) => {
      const ask = asksOf.map((its) => its.get(counter)).find((one) => one !== undefined);
      const used = states.reduce((sum, domain) => sum + (domain[at]?.used ?? 0), 0);
      const isCrossed = ask?.alerts.some((percent) => used * 100 >= percent * ask.limit) === true;
      return isCrossed ? [{ ask, used }] : [];
    });
    if (crossed.length > 0) await book.alert(crossed);
  }

  #each<Result>(action: (domain: number) => Promise<Result>): Promise<Result[]> {
    return Promise.all(Array.from({ length: this.#options.domains }, (_, domain) => action(domain)));
  }

  #plan(
    counter: string,
    asks: readonly (ShareAsk | undefined)[],
    states: readonly ShareState[],
  ): Plan | undefined {
    const limits = asks.flatMap((ask) => (ask === undefined ? [] : [ask.limit]));
    const given = states.flatMap((state) => (state.given === undefined ? [] : [state.given]));
    // Where workers know different limits for a moment, the smallest holds.
    const limit = Math.min(...(limits.length > 0 ? limits : given.map((one) => one.limit)));
    if (!Number.isFinite(limit)) return undefined;
    const ends = Math.max(0, ...asks.map((ask) => ask?.ends ?? 0), ...given.map((one) => one.ends));
    const isOver = ends > 0 && ends + PERIOD_GRACE_MS < this.#options.now();
    const domains = states.map((state, index): PlannedDomain => {
      const base = baseShare(limit, index, states.length);
      const used = state.used + state.reserved;
      return {
        base,
        used,
        wanted: asks[index]?.wanted ?? 0,
        share: shareOf(state, limit, base, states.length),
      };
    });
    const targets = isOver ? domains.map(({ base }) => base) : planShares(limit, domains);
    const atRest = isOver || isAtRest(domains);
    const all = domains.reduce((sum, { used }) => sum + used, 0);
    const change = (index: number, share: number): ShareChange => {
      const { used = 0, base = 0 } = domains[index] ?? {};
      return { counter, limit, base, share, ends, others: all - used, atRest };
    };
    const isKept = states.every((state, index) =>
      isAsIs(state, change(index, targets[index] ?? 0), states.length),
    );
    return isKept && !atRest ? undefined : { limit, targets, change };
  }

  /** Takes first, everywhere, and gives no more than there is then. */
  async #move(round: number, plans: readonly Plan[]): Promise<void> {
    if (plans.length === 0) return;
    const { book } = this.#options;
    const lowered = await this.#each((domain) =>
      book.change(
        round,
        domain,
        'lower',
        plans.map(({ change, targets }) => change(domain, targets[domain] ?? 0)),
      ),
    );
    const raised = plans.map(({ limit, targets }, at) => {
      const now = lowered.map((shares) => shares[at] ?? limit);
      let free = limit - now.reduce((sum, share) => sum + share, 0);
      return now.map((share, domain) => {
        const more = Math.max(0, Math.min(free, (targets[domain] ?? 0) - share));
        free -= more;
        return { share: share + more, isMore: more > 0 };
      });
    });
    await this.#each(async (domain) => {
      const changes = plans.flatMap(({ change }, at) => {
        const to = raised[at]?.[domain];
        return to?.isMore === true ? [change(domain, to.share)] : [];
      });
      if (changes.length > 0) await book.change(round, domain, 'raise', changes);
    });
  }
}

/** The store has it already. */
function isAsIs({ given }: ShareState, { limit, share, others }: ShareChange, count: number): boolean {
  return given?.count === count && given.limit === limit && given.share === share && given.others === others;
}

/** As the store reads it: a share of more than the limit, or of another number of domains, is none where it is above the base. */
function shareOf({ given }: ShareState, limit: number, base: number, count: number): number {
  if (given === undefined) return base;
  return given.count === count && given.limit <= limit ? given.share : Math.min(given.share, base);
}
