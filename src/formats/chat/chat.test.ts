import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LimenError } from '../../core/errors.ts';
import { makeUsage } from '../../core/usage.ts';
import type { ResponseContext } from '../format.ts';
import type { HubEvent, HubPart, HubRequest, HubResponse, JsonObject } from '../hub.ts';
import { messages } from '../messages/index.ts';
import { responseEvents } from '../replay.ts';
import { WarningList } from '../warnings.ts';
import { chat } from './index.ts';

const LIMITS = { maxEventBytes: 1024 * 1024, maxHeldBytes: 1024 * 1024 };
const ROUTE = { model: 'm', stream: false };

function contextOf(warnings = new WarningList(), more: Partial<ResponseContext> = {}): ResponseContext {
  return {
    warnings,
    requestedModel: 'fast',
    created: 1763700123,
    requestId: 'req-1',
    exposeUsage: true,
    framing: 'sse',
    ...more,
  };
}

function decode(request: JsonObject): HubRequest {
  return chat.decodeRequest(Buffer.from(JSON.stringify({ model: 'm', messages: [], ...request })), ROUTE);
}

function encode(request: HubRequest): { body: unknown; warnings: readonly string[] } {
  const warnings = new WarningList();
  const body: unknown = JSON.parse(chat.encodeRequest(request, { warnings }).toString());
  return { body, warnings: warnings.items.map(({ action, field }) => `${action} ${field}`) };
}

function toMessages(request: HubRequest): { body: unknown; warnings: readonly string[] } {
  const warnings = new WarningList();
  const options = { warnings };
  const body: unknown = JSON.parse(
    messages.encodeRequest({ ...request, maxOutputTokens: 10 }, options).toString(),
  );
  return { body, warnings: warnings.items.map(({ action, field }) => `${action} ${field}`) };
}

const GRAMMAR = { syntax: 'lark', definition: 'start: /.+/' };
const CUSTOM = {
  tools: [
    {
      type: 'custom',
      custom: { name: 'patch', description: 'Applies it.', format: { type: 'grammar', grammar: GRAMMAR } },
    },
  ],
  tool_choice: { type: 'custom', custom: { name: 'patch' } },
  messages: [
    { role: 'user', content: 'go' },
    {
      role: 'assistant',
      content: null,
      tool_calls: [{ id: 'c1', type: 'custom', custom: { name: 'patch', input: 'a "b"\n' } }],
    },
    { role: 'tool', tool_call_id: 'c1', content: 'done' },
  ],
};

describe('what routing reads of a chat request', () => {
  it('bounds the output by the larger of two limits, since servers differ in which they take', () => {
    const body = { model: 'm', max_completion_tokens: 1, max_tokens: 900 };
    const address = { path: '/v1/chat/completions', query: '' };
    const inspect = (request: object) => chat.inspectRequest(Buffer.from(JSON.stringify(request)), address);
    expect(inspect(body).maxOutputTokens).toBe(900);
    expect(inspect({ model: 'm' }).maxOutputTokens).toBeUndefined();
  });
});

