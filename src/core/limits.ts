/** What a rule counts. Amounts of `usd` are whole nano-USD everywhere but in resources and views. */
export type LimitUnit = 'requests' | 'tokens' | 'usd';

/** Nano-USD of one USD: so that amounts are whole numbers, and sums exact to 9 million USD. */
export const NANO_USD = 1_000_000_000;

/** Whom a rule counts apart. `everybody`: one counter for all. `workflow` lies within its user. */
export const LIMIT_SUBJECTS = [
  'user',
  'key',
  'team',
  'tenant',
  'provider',
  'model',
  'mcpServer',
  'agent',
  'backend',
  'address',
  'workflow',
  'everybody',
] as const;
export type LimitSubject = (typeof LIMIT_SUBJECTS)[number];

/** Sliding windows, in milliseconds. */
export const WINDOWS = {
  '1m': 60_000,
  '5m': 300_000,
  '1h': 3_600_000,
  '5h': 18_000_000,
  '1d': 86_400_000,
  '1w': 604_800_000,
} as const;
export type Window = keyof typeof WINDOWS;
export type CalendarPeriod = 'day' | 'week' | 'month';

export type OnShortfall = 'refuse' | 'clamp' | 'cutOff';

/** Whom a rule is about; every list that is there must have the request's, any one of them. Patterns with `*`. */
export interface LimitMatch {
  readonly users?: readonly string[] | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly teams?: readonly string[] | undefined;
  readonly tenants?: readonly string[] | undefined;
  readonly groups?: readonly string[] | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly features?: readonly string[] | undefined;
  readonly models?: readonly string[] | undefined;
  readonly providers?: readonly string[] | undefined;
  readonly backends?: readonly string[] | undefined;
  readonly surfaces?: readonly string[] | undefined;
}

/** A LimitPolicy as workers know it. */
export interface SnapshotLimit {
  /** Name of the LimitPolicy. */
  readonly name: string;
  /** As answers name it: `user:requests/1m`. */
  readonly label: string;
  readonly per: LimitSubject;
  readonly match: LimitMatch;
  readonly unit: LimitUnit;
  /** In whole units; nano-USD for `usd`. */
  readonly limit: number;
  readonly span:
    | { readonly kind: 'window'; readonly name: Window; readonly milliseconds: number }
    | {
        readonly kind: 'calendar';
        readonly name: CalendarPeriod;
        readonly timeZone: string;
      };
  /** `hard` reserves an upper bound before the provider is asked; `soft` counts after. */
  readonly mode: 'hard' | 'soft';
  /** Decides and counts as always, and refuses nobody. */
  readonly shadow: boolean;
  readonly onShortfall: OnShortfall;
  /** What becomes of a request while Redis is away. A hard budget (calendar) has `refuse`, always. */
  readonly onStoreAway: 'allow' | 'refuse';
  /** Percentages of the limit that an event is made of, once in each period; ascending. */
  readonly alerts: readonly number[];
}

/** One rule about one request: what the limiter in the store is asked. */
export interface LimitCheck {
  readonly rule: string;
  readonly label: string;
  /** Whom is counted, in words: `alice`, `openai`, `10.0.0.1`. */
  readonly subject: string;
  /**
   * Name of the counter within the limit domain: `RULE/UNIT/SPAN/SUBJECT`, the span as `1m` or `day`. So a rule that
   * changes its span begins anew. For calendar budgets the store adds the period.
   */
  readonly counter: string;
  readonly unit: LimitUnit;
  readonly limit: number;
  readonly span:
    | { readonly kind: 'window'; readonly milliseconds: number }
    /**
     * Unix ms at which the previous, the present and the next period begin, and the one after: by the worker's clock. The
     * store's own clock says in which of the three it is.
     */
    | { readonly kind: 'calendar'; readonly starts: readonly [number, number, number, number] };
  readonly mode: 'hard' | 'soft';
  readonly shadow: boolean;
  readonly onShortfall: OnShortfall;
  /**
   * What is reserved: `fixed` (input, billed failures, or 1 for requests) and `perOutputToken` for each token of output that may come.
   * Whole, or rounded up by who adds them.
   */
  readonly fixed: number;
  readonly perOutputToken: number;
  /**
   * Names of SnapshotProviders that the rule is about: where it does not fit they are left out, and the request is
   * refused only where that leaves none. Absent: the rule is about the request, whoever answers it.
   */
  readonly providers?: readonly string[] | undefined;
  readonly alerts: readonly number[];
  /** All requests that it counts have the same tenant, so that one limit domain sees them all. Absent: they may not. */
  readonly oneTenant?: true | undefined;
}

