import { describe, expect, it } from 'vitest';
import type { SnapshotLimit } from '../../core/limits.ts';
import { request, rule, snapshotOf } from './__fixtures__/limits.ts';
import { planLimits, type Cost } from './checks.ts';
import type { CostTarget } from './cost-bound.ts';

const NOW = Date.parse('2026-11-21T12:00:00Z');
const TARGETS: readonly CostTarget[] = [
  {
    provider: 'openai',
    type: 'openai',
    model: 'm',
    defaultMaxOutputTokens: 0,
    price: { input: 1, output: 2 },
  },
  {
    provider: 'azure@blue',
    type: 'openai',
    model: 'm',
    defaultMaxOutputTokens: 0,
    price: { input: 3, output: 4 },
  },
];
const DAY = { kind: 'calendar', name: 'day', timeZone: 'UTC' } as const;
const BUDGET = { unit: 'usd', limit: 5e9, span: DAY, mode: 'hard', label: 'user:usd/day' } as const;

function cost(targets = TARGETS): Cost & { readonly asked: () => number } {
  let asked = 0;
  return {
    targets,
    question: () => {
      asked += 1;
      return {
        measure: { tokens: 100, images: 0, openEnded: false, otherMedia: false },
        inputEstimate: 25,
        tries: 1,
        outputTokens: 0,
      };
    },
    asked: () => asked,
  };
}

function plan(limits: readonly SnapshotLimit[], price: Cost | undefined = cost()) {
  return planLimits(snapshotOf(limits), request(), price, NOW);
}

describe('planLimits', () => {
  it('asks about one request', () => {
    expect(plan([rule('a')]).checks).toEqual([
      {
        rule: 'a',
        label: 'user:requests/1m',
        subject: 'ada',
        counter: 'a/requests/1m/ada',
        unit: 'requests',
        limit: 10,
        span: { kind: 'window', milliseconds: 60_000 },
        mode: 'hard',
        shadow: false,
        onShortfall: 'refuse',
        fixed: 1,
        perOutputToken: 0,
        providers: undefined,
        alerts: [],
      },
    ]);
  });

  it('knows which counters see one tenant alone', () => {
    const limits = [
      rule('user'),
      rule('key', { per: 'key' }),
      rule('one', { match: { tenants: ['acme'] } }),
      rule('some', { match: { tenants: ['acme', 'other'] } }),
      rule('pattern', { match: { tenants: ['acme*'] } }),
      rule('tenant', { per: 'tenant' }),
    ];
    const acme = { ...request(), principal: { ...request().principal, tenant: 'acme' } };
    const { checks } = planLimits(snapshotOf(limits), acme, cost(), NOW);
    expect(checks.map((check) => [check.rule, check.oneTenant])).toEqual([
      ['user', undefined],
      ['key', true],
      ['one', true],
      ['some', undefined],
      ['pattern', undefined],
      ['tenant', true],
    ]);
  });

  it('reserves for the dearest of the providers that a rule is about', () => {
    const limits = [rule('all', BUDGET), rule('one', { ...BUDGET, match: { providers: ['openai'] } })];
    const price = cost();
    expect(plan(limits, price).checks).toMatchObject([
      { rule: 'all', fixed: 300_000, perOutputToken: 4000, providers: undefined },
      { rule: 'one', fixed: 100_000, perOutputToken: 2000, providers: ['openai'] },
    ]);
    expect(price.asked()).toBe(1);
  });

  it('places a budget in the calendar', () => {
    const [check] = plan([rule('b', BUDGET)]).checks;
    expect(check?.counter).toBe('b/usd/day/ada');
    expect(check?.span).toEqual({
      kind: 'calendar',
      starts: ['2026-11-20', '2026-11-21', '2026-11-22', '2026-11-23'].map((day) => Date.parse(day)),
    });
  });

  it('reserves nothing for soft rules, and reads no body for them', () => {
    const price = cost();
    const { checks } = plan([rule('s', { ...BUDGET, mode: 'soft' }), rule('r')], price);
    expect(checks).toMatchObject([
      { fixed: 0, perOutputToken: 0 },
      { fixed: 1, perOutputToken: 0 },
    ]);
    expect(price.asked()).toBe(0);
  });

  it('refuses a hard budget where nobody knows the price, and says what to do', () => {
    const priced = TARGETS.slice(0, 1);
    const unpriced = cost([
      { provider: 'openai', type: 'openai', model: 'm', defaultMaxOutputTokens: 0 },
      ...priced,
    ]);
    expect(plan([rule('b', BUDGET)], unpriced)).toMatchObject({
      checks: [],
      trace: [['limit', 'b', 'ada', 'refused', 'the price is not known']],
      refusal: { code: 'budget_exhausted', message: expect.stringContaining('spec.price') },
    });
    const shadow = plan([rule('b', { ...BUDGET, shadow: true })], unpriced);
    expect(shadow).toMatchObject({
      checks: [],
      trace: [['limit', 'b', 'ada', 'would refuse', expect.any(String)]],
    });
  });

  it('counts requests alone where nothing has a price', () => {
    const limits = [rule('b', BUDGET), rule('r')];
    expect(
      planLimits(snapshotOf(limits), request(), undefined, NOW).checks.map((check) => check.rule),
    ).toEqual(['r']);
  });

  it('names the rules that let nothing through unchecked; a shadow never is one', () => {
    const strict = { onStoreAway: 'refuse' } as const;
    const limits = [rule('a', strict), rule('b'), rule('c', { ...strict, shadow: true })];
    expect(plan(limits).refuseWhenAway).toEqual(['a']);
  });
});
