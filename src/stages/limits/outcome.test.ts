import { describe, expect, it } from 'vitest';
import type { LimitCheck, LimitOutcome } from '../../core/limits.ts';
import {
  awayRefusal,
  awayTrace,
  cutsOf,
  leftOut,
  limitRefusal,
  limitTrace,
  rateLimitHeaders,
  shortfallRefusal,
} from './outcome.ts';

function check(more: Partial<LimitCheck> = {}): LimitCheck {
  return {
    rule: 'r',
    label: 'user:requests/1m',
    subject: 'ada',
    counter: 'c',
    unit: 'requests',
    limit: 10,
    span: { kind: 'window', milliseconds: 60_000 },
    mode: 'soft',
    shadow: false,
    onShortfall: 'refuse',
    fixed: 1,
    perOutputToken: 0,
    alerts: [],
    ...more,
  };
}

const BUDGET = check({
  rule: 'b',
  label: 'team:usd/month',
  subject: 'red',
  unit: 'usd',
  limit: 5e9,
  mode: 'hard',
  fixed: 1e8,
  perOutputToken: 1e6,
});
const DAY_MS = 86_400_000;

function outcome(more: Partial<LimitOutcome> = {}): LimitOutcome {
  return { outcome: 'allowed', used: 6, held: 0, reserved: 1, resetMs: 11_001, ...more };
}

describe('limitTrace', () => {
  it('tells every rule with its numbers', () => {
    const spent = outcome({ outcome: 'refused', used: 2_100_000, held: 3e6, reserved: 1e6 });
    const tokens = check({ rule: 't', label: 'key:tokens/1h', unit: 'tokens', limit: 500 });
    expect(
      limitTrace(
        [check(), BUDGET, tokens],
        [outcome({ used: 7 }), spent, outcome({ outcome: 'would refuse', used: 12, held: 3 })],
        100,
      ),
    ).toEqual([
      ['limit', 'r', 'ada', 'allowed', '7 of 10 requests in 1m'],
      ['limit', 'b', 'red', 'refused', '$0.0021 of $5 used in month, $0.003 held, $0.2 needed'],
      ['limit', 't', 'ada', 'would refuse', '12 of 500 tokens used in 1h, 3 held, 1 reserved'],
    ]);
  });

  it('bounds names of a caller’s making', () => {
    const [line] = limitTrace([check({ subject: 'x'.repeat(500) })], [outcome()], 0);
    expect(line?.[2]).toHaveLength(128);
  });
});

describe('limitRefusal', () => {
  it('is none where no rule refuses', () => {
    expect(
      limitRefusal([check(), check()], [outcome(), outcome({ outcome: 'would refuse' })], 0),
    ).toBeUndefined();
  });

  it('names the rule that takes longest to have room, when that is, and the numbers', () => {
    const refused = outcome({ outcome: 'refused', used: 10 });
    const soon = outcome({ outcome: 'refused', used: 5e9, resetMs: 1 });
    const error = limitRefusal([check(), BUDGET], [refused, soon], 100);
    expect(error).toMatchObject({ code: 'rate_limited', status: 429, retryAfterSeconds: 12 });
    expect(error?.message).toBe(
      'The limit user:requests/1m (r) has no room for this request: 10 of 10 requests in 1m.',
    );
  });

  it('is a 402 for US dollars', () => {
    const error = limitRefusal(
      [BUDGET],
      [outcome({ outcome: 'refused', used: 5e9, reserved: 0, resetMs: 0 })],
      100,
    );
    expect(error).toMatchObject({ code: 'budget_exhausted', status: 402, retryAfterSeconds: 1 });
    expect(error?.message).toBe(
      'The budget team:usd/month (b) has no room for this request: $5 of $5 used in month, $0 held, $0.2 needed.',
    );
  });

  it.each([
    ['to ask for less', 100, { used: 4.85e9 }, 86_400, 'With at most 50 tokens of output there is room'],
    ['to wait for open requests', 100, { used: 1e9, held: 3.95e9 }, 5, 'Open requests hold the rest'],
    [
      'that no period has room',
      20_000,
      { used: 4.99e9 },
      undefined,
      'No period has room for it: set a lower limit of output such as max_tokens, or shorten the prompt.',
    ],
  ])('says %s, and when to try again', (_what, tokens, numbers, seconds, advice) => {
    const refused = outcome({ outcome: 'refused', reserved: 0, resetMs: DAY_MS, ...numbers });
    const error = limitRefusal([BUDGET], [refused], tokens);
    expect(error?.retryAfterSeconds).toBe(seconds);
    expect(error?.message).toContain(advice);
  });

  it('says where the prompt alone is too large', () => {
    const refused = outcome({ outcome: 'refused', used: 0, reserved: 0, resetMs: DAY_MS });
    const error = limitRefusal([check({ ...BUDGET, fixed: 6e9 })], [refused], 100);
    expect(error).toMatchObject({ status: 402, retryAfterSeconds: undefined });
    expect(error?.message).toContain('or shorten the prompt');
  });

  it('tells of a cut that leaves too little', () => {
    expect(shortfallRefusal([BUDGET], [outcome({ outcome: 'cut' })])).toMatchObject({ status: 402 });
    expect([
      ...cutsOf([check({ onShortfall: 'clamp' }), BUDGET], [outcome({ outcome: 'cut' }), outcome()]),
    ]).toEqual(['clamp']);
  });
});

