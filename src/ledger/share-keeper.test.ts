import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { baseShare } from '../core/limits.ts';
import { planShares, type PlannedDomain } from './share-keeper.ts';

/** Two domains and a limit of 100: share, used and wanted of each. */
function plan(...domains: readonly (readonly [number, number, number])[]): readonly number[] {
  return planShares(
    100,
    domains.map(([share, used, wanted], index) => ({
      share,
      used,
      wanted,
      base: baseShare(100, index, domains.length),
    })),
  );
}

describe('planShares', () => {
  it('never gives more than the limit, nor takes what is in use', () => {
    const domain = fc.record({ share: fc.nat(200), used: fc.nat(60), wanted: fc.nat(200), base: fc.nat(50) });
    fc.assert(
      fc.property(fc.nat(300), fc.array(domain, { minLength: 2, maxLength: 5 }), (limit, all) => {
        const targets = planShares(limit, all);
        const used = all.reduce((sum, one) => sum + one.used, 0);
        const isPlanned = all.some(({ wanted, share }) => wanted * 4 > share * 3);
        const sum = targets.reduce((total, target) => total + target, 0);
        expect(isPlanned ? sum : Math.max(limit, used)).toBe(Math.max(limit, used));
        expect(targets.filter((target, index) => isPlanned && target < (all[index]?.used ?? 0))).toEqual([]);
        expect(targets.every((target) => Number.isInteger(target) && target >= 0)).toBe(true);
      }),
    );
  });

  it('gives those who ask what they need, and most of the rest', () => {
    expect(plan([50, 40, 41], [50, 0, 0])).toEqual([89, 11]);
    expect(plan([89, 80, 81], [11, 0, 12])).toEqual([84, 16]);
    expect(plan([50, 0, 100], [50, 0, 0])).toEqual([100, 0]);
  });

  it('serves those first who have too little, then the smaller need', () => {
    expect(plan([61, 60, 61], [39, 39, 40])).toEqual([60, 40]);
    expect(plan([50, 50, 100], [50, 20, 50])).toEqual([50, 50]);
  });

  it('leaves shares where nobody asks, and takes them back where nothing is in use', () => {
    expect(plan([90, 10, 0], [10, 0, 0])).toEqual([90, 10]);
    expect(plan([90, 0, 0], [10, 0, 0])).toEqual([50, 50]);
    const lost: readonly PlannedDomain[] = [
      { share: 20, used: 1, wanted: 0, base: 50 },
      { share: 30, used: 0, wanted: 0, base: 50 },
    ];
    expect(planShares(100, lost)).toEqual([20, 30]);
  });
});
