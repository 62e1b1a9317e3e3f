import { NANO_USD } from '../../core/limits.ts';
import { makeUsage, priceUsd, type Price, type TokenPrice } from '../../core/usage.ts';
import { inputBound, type InputMeasure } from './input-bound.ts';

/** A place that a request may go to, as far as its cost goes. */
export interface CostTarget {
  /** Name of the SnapshotProvider. */
  readonly provider: string;
  /** Folder under src/providers. */
  readonly type: string;
  /** Name that the provider knows. */
  readonly model: string;
  readonly price?: Price | undefined;
  readonly defaultMaxOutputTokens: number;
}

/** What the cost of a request depends on, beside where it goes. */
export interface CostQuestion {
  readonly measure: InputMeasure;
  readonly contextTokens?: number | undefined;
  readonly multiplier?: { readonly input: number; readonly output: number } | undefined;
  /** What the ledger takes the input of a failed try for (Intent). */
  readonly inputEstimate: number;
  /** Tries of one request in all. */
  readonly tries: number;
  /** The most output that the request can get: a try that failed cannot have got more. */
  readonly outputTokens: number;
}

/** The most that a request can be charged: `fixed`, and so much for each token of output. */
export interface CostBound {
  readonly fixed: number;
  readonly perOutputToken: number;
}

/** Largest answer that is reckoned with where neither request nor Model names one: no vendor's documents name more. */
export const LARGEST_OUTPUT = 131_072;

/**
 * The most tokens of output that a request can get, all candidates together.
 *
 * @param asked the request's own limit for each candidate; 0: none can be told from it
 */
export function outputBound(
  asked: number | undefined,
  candidates: number,
  modelOutputTokens: number | undefined,
): number {
  const each =
    asked === undefined || asked === 0
      ? (modelOutputTokens ?? LARGEST_OUTPUT)
      : Math.min(asked, modelOutputTokens ?? Infinity);
  return each * Math.max(1, candidates);
}

/** In weighted tokens, at the dearest of the targets, each of which may be billed for a try that fails. */
export function tokenBound(targets: readonly CostTarget[], question: CostQuestion): CostBound {
  const { input, output } = question.multiplier ?? { input: 1, output: 1 };
  const failed = failedTries(targets, question);
  const prompt = most(targets, (target) => inputBound(question.measure, target, question.contextTokens));
  // Each is rounded up by itself.
  const rounding = failed.scale && !Number.isInteger(output) ? 1 : 0;
  const each = most(targets, (target) =>
    Math.ceil(question.inputEstimate * input + fixedOutput(target, question, failed) * output + rounding),
  );
  return {
    fixed: Math.ceil(prompt * input) + failed.count * each,
    perOutputToken: output * (failed.scale ? 1 + failed.count : 1),
  };
}

/** In nano-USD; undefined where the price of a target is not known. */
export function usdBound(targets: readonly CostTarget[], question: CostQuestion): CostBound | undefined {
  if (targets.some(({ price }) => price === undefined)) return undefined;
  const failed = failedTries(targets, question);
  const bounds = targets.map((target) => usdBoundOf(target, question, failed));
  return {
    fixed: Math.ceil(most(bounds, ({ fixed }) => fixed)),
    perOutputToken: most(bounds, ({ perOutputToken }) => perOutputToken),
  };
}

const NANO_USD_PER_PRICE_UNIT = NANO_USD / 1_000_000;

function usdBoundOf(target: CostTarget, question: CostQuestion, failed: FailedTries): CostBound {
  const { price } = target;
  if (price === undefined) return { fixed: 0, perOutputToken: 0 };
  const tokens = inputBound(question.measure, target, question.contextTokens);
  const tiers: readonly TokenPrice[] =
    price.above !== undefined && tokens > price.above.inputTokens ? [price, price.above] : [price];
  const input = question.inputEstimate;
  const failedTier = price.above !== undefined && input > price.above.inputTokens ? price.above : price;
  const failedUsage = makeUsage({ input, output: fixedOutput(target, question, failed) });
  const failedOutputPrice = failed.scale ? failed.count * failedTier.output : 0;
  return {
    fixed:
      tokens * most(tiers, dearestInput) * NANO_USD_PER_PRICE_UNIT +
      failed.count * Math.ceil(priceUsd(failedUsage, price) * NANO_USD + (failed.scale ? 1 : 0)),
    perOutputToken: (most(tiers, dearestOutput) + failedOutputPrice) * NANO_USD_PER_PRICE_UNIT,
  };
}

/**
 * Tries that fail, as the ledger charges them: at most the provider's default output, and no more than the request gets.
 * Where no default is the lower one, a request that gets less pays as much less for each of them.
 */
interface FailedTries {
  readonly count: number;
  /** Whether each has as many tokens of output as the request. */
  readonly scale: boolean;
}

function failedTries(targets: readonly CostTarget[], { tries, outputTokens }: CostQuestion): FailedTries {
  const scale = targets.every(({ defaultMaxOutputTokens }) => outputTokens <= defaultMaxOutputTokens);
  return { count: tries - 1, scale };
}

/** Output of each that is there whatever the request gets. */
function fixedOutput(
  { defaultMaxOutputTokens }: CostTarget,
  { outputTokens }: CostQuestion,
  { scale }: FailedTries,
): number {
  return scale ? 0 : Math.min(defaultMaxOutputTokens, outputTokens);
}

function dearestInput({ input, cachedInput, cacheWrite, audioInput, imageInput }: TokenPrice): number {
  return Math.max(input, cachedInput ?? 0, cacheWrite ?? 0, audioInput ?? 0, imageInput ?? 0);
}

function dearestOutput({ output, reasoning, audioOutput, imageOutput }: TokenPrice): number {
  return Math.max(output, reasoning ?? 0, audioOutput ?? 0, imageOutput ?? 0);
}

function most<Item>(items: readonly Item[], amountOf: (item: Item) => number): number {
  return Math.max(0, ...items.map(amountOf));
}
