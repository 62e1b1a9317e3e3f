import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { PATHS, request } from '../support/data-plane/requests.ts';
import {
  anthropic,
  answer,
  delayed,
  openai,
  startUpstream,
  type ScriptedUpstream,
} from '../support/upstream/index.ts';

const OTHER_KEY = 'tw-another-key-0123456789abcdef';
const CREDENTIALS = { open: 'sk-open-secret', anth: 'sk-ant-secret', other: 'sk-other-secret' };
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** What only a proxy in front, Envoy itself or Limen may say. */
const FORGED: Readonly<Record<string, string>> = {
  'x-limen-cluster': 'provider/other',
  'X-Limen-Route': 'native/chat/whole',
  'x-limen-leg': 'upstream',
  x_limen_cluster: 'provider/other',
  'x-envoy-max-retries': '5',
  'x-envoy-retry-on': '5xx,retriable-4xx,retriable-status-codes',
  'x-envoy-retriable-status-codes': '418',
  'x-envoy-retriable-header-names': 'x-forged',
  'x-envoy-retry-grpc-on': 'cancelled',
  'x-envoy-upstream-rq-timeout-ms': '1',
  'x-envoy-upstream-rq-per-try-timeout-ms': '1',
  'x-envoy-upstream-stream-duration-ms': '1',
  'x-envoy-upstream-rq-timeout-alt-response': '1',
  'x-envoy-expected-rq-timeout-ms': '1',
  'x-envoy-hedge-on-per-try-timeout': 'true',
  'x-envoy-force-trace': 'true',
  'x-envoy-original-path': '/forged',
  'x-envoy-original-host': 'forged.example',
  'x-envoy-original-dst-host': '127.0.0.1:1',
  'x-envoy-internal': 'true',
  'x-envoy-external-address': '10.0.0.9',
  'x-envoy-decorator-operation': 'forged',
  'x-envoy-upstream-alt-stat-name': 'forged',
  'x-envoy-ip-tags': 'forged',
  'x-envoy-attempt-count': '9',
  'x-envoy-peer-metadata': 'forged',
  'x-forwarded-for': '10.1.2.3',
  'x-forwarded-proto': 'https',
  'x-forwarded-host': 'forged.example',
  'x-forwarded-client-cert': 'By=forged',
  'x-request-id': 'forged-request-id',
  cookie: 'session=forged-session',
};

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('trust with %s', (_, capabilities) => {
  let plane: DataPlane;
  let upstream: ScriptedUpstream;
  let anth: ScriptedUpstream;
  let other: ScriptedUpstream;

  beforeAll(async () => {
    [upstream, anth, other] = await Promise.all([startUpstream(), startUpstream(), startUpstream()]);
    plane = await startDataPlane({
      capabilities,
      gateway: { retries: { attempts: 1 } },
      providers: {
        open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: CREDENTIALS.open },
        anth: { type: 'anthropic', baseUrl: `${anth.url}/v1`, credential: CREDENTIALS.anth },
        other: { type: 'openai', baseUrl: `${other.url}/v1`, credential: CREDENTIALS.other },
        bare: { type: 'openai-compatible', baseUrl: `${other.url}/v1` },
      },
      models: {
        fast: { targets: [{ provider: 'open', model: 'gpt-real' }] },
        claude: { targets: [{ provider: 'anth', model: 'claude-real' }] },
        bare: { targets: [{ provider: 'bare' }] },
      },
      keys: [
        { key: CLIENT_KEY, id: 'key-1', user: 'ann' },
        { key: OTHER_KEY, id: 'key-2', user: 'ben', models: ['claude'] },
      ],
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([upstream.close(), anth.close(), other.close()]);
  });
  beforeEach(() => {
    for (const one of [upstream, anth, other]) one.reset();
    plane.forget();
  });
  afterEach(() => {
    expect(plane.faults).toEqual([]);
  });

  const KINDS = [
    ['in its own format', 'fast', 'chat'],
    ['converted', 'claude', 'chat'],
    ['of the Messages API', 'claude', 'messages'],
    ['of the Messages API, converted', 'fast', 'messages'],
  ] as const;

  describe.each(KINDS)('a request %s', (_kind, model, format) => {
    const target = (): ScriptedUpstream => (model === 'fast' ? upstream : anth);
    const dialect = model === 'fast' ? openai : anthropic;

    // Without x-forwarded-for a client of this machine, or of a private network, looks to Envoy like one of its own.
    test.each([
      ['', FORGED],
      [
        ' without addresses',
        Object.fromEntries(Object.entries(FORGED).filter(([name]) => name !== 'x-forwarded-for')),
      ],
    ])('forged headers%s have no effect, and reach nobody', async (_headers, headers) => {
      // Later than the forged timeouts of a millisecond.
      target().always(delayed(40, dialect.answer({ text: ['fine'] })));
      const result = await plane.call({ ...request(format, { model }), headers });
      expect(result.status).toBe(200);
      const sent = target().only();
      for (const [name, value] of sent.rawHeaders) {
        expect(name.toLowerCase()).not.toMatch(
          /^(x-limen-|x-envoy-|x-forwarded-|x-request-id|cookie|x_limen)/,
        );
        expect(value).not.toMatch(/forged/);
      }
      expect(other.requests).toEqual([]);
      expect(result.headers['x-request-id']).toMatch(UUID);
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ attempts: 1, status: 200, provider: model === 'fast' ? 'open' : 'anth' });
    });

    test('forged control headers cause no retry and no other status', async () => {
      target().always(answer(418, { 'content-type': 'application/json', 'x-forged': '1' }, '{}'));
      const result = await plane.call({ ...request(format, { model }), headers: FORGED });
      expect(result.status).toBe(418);
      expect(target().requests).toHaveLength(1);
    });

    test('internal headers and cookies of the provider reach no client', async () => {
      target().always(async (exchange) => {
        await exchange.request.received;
        const json = { 'content-type': 'application/json' };
        const body =
          model === 'fast'
            ? '{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
            : '{"id":"x","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}';
        const leaks = {
          'x-limen-cluster': 'provider/open',
          'x-envoy-upstream-service-time': '12',
          'x-envoy-ratelimited': 'true',
          'x-request-id': 'req_of_the_provider',
          'set-cookie': '__cf_bm=abc; path=/',
        };
        await answer(200, { ...json, ...leaks }, body)(exchange);
      });
      const result = await plane.call(request(format, { model }));
      expect(result.status).toBe(200);
      for (const [name, value] of Object.entries(result.headers)) {
        expect(name).not.toMatch(/^(x-limen-|x-envoy-|set-cookie)/);
        expect(String(value)).not.toContain('req_of_the_provider');
      }
      expect(result.headers['x-request-id']).toBe((await plane.rowOf(result)).requestId);
    });

    const places: readonly (readonly [string, { path?: string; headers?: Record<string, string> }])[] = [
      ['authorization', { headers: { authorization: `Bearer ${CLIENT_KEY}` } }],
      ['x-api-key', { headers: { 'x-api-key': CLIENT_KEY } }],
      ['x-goog-api-key', { headers: { 'x-goog-api-key': CLIENT_KEY } }],
      ['api-key', { headers: { 'api-key': CLIENT_KEY } }],
      ['?key=', { path: `${PATHS[format]}?a=1&key=${CLIENT_KEY}` }],
      [
        'all of them at once',
        {
          path: `${PATHS[format]}?key=${CLIENT_KEY}`,
          headers: {
            authorization: `bearer ${CLIENT_KEY}`,
            'x-api-key': CLIENT_KEY,
            'x-goog-api-key': CLIENT_KEY,
            'api-key': CLIENT_KEY,
          },
        },
      ],
    ];

    test.each(places)(
      'a credential in %s is taken, goes no further and is nowhere logged',
      async (_place, how) => {
        target().always(dialect.answer({ text: ['fine'] }));
        const result = await plane.call({ ...request(format, { model }), key: undefined, ...how });
        expect(result.status).toBe(200);
        target().expectNotSent(CLIENT_KEY);
        target().expectCredential(...dialect.credential(CREDENTIALS[model === 'fast' ? 'open' : 'anth']));
        const row = await plane.rowOf(result);
        expect(row).toMatchObject({ keyId: 'key-1', user: 'ann' });
        for (const seen of [
          plane.rawAccessLog.toString('latin1'),
          JSON.stringify([plane.rows, plane.accessLog, plane.intents]),
          result.text + JSON.stringify(result.rawHeaders),
        ]) {
          expect(seen).not.toContain(CLIENT_KEY);
          for (const secret of Object.values(CREDENTIALS)) expect(seen).not.toContain(secret);
        }
      },
    );
  });

  test('two different credentials are refused and nothing is sent', async () => {
    const { path, body } = request('chat', { model: 'fast' });
    const headers = { 'x-api-key': OTHER_KEY };
    const both = await plane.call({ path, body, headers });
    expect(both.status).toBe(400);
    expect(both.json()).toMatchObject({ error: { code: 'conflicting_credentials' } });
    const inQuery = await plane.call({ path: `${path}?key=${OTHER_KEY}`, body });
    expect(inQuery.status).toBe(400);
    const twice = await plane.call({
      path,
      body,
      key: undefined,
      headers: { 'x-api-key': [CLIENT_KEY, OTHER_KEY] },
    });
    expect([400, 401]).toContain(twice.status);
    for (const { text, rawHeaders } of [both, inQuery, twice]) {
      expect(text + JSON.stringify(rawHeaders)).not.toContain(CLIENT_KEY);
      expect(text + JSON.stringify(rawHeaders)).not.toContain(OTHER_KEY);
    }
    expect(upstream.requests).toEqual([]);
  });

  test.each([
    ['no key', undefined, 401, 'missing_api_key'],
    ['a wrong key', 'tw-wrong', 401, 'invalid_api_key'],
    ['a key without the model', OTHER_KEY, 403, 'model_not_allowed'],
  ] as const)('%s: nothing is sent', async (_name, key, status, code) => {
    for (const format of ['chat', 'messages'] as const) {
      const result = await plane.call({ ...request(format, { model: 'fast' }), key });
      expect(result.status).toBe(status);
      expect(result.text).toContain(`"${code}"`);
      expect(result.headers['x-request-id']).toMatch(UUID);
      expect(result.text).toContain(String(result.headers['x-request-id']));
      if (status === 401) expect(result.headers['www-authenticate']).toMatch(/^Bearer resource_metadata=/);
    }
    expect(upstream.requests).toEqual([]);
    expect(plane.intents).toEqual([]);
  });

  test('a provider without a credential is sent none', async () => {
    other.always(openai.answer({ text: ['fine'] }));
    const result = await plane.call(request('chat', { model: 'bare' }));
    expect(result.status).toBe(200);
    expect(other.only().rawHeaders.map(([name]) => name)).not.toContain('authorization');
    other.expectNotSent(CLIENT_KEY, ...Object.values(CREDENTIALS));
  });

  test('no credential is in what Envoy shows of its configuration', async () => {
    const dump = await plane.configDump();
    expect(dump).toContain('provider/open/credential');
    for (const secret of [...Object.values(CREDENTIALS), CLIENT_KEY]) {
      expect(dump).not.toContain(secret);
      expect(dump).not.toContain(Buffer.from(secret).toString('base64'));
    }
  });

  test.each([
    '//v1//chat/completions',
    '/x/../v1/chat/completions',
    '/v1/./chat/completions',
    '/v1/messages/../chat/completions',
  ])('the path %s is normalised before anything looks at it', async (path) => {
    upstream.always(openai.answer({ text: ['fine'] }));
    const { body } = request('chat', { model: 'fast' });
    const result = await plane.call({ path, body });
    expect(result.status).toBe(200);
    expect(upstream.only().path).toBe('/v1/chat/completions');
  });

  test.each([
    ['/v1/chat%2fcompletions', 400],
    ['/v1/chat%5Ccompletions', 400],
    ['/v1/chat/completions%2F..%2Fmodels', 400],
    ['/v1/chat/completions/', 404],
    ['/v1/chat/completions/../../../../etc/passwd', 404],
    ['/V1/chat/completions', 404],
    ['/v1/files', 404],
    ['/', 404],
  ])('the path %s is refused', async (path, status) => {
    const { body } = request('chat', { model: 'fast' });
    const result = await plane.call({ path, body });
    expect(result.status).toBe(status);
    expect(result.headers['content-type']).toBe('application/json');
    const code = status === 404 ? 'not_found' : 'invalid_request';
    expect(result.json()).toMatchObject({ error: { code, request_id: expect.any(String) } });
    expect(upstream.requests).toEqual([]);
  });

  test('nobody chooses the id of a row, not even from an internal address', async () => {
    const gateway = { retries: { attempts: 1 } };
    await plane.publish({ gateway: { ...gateway, trust: { hops: 0, internalRanges: ['127.0.0.0/8'] } } });
    try {
      upstream.always(openai.answer({ text: ['fine'] }));
      const headers = { 'x-request-id': 'forged-request-id' };
      const result = await plane.call({ ...request('chat', { model: 'fast' }), headers });
      expect(result.headers['x-request-id']).toMatch(UUID);
      expect((await plane.rowOf(result)).requestId).toBe(result.headers['x-request-id']);
    } finally {
      await plane.publish({ gateway });
    }
  });
});
