import {
  baseShare,
  type LimitCheck,
  type LimitHold,
  type LimitOutcome,
  type SettledAmounts,
} from '../../core/limits.ts';

/** Between rule, subject and counter: no name has it. */
export const SEPARATOR = '\u001F';

/** A whole number that the store keeps exactly. */
function whole(amount: number): number {
  return Math.min(Math.max(0, Math.ceil(amount)), Number.MAX_SAFE_INTEGER);
}

/** A name without what would end it, and in Unicode that the store's JSON takes. */
function named(text: string): string {
  return text.replaceAll(SEPARATOR, ' ').toWellFormed();
}

/** Rule and subject as members of the index of counters begin. */
export function whoOf({ rule, subject }: { readonly rule: string; readonly subject: string }): string {
  return `${named(rule)}${SEPARATOR}${named(subject)}`;
}

/** A request counts at once, and needs no settlement; but of a provider, only where it answered. */
function kindOf({ unit, mode, providers }: LimitCheck): 'count' | 'hard' | 'soft' {
  return unit === 'requests' && providers === undefined ? 'count' : mode;
}

/** Which of how many limit domains this is, from 0. */
export interface DomainPlace {
  readonly index: number;
  readonly count: number;
}

export const ONLY_DOMAIN: DomainPlace = { index: 0, count: 1 };

function isShared({ oneTenant }: LimitCheck, { count }: DomainPlace): boolean {
  return count > 1 && oneTenant !== true;
}

/** The checks as the script `admit` takes them; empty where there are none. */
export function encodeChecks(checks: readonly LimitCheck[], place = ONLY_DOMAIN): string {
  if (checks.length === 0) return '';
  return JSON.stringify(
    checks.map((check) => {
      const { span, unit, limit, shadow, onShortfall, fixed, perOutputToken, providers, alerts } = check;
      const name = named(check.counter);
      const kind = kindOf(check);
      return {
        name: span.kind === 'window' ? `${name}/w${span.milliseconds}` : name,
        starts: span.kind === 'calendar' && span.starts,
        who: whoOf(check),
        kind,
        unit,
        limit,
        shadow,
        cuts: kind === 'hard' && !shadow && onShortfall !== 'refuse',
        fixed: whole(fixed),
        per: Math.max(0, perOutputToken),
        providers: providers ?? false,
        alerts,
        ...(isShared(check, place)
          ? { shared: true, domains: place.count, base: baseShare(limit, place.index, place.count) }
          : {}),
      };
    }),
  );
}

/** What the script found of one check. */
export interface Verdict {
  readonly outcome: LimitOutcome;
  /** Place in the `starts` of the check; 0 for windows. */
  readonly period: number;
  /** The request may come to be charged to it. */
  readonly settles: boolean;
}

const OUTCOMES: readonly LimitOutcome['outcome'][] = [
  'allowed',
  'refused',
  'left out',
  'would refuse',
  'cut',
];

/** Reads the verdicts in the reply of `admit`. */
export function readVerdicts(reply: unknown): readonly Verdict[] {
  if (!Array.isArray(reply)) return [];
  return reply.map((found: unknown) => {
    const [word, used, held, reserved, resetMs, period, settles]: readonly unknown[] = Array.isArray(found)
      ? found
      : [];
    return {
      outcome: {
        // What cannot be read lets nobody through.
        outcome: OUTCOMES.find((outcome) => outcome === String(word)) ?? 'refused',
        used: Number(used),
        held: Number(held),
        reserved: Number(reserved),
        resetMs: Number(resetMs),
      },
      period: Number(period),
      settles: settles === 1,
    };
  });
}

/** What goes along with the request: nothing of rules that have counted it, or whose providers it may not go to. */
export function holdsOf(
  checks: readonly LimitCheck[],
  verdicts: readonly Verdict[],
  place = ONLY_DOMAIN,
): readonly LimitHold[] {
  return checks.flatMap((check, index): LimitHold[] => {
    const verdict = verdicts[index];
    if (verdict?.settles !== true) return [];
    const { rule, subject, unit, limit, span, providers, alerts } = check;
    const name = named(check.counter);
    const bound = {
      ...(providers === undefined ? {} : { providers }),
      ...(isShared(check, place) ? { shared: true as const } : {}),
    };
    const common = { rule, subject, unit, limit, reserved: verdict.outcome.reserved, alerts, ...bound };
    if (span.kind === 'window') {
      const window = span.milliseconds;
      return [{ ...common, counter: `${name}/w${window}`, window }];
    }
    const start = span.starts[verdict.period] ?? 0;
    return [{ ...common, counter: `${name}/p${start}`, ends: span.starts[verdict.period + 1] ?? 0 }];
  });
}

/**
 * What a row or a failed try is charged, as the script `settle` takes it; empty where that is nothing.
 *
 * @param provider who answered, or failed
 */
export function encodeCharges(
  holds: readonly LimitHold[],
  amounts: SettledAmounts,
  provider: string,
): string {
  const charges = holds.flatMap((hold) => {
    const amount = whole(amounts[hold.unit]);
    if (amount === 0 || hold.providers?.includes(provider) === false) return [];
    const { counter, unit, limit, ends = 0, reserved, alerts, shared } = hold;
    const who = whoOf(hold);
    return [{ name: counter, who, unit, limit, ends, amount, reserved: reserved > 0, alerts, shared }];
  });
  return charges.length === 0 ? '' : JSON.stringify(charges);
}
