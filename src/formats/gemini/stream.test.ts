import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LimenError } from '../../core/errors.ts';
import { fixture, fixtureNames } from '../../providers/__fixtures__/support.ts';
import type { ResponseContext, StreamFraming } from '../format.ts';
import type { HubBlock, HubEvent, HubPart } from '../hub.ts';
import { asArray, asObject, parseUpstreamObject } from '../json/parse.ts';
import { responseEvents } from '../replay.ts';
import { WarningList } from '../warnings.ts';
import { gemini } from './index.ts';

const LIMITS = { maxEventBytes: 64 * 1024, maxHeldBytes: 64 * 1024 };

function decode(bytes: Buffer, places: readonly number[] = []): HubEvent[] {
  const events: HubEvent[] = [];
  const decoder = gemini.createStreamDecoder((event) => events.push(event), LIMITS);
  const borders = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort(
    (a, b) => a - b,
  );
  for (const [index, end] of borders.slice(1).entries()) decoder.push(bytes.subarray(borders[index], end));
  decoder.end();
  return events;
}

const decodeFixture = (name: string): HubEvent[] => decode(fixture(`gemini/${name}`));
const whole = (name: string) => gemini.decodeResponse(fixture(`gemini/${name}`));

function context(framing: StreamFraming = 'sse'): ResponseContext {
  return {
    warnings: new WarningList(),
    requestedModel: 'fast',
    created: 1763700123,
    requestId: 'req-1',
    exposeUsage: true,
    framing,
  };
}

function encode(events: readonly HubEvent[], framing: StreamFraming = 'sse'): Buffer {
  const encoder = gemini.createStreamEncoder(context(framing));
  return Buffer.concat(
    events.map((event) => {
      encoder.write(event);
      return encoder.take();
    }),
  );
}

/** What a client has in the end: blocks with their texts joined, then how it ended. */
function told(events: readonly HubEvent[]): unknown[] {
  const blocks: { block: HubBlock; text: string; signature?: unknown; citations: unknown[] }[] = [];
  const ending: unknown[] = [];
  const lastUsage = events.findLast(({ kind }) => kind === 'usage');
  for (const event of events) {
    const open = blocks.at(-1);
    if (event.kind === 'block_start') blocks.push({ block: event.block, text: '', citations: [] });
    else if (event.kind === 'delta' && open) open.text += event.text;
    else if (event.kind === 'signature' && open) open.signature = event.signature;
    else if (event.kind === 'citation' && open) open.citations.push(event.citation);
    else if (event.kind === 'finish') ending.push(event.finish);
    // It is told with every chunk: the last one counts.
    else if (event.kind === 'usage' && event === lastUsage) ending.push(event.usage);
    else if (event.kind === 'end' || event.kind === 'error') ending.push(event.kind);
  }
  return [...blocks.map(({ block, ...rest }) => ({ ...block, ...withoutUndefined(rest) })), ...ending];
}

function withoutUndefined({ signature, ...rest }: { signature?: unknown }): object {
  return signature === undefined ? rest : { ...rest, signature };
}

const STREAMS = [...fixtureNames('gemini', '.sse'), 'array.txt'];