/** What the limiter found of one check. Amounts in the unit of its rule. */
export interface LimitOutcome {
  /**
   * `refused`: no room, and nothing was reserved by any rule of this request. `left out`: its provider has no room.
   * `would refuse`: a shadow rule. `cut`: less output was reserved than asked for.
   */
  readonly outcome: 'allowed' | 'refused' | 'left out' | 'would refuse' | 'cut';
  /** Settled in the span before this request; with what was used in other limit domains, as of about a second ago. */
  readonly used: number;
  /** Reserved by other open requests of the same limit domain. */
  readonly held: number;
  /** Reserved for this one. */
  readonly reserved: number;
  /** Milliseconds until the span ends, or until enough of a window has passed for this request. */
  readonly resetMs: number;
}

/** What of a reservation goes along with the request, so that any worker can settle it. */
export interface LimitHold {
  readonly rule: string;
  readonly subject: string;
  /** The counter in the store, its period included. */
  readonly counter: string;
  readonly unit: LimitUnit;
  readonly limit: number;
  /** Milliseconds of a sliding window; absent for calendar periods. */
  readonly window?: number | undefined;
  /** Unix ms at which a calendar period ends. */
  readonly ends?: number | undefined;
  readonly reserved: number;
  /** It is charged only what these providers did; absent: all. */
  readonly providers?: readonly string[] | undefined;
  readonly alerts: readonly number[];
  /** Other limit domains have counters of the same subject. */
  readonly shared?: true | undefined;
}

/** Room for fewer tokens of output than this is none: OpenAI's Responses API takes no lower limit. */
export const MIN_OUTPUT_TOKENS = 16;

/** The truth about one request, or one billed try, by unit. */
export interface SettledAmounts {
  readonly requests: number;
  /** Weighted by the Model's multipliers; whole. */
  readonly tokens: number;
  /** Nano-USD; whole. */
  readonly usd: number;
}

/** What one rule was charged for one request, or for one failed try of it. */
export interface LimitCharge {
  readonly rule: string;
  readonly subject: string;
  readonly unit: LimitUnit;
  /** Whole, in the rule's unit; nano-USD for `usd`. */
  readonly amount: number;
}

/** Of what cost nothing. */
export const NO_AMOUNTS: SettledAmounts = { requests: 0, tokens: 0, usd: 0 };

/** What each rule is charged for what one provider did; rules that are charged nothing left out. */
export function chargesOf(
  holds: readonly LimitHold[],
  amounts: SettledAmounts,
  provider: string,
): readonly LimitCharge[] {
  return holds.flatMap(({ rule, subject, unit, providers }) => {
    const amount = amounts[unit];
    const isItsOwn = providers === undefined || providers.includes(provider);
    return isItsOwn && amount > 0 ? [{ rule, subject, unit, amount }] : [];
  });
}

/** Tokens as limits on tokens count them: by the Model's multipliers, rounded up. */
export function weightedTokens(
  usage: { readonly input: number; readonly output: number },
  multiplier: { readonly input: number; readonly output: number } = { input: 1, output: 1 },
): number {
  return Math.ceil(usage.input * multiplier.input + usage.output * multiplier.output);
}

/** `7 requests`, `1200 tokens`, `$0.0021`: dollars to four digits behind the point, or as many as tell it from nothing. */
export function amountInWords(unit: LimitUnit, amount: number): string {
  if (unit !== 'usd') return `${String(Math.ceil(amount))} ${unit}`;
  const dollars = amount / NANO_USD;
  if (dollars === 0 || dollars >= 0.0001) return `$${String(Math.round(dollars * 1e4) / 1e4)}`;
  return `$${dollars.toFixed(9).replace(/0+$/, '')}`;
}

