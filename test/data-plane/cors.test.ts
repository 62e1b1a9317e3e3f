import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import type { ClientAnswer } from '../support/data-plane/client.ts';
import { PATHS, request } from '../support/data-plane/requests.ts';
import {
  anthropic,
  answer,
  openai,
  type ScriptedUpstream,
  startUpstream,
} from '../support/upstream/index.ts';

const ALLOWED = 'https://chat.example.com';
const OTHERS = [
  'https://evil.example.com',
  'https://chat.example.com.evil.test',
  'http://chat.example.com',
  'https://chat.example.com:8443',
  'https://xchat.example.com',
  'null',
];
/** What a provider says of itself must not open its answers to a browser. */
const LAX = {
  'access-control-allow-origin': '*',
  'access-control-allow-credentials': 'true',
  'access-control-expose-headers': 'x-provider',
};

function corsHeaders({ headers }: ClientAnswer): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-')));
}

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('CORS, with %s', (_, capabilities) => {
  let plane: DataPlane;
  let open: ScriptedUpstream;
  let anth: ScriptedUpstream;

  beforeAll(async () => {
    [open, anth] = await Promise.all([startUpstream(), startUpstream()]);
    plane = await startDataPlane({
      capabilities,
      gateway: { cors: { allowOrigins: [ALLOWED, 'http://localhost:5173'] } },
      providers: {
        open: { type: 'openai', baseUrl: `${open.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${anth.url}/v1`, credential: 'sk-anth' },
      },
      models: { fast: { targets: [{ provider: 'open' }] }, claude: { targets: [{ provider: 'anth' }] } },
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

  /** As a browser asks before the official client's request: without a key. */
  async function preflight(origin: string, path: string = PATHS.chat): Promise<ClientAnswer> {
    return await plane.call({
      method: 'OPTIONS',
      path,
      key: undefined,
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, content-type, x-stainless-os',
      },
    });
  }

  test.each([ALLOWED, 'http://localhost:5173'])(
    'the preflight of %s is answered without a key',
    async (origin) => {
      for (const path of [PATHS.chat, PATHS.messages, '/v1/models']) {
        const allowed = await preflight(origin, path);
        expect(allowed.status).toBe(200);
        expect(corsHeaders(allowed)).toEqual({
          'access-control-allow-origin': origin,
          'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, OPTIONS',
          'access-control-allow-headers': 'authorization, *',
          'access-control-expose-headers': '*',
          'access-control-max-age': '600',
        });
      }
      expect(plane.answers).toEqual([]);
    },
  );

  test.each(OTHERS)('the preflight of %s gets nothing', async (origin) => {
    const refused = await preflight(origin);
    expect(refused.status).toBeGreaterThanOrEqual(400);
    expect(corsHeaders(refused)).toEqual({});
  });

  test.each([
    ['fast', false],
    ['fast', true],
    ['claude', false],
    ['claude', true],
  ])('an answer of %s, streamed: %s, may be read by the allowed origin alone', async (model, stream) => {
    open.always(openai.answer({ text: ['fine'] }));
    anth.always(anthropic.answer({ text: ['fine'] }));
    for (const [origin, allowed] of [
      [ALLOWED, true],
      ...OTHERS.map((one) => [one, false] as const),
    ] as const) {
      const one = await plane.call({ ...request('chat', { model, stream }), headers: { origin } });
      expect([one.status, one.text]).toEqual([200, expect.stringContaining('fine')]);
      expect(corsHeaders(one)).toEqual(
        allowed ? { 'access-control-allow-origin': origin, 'access-control-expose-headers': '*' } : {},
      );
    }
    const without = await plane.call(request('chat', { model, stream }));
    expect(corsHeaders(without)).toEqual({});
  });

  test.each(['fast', 'claude'])("a provider's own CORS headers do not pass (%s)", async (model) => {
    const body = JSON.stringify({
      id: 'c',
      object: 'chat.completion',
      created: 1,
      model: 'm',
      choices: [{ index: 0, message: { role: 'assistant', content: 'fine' }, finish_reason: 'stop' }],
    });
    const message = JSON.stringify({
      id: 'm',
      type: 'message',
      role: 'assistant',
      model: 'm',
      content: [{ type: 'text', text: 'fine' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 1, output_tokens: 1 },
    });
    const json = { 'content-type': 'application/json', ...LAX };
    open.always(answer(200, json, body));
    anth.always(answer(200, json, message));
    const other = await plane.call({ ...request('chat', { model }), headers: { origin: OTHERS[0] ?? '' } });
    expect([other.status, corsHeaders(other)]).toEqual([200, {}]);
    const own = await plane.call({ ...request('chat', { model }), headers: { origin: ALLOWED } });
    expect([own.status, corsHeaders(own)]).toEqual([
      200,
      { 'access-control-allow-origin': ALLOWED, 'access-control-expose-headers': '*' },
    ]);
  });

  test('errors, of workers and of Envoy, may be read by the allowed origin too', async () => {
    open.always(openai.error(400));
    const calls = [
      [401, { ...request('chat', { model: 'fast' }), key: undefined }],
      [404, request('chat', { model: 'nothing' })],
      [404, { path: '/v1/nothing', body: '{}' }],
      [400, request('chat', { model: 'fast' })],
    ] as const;
    for (const [status, options] of calls) {
      const allowed = await plane.call({ ...options, headers: { origin: ALLOWED } });
      expect([allowed.status, corsHeaders(allowed)['access-control-allow-origin']]).toEqual([
        status,
        ALLOWED,
      ]);
      const refused = await plane.call({ ...options, headers: { origin: OTHERS[0] ?? '' } });
      expect([refused.status, corsHeaders(refused)]).toEqual([status, {}]);
    }
  });

  test('with *, every origin; with none, no origin', async () => {
    open.always(openai.answer({ text: ['fine'] }));
    const origins = [ALLOWED, ...OTHERS];
    await plane.publish({ gateway: { cors: { allowOrigins: ['*'] } } });
    for (const origin of origins) {
      const allowed = await preflight(origin);
      expect([allowed.status, corsHeaders(allowed)['access-control-allow-origin']]).toEqual([200, origin]);
      const answered = await plane.call({ ...request('chat', { model: 'fast' }), headers: { origin } });
      expect(corsHeaders(answered)['access-control-allow-origin']).toBe(origin);
      // Nobody's cookies: with them, any page could act for whoever reads it.
      expect(answered.headers['access-control-allow-credentials']).toBeUndefined();
    }
    await plane.publish({ gateway: {} });
    for (const origin of origins) {
      expect(corsHeaders(await preflight(origin))).toEqual({});
      const answered = await plane.call({ ...request('chat', { model: 'fast' }), headers: { origin } });
      expect([answered.status, corsHeaders(answered)]).toEqual([200, {}]);
    }
  });
});
