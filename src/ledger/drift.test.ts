import { describe, expect, it } from 'vitest';
import type { LimitUsage } from '../core/limits.ts';
import { limitDrift, type CalendarRule } from './drift.ts';

const RULE: CalendarRule = { rule: 'month', unit: 'usd', limit: 1000, periodStart: 100, resetsAt: 200 };

const counter = (subject: string, used: number, over: Partial<LimitUsage> = {}): LimitUsage => ({
  ...RULE,
  subject,
  used,
  reserved: 5,
  overrun: 0,
  ...over,
});

const charge = (subject: string, amount: number, rule = 'month') =>
  ({ rule, subject, unit: 'usd', amount }) as const;

describe('limitDrift', () => {
  it('is none where counters and rows agree', () => {
    expect(limitDrift([RULE], [counter('ada', 30)], [charge('ada', 30)])).toEqual([
      { ...counter('ada', 30), ledger: 30, drift: 0 },
    ]);
  });

  it('shows what the store forgot, in part or as a whole, and rows that are on their way', () => {
    const usage = [counter('ada', 10), counter('bob', 50)];
    const charged = [charge('ada', 30), charge('bob', 45), charge('alice', 7)];
    expect(
      limitDrift([RULE], usage, charged).map(({ subject, used, ledger, drift }) => [
        subject,
        used,
        ledger,
        drift,
      ]),
    ).toEqual([
      ['ada', 10, 30, 20],
      ['bob', 50, 45, -5],
      ['alice', 0, 7, 7],
    ]);
  });

  it('keeps rules, units and periods apart', () => {
    const usage = [counter('ada', 10, { periodStart: 0 }), counter('ada', 3, { rule: 'week' })];
    const charged = [{ ...charge('ada', 9), unit: 'tokens' as const }, charge('ada', 8, 'week')];
    expect(limitDrift([RULE], usage, charged)).toEqual([]);
  });
});
