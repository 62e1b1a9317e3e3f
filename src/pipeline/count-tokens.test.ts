import { describe, expect, it } from 'vitest';
import { Front, jsonOf } from './__fixtures__/front.ts';

const COUNT = '/v1/messages/count_tokens';

function body(model: string, content: unknown = 'Hello, world', more: object = {}): object {
  return { model, messages: [{ role: 'user', content }], ...more };
}

async function tokens(content: unknown, more: object = {}): Promise<number> {
  const answer = await new Front().answer(COUNT, body('fast', content, more));
  const value = jsonOf(answer.body);
  if (typeof value === 'object' && value !== null && 'input_tokens' in value)
    return Number(value.input_tokens);
  throw new Error(answer.body.toString());
}

describe('count_tokens', () => {
  it('is asked of a provider that counts', async () => {
    const front = new Front();
    const forward = await front.forward(`${COUNT}?beta=true`, body('claude'));
    expect(forward).toMatchObject({
      route: 'native/messages/whole/alone',
      setHeaders: { ':path': '/v1/messages/count_tokens?beta=true', 'anthropic-version': '2023-06-01' },
      context: { format: 'count_tokens', mode: 'native', model: 'claude', keep: undefined },
    });
    expect(front.admitted).toHaveLength(1);
  });

  it('is answered here for other providers, which says by what and how exactly', async () => {
    const front = new Front();
    const answer = await front.answer(COUNT, body('fast'));
    expect(answer.headers['x-limen-token-count']).toBe('estimate; tokenizer=o200k_base; error=30%');
    // "Hello", ",", " world" and what is around a message.
    expect(jsonOf(answer.body)).toEqual({ input_tokens: 7 });
    expect(answer.context).toMatchObject({
      format: 'count_tokens',
      model: 'fast',
      targets: [],
      intentId: '1-1',
    });
    // It costs no provider anything, and counts as a request.
    expect(front.admitted).toMatchObject([{ providers: [], foundIsAnswer: false }]);
  });

  it('asks nobody else where the first provider does not count', async () => {
    expect((await new Front().answer(COUNT, body('both'))).status).toBe(200);
  });

  it('counts here what was sealed here', async () => {
    const content = [{ type: 'thinking', thinking: 'so', signature: 'limen1.abc' }];
    expect((await new Front().answer(COUNT, body('claude', content))).status).toBe(200);
  });

  it('counts all that a model reads', async () => {
    const least = await tokens('Hi');
    expect(await tokens('Hi', { system: 'Be brief' })).toBeGreaterThan(least);
    const tool = { name: 'look', description: 'Looks', input_schema: { type: 'object' } };
    expect(await tokens('Hi', { tools: [tool] })).toBeGreaterThan(least);
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } };
    expect(await tokens([{ type: 'text', text: 'Hi' }, image])).toBe(least + 1600);
  });

  it('takes special tokens for the text that they are', async () => {
    expect(await tokens('<|endoftext|>')).toBeGreaterThan(5);
  });

  it.each([
    ['one letter', 'a'.repeat(90_000)],
    ['spaces', ' '.repeat(90_000)],
    ['no spaces', '漢字'.repeat(15_000)],
  ])('is done soon with a long run of %s', async (_case, text) => {
    const started = performance.now();
    expect(await tokens(text)).toBeGreaterThan(4);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('is about as good in pieces as in one', async () => {
    const sentence = 'The quick brown fox jumps over the lazy dog. ';
    const one = (await tokens(sentence.repeat(2))) - (await tokens(sentence));
    const many = await tokens(sentence.repeat(1500));
    expect(Math.abs(many / (one * 1500) - 1)).toBeLessThan(0.03);
  });

  it('refuses a bad request in Anthropic’s words', async () => {
    const answer = await new Front().answer(COUNT, { model: 'fast', messages: 'x' });
    expect(answer.status).toBe(400);
    expect(jsonOf(answer.body)).toMatchObject({ type: 'error', error: { type: 'invalid_request_error' } });
  });
});
