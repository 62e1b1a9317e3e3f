import { LimenError } from '../../core/errors.ts';
import type { LimitCheck, SnapshotLimit } from '../../core/limits.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { LONGEST_TRACED_NAME, type TraceLine } from '../../core/trace.ts';
import { periodStarts } from './calendar.ts';
import { tokenBound, usdBound, type CostBound, type CostQuestion, type CostTarget } from './cost-bound.ts';
import { rulesFor, type LimitedRequest } from './rules.ts';
import { counterPart, subjectsOf, type CountedSubject } from './subjects.ts';

/** What a request may cost; absent for what has no price: then only rules on requests apply. */
export interface Cost {
  readonly targets: readonly CostTarget[];
  /** Asked once, and only where a hard rule needs it. */
  readonly question: () => CostQuestion;
}

/** What the limiter is to be asked about a request. */
export interface LimitPlan {
  readonly checks: readonly LimitCheck[];
  /** Names of the rules by which it is refused while the store is away; shadow rules never are. */
  readonly refuseWhenAway: readonly string[];
  /** Rules that could not be reckoned with. */
  readonly trace: readonly TraceLine[];
  /** budget_exhausted, where one of these refuses: a hard budget in US dollars, and the price of a target is not known. */
  readonly refusal?: LimenError | undefined;
}

/**
 * Every rule that is about a request, as questions for the limiter. No I/O.
 *
 * @param now Unix ms of this machine
 */
export function planLimits(
  snapshot: Snapshot,
  request: LimitedRequest,
  cost: Cost | undefined,
  now: number,
): LimitPlan {
  const checks: LimitCheck[] = [];
  const refuseWhenAway = new Set<string>();
  const trace: TraceLine[] = [];
  let refusal: LimenError | undefined;
  const bounds = cost && new Bounds(cost);
  for (const rule of rulesFor(snapshot, request)) {
    if (rule.unit !== 'requests' && bounds === undefined) continue;
    for (const counted of subjectsOf(rule, request)) {
      const bound = rule.unit === 'requests' ? ONE_REQUEST : bounds?.of(rule, counted.providers);
      if (bound === undefined) {
        if (!rule.shadow) refusal ??= unknownPrice(rule, request.model ?? '');
        const outcome = rule.shadow ? 'would refuse' : 'refused';
        trace.push(['limit', rule.name, traced(counted.subject), outcome, 'the price is not known']);
        continue;
      }
      if (rule.onStoreAway === 'refuse' && !rule.shadow) refuseWhenAway.add(rule.name);
      checks.push(checkOf(rule, counted, bound, now));
    }
  }
  return { checks, refuseWhenAway: [...refuseWhenAway], trace, refusal };
}

export function traced(name: string): string {
  return name.length <= LONGEST_TRACED_NAME ? name : `${name.slice(0, LONGEST_TRACED_NAME - 1)}…`;
}

const ONE_REQUEST: CostBound = { fixed: 1, perOutputToken: 0 };
const NOTHING: CostBound = { fixed: 0, perOutputToken: 0 };

/** What rules reserve, reckoned once for each unit and choice of providers. */
class Bounds {
  readonly #cost: Cost;
  readonly #known = new Map<string, CostBound | undefined>();
  #question: CostQuestion | undefined;

  constructor(cost: Cost) {
    this.#cost = cost;
  }

  /** Undefined where a price is not known. */
  of({ unit, mode }: SnapshotLimit, providers: readonly string[] | undefined): CostBound | undefined {
    if (mode === 'soft') return NOTHING;
    const key = JSON.stringify([unit, providers]);
    if (this.#known.has(key)) return this.#known.get(key);
    this.#question ??= this.#cost.question();
    const targets = this.#cost.targets.filter(({ provider }) => providers?.includes(provider) !== false);
    const bound = (unit === 'usd' ? usdBound : tokenBound)(targets, this.#question);
    this.#known.set(key, bound);
    return bound;
  }
}

function checkOf(
  rule: SnapshotLimit,
  { subject, providers }: CountedSubject,
  bound: CostBound,
  now: number,
): LimitCheck {
  const { span } = rule;
  return {
    rule: rule.name,
    label: rule.label,
    subject,
    counter: `${rule.name}/${rule.unit}/${span.name}/${counterPart(subject)}`,
    unit: rule.unit,
    limit: rule.limit,
    span:
      span.kind === 'window'
        ? { kind: 'window', milliseconds: span.milliseconds }
        : { kind: 'calendar', starts: periodStarts(span.name, span.timeZone, now) },
    // One request is one, before and after.
    mode: rule.unit === 'requests' ? 'hard' : rule.mode,
    shadow: rule.shadow,
    onShortfall: rule.onShortfall,
    ...bound,
    providers,
    alerts: rule.alerts,
    ...(isOfOneTenant(rule) ? { oneTenant: true } : {}),
  };
}

/** A key has one tenant, by its own record, its user's or its team's. */
function isOfOneTenant({ per, match }: SnapshotLimit): boolean {
  const [tenant, ...others] = match.tenants ?? [];
  const isNamed = tenant !== undefined && others.length === 0 && !tenant.includes('*');
  return per === 'tenant' || per === 'key' || isNamed;
}

function unknownPrice({ name, label }: SnapshotLimit, model: string): LimenError {
  return new LimenError(
    'budget_exhausted',
    `The budget ${name} (${label}) cannot hold for the model "${model}", because its price is not known. An administrator must set spec.price of the Model or of its targets; 0 is allowed.`,
    { param: 'model' },
  );
}