describe('leftOut', () => {
  it('has the providers of rules that leave them out, and when they have room again', () => {
    const openai = check({ providers: ['openai', 'openai@blue'] });
    expect(leftOut([openai, check()], [outcome({ outcome: 'left out' }), outcome()])).toEqual(
      new Map([
        ['openai', 12],
        ['openai@blue', 12],
      ]),
    );
  });
});

describe('while the store is away', () => {
  it('refuses by the rules that say so', () => {
    expect(awayRefusal([])).toBeUndefined();
    expect(awayRefusal(['b'])).toMatchObject({
      code: 'limits_unavailable',
      status: 503,
      retryAfterSeconds: 1,
    });
    expect(awayTrace([check(), BUDGET], ['b']).map(([, name, , decision]) => [name, decision])).toEqual([
      ['r', 'allowed'],
      ['b', 'refused'],
    ]);
  });
});

describe('rateLimitHeaders', () => {
  it('tells the tightest rule of each unit', () => {
    const wide = check({ rule: 'w', limit: 1000 });
    expect(
      rateLimitHeaders(
        [check(), wide, BUDGET],
        [outcome(), outcome(), outcome({ used: 1e9, held: 0, reserved: 5e5 })],
      ),
    ).toEqual({
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '3',
      'x-ratelimit-reset-requests': '12s',
      'x-ratelimit-limit-usd': '5',
      'x-ratelimit-remaining-usd': '3.9995',
      'x-ratelimit-reset-usd': '12s',
    });
  });

  it('tells the rule that refused, and of equal ones the smaller', () => {
    const wide = check({ rule: 'w', limit: 1000 });
    const unused = outcome({ used: 0, reserved: 0 });
    const limitOf = (outcomes: readonly LimitOutcome[]) =>
      rateLimitHeaders([wide, check()], outcomes)['x-ratelimit-limit-requests'];
    expect(limitOf([unused, unused])).toBe('10');
    expect(limitOf([outcome({ ...unused, outcome: 'refused' }), unused])).toBe('1000');
  });

  it('says nothing of shadow rules and of the room of single providers', () => {
    const limits = [check({ shadow: true }), check({ providers: ['openai'] })];
    expect(rateLimitHeaders(limits, [outcome(), outcome()])).toEqual({});
  });

  it('never goes below nothing', () => {
    const headers = rateLimitHeaders([check()], [outcome({ used: 99 })]);
    expect(headers['x-ratelimit-remaining-requests']).toBe('0');
  });
});
