import { describe, expect, it } from 'vitest';
import { Front, model, SNAPSHOT } from './__fixtures__/front.ts';

const PRICE = {
  input: 1,
  output: 8,
  cacheWrite: 1.25,
  above: { inputTokens: 200_000, input: 2, output: 12, cacheWrite: 2.5 },
};

async function priceOf(path: string, body: object) {
  const target = {
    provider: path.includes('messages') ? 'anthropic' : 'openai',
    priority: 0,
    weight: 1,
    price: PRICE,
  };
  const models = { ...SNAPSHOT.models, fast: { ...model('fast', []), targets: [target] } };
  const front = new Front({ snapshot: { ...SNAPSHOT, models } });
  const { context } = await front.forward(path, { model: 'fast', messages: [], ...body });
  return { told: context.targets[0]?.price, intent: front.admitted[0]?.intent.price };
}

describe('what a request asks for beyond the list price', () => {
  it.each<[string, object, number]>([
    ['/v1/chat/completions', { service_tier: 'priority' }, 2],
    ['/v1/responses', { service_tier: 'Priority', input: 'hi' }, 2],
    ['/v1/messages', { speed: 'fast', max_tokens: 9 }, 6],
    ['/v1/messages', { speed: 'fast', inference_geo: 'us', max_tokens: 9 }, 6 * 1.1],
  ])('is in the price of %s %j', async (path, body, factor) => {
    const { told, intent } = await priceOf(path, body);
    expect(told).toEqual(intent);
    expect(told).toMatchObject({ cacheWrite: 1.25 * factor, above: { inputTokens: 200_000 } });
    expect([told?.input, told?.output, told?.above?.output]).toEqual([factor, 8 * factor, 12 * factor]);
  });

  it('is what a cache for an hour costs', async () => {
    const cached = { type: 'text', text: 'hi', cache_control: { type: 'ephemeral', ttl: '1h' } };
    const messages = [{ role: 'user', content: [cached] }];
    const { told } = await priceOf('/v1/messages', { messages, max_tokens: 9 });
    expect(told).toMatchObject({ input: 1, cacheWrite: 2, above: { input: 2, cacheWrite: 4 } });
  });

  it.each([{}, { service_tier: 'flex' }, { service_tier: 'auto' }, { speed: 'standard' }, { speed: 6 }])(
    'is nothing for %j',
    async (body) => {
      expect((await priceOf('/v1/chat/completions', body)).told).toEqual(PRICE);
    },
  );
});