describe('streams of Gemini', () => {
  it.each(STREAMS)('give the same events for any split of %s', (name) => {
    const bytes = fixture(`gemini/${name}`);
    const expected = decode(bytes);
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 12 }), (places) => {
        expect(decode(bytes, places)).toEqual(expected);
      }),
      { numRuns: 40 },
    );
    expect(
      decode(
        bytes,
        Array.from({ length: bytes.length }, (_, index) => index),
      ),
    ).toEqual(expected);
  });

  it.each(['text', 'tools', 'grounding', 'image', 'blocked'])(
    'say of %s what the whole answer says',
    (name) => {
      const replayed = told(responseEvents(whole(`${name}.json`)));
      expect(told(decodeFixture(`${name}.sse`))).toEqual(replayed);
    },
  );

  it('keep signatures on the parts that they came with', () => {
    expect(told(decodeFixture('tools.sse'))).toMatchObject([
      { kind: 'text', text: 'Let me look.' },
      {
        kind: 'tool_call',
        id: '7kq2v1ab',
        text: '{"city":"Zürich","days":3}',
        signature: { vendor: 'google', value: 'EtoCCtcCAdHtim9jYWxsc2ln' },
      },
      { kind: 'tool_call', id: '9xw4m8cd', signature: undefined },
      { kind: 'tool_call', id: '3fz6p0ef', text: '{}' },
      { reason: 'tool_calls' },
      { input: 120, output: 69, reasoning: 25, total: 189 },
      'end',
    ]);
    expect(told(decodeFixture('thinking.sse'))).toMatchObject([
      {
        kind: 'thinking',
        text: '**Units first**\n\nThe distance is in miles, the answer in kilometres.',
      },
      { kind: 'text', text: 'It is about 42 km.', signature: { value: 'EpgBCpUBAdHtim8vdGV4dHNpZw==' } },
      { reason: 'stop' },
      { output: 70, reasoning: 61 },
      'end',
    ]);
  });

  it('never join texts that were signed apart', () => {
    const chunk = (part: unknown, finishReason?: string): string =>
      `data: ${JSON.stringify({ candidates: [{ content: { parts: [part] }, finishReason }] })}\n\n`;
    const text = [
      chunk({ text: 'one', thoughtSignature: 'YQ==' }),
      chunk({ text: 'two', thoughtSignature: 'Yg==' }, 'STOP'),
    ].join('');
    expect(told(decode(Buffer.from(text)))).toMatchObject([
      { text: 'one', signature: { value: 'YQ==' } },
      { text: 'two', signature: { value: 'Yg==' } },
      { reason: 'stop' },
      'end',
    ]);
  });

  it('give calls without an id one that no other turn has', () => {
    const ids = (events: readonly HubEvent[]) =>
      events.flatMap((event) =>
        event.kind === 'block_start' && event.block.kind === 'tool_call' ? [event.block.id] : [],
      );
    expect(ids(decodeFixture('tools-without-ids.sse'))).toEqual([
      'call_lImEn04nO-iDs_0',
      'call_lImEn04nO-iDs_1',
    ]);
  });

  it.each([
    ['safety.sse', { reason: 'refusal', explanation: 'Gemini ended the answer: SAFETY.' }],
    ['blocked.sse', { reason: 'refusal', explanation: 'Gemini blocked the prompt: PROHIBITED_CONTENT.' }],
    ['length.sse', { reason: 'length' }],
  ])('end %s as it ended', (name, finish) => {
    expect(decodeFixture(name)).toContainEqual({ kind: 'finish', finish });
    expect(decodeFixture(name).at(-1)).toEqual({ kind: 'end' });
  });

  it('place citations by UTF-16 units of the text', () => {
    const text = 'Größte Seen: Genfersee und Bodensee.';
    const citations = decodeFixture('grounding.sse').flatMap((event) =>
      event.kind === 'citation' ? [event.citation] : [],
    );
    expect(citations).toMatchObject([
      { url: 'https://example.org/lakes', title: 'example.org', start: 13, end: 22 },
      { url: 'https://example.org/lakes', start: 0, end: text.length },
      { url: 'https://example.com/seen', start: 0, end: text.length },
    ]);
    expect(text.slice(13, 22)).toBe('Genfersee');
  });

  it('tell an error in mid-stream, and nothing after it', () => {
    const events = decode(Buffer.concat([fixture('gemini/error.sse'), fixture('gemini/text.sse')]));
    const last = events.at(-1);
    expect(last?.kind === 'error' && last.error).toMatchObject({ code: 'upstream_error', status: 503 });
  });

  it('never end a stream that was cut off', () => {
    const bytes = fixture('gemini/text.sse');
    const whole = bytes.length - '\r\n\r\n'.length;
    for (let length = 0; length < whole; length += 1) {
      const kinds: string[] = [];
      const decoder = gemini.createStreamDecoder(({ kind }) => kinds.push(kind), LIMITS);
      decoder.push(bytes.subarray(0, length));
      try {
        decoder.end();
      } catch {
        // Half an event is no JSON.
      }
      expect(kinds).not.toContain('end');
    }
    expect(decodeFixture('truncated.sse').map(({ kind }) => kind)).not.toContain('end');
  });

  it.each([
    ['an event that is too large', Buffer.from(`data: {"x":"${'y'.repeat(70_000)}"}\n\n`)],
    ['an element that is too large', Buffer.from(`[{"x":"${'y'.repeat(70_000)}"`)],
    ['an array of something else', Buffer.from('[1, 2]')],
    ['invalid JSON', Buffer.from('data: {"candidates": secret\n\n')],
    ['invalid JSON in an array', Buffer.from('[{"candidates": secret}')],
    ['two arrays', Buffer.from('[{"a":1}][')],
  ])('refuse %s', (_name, hostile) => {
    expect(() => decode(hostile)).toThrow(expect.objectContaining({ code: 'upstream_invalid_response' }));
  });
});

