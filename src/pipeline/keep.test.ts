import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KeepAnswer, RequestContext } from '../core/ledger.ts';
import { ownerOf } from '../core/principal.ts';
import { makeUsage } from '../core/usage.ts';
import type { ClientFormatName, HubResponse } from '../formats/hub.ts';
import { FORMATS } from '../formats/index.ts';
import { responseEvents } from '../formats/replay.ts';
import { WarningList } from '../formats/warnings.ts';
import { conversationKey, pendingKey } from './conversation.ts';
import { createAnswerKeeper } from './keep.ts';

const RESPONSE: HubResponse = {
  id: 'x1',
  model: 'm',
  created: 1_700_000_000,
  content: [
    { kind: 'text', text: 'Grüße an die Welt' },
    { kind: 'tool_call', id: 'call_1', name: 'look', argumentsJson: '{"at":"sky"}' },
  ],
  finish: { reason: 'tool_calls' },
  usage: makeUsage({ input: 5, output: 7 }),
};

function contextOf(
  format: string,
  stream: boolean,
  keep: KeepAnswer,
  more: Partial<RequestContext> = {},
): RequestContext {
  return {
    requestId: 'r',
    time: 1_700_000_000_000,
    keyId: 'k',
    user: 'ann',
    team: '',
    tenant: '',
    format,
    modelAsked: 'm',
    model: 'm',
    stream,
    inputEstimate: 1,
    snapshot: 'v',
    intentId: '1-1',
    exposeUsage: true,
    framing: 'sse',
    refuseLosses: false,
    failoverOn: 'responseHeaders',
    mode: 'strip',
    targets: [],
    limenMicros: 0,
    trace: [],
    holds: [],
    keep,
    ...more,
  };
}

function encoded(
  format: ClientFormatName,
  stream: boolean,
  response = RESPONSE,
  framing: 'sse' | 'json-array' = 'sse',
): Buffer {
  const context = {
    warnings: new WarningList(),
    requestedModel: 'm',
    created: 1,
    requestId: 'r',
    exposeUsage: true,
    framing,
  };
  if (!stream) return FORMATS[format].encodeResponse(response, context);
  const encoder = FORMATS[format].createStreamEncoder(context);
  for (const event of responseEvents(response)) encoder.write(event);
  return encoder.take();
}

interface Kept {
  readonly key: string;
  readonly value: string;
  readonly ttlSeconds: number;
  readonly after: string | undefined;
}

/** What is kept of an answer that comes in these pieces. */
function keptOf(
  context: RequestContext,
  pieces: readonly Buffer[],
  { status = 200, end = true, dropped = '' } = {},
): { readonly kept: readonly Kept[]; readonly tooLarge: number } {
  const kept: Kept[] = [];
  let tooLarge = 0;
  const keeper = createAnswerKeeper(context, {
    status,
    dropped,
    keptAnswers: {
      put: (key, value, ttlSeconds, after) => {
        kept.push({ key, value: value.toString(), ttlSeconds, after });
      },
    },
    onTooLarge: () => {
      tooLarge += 1;
    },
  });
  for (const piece of pieces) keeper?.push(piece);
  if (end) keeper?.end(makeUsage({ input: 1, output: 1 }));
  return { kept, tooLarge };
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % bytes.length))].sort((left, right) => left - right);
  return [...places, bytes.length].map((end, index) => bytes.subarray(places[index - 1] ?? 0, end));
}

const CACHE: KeepAnswer = { cacheKey: 'answer:1', cacheSeconds: 60 };

