import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { call } from '../support/data-plane/client.ts';
import { request } from '../support/data-plane/requests.ts';
import { expectSigned } from '../support/upstream/sigv4.ts';
import {
  anthropic,
  answer,
  bedrock,
  delayed,
  gemini,
  openai,
  openaiResponses,
  type ScriptedUpstream,
  startUpstream,
} from '../support/upstream/index.ts';

const ACCESS_KEY = {
  accessKeyId: 'AKIDLIMENTEST',
  secretAccessKey: 'secret-of-the-access-key',
  sessionToken: 'token-of-the-session',
};
const USAGE = { input: 21, output: 17, cachedInput: 5, reasoning: 4 };
const MANY = 60;

describe('providers', () => {
  let plane: DataPlane;
  let one: ScriptedUpstream;
  let other: ScriptedUpstream;

  beforeAll(async () => {
    [one, other] = await Promise.all([startUpstream(), startUpstream()]);
    plane = await startDataPlane({
      gateway: { retries: { attempts: 3, maxRetryAfterSeconds: 2 } },
      providers: {
        open: { type: 'openai', baseUrl: `${one.url}/v1`, credential: 'sk-open' },
        'open-other': { type: 'openai', baseUrl: `${other.url}/v1`, credential: 'sk-other' },
        anth: { type: 'anthropic', baseUrl: `${one.url}/v1`, credential: 'sk-anth' },
        gem: { type: 'gemini', baseUrl: `${one.url}/v1beta`, credential: 'sk-gem' },
        aws: {
          type: 'bedrock',
          baseUrl: one.url,
          region: 'eu-west-1',
          credential: JSON.stringify(ACCESS_KEY),
        },
      },
      models: {
        gpt: { targets: [{ provider: 'open' }] },
        both: { targets: [{ provider: 'open' }, { provider: 'open-other', priority: 1 }] },
        claude: { targets: [{ provider: 'anth' }] },
        gem: { targets: [{ provider: 'gem' }] },
        nova: { targets: [{ provider: 'aws', model: 'amazon.nova-lite-v1:0' }] },
        'nova-then-claude': {
          targets: [
            { provider: 'aws', model: 'amazon.nova-lite-v1:0' },
            { provider: 'anth', priority: 1 },
          ],
        },
      },
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([one.close(), other.close()]);
  });
  beforeEach(() => {
    one.reset();
    other.reset();
    plane.forget();
  });
  afterEach(async () => {
    await plane.idle();
    expect(plane.faults).toEqual([]);
  });

  describe('the only provider of a model', () => {
    test('is waited for as long as it asks, where that is not too long', async () => {
      one.next(openai.error(429, { retryAfterSeconds: 1 })).always(openai.answer({ text: ['fine'] }));
      const started = performance.now();
      const result = await plane.call(request('chat', { model: 'gpt' }));
      expect([result.status, result.text]).toEqual([200, expect.stringContaining('fine')]);
      expect(performance.now() - started).toBeGreaterThan(950);
      const row = await plane.rowOf(result);
      expect(row.attempts).toBe(2);
      expect(plane.attemptsOf(row)).toMatchObject([{ status: 429, retryAfterSeconds: 1 }]);
    });

    test.each([429, 503])('that asks for more time is left alone (%i)', async (status) => {
      one.always(answer(status, { 'content-type': 'application/json', 'retry-after': '3' }, '{"error":{}}'));
      const started = performance.now();
      const result = await plane.call(request('chat', { model: 'gpt' }));
      expect([result.status, result.headers['retry-after']]).toEqual([status, '3']);
      // Without the time that it asks for.
      expect(performance.now() - started).toBeLessThan(3000);
      expect(one.requests).toHaveLength(1);
      expect(JSON.stringify(result.rawHeaders)).not.toContain('x-limen-internal');
    });

    test.each([429, 500])('that says nothing of time is asked again soon (%i)', async (status) => {
      const failure = answer(status, { 'content-type': 'application/json' }, '{"error":{}}');
      one.next(failure, failure).always(openai.answer({ text: ['fine'] }));
      const started = performance.now();
      expect((await plane.call(request('chat', { model: 'gpt' }))).status).toBe(200);
      expect(performance.now() - started).toBeLessThan(10_000);
      expect(one.requests).toHaveLength(3);
    });

    test('that refuses the gateway itself is not asked again', async () => {
      one.always(openai.error(401));
      expect((await plane.call(request('chat', { model: 'gpt' }))).status).toBe(502);
      expect(one.requests).toHaveLength(1);
    });

    test('is not buried under retries, but another provider takes all', async () => {
      // All are open at once when the first of them fails, and each try takes a moment.
      one.always(async (exchange) => {
        await one.waitForRequest(MANY, 60_000);
        await delayed(100, openai.error(500))(exchange);
      });
      other.always(openai.answer({ text: ['fine'] }));
      const all = async (model: string) =>
        await Promise.all(
          Array.from({ length: MANY }, async () => (await plane.call(request('chat', { model }))).status),
        );
      await all('gpt');
      // Three tries each would be three times as many.
      expect(one.requests.length).toBeLessThan(2.5 * MANY);
      expect(one.requests.length).toBeGreaterThanOrEqual(MANY);
      expect(new Set(await all('both'))).toEqual(new Set([200]));
    });
  });

  describe('Envoy counts what passes as it is', () => {
    test.each([false, true])('Responses (stream: %s)', async (stream) => {
      one.always(openaiResponses.answer({ text: ['fine'], usage: USAGE }));
      const result = await plane.call(request('responses', { model: 'gpt', stream }));
      expect([result.status, result.text]).toEqual([200, expect.stringContaining('fine')]);
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ usageSource: 'provider', usage: USAGE, format: 'responses' });
    });

    test.each([false, true])('Gemini (stream: %s)', async (stream) => {
      one.always(gemini.answer({ text: ['fine'], usage: USAGE }));
      const result = await plane.call(request('gemini', { model: 'gem', stream }));
      expect([result.status, result.text]).toEqual([200, expect.stringContaining('fine')]);
      one.expectCredential('x-goog-api-key', 'sk-gem');
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ usageSource: 'provider', usage: USAGE, format: 'gemini' });
    });

    test('embeddings', async () => {
      const body =
        '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}';
      one.always(answer(200, { 'content-type': 'application/json' }, body));
      const result = await plane.call({ path: '/v1/embeddings', body: '{"model":"gpt","input":"x"}' });
      expect([result.status, result.text]).toEqual([200, body]);
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ usageSource: 'provider', usage: { input: 8, output: 0 } });
    });
  });

  describe('Bedrock', () => {
    const credential = { ...ACCESS_KEY, region: 'eu-west-1', service: 'bedrock' };

    test.each([false, true])('each try is signed afresh (stream: %s)', async (stream) => {
      one.next(bedrock.error(500)).always(bedrock.answer({ text: ['It ', 'works.'] }));
      const result = await plane.call({
        ...request('chat', { model: 'nova', stream }),
        headers: { 'x-amz-date': '20200101T000000Z', 'x-amz-security-token': 'of-the-client' },
      });
      expect([result.status, result.complete]).toEqual([200, true]);
      expect(result.text).toContain('works.');
      expect(one.requests).toHaveLength(2);
      for (const sent of one.requests) await expectSigned(sent, credential);
    });

    test('another provider sees nothing of it', async () => {
      one.next(bedrock.error(503)).always(anthropic.answer({ text: ['fine'] }));
      const result = await plane.call(request('chat', { model: 'nova-then-claude' }));
      expect(result.status).toBe(200);
      const [, second] = one.requests;
      expect(second?.header('x-api-key')).toBe('sk-anth');
      expect(second?.header('authorization')).toBeUndefined();
      expect(second?.rawHeaders.filter(([name]) => /^x-amz/i.test(name))).toEqual([]);
    });

    test('the secret is in no dump of the configuration', async () => {
      const dump = await plane.configDump();
      expect(dump).toContain(ACCESS_KEY.accessKeyId);
      expect(dump).not.toContain(ACCESS_KEY.secretAccessKey);
      expect(dump).not.toContain(ACCESS_KEY.sessionToken);
    });
  });

  test('headers of other providers go nowhere', async () => {
    one.always(openai.answer({ text: ['fine'] }));
    const foreign = {
      'x-goog-user-project': 'mine',
      'x-amz-security-token': 'mine',
      'api-key': 'tw-data-plane-0123456789abcdef',
      'anthropic-beta': 'mine',
      'x-limen-internal-verdict': 'mine',
      'x-client-request-id': 'mine',
    };
    const result = await plane.call({ ...request('chat', { model: 'gpt' }), headers: foreign });
    expect(result.status).toBe(200);
    const sent = one.only();
    expect(Object.keys(foreign).filter((name) => sent.header(name) !== undefined)).toEqual([
      'x-client-request-id',
    ]);
    expect(sent.header('x-client-request-id')).toBe(result.headers['x-request-id']);
  });

  test('what a provider cannot be told is named, streamed and whole', async () => {
    one.always(anthropic.answer({ text: ['fine'] }));
    for (const stream of [false, true]) {
      const body = JSON.stringify({
        model: 'claude',
        stream,
        seed: 7,
        logit_bias: { '50256': -100 },
        messages: [{ role: 'user', content: 'Hello.' }],
      });
      const result = await plane.call({ path: '/v1/chat/completions', body });
      expect(result.status).toBe(200);
      const dropped = String(result.headers['x-limen-dropped']).split(', ');
      expect(dropped).toEqual(expect.arrayContaining(['seed', 'logit_bias']));
    }
  });

  test('a Gemini client gets errors of its API', async () => {
    const { path } = request('gemini', { model: 'nobody' });
    const refused = await plane.call({ path, body: '{"contents":[]}' });
    expect([refused.status, refused.json()]).toEqual([
      404,
      { error: expect.objectContaining({ code: 404, message: expect.any(String), status: 'NOT_FOUND' }) },
    ]);
    const early = await call(plane.port, { path, body: '{}', headers: { 'x-goog-api-key': 'tw-nobody' } });
    expect([early.status, early.json()]).toMatchObject([401, { error: { code: 401 } }]);
    const nowhere = await plane.call({ path: '/v1beta/files', method: 'GET' });
    expect([nowhere.status, nowhere.json()]).toMatchObject([
      404,
      { error: { code: 404, status: 'NOT_FOUND', message: expect.any(String) } },
    ]);
  });

  test('an answer without a body is an error, in the client’s format', async () => {
    for (const status of [200, 500]) {
      one.reset();
      one.always(async ({ request: sent, respond }) => {
        await sent.received;
        respond.head(status, { 'content-type': 'application/json', 'content-length': '0' });
        respond.end();
      });
      const result = await plane.call(request('chat', { model: 'claude' }));
      expect(result.status).toBeGreaterThanOrEqual(500);
      expect(result.json()).toMatchObject({ error: { code: expect.stringMatching(/^upstream_/) } });
      expect(result.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
      expect((await plane.rowOf(result)).errorCode).toMatch(/^upstream_/);
    }
  });
});