describe('requests', () => {
  it('keep custom tools and their calls among themselves', () => {
    expect(encode(decode(CUSTOM))).toMatchObject({ body: CUSTOM, warnings: [] });
  });

  it('make functions of custom tools elsewhere, and say so', () => {
    const { body, warnings } = toMessages(decode(CUSTOM));
    expect(warnings).toEqual(['approximated tools.custom']);
    expect(body).toMatchObject({
      tools: [{ name: 'patch', input_schema: { required: ['input'] } }],
      tool_choice: { type: 'tool', name: 'patch' },
      messages: [
        { role: 'user' },
        { role: 'assistant', content: [{ type: 'tool_use', input: { input: 'a "b"\n' } }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c1' }] },
      ],
    });
  });

  it('read the deprecated functions as tools', () => {
    const request = decode({
      functions: [{ name: 'f', parameters: { type: 'object', properties: {} } }],
      function_call: { name: 'f' },
      messages: [
        { role: 'user', content: 'go' },
        { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{"a":1}' } },
        { role: 'function', name: 'f', content: 'done' },
      ],
    });
    expect(request).toMatchObject({
      tools: [{ name: 'f' }],
      toolChoice: { kind: 'tool', name: 'f' },
      approximated: [{ field: 'functions' }],
      extra: {},
    });
    expect(request.messages[1]?.content).toMatchObject([{ kind: 'tool_call', id: 'call_1', name: 'f' }]);
    expect(request.messages[2]?.content).toMatchObject([
      { kind: 'tool_result', toolCallId: 'call_1', toolName: 'f' },
    ]);
    expect(() => decode({ messages: [{ role: 'function', name: 'f', content: 'x' }] })).toThrow(LimenError);
  });

  it('offer only the tools that tool_choice allows', () => {
    const tool = (name: string) => ({ type: 'function', function: { name } });
    const request = decode({
      tools: [tool('a'), tool('b'), { type: 'custom', custom: { name: 'c' } }],
      tool_choice: {
        type: 'allowed_tools',
        allowed_tools: { mode: 'required', tools: [tool('b'), { type: 'custom', custom: { name: 'c' } }] },
      },
    });
    expect(request.tools.map(({ name }) => name)).toEqual(['b', 'c']);
    expect(request.toolChoice).toEqual({ kind: 'any' });
  });

  it('read what Google signs in its OpenAI-compatible endpoint, and name the tool of a result', () => {
    const { messages: decoded } = decode({
      messages: [
        {
          role: 'assistant',
          tool_calls: [
            {
              id: 'c1',
              type: 'function',
              function: { name: 'f', arguments: '{}' },
              extra_content: { google: { thought_signature: 'CsE' } },
            },
          ],
        },
        { role: 'tool', tool_call_id: 'c1', content: 'done' },
      ],
    });
    expect(decoded[0]?.content).toMatchObject([{ signature: { vendor: 'google', value: 'CsE' } }]);
    expect(decoded[1]?.content).toMatchObject([{ kind: 'tool_result', toolName: 'f' }]);
  });

  it('name what cannot be told', () => {
    const signature = { vendor: 'google', value: 'x' } as const;
    const request: HubRequest = {
      ...decode({ tools: [{ type: 'function', function: { name: 'n'.repeat(65) } }] }),
      format: 'gemini',
      extra: { safetySettings: [{}], cachedContent: null },
      messages: [
        {
          role: 'assistant',
          place: 'contents[1]',
          content: [
            { kind: 'text', text: 'a', citations: [{ url: 'https://a.example' }] },
            { kind: 'image', source: { kind: 'url', url: 'https://a.example/i.png' } },
            { kind: 'tool_call', id: 'c', name: 'f', argumentsJson: '{}', signature },
          ],
        },
      ],
    };
    expect(encode(request).warnings).toEqual([
      'dropped contents[1].content',
      'dropped contents[1].citations',
      'approximated tools.name',
      'dropped safetySettings',
    ]);
  });
});

const LOGPROBS = [
  { token: 'Hé', logprob: -0.1, bytes: [72, 195, 169], top: [{ token: 'Ha', logprob: -2, bytes: [72, 97] }] },
];

/** An answer with everything that the format can say. */
const CONTENT: readonly HubPart[] = [
  { kind: 'thinking', text: 'hm' },
  {
    kind: 'text',
    text: 'Hé, see there.',
    logprobs: LOGPROBS,
    citations: [
      { url: 'https://a.example', title: 'A', start: 4, end: 7 },
      { url: 'https://b.example' },
      { fileId: 'file-1', title: 'a document' },
    ],
  },
  { kind: 'sealed_reasoning', sealed: 'limen1.x' },
  { kind: 'image', source: { kind: 'base64', mediaType: 'image/png', data: 'aGk=' } },
  { kind: 'tool_call', id: 'c1', name: 'f', argumentsJson: '{"a":1}' },
  { kind: 'tool_call', id: 'c2', name: 'patch', argumentsJson: '{"input":"x\\ny"}' },
];

const ANSWER: HubResponse = {
  id: 'chatcmpl-1',
  model: 'm',
  created: 1,
  content: CONTENT,
  finish: { reason: 'tool_calls' },
  usage: makeUsage({
    input: 100,
    output: 50,
    cachedInput: 10,
    cacheWrite: 5,
    reasoning: 20,
    audioInput: 30,
    imageInput: 20,
    audioOutput: 4,
    imageOutput: 3,
  }),
};

const MESSAGE = {
  role: 'assistant',
  content: 'Hé, see there.',
  refusal: null,
  annotations: [
    {
      type: 'url_citation',
      url_citation: { start_index: 4, end_index: 7, url: 'https://a.example', title: 'A' },
    },
    {
      type: 'url_citation',
      url_citation: { start_index: 0, end_index: 14, url: 'https://b.example', title: 'https://b.example' },
    },
  ],
  reasoning_content: 'hm',
  reasoning_details: [{ type: 'reasoning.encrypted', format: 'limen-sealed-v1', data: 'limen1.x' }],
  images: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,aGk=' } }],
  tool_calls: [
    { id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } },
    { id: 'c2', type: 'custom', custom: { name: 'patch', input: 'x\ny' } },
  ],
};

const WIRE_LOGPROBS = {
  content: [
    {
      token: 'Hé',
      logprob: -0.1,
      bytes: [72, 195, 169],
      top_logprobs: [{ token: 'Ha', logprob: -2, bytes: [72, 97] }],
    },
  ],
  refusal: null,
};

const FREE_TEXT = { freeTextTools: new Set(['patch']) };

function encodeStream(events: readonly HubEvent[], context: ResponseContext): Buffer {
  const encoder = chat.createStreamEncoder(context);
  for (const event of events) encoder.write(event);
  return encoder.take();
}

/** The first choice of every chunk of a stream. */
function choicesOf(bytes: Buffer): readonly JsonObject[] {
  return bytes
    .toString()
    .split('\n\n')
    .filter((event) => event.startsWith('data: {'))
    .flatMap((event) => {
      const chunk: { choices: JsonObject[] } = JSON.parse(event.slice('data: '.length));
      return chunk.choices;
    });
}

function decodeStream(bytes: Buffer, cuts: readonly number[] = []): HubEvent[] {
  const events: HubEvent[] = [];
  const decoder = chat.createStreamDecoder((event) => events.push(event), LIMITS);
  let from = 0;
  for (const to of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
    decoder.push(bytes.subarray(from, to));
    from = Math.max(from, to);
  }
  decoder.end();
  return events;
}

describe('answers', () => {
  it('say all that the format has words for, and name the rest', () => {
    const warnings = new WarningList();
    const body: unknown = JSON.parse(chat.encodeResponse(ANSWER, contextOf(warnings, FREE_TEXT)).toString());
    expect(body).toMatchObject({
      choices: [{ message: MESSAGE, logprobs: WIRE_LOGPROBS, finish_reason: 'tool_calls' }],
      usage: {
        prompt_tokens: 100,
        completion_tokens: 50,
        total_tokens: 150,
        prompt_tokens_details: {
          cached_tokens: 10,
          cache_write_tokens: 5,
          audio_tokens: 30,
          image_tokens: 20,
        },
        completion_tokens_details: { reasoning_tokens: 20, audio_tokens: 4, image_tokens: 3 },
      },
    });
    expect(warnings.items).toMatchObject([{ action: 'dropped', field: 'content.citations' }]);
  });

  it('say the same as a stream', () => {
    const warnings = new WarningList();
    const choices = choicesOf(encodeStream(responseEvents(ANSWER), contextOf(warnings, FREE_TEXT)));
    const deltas = choices.map(({ delta }) => delta);
    for (const key of ['annotations', 'reasoning_details', 'images'] as const) {
      expect(deltas).toContainEqual({ [key]: MESSAGE[key] });
    }
    expect(deltas).toContainEqual({ tool_calls: [{ index: 1, custom: { input: 'x\ny' } }] });
    expect(choices.flatMap(({ logprobs }) => logprobs ?? [])).toEqual([WIRE_LOGPROBS]);
    expect(warnings.items).toMatchObject([{ action: 'dropped', field: 'content.citations' }]);
  });

  it('of an upstream come out as they went in, whole or streamed', () => {
    const content = CONTENT.filter(
      (part) => part.kind !== 'sealed_reasoning' && (part.kind !== 'tool_call' || part.id === 'c1'),
    );
    const known = content.map((part) =>
      part.kind === 'text'
        ? { ...part, citations: part.citations?.slice(0, 1), logprobs: part.logprobs }
        : part,
    );
    const answer = { ...ANSWER, content: known };
    const whole = chat.decodeResponse(chat.encodeResponse(answer, contextOf()));
    expect(whole).toEqual({ ...answer, model: 'fast', serviceTier: undefined });
    const streamed = decodeStream(encodeStream(responseEvents(answer), contextOf()));
    const kinds = ['delta', 'citation', 'logprobs', 'block_start', 'usage'];
    const told = (events: readonly HubEvent[]) =>
      JSON.parse(JSON.stringify(events.filter(({ kind }) => kinds.includes(kind))));
    expect(told(streamed)).toEqual(told(responseEvents(answer)));
  });

  it('of a stream do not depend on where its bytes are cut', () => {
    const bytes = encodeStream(responseEvents(ANSWER), contextOf());
    const expected = decodeStream(bytes);
    expect(expected.at(-1)).toEqual({ kind: 'end' });
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        expect(decodeStream(bytes, cuts)).toEqual(expected);
      }),
    );
  });

  it('keep logprobs and citations with their text where a tool call has begun before it', () => {
    const chunk = (delta: JsonObject, logprobs: unknown = null) =>
      `data: ${JSON.stringify({ id: 'x', choices: [{ index: 0, delta, logprobs, finish_reason: null }] })}\n\n`;
    const call = (args: string) => ({
      tool_calls: [{ index: 0, id: 'c', type: 'function', function: { name: 'f', arguments: args } }],
    });
    const later = { tool_calls: [{ index: 0, function: { arguments: '1}' } }] };
    const bytes = Buffer.from(
      [
        chunk(call('{"a":')),
        chunk({ content: 'Hé' }, WIRE_LOGPROBS),
        chunk({ annotations: MESSAGE.annotations.slice(0, 1) }),
        chunk(later),
        'data: [DONE]\n\n',
      ].join(''),
    );
    const told = decodeStream(bytes).map(({ kind }) => kind);
    expect(told).toEqual([
      ...['start', 'block_start', 'delta', 'delta', 'block_stop'],
      ...['block_start', 'delta', 'logprobs', 'citation', 'block_stop'],
      ...['finish', 'end'],
    ]);
  });
});
