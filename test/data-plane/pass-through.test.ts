import { once } from 'node:events';
import { connect } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request, splitAtRandom } from '../support/data-plane/requests.ts';
import {
  anthropic,
  answer,
  openai,
  startUpstream,
  type ScriptedUpstream,
} from '../support/upstream/index.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

/** White space, escapes, numbers beyond a double, fields nobody knows, one of them twice. */
const ODD_CHAT =
  ' \r\n{ "model" :\t"fast" ,\n  "unknown":{"b":[1 , 2,{ }],"a":null} , "messages":[ {"role":"user","content":' +
  '"h\\u00e9 \\ud83d\\ude00 \\/ é😀"}], "seed":12345678901234567890123, "tiny":1.000100E-300,\n' +
  '"twice":1,"twice" : {"model":"fast"},"stream" : false }\n\n';
const ODD_MESSAGES = ODD_CHAT.replace('"seed"', '"max_tokens":64 , "metadata":{"user_id" : "u"},"seed"');
const ODD_ANSWER =
  '\n { "id":"x" ,"object" : "chat.completion","big": 98765432109876543210.50,"choices":[ ],"new":{"a":[ ]},' +
  '"usage":{"prompt_tokens": 5,"completion_tokens":6,"total_tokens":11}, "model":"gpt-\\u0072eal" } \r\n';

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('pass-through with %s', (_, capabilities) => {
  let plane: DataPlane;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    upstream = await startUpstream();
    plane = await startDataPlane({
      capabilities,
      providers: {
        open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${upstream.url}/deep/v1`, credential: 'sk-anth' },
      },
      models: {
        fast: { targets: [{ provider: 'open', model: 'gpt-real' }] },
        same: { targets: [{ provider: 'open' }] },
        claude: { targets: [{ provider: 'anth', model: 'claude-real' }] },
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
  afterEach(() => {
    expect(plane.faults).toEqual([]);
  });

  test('only the model name is edited; the answer is the upstream’s byte for byte', async () => {
    upstream.always(answer(200, JSON_TYPE, ODD_ANSWER));
    const result = await plane.call({ body: ODD_CHAT });
    expect(result.status).toBe(200);
    expect(result.text).toBe(ODD_ANSWER);
    expect(result.headers['content-type']).toBe('application/json');
    const sent = upstream.only();
    expect(sent.body.toString()).toBe(ODD_CHAT.replace('"fast"', '"gpt-real"'));
    expect(sent.path).toBe('/v1/chat/completions');
    expect(sent.headers('content-length')).toEqual([String(sent.body.length)]);
    expect(sent.header('transfer-encoding')).toBeUndefined();
    const row = await plane.rowOf(result);
    expect(row).toMatchObject({ usageSource: 'provider', usage: { input: 5, output: 6 }, attempts: 1 });
    expect(row).toMatchObject({
      provider: 'open',
      providerModel: 'gpt-real',
      responseBytes: ODD_ANSWER.length,
    });
  });

  test('nothing is edited where the provider knows the model by the client’s name', async () => {
    upstream.always(answer(200, JSON_TYPE, ODD_ANSWER));
    const body = ODD_CHAT.replace('"fast"', '"same"');
    await plane.call({ body });
    expect(upstream.only().body.toString()).toBe(body);
  });

  test('the Messages API passes likewise, its own headers with it, under the provider’s base path', async () => {
    upstream.always(anthropic.answer({ text: ['hello'] }));
    const headers = { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'a-2026,b-2026' };
    const body = ODD_MESSAGES.replace('"fast"', '"claude"');
    const result = await plane.call({ path: '/v1/messages?beta=true', body, headers });
    expect(result.status).toBe(200);
    const sent = upstream.only();
    expect(sent.path).toBe('/deep/v1/messages?beta=true');
    expect(sent.body.toString()).toBe(body.replace('"claude"', '"claude-real"'));
    expect(sent.header('anthropic-version')).toBe('2023-06-01');
    expect(sent.header('anthropic-beta')).toBe('a-2026,b-2026');
    expect(await plane.rowOf(result)).toMatchObject({ format: 'messages', usageSource: 'provider' });
  });

  test('a stream whose usage the client asked for passes without an edit', async () => {
    upstream.always(openai.answer({ text: ['he', 'llo'] }));
    const { path, body } = request('chat', { model: 'same', stream: true, includeUsage: true });
    const result = await plane.call({ path, body });
    expect(upstream.only().body.toString()).toBe(body);
    expect(result.text).toContain('"usage":null');
    expect(result.text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('of a stream without, only stream_options is added', async () => {
    upstream.always(openai.answer({ text: ['he', 'llo'] }));
    const body = ODD_CHAT.replace('"stream" : false', '"stream" : true').replace('"fast"', '"same"');
    const result = await plane.call({ body });
    const sent = upstream.only().body.toString();
    expect(upstream.only().json()).toMatchObject({ stream_options: { include_usage: true } });
    expect(sent.replace(/\s*,\s*"stream_options"\s*:\s*\{"include_usage":true\}/, '')).toBe(body);
    expect(result.text).not.toContain('usage');
  });

  test('the query goes along as it is, but for the key', async () => {
    upstream.always(openai.answer({ text: ['x'] }));
    const { body } = request('chat', { model: 'fast' });
    const query = `a=1%20b+c&key=${CLIENT_KEY}&empty=&flag&z=%C3%A9`;
    const result = await plane.call({ path: `/v1/chat/completions?${query}`, body });
    expect(result.status).toBe(200);
    expect(upstream.only().path).toBe('/v1/chat/completions?a=1%20b+c&empty=&flag&z=%C3%A9');
  });

  test('two members of a name that decides are refused and nothing is sent', async () => {
    const body = '{"model":"fast","messages":[],"model":"same"}';
    const result = await plane.call({ body });
    expect(result.status).toBe(400);
    expect(result.json()).toMatchObject({ error: { code: 'invalid_request' } });
    expect(upstream.requests).toEqual([]);
  });

  test('expect: 100-continue is answered and does not go upstream', async () => {
    upstream.always(openai.answer({ text: ['x'] }));
    const { body } = request('chat', { model: 'fast' });
    const result = await plane.call({ body, headers: { expect: '100-continue' } });
    expect(result.status).toBe(200);
    expect(upstream.only().header('expect')).toBeUndefined();
  });

  describe('uploads', () => {
    const large = ODD_CHAT.replace('é😀', 'é😀'.repeat(5000));
    const expected = large.replace('"fast"', '"gpt-real"');

    async function expectArrived(): Promise<void> {
      const sent = upstream.only();
      expect(sent.complete).toBe(true);
      expect(sent.body.toString()).toBe(expected);
      expect(sent.headers('content-length')).toEqual([String(sent.body.length)]);
      expect(sent.header('transfer-encoding')).toBeUndefined();
      expect(sent.header('trailer')).toBeUndefined();
      await plane.idle();
    }

    beforeEach(() => upstream.always(answer(200, JSON_TYPE, ODD_ANSWER)));

    test('chunked, in pieces of any size', async () => {
      const pieces = splitAtRandom(Buffer.from(large), 9000, 7);
      expect((await plane.call({ body: pieces })).text).toBe(ODD_ANSWER);
      await expectArrived();
    });

    test('byte by byte', async () => {
      const small = ODD_CHAT;
      const pieces = Array.from(Buffer.from(small), (byte) => Buffer.from([byte]));
      expect((await plane.call({ body: pieces })).text).toBe(ODD_ANSWER);
      expect(upstream.only().body.toString()).toBe(small.replace('"fast"', '"gpt-real"'));
    });

    test('slowly', async () => {
      async function* slowly(): AsyncGenerator<Buffer> {
        for (const piece of splitAtRandom(Buffer.from(large), 30_000, 3)) {
          await sleep(60);
          yield piece;
        }
      }
      expect((await plane.call({ body: slowly() })).text).toBe(ODD_ANSWER);
      await expectArrived();
    });

    test('with trailers, which do not go upstream', async () => {
      const pieces = splitAtRandom(Buffer.from(large), 9000, 11);
      const result = await plane.call({ body: pieces, trailers: { 'x-checksum': 'abc', 'x-limen-x': '1' } });
      expect(result.text).toBe(ODD_ANSWER);
      await expectArrived();
      upstream.expectNotSent('abc');
    });

    test.each([
      ['with a length', { 'content-length': String(Buffer.byteLength(large)) }],
      ['without a length', {}],
    ])('over HTTP/2 %s', async (_length, headers) => {
      const session = connect(plane.url);
      const stream = session.request({
        ':method': 'POST',
        ':path': '/v1/chat/completions',
        authorization: `Bearer ${CLIENT_KEY}`,
        ...headers,
      });
      for (const piece of splitAtRandom(Buffer.from(large), 20_000, 5)) stream.write(piece);
      stream.end();
      const [head] = await once(stream, 'response');
      expect(head).toMatchObject({ ':status': 200, 'x-request-id': expect.any(String) });
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(Buffer.from(chunk));
      expect(Buffer.concat(chunks).toString()).toBe(ODD_ANSWER);
      session.close();
      await expectArrived();
    });

    test('over HTTP/2 with trailers, which do not go upstream, through a retry', async () => {
      upstream.next(openai.error(500));
      const session = connect(plane.url);
      const stream = session.request(
        { ':method': 'POST', ':path': '/v1/chat/completions', 'x-api-key': CLIENT_KEY },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc' }));
      stream.end(large);
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(Buffer.from(chunk));
      expect(Buffer.concat(chunks).toString()).toBe(ODD_ANSWER);
      session.close();
      expect(upstream.requests.map(({ body }) => body.toString())).toEqual([expected, expected]);
      expect(upstream.requests.map((sent) => sent.headers('content-length'))).toEqual([
        [String(Buffer.byteLength(expected))],
        [String(Buffer.byteLength(expected))],
      ]);
      upstream.expectNotSent('abc');
      await plane.idle();
    });

    test('what follows on an upstream connection is the next request', async () => {
      // A body that went out twice would be read as the beginning of the next request.
      for (let index = 0; index < 5; index += 1) {
        const session = connect(plane.url);
        const stream = session.request(
          { ':method': 'POST', ':path': '/v1/chat/completions', 'x-api-key': CLIENT_KEY },
          { waitForTrailers: true },
        );
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc' }));
        stream.end(ODD_CHAT);
        const [head] = await once(stream, 'response');
        expect(head).toMatchObject({ ':status': 200 });
        stream.resume();
        await once(stream, 'close');
        session.close();
      }
      expect(upstream.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(
        Array.from({ length: 5 }, () => 'POST /v1/chat/completions'),
      );
    });

    test('many requests at once on one HTTP/2 connection', async () => {
      const session = connect(plane.url);
      const one = async (): Promise<string> => {
        const stream = session.request({
          ':method': 'POST',
          ':path': '/v1/chat/completions',
          'x-api-key': CLIENT_KEY,
        });
        stream.end(large);
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(Buffer.from(chunk));
        return Buffer.concat(chunks).toString();
      };
      const texts = await Promise.all(Array.from({ length: 20 }, one));
      expect(new Set(texts)).toEqual(new Set([ODD_ANSWER]));
      expect(upstream.requests.map(({ body }) => body.toString() === expected)).not.toContain(false);
      session.close();
      await plane.idle();
    });
  });
});
