import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEMO_MODEL, type DemoProvider, startDemoProvider } from './server.ts';

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const result: Item[] = [];
  for await (const item of items) result.push(item);
  return result;
}

let demo: DemoProvider;
let url: string;

beforeAll(async () => {
  demo = await startDemoProvider({ host: '127.0.0.1', port: 0, paceMs: 1 });
  url = `http://127.0.0.1:${demo.port}`;
});

afterAll(async () => {
  await demo.close();
});

const weather = {
  type: 'object' as const,
  properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'kelvin'] } },
  required: ['city', 'unit'],
};

describe('with the openai client', () => {
  const client = () => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });
  const tools = ['get_weather', 'get_time'].map((name) => ({
    type: 'function' as const,
    function: { name, parameters: weather },
  }));

  test('says what it is and echoes the prompt, the same each time', async () => {
    const ask = () =>
      client().chat.completions.create({
        model: 'anything',
        messages: [{ role: 'user', content: 'Good morning,\n  Limen' }],
      });
    const [first, second] = [await ask(), await ask()];
    const text = first.choices[0]?.message.content ?? '';
    expect(text).toContain('demo provider');
    expect(text).toContain('Good morning, Limen');
    expect(second.choices[0]?.message.content).toBe(text);
    expect(first.model).toBe('anything');
    expect(first.choices[0]?.finish_reason).toBe('stop');
    expect(first.usage?.total_tokens).toBe(
      (first.usage?.prompt_tokens ?? 0) + (first.usage?.completion_tokens ?? 0),
    );
    expect(first.usage?.completion_tokens).toBeGreaterThan(10);
  });

  test('streams, with usage only where it was asked for', async () => {
    const ask = async (include: boolean) => {
      const stream = await client().chat.completions.create({
        model: DEMO_MODEL,
        messages: [{ role: 'user', content: 'Hi' }],
        stream: true,
        ...(include ? { stream_options: { include_usage: true } } : {}),
      });
      return collect(stream);
    };
    const [without, withUsage] = [await ask(false), await ask(true)];
    expect(without.every((chunk) => chunk.usage === undefined)).toBe(true);
    expect(withUsage.at(-1)?.choices).toEqual([]);
    expect(withUsage.at(-1)?.usage?.completion_tokens).toBeGreaterThan(10);
    const text = (chunks: typeof without) =>
      chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
    expect(text(withUsage)).toBe(text(without));
    expect(text(without)).toContain('You said: "Hi"');
  });

  test('calls the tools that the prompt names, in parallel, and reports their results', async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [
      { role: 'user', content: 'Call get_weather and get_time please.' },
    ];
    const first = await client().chat.completions.create({ model: DEMO_MODEL, messages, tools });
    const message = first.choices[0]?.message;
    expect(first.choices[0]?.finish_reason).toBe('tool_calls');
    const calls = (message?.tool_calls ?? []).filter((call) => call.type === 'function');
    expect(calls.map((call) => call.function.name)).toEqual(['get_weather', 'get_time']);
    expect(JSON.parse(calls[0]?.function.arguments ?? '')).toEqual({ city: 'demo', unit: 'celsius' });
    if (message) messages.push(message);
    for (const call of calls)
      messages.push({ role: 'tool', tool_call_id: call.id, content: `${call.function.name}: 7` });
    const second = await client().chat.completions.create({ model: DEMO_MODEL, messages, tools });
    expect(second.choices[0]?.message.content).toContain('get_weather: 7 and get_time: 7');
  });

  test('streams a forced tool call', async () => {
    const stream = client().chat.completions.stream({
      model: DEMO_MODEL,
      messages: [{ role: 'user', content: 'Hi' }],
      tools,
      tool_choice: { type: 'function', function: { name: 'get_time' } },
    });
    const final = await stream.finalChatCompletion();
    const call = final.choices[0]?.message.tool_calls?.[0];
    expect(call?.type === 'function' && call.function.name).toBe('get_time');
  });

  test('obeys the output limit and stop sequences, and counts images', async () => {
    const short = await client().chat.completions.create({
      model: DEMO_MODEL,
      max_completion_tokens: 3,
      messages: [{ role: 'user', content: 'Hi' }],
    });
    expect(short.choices[0]?.finish_reason).toBe('length');
    expect(short.usage?.completion_tokens).toBe(3);
    const stopped = await client().chat.completions.create({
      model: DEMO_MODEL,
      stop: ['provider'],
      messages: [
        {
          role: 'user',
          content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,aGk=' } }],
        },
      ],
    });
    expect(stopped.choices[0]?.message.content).toBe("Hello from Limen's demo ");
    expect(stopped.usage?.prompt_tokens).toBeGreaterThan(80);
  });

  test('lists its model and refuses what is wrong, in shape', async () => {
    const models = await collect(client().models.list());
    expect(models.map(({ id }) => id)).toEqual([DEMO_MODEL]);
    const broken = client().chat.completions.create({ model: DEMO_MODEL, messages: [] });
    await expect(broken).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    await expect(client().models.retrieve('other')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', body: '{"model":' });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { message: 'The body is not valid JSON.' } });
  });
});

