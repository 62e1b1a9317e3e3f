import { describe, expect, it } from 'vitest';
import { limitPolicySchema } from '../config/resources/limit-policy.ts';
import { compileLimit } from './limits.ts';

function compiled(spec: object) {
  const [limit] = compileLimit(
    limitPolicySchema.parse({
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'LimitPolicy',
      metadata: { name: 'a' },
      spec,
    }),
  );
  return limit;
}

describe('compileLimit', () => {
  it('fills in what a budget is meant to be', () => {
    expect(compiled({ per: 'team', usd: 2.5, period: 'month', timeZone: 'Asia/Tokyo' })).toEqual({
      name: 'a',
      label: 'team:usd/month',
      per: 'team',
      match: {},
      unit: 'usd',
      limit: 2_500_000_000,
      span: { kind: 'calendar', name: 'month', timeZone: 'Asia/Tokyo' },
      mode: 'hard',
      shadow: false,
      onShortfall: 'refuse',
      onStoreAway: 'refuse',
      alerts: [50, 80, 95, 100],
    });
  });

  it('fills in what a rate is meant to be', () => {
    expect(compiled({ per: 'user', tokens: 100, window: '5m' })).toMatchObject({
      label: 'user:tokens/5m',
      span: { kind: 'window', name: '5m', milliseconds: 300_000 },
      mode: 'soft',
      onStoreAway: 'allow',
      alerts: [],
    });
  });

  it('keeps a soft budget open while the store is away, and sorts its alerts', () => {
    expect(
      compiled({ per: 'user', usd: 1, period: 'day', mode: 'soft', alerts: [90, 10, 90] }),
    ).toMatchObject({ mode: 'soft', onStoreAway: 'allow', alerts: [10, 90] });
  });

  it('leaves out what is not in force', () => {
    expect(compiled({ per: 'user', requests: 1, window: '1m', enabled: false })).toBeUndefined();
  });
});
