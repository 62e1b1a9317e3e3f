import { connect as connectTcp } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import type { ClientAnswer } from '../support/data-plane/client.ts';
import { PATHS, request } from '../support/data-plane/requests.ts';
import { eventually } from '../support/running-envoy.ts';
import {
  anthropic,
  openai,
  refusedUrl,
  resetBeforeHeaders,
  silent,
  startUpstream,
  type ScriptedUpstream,
} from '../support/upstream/index.ts';

const FORMATS = ['chat', 'messages'] as const;
const LIMIT = 65_536;

/** An answer of the gateway itself: in the client's shape, with the code and the id that the header tells too. */
function expectError(answer: ClientAnswer, format: ClientFormatName, status: number, code: ErrorCode): void {
  expect([answer.status, answer.text]).toEqual([status, expect.stringContaining(`"${code}"`)]);
  expect(answer.complete).toBe(true);
  expect(answer.headers['content-type']).toBe('application/json');
  const requestId = answer.headers['x-request-id'];
  expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
  expect(answer.json()).toEqual(
    format === 'chat'
      ? {
          error: {
            message: expect.stringMatching(/^[A-Z].*[.?]$/),
            type: expect.any(String),
            param: answer.text.includes('"param":null') ? null : expect.any(String),
            code,
            request_id: requestId,
          },
        }
      : {
          type: 'error',
          error: {
            type: expect.any(String),
            message: expect.stringMatching(/^[A-Z].*[.?]$/),
            details: { error_code: code },
          },
          request_id: requestId,
        },
  );
  expect(answer.text).not.toMatch(/%|\{request-id\}|upstream connect error/);
}

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('answers of the gateway itself, with %s', (_, capabilities) => {
  let plane: DataPlane;
  let open: ScriptedUpstream;
  let anth: ScriptedUpstream;
  const gateway = {
    limits: { requestBody: LIMIT },
    retries: { attempts: 1 },
    timeouts: { uploadIdleSeconds: 2 },
  };

  beforeAll(async () => {
    [open, anth] = await Promise.all([startUpstream(), startUpstream()]);
    const nobody = await refusedUrl();
    plane = await startDataPlane({
      capabilities,
      gateway,
      providers: {
        open: { type: 'openai', baseUrl: `${open.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${anth.url}/v1`, credential: 'sk-anth' },
        gone: { type: 'openai', baseUrl: `${nobody}/v1`, credential: 'sk-gone' },
      },
      models: {
        fast: { targets: [{ provider: 'open' }] },
        claude: { targets: [{ provider: 'anth' }] },
        // For a provider that is silent: what is answered may take a busy machine longer.
        'fast-hurried': { targets: [{ provider: 'open' }], perTryTimeoutSeconds: 0.4 },
        'claude-hurried': { targets: [{ provider: 'anth' }], perTryTimeoutSeconds: 0.4 },
        gone: { targets: [{ provider: 'gone' }] },
      },
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([open.close(), anth.close()]);
  });
  beforeEach(() => {
    for (const upstream of [open, anth]) upstream.reset();
    plane.forget();
  });

  describe.each(FORMATS)('%s', (format) => {
    const path = PATHS[format];

    test('404 for a path that is not there', async () => {
      const answer = await plane.call({
        path: format === 'chat' ? '/v1/nothing' : `${path}/nothing`,
        body: '{}',
      });
      expectError(answer, format, 404, 'not_found');
    });

    test('404 for a model that is not there, with the nearest name', async () => {
      const answer = await plane.call(request(format, { model: 'fasd' }));
      expectError(answer, format, 404, 'model_not_found');
      expect(answer.text).toContain('fast');
    });

    test('400 for a body that is no JSON; 405 for another method', async () => {
      expectError(await plane.call({ path, body: '{"model":' }), format, 400, 'bad_json');
      const get = await plane.call({ path, method: 'GET', headers: { 'anthropic-version': '2023-06-01' } });
      expect(get.status).toBe(405);
      expect(get.text).toContain('"invalid_request"');
    });

    test('413, declared and chunked, before the provider is asked', async () => {
      const body = request(format, { model: 'fast', content: 'x'.repeat(LIMIT) }).body;
      expectError(await plane.call({ path, body }), format, 413, 'request_too_large');
      expectError(await plane.call({ path, body: [body] }), format, 413, 'request_too_large');
      expect(open.requests).toEqual([]);
      expect(plane.intents).toEqual([]);
      await plane.idle();
    });

    test('408 for a client that stops in mid-request', async () => {
      async function* stops(): AsyncGenerator<string> {
        yield '{"model":';
        await eventually(() => (done ? true : undefined), 30_000);
      }
      let done = false;
      const answer = await plane.call({ path, body: stops() });
      done = true;
      expectError(answer, format, 408, 'request_timeout');
      await plane.idle();
    });

    describe.each(['fast', 'claude'])('from the provider of %s', (model) => {
      const upstream = (): ScriptedUpstream => (model === 'fast' ? open : anth);

      test('504 when no headers come', async () => {
        upstream().always(silent());
        const answer = await plane.call(request(format, { model: `${model}-hurried` }));
        expectError(answer, format, 504, 'upstream_timeout');
        expect((await upstream().only().closed).by).toBe('peer');
        expect(await plane.rowOf(answer)).toMatchObject({
          status: 504,
          errorCode: 'upstream_timeout',
          usageSource: 'none',
          attempts: 1,
        });
      });

      test('502 when the connection is reset', async () => {
        upstream().always(resetBeforeHeaders());
        const answer = await plane.call(request(format, { model }));
        expectError(answer, format, 502, 'upstream_reset');
        expect(await plane.rowOf(answer)).toMatchObject({ status: 502, usageSource: 'none', attempts: 1 });
      });
    });

    test('503 when the connection is refused', async () => {
      const answer = await plane.call(request(format, { model: 'gone' }));
      expectError(answer, format, 503, 'upstream_unavailable');
      const row = await plane.rowOf(answer);
      expect(row).toMatchObject({ errorCode: 'upstream_unavailable', usageSource: 'none' });
    });
  });

  test('431 for headers beyond all bounds', async () => {
    const answer = await plane.call({ body: '{}', headers: { 'x-big': 'a'.repeat(70_000) } });
    expect(answer.status).toBe(431);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.json()).toMatchObject({ error: { code: 'headers_too_large' } });
    expect(open.requests).toEqual([]);
  });

  test('400 for what is no HTTP, and the gateway goes on', async () => {
    const socket = connectTcp(plane.port, '127.0.0.1');
    socket.write(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
    );
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'close');
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1.1 400 /);
    open.always(openai.answer({ text: ['fine'] }));
    expect((await plane.call(request('chat', { model: 'fast' }))).status).toBe(200);
  });

  test('the whole time of an answer in one piece is limited, that of a stream is not', async () => {
    const timeouts = { requestSeconds: 0.3, perTrySeconds: 5 };
    await plane.publish({ gateway: { ...gateway, timeouts } });
    for (const format of FORMATS) {
      for (const [model, upstream, dialect] of [
        ['fast', open, openai],
        ['claude', anth, anthropic],
      ] as const) {
        upstream.reset();
        upstream.always(silent());
        const answer = await plane.call(request(format, { model }));
        expectError(answer, format, 504, 'upstream_timeout');
        expect(await plane.rowOf(answer)).toMatchObject({ status: 504, errorCode: 'upstream_timeout' });
        upstream.always(dialect.answer({ text: Array.from({ length: 6 }, () => 'x') }, { paceMs: 60 }));
        const stream = await plane.call(request(format, { model, stream: true }));
        expect([stream.status, stream.complete]).toEqual([200, true]);
      }
    }
    await plane.publish({ gateway });
  });

  test('503 when no worker is there, with the request id', async () => {
    await Promise.all(plane.workers.map(async (worker) => await worker.stop()));
    for (const format of FORMATS) {
      const answer = await eventually(async () => {
        const one = await plane.call(request(format, { model: 'fast' }));
        return one.status === 503 ? one : undefined;
      });
      expectError(answer, format, 503, 'unavailable');
    }
    expect(open.requests).toEqual([]);
    expect((await plane.call({ path: '/health/live', method: 'GET' })).status).toBe(200);
    expect((await plane.call({ path: '/v1/nothing', body: '{}' })).status).toBe(404);
  });
});

test('503 while workers have no snapshot yet', async () => {
  const plane = await startDataPlane({ withoutSnapshot: true, providers: {}, models: {} });
  for (const format of FORMATS) {
    const answer = await plane.call(request(format, { model: 'fast' }));
    expectError(answer, format, 503, 'unavailable');
    expect(answer.text).not.toContain(CLIENT_KEY);
  }
  await plane.stop();
});
