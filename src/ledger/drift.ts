import type { LimitCharge, LimitUnit, LimitUsage } from '../core/limits.ts';

/** A calendar rule and the period that it is in. */
export interface CalendarRule {
  readonly rule: string;
  readonly unit: LimitUnit;
  readonly limit: number;
  /** Unix ms. */
  readonly periodStart: number;
  readonly resetsAt: number;
}

/** A counter beside what the ledger knows of it. */
export interface LimitDrift extends LimitUsage {
  /** What the rows of this period were charged, in the rule's unit. */
  readonly ledger: number;
  /**
   * `ledger` − `used`. Above 0: the store has forgotten, by a failover that lost what it had acknowledged, or because
   * an admin reset the counter. A little below 0 for some seconds: rows on their way to the database.
   */
  readonly drift: number;
}

/**
 * Compares counters with the ledger, for calendar rules. A subject that only one of the two knows is in it as well: a
 * counter that was lost as a whole has `used` 0. `address` and `workflow` are subjects like all others, since rows hold
 * what each rule was charged. Rules on requests that name no provider are counted when they are admitted, and no row has
 * them: leave them out.
 */
export function limitDrift(
  rules: readonly CalendarRule[],
  usage: readonly LimitUsage[],
  charged: readonly LimitCharge[],
): readonly LimitDrift[] {
  return rules.flatMap((rule) => {
    const counters = usage.filter((one) => one.rule === rule.rule && one.periodStart === rule.periodStart);
    const charges = charged.filter((one) => one.rule === rule.rule && one.unit === rule.unit);
    const ledger = new Map(charges.map(({ subject, amount }) => [subject, amount]));
    const known = new Set(counters.map(({ subject }) => subject));
    const lost = charges.filter(({ subject }) => !known.has(subject));
    return [
      ...counters,
      ...lost.map(({ subject }) => ({ ...rule, subject, used: 0, reserved: 0, overrun: 0 })),
    ].map((counter) => {
      const told = ledger.get(counter.subject) ?? 0;
      return { ...counter, ledger: told, drift: told - counter.used };
    });
  });
}