describe('answers of Gemini', () => {
  it('tell usage by kind, each token once', () => {
    expect(whole('image.json').usage).toMatchObject({ input: 8, output: 1295, imageOutput: 1290 });
    expect(whole('grounding.json').usage).toMatchObject({ input: 69, output: 14, total: 83 });
    const usage = gemini.usageOf(
      {
        usageMetadata: {
          promptTokenCount: 100,
          cachedContentTokenCount: 60,
          promptTokensDetails: [
            { modality: 'AUDIO', tokenCount: 50 },
            { modality: 'TEXT', tokenCount: 50 },
          ],
          cacheTokensDetails: [{ modality: 'AUDIO', tokenCount: 20 }],
          candidatesTokenCount: 5,
          thoughtsTokenCount: 7,
        },
      },
      undefined,
    );
    expect(usage).toMatchObject({ input: 100, cachedInput: 60, audioInput: 30, output: 12, reasoning: 7 });
    // A later chunk may leave counts out.
    expect(gemini.usageOf({ usageMetadata: { promptTokenCount: 100 } }, usage)).toMatchObject({
      output: 12,
      reasoning: 7,
      cachedInput: 60,
    });
  });

  it('tell probabilities, and take them back', () => {
    const response = whole('logprobs.json');
    const [text] = response.content;
    expect(text?.kind === 'text' && text.logprobs).toMatchObject([
      { token: 'Yes', logprob: -0.02, top: [{ token: 'Yes' }, { token: 'No', logprob: -4.1 }] },
      { token: '.' },
    ]);
    const again = gemini.decodeResponse(gemini.encodeResponse(response, context()));
    expect(again.content).toEqual(response.content);
  });

  it.each(fixtureNames('gemini', '.json').filter((name) => name !== 'grounding.json'))(
    'come back from %s as they were',
    (name) => {
      const response = whole(name);
      const again = gemini.decodeResponse(gemini.encodeResponse(response, context()));
      expect(again).toEqual({ ...response, model: 'fast' });
    },
  );

  it('write citations so that they are read again', () => {
    const response = whole('grounding.json');
    const content = response.content.filter(({ kind }) => kind === 'text');
    const again = gemini.decodeResponse(gemini.encodeResponse({ ...response, content }, context()));
    expect(again.content).toEqual(content);
  });

  it.each([
    ['no candidate', '{"usageMetadata":{}}', 'upstream_invalid_response'],
    ['an error', '{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}', 'upstream_error'],
    ['no object', '[]', 'upstream_invalid_response'],
  ])('are refused where they hold %s', (_name, text, code) => {
    expect(() => gemini.decodeResponse(Buffer.from(text))).toThrow(expect.objectContaining({ code }));
  });
});

describe.each(['sse', 'json-array'] as const)('streams for clients of Gemini in %s', (framing) => {
  it.each(['text', 'thinking', 'tools', 'image', 'length', 'safety', 'blocked'])(
    'are read again as they were: %s',
    (name) => {
      const events = decodeFixture(`${name}.sse`);
      expect(told(decode(encode(events, framing)))).toEqual(told(events));
    },
  );

  it('hold a call until it is whole', () => {
    const encoder = gemini.createStreamEncoder(context(framing));
    const write = (event: HubEvent): string => {
      encoder.write(event);
      return encoder.take().toString();
    };
    write({ kind: 'start', id: 'r', model: 'm' });
    expect(write({ kind: 'block_start', block: { kind: 'tool_call', id: 'c', name: 'f' } })).toBe('');
    expect(write({ kind: 'delta', text: '{"a":' })).toBe('');
    expect(write({ kind: 'delta', text: '1}' })).toBe('');
    expect(write({ kind: 'block_stop' })).toContain('"functionCall":{"id":"c","name":"f","args":{"a":1}}');
    expect(write({ kind: 'ping' })).toBe('');
    write({ kind: 'block_start', block: { kind: 'tool_call', id: 'd', name: 'f' } });
    expect(() => write({ kind: 'delta', text: 'x'.repeat(5_000_000) })).toThrow(LimenError);
  });

  it('end with an error that is read as one', () => {
    const error = new LimenError('upstream_timeout', 'Too late.', { retryAfterSeconds: 3 });
    for (const before of [[], decodeFixture('truncated.sse')]) {
      const bytes = encode([...before, { kind: 'error', error }], framing);
      const last = decode(bytes).at(-1);
      expect(last?.kind === 'error' && last.error).toMatchObject({ status: 504, message: 'Too late.' });
      expect(bytes.toString()).toMatch(framing === 'sse' ? /\}\r\n\r\n$/ : /^\[\{[^]*\}\n\]$/);
    }
  });
});

