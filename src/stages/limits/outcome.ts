import { LimenError } from '../../core/errors.ts';
import {
  MIN_OUTPUT_TOKENS,
  NANO_USD,
  type LimitCheck,
  type LimitOutcome,
  type LimitUnit,
  type OnShortfall,
} from '../../core/limits.ts';
import type { TraceLine } from '../../core/trace.ts';
import { traced } from './checks.ts';

/** One rule with what the limiter said of it. */
interface Decided {
  readonly check: LimitCheck;
  readonly outcome: LimitOutcome;
}

/** Puts checks and outcomes, which come in the same order, side by side. */
function decided(checks: readonly LimitCheck[], outcomes: readonly LimitOutcome[]): readonly Decided[] {
  return checks.flatMap((check, index) => {
    const outcome = outcomes[index];
    return outcome === undefined ? [] : [{ check, outcome }];
  });
}

/**
 * One line for each rule.
 *
 * @param outputTokens the most output that was asked for
 */
export function limitTrace(
  checks: readonly LimitCheck[],
  outcomes: readonly LimitOutcome[],
  outputTokens: number,
): readonly TraceLine[] {
  return decided(checks, outcomes).map(({ check, outcome }) => [
    'limit',
    check.rule,
    traced(check.subject),
    outcome.outcome,
    numbers(check, outcome, needOf(check, outputTokens)),
  ]);
}

/** The providers that rules have left out, with the whole seconds until they have room again. */
export function leftOut(
  checks: readonly LimitCheck[],
  outcomes: readonly LimitOutcome[],
): ReadonlyMap<string, number> {
  const out = new Map<string, number>();
  for (const { check, outcome } of decided(checks, outcomes)) {
    if (outcome.outcome !== 'left out') continue;
    for (const provider of check.providers ?? []) {
      out.set(provider, Math.max(out.get(provider) ?? 0, wholeSeconds(outcome.resetMs)));
    }
  }
  return out;
}

/** In which ways rules have cut the output. */
export function cutsOf(
  checks: readonly LimitCheck[],
  outcomes: readonly LimitOutcome[],
): ReadonlySet<OnShortfall> {
  const cut = decided(checks, outcomes).filter(({ outcome }) => outcome.outcome === 'cut');
  return new Set(cut.map(({ check }) => check.onShortfall));
}

/** What a request wants of a rule, in its unit; 0 for soft rules, which reserve nothing. */
function needOf({ mode, fixed, perOutputToken }: LimitCheck, outputTokens: number): number {
  return mode === 'soft' ? 0 : Math.ceil(fixed) + Math.ceil(perOutputToken * outputTokens);
}

/**
 * The refusal that outcomes make, by the rule that takes longest to have room; undefined where none refuses.
 *
 * @param outputTokens the most output that was asked for
 */
export function limitRefusal(
  checks: readonly LimitCheck[],
  outcomes: readonly LimitOutcome[],
  outputTokens: number,
): LimenError | undefined {
  const refused = decided(checks, outcomes).filter(({ outcome }) => outcome.outcome === 'refused');
  const [worst] = refused
    .map((one) => new Shortage(one, outputTokens))
    .sort((left, right) => right.waitMs - left.waitMs);
  return worst?.toError();
}

/** The refusal of a request for whose smallest useful answer there is no room. */
export function shortfallRefusal(
  checks: readonly LimitCheck[],
  outcomes: readonly LimitOutcome[],
): LimenError | undefined {
  const cut = decided(checks, outcomes).filter(({ outcome }) => outcome.outcome === 'cut');
  const [worst] = cut.map((one) => new Shortage(one, 0)).sort((left, right) => right.waitMs - left.waitMs);
  return worst?.toError();
}

/** Open requests give back what they hold when they end: mostly in seconds, and never told before. */
const HELD_RETRY_MS = 5000;

/** A rule without room for a request: when it will have some, and what the client can do. */
class Shortage {
  readonly #check: LimitCheck;
  readonly #outcome: LimitOutcome;
  readonly #need: number;

  constructor({ check, outcome }: Decided, outputTokens: number) {
    this.#check = check;
    this.#outcome = outcome;
    this.#need = needOf(check, outputTokens);
  }

  /** Infinite for a request that is larger than the whole limit. */
  get waitMs(): number {
    const { resetMs } = this.#outcome;
    if (this.#need > this.#check.limit) return Infinity;
    return this.#waitsForOthers ? Math.min(HELD_RETRY_MS, resetMs) : resetMs;
  }

  /** There would be room if open requests did not hold it. */
  get #waitsForOthers(): boolean {
    const { used, held } = this.#outcome;
    return held > 0 && used + this.#need <= this.#check.limit;
  }

  toError(): LimenError {
    const check = this.#check;
    const isBudget = check.unit === 'usd';
    const { waitMs } = this;
    return new LimenError(
      isBudget ? 'budget_exhausted' : 'rate_limited',
      `The ${isBudget ? 'budget' : 'limit'} ${check.label} (${check.rule}) has no room for this request: ${numbers(check, this.#outcome, this.#need)}.${this.#advice()}`,
      Number.isFinite(waitMs) ? { retryAfterSeconds: Math.max(1, wholeSeconds(waitMs)) } : {},
    );
  }