/** A counter as admins see it. */
export interface LimitUsage {
  readonly rule: string;
  readonly subject: string;
  readonly unit: LimitUnit;
  readonly limit: number;
  readonly used: number;
  readonly reserved: number;
  /** Settled without a reservation that covered it (after its lease, or more): it could not be refused any more. */
  readonly overrun: number;
  /** Unix ms; for windows, now. */
  readonly periodStart: number;
  readonly resetsAt: number;
}

/** A threshold was crossed. */
export interface LimitAlert {
  readonly rule: string;
  readonly subject: string;
  readonly unit: LimitUnit;
  readonly percent: number;
  readonly used: number;
  readonly limit: number;
  /** Unix ms. */
  readonly time: number;
  readonly resetsAt: number;
}

/** The control plane's side of the limiter. Every method may reject where the store is away. */
export interface LimitBook {
  /** Counters that are not at rest, of one rule or all, at most `limit`. */
  usage(query: {
    readonly rule?: string | undefined;
    readonly subject?: string | undefined;
    readonly limit: number;
  }): Promise<readonly LimitUsage[]>;
  /** Forgets what was settled (not what is reserved). Returns how many counters there were. */
  reset(rule: string, subject: string): Promise<number>;
  /** Alerts that nobody has taken yet; they stay until `acknowledge`. */
  alerts(limit: number): Promise<readonly { readonly id: string; readonly alert: LimitAlert }[]>;
  acknowledge(ids: readonly string[]): Promise<void>;
}

/**
 * What a limit domain may use of a limit that all of them share, until the keeper of shares moves some of it: as much as
 * the others, and the first ones what cannot be divided.
 *
 * @param index of the domain, from 0
 * @param count of the domains
 */
export function baseShare(limit: number, index: number, count: number): number {
  const each = Math.floor(limit / count);
  return each + (index < limit - each * count ? 1 : 0);
}

/** What a limit domain tells of a counter that wants to be looked at. */
export interface ShareAsk {
  /** The counter, its period included. */
  readonly counter: string;
  readonly limit: number;
  /** Use that there should be room for, in that domain. */
  readonly wanted: number;
  /** Unix ms at which its calendar period ends; 0 for windows. */
  readonly ends: number;
  readonly rule: string;
  readonly subject: string;
  readonly unit: LimitUnit;
  readonly alerts: readonly number[];
}

/** A counter of one limit domain. */
export interface ShareState {
  /** Settled; what is reserved beside it. */
  readonly used: number;
  readonly reserved: number;
  /** What it may use instead of its base; absent: it has never had anything else. */
  readonly given?:
    | {
        /** Domains and limit that it is a part of. */
        readonly count: number;
        readonly limit: number;
        readonly share: number;
        readonly ends: number;
        readonly others: number;
      }
    | undefined;
}

/** What a domain is to have of one counter. */
export interface ShareChange {
  readonly counter: string;
  readonly limit: number;
  /** Its base. */
  readonly base: number;
  readonly share: number;
  readonly ends: number;
  /** What is used in the other domains. */
  readonly others: number;
  /** It goes back to the base in every domain. */
  readonly atRest: boolean;
}

/**
 * The shares of limits in several domains. A round that somebody has begun ends all those before it: what they still
 * want to do is refused. Every method may reject where the store is away; what was asked then may have been done.
 */
export interface ShareBook {
  /** The number of the new round; undefined where another instance has the role. */
  begin(holdMs: number): Promise<number | undefined>;
  /** What the domain asks for, which it forgets by that, and some of the counters that have a share other than their base. */
  asked(
    round: number,
    domain: number,
  ): Promise<{ readonly asks: readonly ShareAsk[]; readonly given: readonly string[] }>;
  /** In the order of the counters. */
  states(round: number, domain: number, counters: readonly string[]): Promise<readonly ShareState[]>;
  /**
   * `lower`: to the share that is named, or to what is in use, where that is more; never up. `raise`: to the share that
   * is named; never down. Returns what each domain has now, in the order of the changes.
   */
  change(
    round: number,
    domain: number,
    how: 'lower' | 'raise',
    changes: readonly ShareChange[],
  ): Promise<readonly number[]>;
  /** Tells of the thresholds that sums over all domains have crossed, each once. */
  alert(sums: readonly { readonly ask: ShareAsk; readonly used: number }[]): Promise<void>;
}