describe('content of other formats', () => {
  const parts = (content: readonly HubPart[]): unknown => {
    const body = gemini.encodeResponse(
      { id: '', model: 'm', content, finish: { reason: 'stop' } },
      context(),
    );
    const value = parseUpstreamObject(body.toString(), 'a test');
    return asObject(asObject(asArray(value['candidates'])[0])?.['content'])?.['parts'];
  };

  it('is written with what was sealed in its place', () => {
    expect(
      parts([
        { kind: 'sealed_reasoning', sealed: 'limen1.a' },
        { kind: 'thinking', text: 'Hm.', signature: { vendor: 'google', value: 'limen1.b' } },
        { kind: 'refusal', text: 'No.' },
      ]),
    ).toEqual([
      { text: '', thought: true, thoughtSignature: 'limen1.a' },
      { text: 'Hm.', thought: true, thoughtSignature: 'limen1.b' },
      { text: 'No.' },
    ]);
  });

  it('counts places of citations in bytes', () => {
    const events: HubEvent[] = [
      { kind: 'start', id: 'r', model: 'm' },
      { kind: 'block_start', block: { kind: 'text' } },
      { kind: 'delta', text: 'Ä. ' },
      { kind: 'block_stop' },
      { kind: 'block_start', block: { kind: 'text' } },
      { kind: 'delta', text: 'Öl' },
      { kind: 'citation', citation: { url: 'https://example.org', title: 'x' } },
      { kind: 'block_stop' },
      { kind: 'finish', finish: { reason: 'stop' } },
      { kind: 'end' },
    ];
    expect(encode(events).toString()).toContain(
      '"groundingSupports":[{"segment":{"startIndex":4,"endIndex":7,"text":"Öl"},"groundingChunkIndices":[0]}]',
    );
  });
});

describe('an answer that goes back to a client of this API', () => {
  const SOURCES = {
    responseId: 'r1',
    candidates: [
      {
        content: { role: 'model', parts: [{ text: 'Grüße.' }] },
        finishReason: 'STOP',
        index: 0,
        groundingMetadata: {
          webSearchQueries: ['q'],
          groundingChunks: [{ web: { uri: 'https://example.org', title: 'E' } }],
          groundingSupports: [{ segment: { endIndex: 8 }, groundingChunkIndices: [0] }],
        },
        urlContextMetadata: { urlMetadata: [] },
      },
    ],
  };

  it('keeps what it says of its sources outside its parts', () => {
    const response = gemini.decodeResponse(Buffer.from(JSON.stringify(SOURCES)));
    const plain = parseUpstreamObject(gemini.encodeResponse(response, context()).toString(), 'a test');
    const [candidate] = asArray(plain['candidates']).map(asObject);
    expect(candidate).toMatchObject({
      content: { parts: [{ text: 'Grüße.' }] },
      groundingMetadata: {
        webSearchQueries: ['q'],
        groundingChunks: [{ web: { uri: 'https://example.org' } }],
        groundingSupports: [{ segment: { startIndex: 0, endIndex: 8 } }],
      },
      urlContextMetadata: { urlMetadata: [] },
    });
    expect(asArray(asObject(candidate?.['content'])?.['parts'])).toHaveLength(1);
    const chunks = encode(responseEvents(response)).toString().trim().split('\r\n\r\n');
    expect(chunks).toHaveLength(2);
    expect(chunks[1]).toContain('"webSearchQueries":["q"]');
    expect(chunks[1]).toContain('"urlContextMetadata":{"urlMetadata":[]}');
  });

  it('has no more sources than a client can use, whatever an upstream sends', () => {
    const citation = { url: 'https://example.org', title: 'x'.repeat(10_000) };
    const events: HubEvent[] = [
      { kind: 'start', id: 'r', model: 'm' },
      { kind: 'block_start', block: { kind: 'text' } },
      { kind: 'delta', text: 'a'.repeat(100_000) },
      ...Array.from({ length: 5000 }, (): HubEvent => ({ kind: 'citation', citation })),
      { kind: 'block_stop' },
      { kind: 'finish', finish: { reason: 'stop' } },
      { kind: 'end' },
    ];
    expect(encode(events).length).toBeLessThan(4 * 1024 * 1024);
  });

  it('is cut off where its array lacks the bracket, however it finished', () => {
    const bytes = fixture('gemini/array.txt');
    const end = bytes.lastIndexOf(']');
    expect(decode(bytes).at(-1)).toEqual({ kind: 'end' });
    expect(decode(bytes.subarray(0, end)).at(-1)).not.toEqual({ kind: 'end' });
  });
});

describe('usage', () => {
  const usageOf = (usageMetadata: object) => gemini.usageOf({ usageMetadata }, undefined);

  it.each([
    [{ promptTokenCount: 10, candidatesTokenCount: 5, thoughtsTokenCount: 20, totalTokenCount: 35 }, 25],
    // Here the answer's count holds the thoughts, as the total tells.
    [{ promptTokenCount: 10, candidatesTokenCount: 25, thoughtsTokenCount: 20, totalTokenCount: 35 }, 25],
    [{ promptTokenCount: 10, candidatesTokenCount: 5, totalTokenCount: 15 }, 5],
  ])('counts thoughts once in %j', (usage, output) => {
    expect(usageOf(usage)).toMatchObject({ input: 10, output });
  });
});