describe('with the Anthropic client', () => {
  const client = () => new Anthropic({ baseURL: url, apiKey: 'any', maxRetries: 0 });
  const tools = ['get_weather', 'get_time'].map((name) => ({ name, input_schema: weather }));

  test('answers whole and streamed alike', async () => {
    const params = {
      model: DEMO_MODEL,
      max_tokens: 100,
      system: 'Be brief.',
      messages: [{ role: 'user' as const, content: 'Good morning' }],
    };
    const whole = await client().messages.create(params);
    const streamed = await client().messages.stream(params).finalMessage();
    expect(whole.content).toMatchObject([{ type: 'text', text: expect.stringContaining('"Good morning"') }]);
    expect(streamed.content).toEqual(whole.content);
    expect(streamed.usage.output_tokens).toBe(whole.usage.output_tokens);
    expect(whole.stop_reason).toBe('end_turn');
  });

  test('calls tools, streamed, and reports their results', async () => {
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content: 'get weather and get time' }];
    const params = { model: DEMO_MODEL, max_tokens: 100, tools, messages };
    const first = await client().messages.stream(params).finalMessage();
    expect(first.stop_reason).toBe('tool_use');
    const calls = first.content.filter((block) => block.type === 'tool_use');
    expect(calls.map(({ name, input }) => ({ name, input }))).toEqual([
      { name: 'get_weather', input: { city: 'demo', unit: 'celsius' } },
      { name: 'get_time', input: { city: 'demo', unit: 'celsius' } },
    ]);
    messages.push({ role: 'assistant', content: first.content });
    messages.push({
      role: 'user',
      content: calls.map(({ id, name }) => ({ type: 'tool_result', tool_use_id: id, content: `${name}: 7` })),
    });
    const second = await client().messages.create(params);
    expect(second.content).toMatchObject([
      { text: expect.stringContaining('get_weather: 7 and get_time: 7') },
    ]);
  });

  test('obeys the output limit and stop sequences', async () => {
    const messages = [{ role: 'user' as const, content: 'Hi' }];
    const short = await client().messages.create({ model: DEMO_MODEL, max_tokens: 3, messages });
    expect(short.stop_reason).toBe('max_tokens');
    const params = { model: DEMO_MODEL, max_tokens: 99, messages, stop_sequences: ['xyz', 'provider'] };
    const stopped = await client().messages.create(params);
    expect(stopped).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'provider' });
  });

  test('lists its model and refuses what is wrong, in shape', async () => {
    const models = await collect(client().models.list());
    expect(models.map(({ id }) => id)).toEqual([DEMO_MODEL]);
    const broken = client().messages.create({ model: DEMO_MODEL, max_tokens: 5, messages: [] });
    await expect(broken).rejects.toBeInstanceOf(Anthropic.BadRequestError);
    const missing = client().messages.countTokens({ model: DEMO_MODEL, messages: [] });
    await expect(missing).rejects.toBeInstanceOf(Anthropic.NotFoundError);
  });
});

test('a client that leaves ends the work, and close frees the port', async () => {
  const slow = await startDemoProvider({ host: '127.0.0.1', port: 0, paceMs: 60_000 });
  const client = new OpenAI({ baseURL: `http://127.0.0.1:${slow.port}/v1`, apiKey: 'any', maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: DEMO_MODEL,
    messages: [{ role: 'user', content: 'Hi' }],
    stream: true,
  });
  for await (const chunk of stream) {
    expect(chunk.object).toBe('chat.completion.chunk');
    break;
  }
  await slow.close();
  const again = await startDemoProvider({ host: '127.0.0.1', port: slow.port });
  await again.close();
});
