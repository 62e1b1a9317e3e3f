import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { call } from '../support/data-plane/client.ts';
import { request, splitAtRandom } from '../support/data-plane/requests.ts';
import {
  anthropic,
  openai,
  type Answer,
  type Dialect,
  type ScriptedUpstream,
  startUpstream,
  stream,
  wrongContentType,
} from '../support/upstream/index.ts';

const EVENT_STREAM = { 'content-type': 'text/event-stream; charset=utf-8' };
const ANSWER: Answer = {
  text: ['Grüße ', '😀 ', 'from "the"\n', '\u2028 model', ' and\\more', '.'],
  toolCalls: [{ id: 'call_1', name: 'weather', arguments: { city: 'Zürich', days: 3 } }],
  usage: { input: 21, output: 17, cachedInput: 5 },
};

interface Mode {
  readonly title: string;
  readonly format: ClientFormatName;
  readonly model: string;
  readonly dialect: Dialect;
  readonly includeUsage?: boolean;
  /** What the client is to get, given what the upstream says with and without a usage chunk. */
  readonly passes: 'as it is' | 'without usage' | 'converted';
  /** Who counted the tokens of a client that left. */
  readonly leftUsage: 'estimated' | 'counted';
}

const MODES: readonly Mode[] = [
  {
    title: 'chat, usage asked for by the client',
    format: 'chat',
    model: 'gpt',
    dialect: openai,
    includeUsage: true,
    passes: 'as it is',
    leftUsage: 'estimated',
  },
  {
    title: 'chat, usage hidden',
    format: 'chat',
    model: 'gpt',
    dialect: openai,
    passes: 'without usage',
    leftUsage: 'counted',
  },
  {
    title: 'chat, usage shown',
    format: 'chat',
    model: 'shown',
    dialect: openai,
    passes: 'as it is',
    leftUsage: 'estimated',
  },
  {
    title: 'messages',
    format: 'messages',
    model: 'claude',
    dialect: anthropic,
    passes: 'as it is',
    leftUsage: 'estimated',
  },
  {
    title: 'chat from Anthropic',
    format: 'chat',
    model: 'claude',
    dialect: anthropic,
    passes: 'converted',
    leftUsage: 'counted',
  },
  {
    title: 'chat from Anthropic with usage',
    format: 'chat',
    model: 'claude',
    dialect: anthropic,
    includeUsage: true,
    passes: 'converted',
    leftUsage: 'counted',
  },
  {
    title: 'messages from OpenAI',
    format: 'messages',
    model: 'gpt',
    dialect: openai,
    passes: 'converted',
    leftUsage: 'counted',
  },
];

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('streams with %s', (_, capabilities) => {
  let plane: DataPlane;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    upstream = await startUpstream();
    plane = await startDataPlane({
      capabilities,
      workers: 2,
      providers: {
        open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${upstream.url}/v1`, credential: 'sk-anth' },
      },
      models: {
        gpt: { targets: [{ provider: 'open' }], price: { input: 1, output: 2 } },
        shown: { targets: [{ provider: 'open' }], usageChunk: 'show' },
        claude: { targets: [{ provider: 'anth' }] },
      },
    });
  });
  afterAll(async () => {
    await plane.stop();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.reset();
    plane.forget();
  });
  afterEach(async () => {
    await plane.idle();
    expect(plane.faults).toEqual([]);
  });

  describe.each(MODES)('$title', (mode) => {
    const { format, model, dialect, includeUsage, passes } = mode;
    const wanted = { model, stream: true, ...(includeUsage === undefined ? {} : { includeUsage }) };
    const send = () => plane.call(request(format, wanted));

    /** What the upstream says to a request of its own, in one piece. */
    async function upstreamBytes(withUsage: boolean): Promise<Buffer> {
      upstream.next(dialect.answer(ANSWER));
      const own = dialect === openai ? 'chat' : 'messages';
      const usage = own === 'chat' ? { includeUsage: withUsage } : {};
      const result = await call(upstream.port, request(own, { model, stream: true, ...usage }));
      return result.body;
    }

    /** A converted answer of Chat Completions tells the second in which it was made. */
    const comparable = (bytes: Buffer): string =>
      bytes.toString().replaceAll(/"created":\d+/g, '"created":0');

    test('the same bytes for any chunking', async () => {
      const whole = await upstreamBytes(true);
      upstream.next(stream([whole], { headers: EVENT_STREAM }));
      const first = await send();
      const expected =
        passes === 'converted'
          ? comparable(first.body)
          : comparable(passes === 'as it is' ? whole : await upstreamBytes(false));
      expect(comparable(first.body)).toBe(expected);
      expect(first.headers['content-type']).toMatch(/^text\/event-stream/);
      for (const [largest, seed] of [
        [1, 1],
        [7, 2],
        [40, 3],
        [300, 4],
        [900, 5],
      ] as const) {
        const pieces = splitAtRandom(whole, largest, seed);
        upstream.next(stream(pieces, { headers: EVENT_STREAM }));
        const result = await send();
        expect([result.status, result.complete]).toEqual([200, true]);
        expect(comparable(result.body)).toBe(expected);
      }
      const row = await plane.rowOf(first);
      expect(row).toMatchObject({ stream: true, errorCode: '', usageSource: 'provider', attempts: 1 });
      expect(row.usage).toMatchObject({ input: 21, output: 17, cachedInput: 5 });
      expect(row.responseBytes).toBe(first.body.length);
      if (model === 'gpt') expect(row.costUsd).toBeCloseTo((21 + 2 * 17) / 1e6, 12);
    });

    test('the usage is there where the client wants it, and nowhere else', async () => {
      upstream.always(dialect.answer(ANSWER));
      const { text } = await send();
      const shown = includeUsage === true || model === 'shown' || format === 'messages';
      expect(text.includes(format === 'chat' ? '"usage"' : '"output_tokens":17')).toBe(shown);
      expect(text).toContain(format === 'chat' ? 'data: [DONE]\n\n' : 'event: message_stop\n');
    });

    test('each event goes on when it comes', async () => {
      const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
      const whole = (await upstreamBytes(true)).toString();
      const middle = whole.indexOf('from ');
      const cut = whole.indexOf('\n\n', middle) + 2;
      upstream.next(async ({ request: sent, respond }) => {
        await sent.received;
        respond.head(200, EVENT_STREAM);
        await respond.write(whole.slice(0, cut));
        await released;
        respond.end(whole.slice(cut));
      });
      const open = await plane.open(request(format, wanted));
      let seen = '';
      await new Promise<void>((resolve) => {
        open.response.on('data', (chunk: Buffer) => {
          seen += chunk.toString();
          if (seen.includes('from ')) resolve();
        });
      });
      // The upstream has not been let go on until here.
      release(undefined);
      const rest = await open.finish();
      expect(rest.complete).toBe(true);
      expect(await plane.rowOf(open.response)).toMatchObject({ errorCode: '', usageSource: 'provider' });
    });

    test.each(['reset', 'cut'] as const)(
      'an upstream that breaks off (%s) breaks the client’s stream',
      async (how) => {
        upstream.always(dialect.broken(ANSWER, { deltas: 3, how }));
        const result = await send();
        expect([result.status, result.complete]).toEqual([200, false]);
        expect(result.text).not.toMatch(/\[DONE\]|message_stop/);
        const row = await plane.rowOf(result);
        expect(row).toMatchObject({ errorCode: 'upstream_reset', status: 200, attempts: 1 });
        expect(row.usageSource).not.toBe('provider');
        expect(row.usage.input).toBeGreaterThan(0);
      },
    );

    test('an upstream that ends cleanly but too early', async () => {
      upstream.always(dialect.broken(ANSWER, { deltas: 3, how: 'early-end' }));
      const result = await send();
      expect(result.status).toBe(200);
      expect(result.text).not.toMatch(/\[DONE\]|message_stop/);
      // Where nobody reads the stream, nobody can tell; what is converted must not look whole.
      if (passes === 'converted') expect(result.complete).toBe(false);
      const row = await plane.rowOf(result);
      // Envoy takes the counts at the beginning of a Messages stream for the whole where it ends without more.
      const fooled = format === 'messages' && passes === 'as it is' && capabilities.nativeUsage;
      expect(row.usageSource === 'provider').toBe(fooled);
    });

    test('an error event in mid-stream', async () => {
      upstream.always(dialect.errorEvent(ANSWER, { deltas: 2 }));
      const result = await send();
      expect([result.status, result.complete]).toEqual([200, true]);
      expect(result.text).not.toMatch(/\[DONE\]|message_stop/);
      const events = result.text.trimEnd().split('\n\n');
      const data =
        events
          .at(-1)
          ?.split('\n')
          .find((line) => line.startsWith('data: '))
          ?.slice(6) ?? '';
      const last: unknown = JSON.parse(data);
      if (passes === 'converted') {
        expect(last).toMatchObject(
          format === 'chat'
            ? { error: { code: 'upstream_error', request_id: result.headers['x-request-id'] } }
            : { type: 'error', error: { details: { error_code: 'upstream_error' } } },
        );
      } else {
        expect(last).toMatchObject({ error: expect.any(Object) });
      }
      const row = await plane.rowOf(result);
      expect(row.usageSource).not.toBe('provider');
      if (passes !== 'as it is') expect(row.errorCode).toBe('upstream_error');
    });

    test('a client that leaves: the upstream is left at once, and one row is charged', async () => {
      upstream.always(dialect.endless('word after word ', { paceMs: 5 }));
      const open = await plane.open(request(format, wanted));
      let bytes = 0;
      await new Promise<void>((resolve) => {
        open.response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > 12_000) resolve();
        });
      });
      open.response.on('error', () => undefined);
      const leftAt = performance.now();
      open.leave();
      const closing = await upstream.only().closed;
      expect(closing.by).toBe('peer');
      // No timeout of anybody is as short.
      expect(closing.at - leftAt).toBeLessThan(5000);
      const row = await plane.rowOf(open.response);
      expect(row).toMatchObject({ errorCode: 'client_disconnected', attempts: 1, status: 200 });
      expect(row.usageSource).toBe(capabilities.nativeUsage ? mode.leftUsage : 'counted');
      expect(row.usage.input).toBeGreaterThan(0);
      expect(row.usage.output).toBeGreaterThan(20);
      await plane.idle();
      expect(plane.rows.filter(({ requestId }) => requestId === row.requestId)).toHaveLength(1);
    });

    test.each(['gzip', 'br', 'zstd'] as const)('a stream in %s that nobody asked for', async (encoding) => {
      const whole = await upstreamBytes(true);
      upstream.next(stream([whole], { headers: EVENT_STREAM }));
      const plain = await send();
      const compress = { gzip: gzipSync, br: brotliCompressSync, zstd: zstdCompressSync }[encoding];
      const bytes = compress(whole);
      const pieces = [bytes.subarray(0, 20), bytes.subarray(20)];
      upstream.next(stream(pieces, { headers: { ...EVENT_STREAM, 'content-encoding': encoding } }));
      const result = await send();
      expect(upstream.last().header('accept-encoding') ?? 'identity').toBe('identity');
      expect([result.status, result.complete]).toEqual([200, true]);
      // Envoy has no filter for the third: where no worker reads, it goes on as it came.
      const reads = encoding !== 'zstd' || passes !== 'as it is' || !capabilities.nativeUsage;
      expect(result.headers['content-encoding']).toBe(reads ? undefined : 'zstd');
      if (reads) expect(comparable(result.body)).toBe(comparable(plain.body));
      const row = await plane.rowOf(result);
      expect(row.usageSource).toBe(reads ? 'provider' : 'estimated');
      if (reads) expect(row.usage).toMatchObject({ input: 21, output: 17 });
    });

    test('a page instead of a stream', async () => {
      upstream.always(wrongContentType());
      const result = await send();
      if (passes !== 'as it is' || !capabilities.nativeUsage) {
        expect(result.status).toBe(502);
        expect(result.headers['content-type']).toBe('application/json');
        expect(result.text).toContain('"upstream_invalid_response"');
        expect(result.text).not.toContain('It works');
        expect(await plane.rowOf(result)).toMatchObject({ errorCode: 'upstream_invalid_response' });
      } else {
        expect([result.status, result.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
        expect(result.text).toContain('It works.');
        expect((await plane.rowOf(result)).usageSource).not.toBe('provider');
      }
    });
  });
});
