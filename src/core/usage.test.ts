import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LimenError, toLimenError } from './errors.ts';
import { makeUsage, priceUsd } from './usage.ts';

describe('usage and price', () => {
  it('prices each kind once', () => {
    const usage = makeUsage({
      input: 1_000_000,
      cachedInput: 600_000,
      cacheWrite: 100_000,
      output: 500_000,
      reasoning: 400_000,
    });
    expect(usage.total).toBe(1_500_000);
    expect(priceUsd(usage, { input: 3, output: 15, cachedInput: 0.3, cacheWrite: 3.75 })).toBeCloseTo(
      0.3 * 3 + 0.6 * 0.3 + 0.1 * 3.75 + 0.5 * 15,
      10,
    );
    expect(priceUsd(usage, { input: 3, output: 15 })).toBeCloseTo(3 + 7.5, 10);
  });

  it('never has parts larger than the whole, nor a negative price', () => {
    const count = fc.option(fc.double(), { nil: undefined });
    fc.assert(
      fc.property(
        fc.record({ input: count, output: count, cachedInput: count, cacheWrite: count, reasoning: count }),
        (counts) => {
          const usage = makeUsage(counts);
          expect(usage.cachedInput + usage.cacheWrite).toBeLessThanOrEqual(usage.input);
          expect(usage.reasoning).toBeLessThanOrEqual(usage.output);
          expect(priceUsd(usage, { input: 1, output: 2, cachedInput: 0.1 })).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
});

describe('errors', () => {
  it('keep the cause apart from the message', () => {
    const error = toLimenError(new TypeError('secret'));
    expect(error).toMatchObject({ code: 'internal_error', status: 500 });
    expect(error.message).not.toContain('secret');
    expect(toLimenError(error)).toBe(error);
    expect(new LimenError('rate_limited', 'x', { status: 529 }).status).toBe(529);
  });
});
