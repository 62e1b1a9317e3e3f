import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NANO_USD, weightedTokens } from '../../core/limits.ts';
import { makeUsage, priceUsd, type Price, type Usage } from '../../core/usage.ts';
import {
  LARGEST_OUTPUT,
  outputBound,
  tokenBound,
  usdBound,
  type CostBound,
  type CostTarget,
} from './cost-bound.ts';

function target(price?: Price, more: Partial<CostTarget> = {}): CostTarget {
  return { provider: 'p', type: 'openai', model: 'm', defaultMaxOutputTokens: 0, price, ...more };
}

function question(tokens: number, more: object = {}) {
  const measure = { tokens, images: 0, openEnded: false, otherMedia: false };
  return { measure, inputEstimate: Math.ceil(tokens / 4), tries: 1, outputTokens: Infinity, ...more };
}

describe('outputBound', () => {
  it.each([
    [100, 1, undefined, 100],
    [100, 3, undefined, 300],
    [100, 1, 50, 50],
    [undefined, 1, 50, 50],
    [undefined, 2, undefined, 2 * LARGEST_OUTPUT],
    [0, 1, 50, 50],
    [1_000_000, 0, undefined, 1_000_000],
  ])('of %j tokens for %i candidates of a model with %j is %i', (asked, candidates, model, expected) => {
    expect(outputBound(asked, candidates, model)).toBe(expected);
  });
});

describe('tokenBound', () => {
  it('weighs, and adds the tries that may be billed without an answer', () => {
    const targets = [target(undefined, { defaultMaxOutputTokens: 100 }), target()];
    const asked = question(1000, { multiplier: { input: 0.5, output: 2 }, tries: 3 });
    expect(tokenBound(targets, asked)).toEqual({ fixed: 500 + 2 * (125 + 200), perOutputToken: 2 });
  });
});

describe('usdBound', () => {
  it('takes the dearest target, and the dearest kind of token', () => {
    const cheap = target({ input: 1, output: 2 });
    const dear = target({ input: 3, output: 4, cacheWrite: 5, reasoning: 9 });
    expect(usdBound([cheap, dear], question(1000))).toEqual({ fixed: 5_000_000, perOutputToken: 9000 });
  });

  it('takes no failed try for more than the request can get, also where that is cut', () => {
    const one = target({ input: 0, output: 2 }, { defaultMaxOutputTokens: 1000 });
    expect(tokenBound([one], question(0, { tries: 3, outputTokens: 10 }))).toEqual({
      fixed: 0,
      perOutputToken: 3,
    });
    expect(usdBound([one], question(0, { tries: 3, outputTokens: 10 }))).toEqual({
      fixed: 2,
      perOutputToken: 6000,
    });
    const shorter = target({ input: 0, output: 2 }, { defaultMaxOutputTokens: 9 });
    expect(tokenBound([one, shorter], question(0, { tries: 3, outputTokens: 10 }))).toEqual({
      fixed: 20,
      perOutputToken: 1,
    });
  });

  it('is never less than an answer and all the tries that failed before it, to whatever it is cut', () => {
    const small = fc.integer({ min: 0, max: 2000 });
    const rate = fc.double({ min: 0, max: 20, noNaN: true });
    fc.assert(
      fc.property(
        fc.record({ input: rate, output: rate }),
        fc.record({ input: rate, output: rate }),
        fc.record({
          tokens: small,
          asked: small,
          got: small,
          usual: small,
          tries: fc.integer({ min: 1, max: 4 }),
        }),
        (price, multiplier, { tokens, asked, got, usual, tries }) => {
          const one = target(price, { defaultMaxOutputTokens: usual });
          const about = question(tokens, { tries, outputTokens: asked, multiplier });
          const room = Math.min(asked, got);
          const failed = makeUsage({ input: about.inputEstimate, output: Math.min(usual, room) });
          const answer = makeUsage({ input: tokens, output: room });
          const all = [answer, ...Array.from({ length: tries - 1 }, () => failed)];
          const sum = (amountOf: (usage: Usage) => number): number =>
            all.reduce((total, usage) => total + amountOf(usage), 0);
          const reserved = ({ fixed, perOutputToken }: CostBound): number =>
            fixed + Math.ceil(perOutputToken * room);
          expect(sum((usage) => weightedTokens(usage, multiplier))).toBeLessThanOrEqual(
            reserved(tokenBound([one], about)),
          );
          const usd = usdBound([one], about) ?? { fixed: 0, perOutputToken: 0 };
          // A nano-USD more for the answer, and for each try, is what floating-point numbers may differ by.
          expect(sum((usage) => Math.ceil(priceUsd(usage, price) * NANO_USD))).toBeLessThanOrEqual(
            reserved(usd) + tries,
          );
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('knows no bound where a price is not known, and 0 where it is 0', () => {
    expect(usdBound([target({ input: 1, output: 1 }), target()], question(1))).toBeUndefined();
    expect(usdBound([target({ input: 0, output: 0 })], question(9))).toEqual({ fixed: 0, perOutputToken: 0 });
  });

  it('adds what failed tries may cost', () => {
    const one = target({ input: 1, output: 2 }, { defaultMaxOutputTokens: 10 });
    expect(usdBound([one], question(1000, { tries: 3 }))?.fixed).toBe(1_000_000 + 2 * (250_000 + 20_000));
  });

  it('is never less than what a request within its bounds is charged', () => {
    const amount = fc.integer({ min: 0, max: 500_000 });
    const rate = fc.double({ min: 0, max: 100, noNaN: true });
    const prices = fc.record(
      {
        input: rate,
        output: rate,
        cachedInput: rate,
        cacheWrite: rate,
        audioInput: rate,
        imageInput: rate,
        reasoning: rate,
        audioOutput: rate,
        imageOutput: rate,
      },
      { requiredKeys: ['input', 'output'] },
    );
    const tiered = fc.record(
      { base: prices, above: prices, inputTokens: fc.integer({ min: 1, max: 500_000 }) },
      { requiredKeys: ['base'] },
    );
    fc.assert(
      fc.property(
        tiered,
        amount,
        fc.record({
          input: amount,
          output: amount,
          cachedInput: amount,
          cacheWrite: amount,
          reasoning: amount,
          audioInput: amount,
          imageInput: amount,
          audioOutput: amount,
          imageOutput: amount,
        }),
        ({ base, above, inputTokens = 1 }, tokens, told) => {
          const price: Price = above === undefined ? base : { ...base, above: { ...above, inputTokens } };
          const usage = makeUsage({ ...told, input: Math.min(told.input, tokens) });
          const bound = usdBound([target(price)], question(tokens));
          const reserved = Math.ceil((bound?.fixed ?? 0) + (bound?.perOutputToken ?? 0) * usage.output);
          expect(Math.ceil(priceUsd(usage, price) * NANO_USD)).toBeLessThanOrEqual(reserved + 1);
        },
      ),
      { numRuns: 500 },
    );
  });
});
