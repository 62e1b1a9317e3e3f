import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBenchUpstream } from './upstream.ts';

/** The official clients say whether these really are the two formats. */

let upstream: Awaited<ReturnType<typeof startBenchUpstream>>;
let url: string;

beforeAll(async () => {
  upstream = await startBenchUpstream({ paceMs: 1 });
  url = `http://127.0.0.1:${upstream.port}`;
});

afterAll(async () => {
  await upstream.close();
});

test('Chat Completions, whole and streamed', async () => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any' });
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  const whole = await client.chat.completions.create({ model: 'm', messages });
  expect(whole.choices[0]?.message.content).toBe('A few words of an answer.');
  const stream = client.chat.completions.stream({
    model: 'm',
    messages,
    max_completion_tokens: 5,
    stream_options: { include_usage: true },
  });
  const final = await stream.finalChatCompletion();
  expect(final.choices[0]?.message.content).toBe(' word'.repeat(5));
  expect(final.usage?.completion_tokens).toBe(5);
});

test('Messages, whole and streamed', async () => {
  const client = new Anthropic({ baseURL: url, apiKey: 'any' });
  const parameters = { model: 'm', max_tokens: 7, messages: [{ role: 'user' as const, content: 'Hi' }] };
  const whole = await client.messages.create(parameters);
  expect(whole.content).toMatchObject([{ type: 'text', text: 'A few words of an answer.' }]);
  const streamed = await client.messages.stream(parameters).finalMessage();
  expect(streamed.content).toMatchObject([{ type: 'text', text: ' word'.repeat(7) }]);
  expect(streamed.usage.output_tokens).toBe(7);
});
