import { describe, expect, it } from 'vitest';
import { largestOutputOf } from './largest-output.ts';

describe('largestOutputOf', () => {
  it.each([
    ['openai', 'gpt-4o-mini', 16_384],
    ['openai', 'gpt-5.1', 128_000],
    ['openai', 'davinci', undefined],
    ['anthropic', 'claude-3-5-haiku-20241022', 8192],
    ['anthropic', 'claude-sonnet-4-5', 64_000],
    ['bedrock', 'anthropic.claude-sonnet-4-5-20250929-v1:0', 64_000],
    ['bedrock', 'amazon.nova-pro-v1:0', undefined],
    ['vertex', 'gemini-2.5-pro', 65_536],
    ['gemini', 'gemini-2.5-flash', 65_536],
    ['azure-openai', 'gpt-4o', undefined],
    ['openai-compatible', 'gpt-4o', undefined],
  ])('of %s %s is %j', (type, model, tokens) => {
    expect(largestOutputOf(type, model)).toBe(tokens);
  });
});