describe('createAnswerKeeper', () => {
  it.each(['chat', 'responses', 'messages', 'gemini'] as const)(
    'keeps a whole %s answer byte for byte',
    (format) => {
      const body = encoded(format, false);
      const { kept } = keptOf(contextOf(format, false, CACHE), split(body, [3, 40]), { dropped: 'seed' });
      expect(kept).toEqual([
        { key: 'answer:1', value: `seed\n${body.toString()}`, ttlSeconds: 60, after: undefined },
      ]);
    },
  );

  it.each([
    ['chat', 'sse'],
    ['responses', 'sse'],
    ['messages', 'sse'],
    ['gemini', 'sse'],
    ['gemini', 'json-array'],
  ] as const)('makes a %s stream (%s) whole again, wherever it is cut', (format, framing) => {
    const bytes = encoded(format, true, RESPONSE, framing);
    const context = contextOf(format, true, CACHE, { framing });
    const whole = keptOf(context, [bytes]).kept;
    const response = FORMATS[format].decodeResponse(Buffer.from(whole[0]?.value.slice(1) ?? ''));
    expect(response.content).toMatchObject([
      { kind: 'text', text: 'Grüße an die Welt' },
      { kind: 'tool_call', name: 'look', argumentsJson: '{"at":"sky"}' },
    ]);
    expect(response.usage).toMatchObject({ input: 5, output: 7 });
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 12 }), (cuts) => {
        expect(keptOf(context, split(bytes, cuts)).kept).toEqual(whole);
      }),
    );
  });

  it('has the usage that the client was not shown', () => {
    const { usage: _unseen, ...blind } = RESPONSE;
    const { kept } = keptOf(contextOf('chat', true, CACHE), [encoded('chat', true, blind)]);
    expect(kept[0]?.value).toContain('"total_tokens":2');
  });

  it.each([
    ['an error', { status: 500 }, 'whole'],
    ['a broken answer', { end: false }, 'whole'],
    ['what is no JSON', {}, '<html>'],
    ['an error with a good status', {}, '{"error":{"message":"no"}}'],
    ['half of a JSON text', {}, 'half'],
  ] as const)('does not keep %s', (_case, options, body) => {
    const whole = encoded('chat', false);
    const text = body === 'whole' ? whole : body === 'half' ? whole.subarray(0, -5) : Buffer.from(body);
    expect(keptOf(contextOf('chat', false, CACHE), [text], options).kept).toEqual([]);
  });

  it.each(['chat', 'responses', 'messages', 'gemini'] as const)(
    'does not keep a %s stream without its end',
    (format) => {
      const bytes = encoded(format, true);
      const cut = bytes.subarray(0, Math.floor(bytes.length / 2));
      expect(keptOf(contextOf(format, true, CACHE), [cut]).kept).toEqual([]);
    },
  );

  it.each([false, true])('does not keep what is too large, and says so once (stream: %s)', (stream) => {
    const long: HubResponse = { ...RESPONSE, content: [{ kind: 'text', text: 'x'.repeat(1_100_000) }] };
    for (const format of ['chat', 'responses', 'messages', 'gemini'] as const) {
      const bytes = encoded(format, stream, long);
      const pieces = split(bytes, [500_000, 1_060_000]);
      expect(keptOf(contextOf(format, stream, CACHE), pieces)).toEqual({ kept: [], tooLarge: 1 });
    }
  });

  it('shares no reasoning that was sealed for one key', () => {
    const sealed: HubResponse = { ...RESPONSE, content: [{ kind: 'text', text: 'limen1.abc' }] };
    const body = encoded('chat', false, sealed);
    expect(keptOf(contextOf('chat', false, { ...CACHE, shared: true }), [body]).kept).toEqual([]);
    expect(keptOf(contextOf('chat', false, CACHE), [body]).kept).toHaveLength(1);
  });

  it('keeps embeddings', () => {
    const body = Buffer.from('{"object":"list","data":[{"embedding":[1]}]}');
    expect(keptOf(contextOf('embeddings', false, CACHE), [body]).kept).toHaveLength(1);
    expect(keptOf(contextOf('embeddings', false, CACHE), [Buffer.from('{"data":[]}')]).kept).toEqual([]);
  });

  it.each([false, true])(
    'keeps the items of a conversation after those that went in (stream: %s)',
    (stream) => {
      const bytes = encoded('responses', stream);
      const context = contextOf('responses', stream, { storeSeconds: 600 });
      const { kept } = keptOf(context, [bytes]);
      const id = FORMATS.responses.decodeResponse(encoded('responses', false)).id;
      expect(kept).toHaveLength(1);
      expect(kept[0]).toMatchObject({
        key: conversationKey(ownerOf(context), id),
        ttlSeconds: 600,
        after: pendingKey(ownerOf(context), 'r'),
      });
      const items: unknown = JSON.parse(`[${kept[0]?.value.replace(/,$/, '')}]`);
      expect(items).toMatchObject([
        { type: 'message', role: 'assistant' },
        { type: 'function_call', call_id: 'call_1', name: 'look' },
      ]);
      expect(JSON.stringify(items)).not.toContain('"id":');
    },
  );
});