  #advice(): string {
    const { limit, fixed, perOutputToken } = this.#check;
    const { used, held } = this.#outcome;
    const left = limit - used - held - Math.ceil(fixed);
    const tokens = perOutputToken > 0 ? Math.floor(left / perOutputToken) : 0;
    if (tokens >= MIN_OUTPUT_TOKENS) {
      return ` With at most ${String(tokens)} tokens of output there is room: set a lower limit such as max_tokens.`;
    }
    if (this.#waitsForOthers) return ' Open requests hold the rest: try again when they have ended.';
    return this.#need > limit
      ? ' No period has room for it: set a lower limit of output such as max_tokens, or shorten the prompt.'
      : '';
  }
}

/** The refusal while the store does not answer; undefined where every rule lets requests through then. */
export function awayRefusal(refuseWhenAway: readonly string[]): LimenError | undefined {
  const [rule] = refuseWhenAway;
  return rule === undefined
    ? undefined
    : new LimenError(
        'limits_unavailable',
        `The limit ${rule} cannot be checked at the moment, and lets nothing through unchecked. Try again shortly.`,
        { retryAfterSeconds: 1 },
      );
}

/** A rule that applied while the store was away, in words. */
export function awayTrace(
  checks: readonly LimitCheck[],
  refuseWhenAway: readonly string[],
): readonly TraceLine[] {
  return checks.map(({ rule, subject }) => [
    'limit',
    rule,
    traced(subject),
    refuseWhenAway.includes(rule) ? 'refused' : 'allowed',
    'not counted: the store was away',
  ]);
}

const UNITS: readonly LimitUnit[] = ['requests', 'tokens', 'usd'];

/**
 * `x-ratelimit-*` as OpenAI's clients know them: for each unit the rule with the least room, the time until it has all
 * of it again as `12s`. Rules about single providers and shadow rules say nothing about the client's own room.
 */
export function rateLimitHeaders(
  checks: readonly LimitCheck[],
  outcomes: readonly LimitOutcome[],
): Readonly<Record<string, string>> {
  const all = decided(checks, outcomes).filter(({ check }) => !check.shadow && check.providers === undefined);
  return Object.fromEntries(
    UNITS.flatMap((unit) => {
      const [tightest] = all
        .filter(({ check }) => check.unit === unit)
        .sort((left, right) => share(left) - share(right) || remaining(left) - remaining(right));
      if (tightest === undefined) return [];
      const { check, outcome } = tightest;
      return [
        [`x-ratelimit-limit-${unit}`, inUnit(unit, check.limit)],
        [`x-ratelimit-remaining-${unit}`, inUnit(unit, remaining(tightest))],
        [`x-ratelimit-reset-${unit}`, `${wholeSeconds(outcome.resetMs)}s`],
      ];
    }),
  );
}

function remaining({ check, outcome }: Decided): number {
  return Math.max(0, check.limit - outcome.used - outcome.held - outcome.reserved);
}

/** Of the limit, what is left of it; the rule that refused is the one to tell of. */
function share(one: Decided): number {
  return one.outcome.outcome === 'refused' ? -1 : remaining(one) / one.check.limit;
}

function wholeSeconds(milliseconds: number): number {
  return Math.ceil(milliseconds / 1000);
}

function inUnit(unit: LimitUnit, amount: number): string {
  return unit === 'usd' ? usd(amount) : String(Math.floor(amount));
}

/** Nano-USD in dollars, four digits behind the point or as many as it takes to tell it from nothing. */
function usd(nano: number): string {
  const dollars = nano / NANO_USD;
  if (dollars === 0 || dollars >= 0.0001) return String(Math.round(dollars * 1e4) / 1e4);
  return dollars.toFixed(9).replace(/0+$/, '');
}

/** `7 of 10 requests in 1m`, `$0.0021 of $5 used in month, $0.003 held, $0.001 reserved`, and for a refusal `$6 needed`. */
function numbers(check: LimitCheck, { outcome, used, held, reserved }: LimitOutcome, need: number): string {
  const span = check.label.slice(check.label.lastIndexOf('/') + 1);
  if (check.unit === 'requests') return `${used + held} of ${check.limit} requests in ${span}`;
  const show = (amount: number): string =>
    check.unit === 'usd' ? `$${usd(amount)}` : String(Math.ceil(amount));
  const counted = check.unit === 'usd' ? 'used' : 'tokens used';
  const isKept = outcome === 'allowed' || outcome === 'cut' || need === 0;
  const wanted = isKept ? `${show(reserved)} reserved` : `${show(need)} needed`;
  return `${show(used)} of ${show(check.limit)} ${counted} in ${span}, ${show(held)} held, ${wanted}`;
}
