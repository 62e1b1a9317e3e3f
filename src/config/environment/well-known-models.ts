import type { Price } from '../../core/usage.ts';

/** A model that needs no declaration once its provider's key is in the environment. */
export interface WellKnownModel {
  /** Name at the provider, and the one that clients use. */
  readonly name: string;
  /** Dated names of the same model. */
  readonly aliases?: readonly string[];
  /** List price in USD per million tokens, of the lowest tier: batch, priority and long prompts differ. */
  readonly price: Price;
}

export interface WellKnownModels {
  /** Day on which the prices were looked up. */
  readonly asOf: string;
  /** The provider's own price list, which decides where it and this table differ. */
  readonly source: string;
  readonly models: readonly WellKnownModel[];
}

function model(
  name: string,
  input: number,
  output: number,
  cachedInput?: number,
  cacheWrite?: number,
  aliases?: readonly string[],
): WellKnownModel {
  return { name, price: { input, output, cachedInput, cacheWrite }, ...(aliases ? { aliases } : {}) };
}

/** By name of the implied Provider. Declare a Model of the same name to set another price. */
export const WELL_KNOWN_MODELS = {
  openai: {
    asOf: '2026-11-21',
    source: 'https://developers.openai.com/api/docs/pricing',
    models: [
      model('gpt-6.1-sol', 2, 10, 0.1),
      model('gpt-6-luna', 0.1, 0.5),
      model('gpt-5.5', 5, 30, 0.5),
      model('gpt-5.4', 2.5, 15, 0.25),
      model('gpt-5.4-mini', 0.75, 4.5, 0.075),
      model('gpt-5.4-nano', 0.2, 1.25, 0.02),
      model('gpt-5', 1.25, 10, 0.125),
      model('gpt-5-mini', 0.25, 2, 0.025),
      model('gpt-5-nano', 0.05, 0.4, 0.005),
      model('gpt-4.1', 2, 8, 0.5),
      model('gpt-4.1-mini', 0.4, 1.6, 0.1),
      model('gpt-4.1-nano', 0.1, 0.4, 0.025),
      model('gpt-4o', 2.5, 10, 1.25),
      model('gpt-4o-mini', 0.15, 0.6, 0.075),
      model('o3', 2, 8, 0.5),
      model('o4-mini', 1.1, 4.4, 0.275),
    ],
  },
  anthropic: {
    asOf: '2026-11-21',
    source: 'https://platform.claude.com/docs/en/about-claude/pricing',
    models: [
      model('claude-fable-5-1', 10, 50, 0.25, 12.5),
      model('claude-fable-5', 10, 50, 1, 12.5),
      model('claude-opus-5-5', 4, 20, 0.2, 5),
      model('claude-opus-5', 5, 25, 0.5, 6.25),
      model('claude-opus-4-8', 5, 25, 0.5, 6.25),
      model('claude-opus-4-7', 5, 25, 0.5, 6.25),
      model('claude-opus-4-6', 5, 25, 0.5, 6.25),
      model('claude-opus-4-5', 5, 25, 0.5, 6.25, ['claude-opus-4-5-20251101']),
      model('claude-opus-4-1', 15, 75, 1.5, 18.75, ['claude-opus-4-1-20250805']),
      model('claude-sonnet-5-5', 2, 10, 0.2, 2.5),
      model('claude-sonnet-5', 2, 10, 0.2, 2.5),
      model('claude-sonnet-4-6', 3, 15, 0.3, 3.75),
      model('claude-sonnet-4-5', 3, 15, 0.3, 3.75, ['claude-sonnet-4-5-20250929']),
      model('claude-haiku-5-5', 0.1, 0.5, 0.01, 0.125),
      model('claude-haiku-4-5', 1, 5, 0.1, 1.25, ['claude-haiku-4-5-20251001']),
    ],
  },
  gemini: {
    asOf: '2026-11-21',
    source: 'https://ai.google.dev/gemini-api/docs/pricing',
    models: [
      model('gemini-3.6-flash', 1.5, 7.5),
      model('gemini-3.5-flash', 1.5, 9),
      model('gemini-3.1-pro-preview', 2, 12, 0.2),
      model('gemini-3.1-flash-lite', 0.25, 1.5, 0.025),
      model('gemini-2.5-pro', 1.25, 10, 0.125),
      model('gemini-2.5-flash', 0.3, 2.5, 0.03),
      model('gemini-2.5-flash-lite', 0.1, 0.4, 0.01),
    ],
  },
} as const satisfies Record<string, WellKnownModels>;
