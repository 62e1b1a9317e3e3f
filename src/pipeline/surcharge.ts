import type { Price, TokenPrice } from '../core/usage.ts';
import type { TopLevel } from '../formats/json/scan.ts';
import type { ResolvedTarget } from '../stages/route.ts';

/**
 * What a request asks for beyond the list price, by the field that asks, in any API; the dearest of what vendors say. Price
 * lists know nothing of it, and whoever sends the field would spend more than budgets see. Discounts (flex, batch) are
 * not given: a provider may not grant them.
 */
const SURCHARGES: Readonly<Record<string, (value: string) => number>> = {
  // OpenAI, "Pricing": priority processing, 1.7 to 2 times; Gemini and Bedrock the same or less.
  service_tier: (tier) => (tier.includes('priority') ? 2 : 1),
  serviceTier: (tier) => (tier.includes('priority') ? 2 : 1),
  // Anthropic, "Fast mode": six times; "Data residency": 1.1 times.
  speed: (speed) => (speed === 'fast' ? 6 : 1),
  inference_geo: (place) => (place === 'us' ? 1.1 : 1),
};

/** Anthropic, "Prompt caching": what is kept for an hour costs twice a usual token; price lists have five minutes. */
const LONG_CACHE = '"1h"';
const LONG_CACHE_PRICE = 2;

/** The targets with what they cost for this request. */
export function withSurcharge(
  targets: readonly ResolvedTarget[],
  body: Buffer,
  topLevel: TopLevel,
): readonly ResolvedTarget[] {
  const factor = factorOf(body, topLevel);
  const cachesLong =
    targets.some(({ address }) => address.price?.cacheWrite !== undefined) && body.includes(LONG_CACHE);
  if (factor === 1 && !cachesLong) return targets;
  return targets.map((target) => {
    const { price } = target.address;
    if (price === undefined) return target;
    return { ...target, address: { ...target.address, price: surcharged(price, factor, cachesLong) } };
  });
}

function factorOf(body: Buffer, { members }: TopLevel): number {
  let factor = 1;
  for (const { key, valueStart, valueEnd } of members) {
    const surcharge = Object.hasOwn(SURCHARGES, key) ? SURCHARGES[key] : undefined;
    if (surcharge === undefined || body[valueStart] !== QUOTE) continue;
    const value: unknown = JSON.parse(body.toString('utf8', valueStart, valueEnd));
    factor *= surcharge(String(value).toLowerCase());
  }
  return factor;
}

const QUOTE = 0x22;

function surcharged({ above, ...usual }: Price, factor: number, cachesLong: boolean): Price {
  const dearer = above && { ...times(above, factor, cachesLong), inputTokens: above.inputTokens };
  return { ...times(usual, factor, cachesLong), above: dearer };
}

function times(price: TokenPrice, factor: number, cachesLong: boolean): TokenPrice {
  const scaled = (amount: number | undefined): number | undefined =>
    amount === undefined ? undefined : amount * factor;
  const { input, output, cacheWrite } = price;
  const writes =
    cachesLong && cacheWrite !== undefined ? Math.max(cacheWrite, LONG_CACHE_PRICE * input) : cacheWrite;
  return {
    input: input * factor,
    output: output * factor,
    cachedInput: scaled(price.cachedInput),
    cacheWrite: scaled(writes),
    audioInput: scaled(price.audioInput),
    imageInput: scaled(price.imageInput),
    reasoning: scaled(price.reasoning),
    audioOutput: scaled(price.audioOutput),
    imageOutput: scaled(price.imageOutput),
  };
}
