import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import { connectRedis, redisReady } from '../../src/store/redis/connection.ts';
import { RedisLedger } from '../../src/store/redis/ledger.ts';
import { RedisLimitBook } from '../../src/store/redis/limit-book.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { eventually } from '../support/running-envoy.ts';
import { TestRedis } from '../support/redis.ts';
import { answer, startUpstream, type ScriptedUpstream } from '../support/upstream/index.ts';

const PATIENCE_MS = 10_000;
const CHAT = '/v1/chat/completions';
const COMPLETION = JSON.stringify({
  id: 'c',
  object: 'chat.completion',
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
});
/** What every answer costs: 10 tokens at $1 and 5 at $2 for a million. */
const COST_USD = 0.00002;

function limit(name: string, spec: object) {
  return { kind: 'LimitPolicy', name, spec };
}

function key(user: string) {
  return { key: `tw-limits-${user}-0123456789abcdef`, id: `key-${user}`, user };
}

const USERS = ['ada', 'bob', 'cleo', 'dora', 'emil', 'fay', 'gus'];

/** Rules, as a client of a real Envoy meets them, over a real Redis. */
describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('limits with %s', (_, capabilities) => {
  let redis: TestRedis;
  let client: ReturnType<typeof connectRedis>;
  let ledger: RedisLedger;
  let plane: DataPlane;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    redis = await TestRedis.start();
    const logger = createLogger('limits', 'silent');
    // A stall of the machine is not to be taken for one of Redis.
    client = connectRedis({ url: redis.url, logger, commandTimeoutMs: PATIENCE_MS });
    await redisReady(client, PATIENCE_MS);
    const nothing = (): undefined => undefined;
    ledger = new RedisLedger({
      redis: client,
      logger,
      observer: {
        admitFailed: nothing,
        tryFailed: nothing,
        settled: nothing,
        dropped: nothing,
        settleFailed: nothing,
      },
      circuitBreaker: () => ({ failures: 0, openSeconds: 30 }),
      patienceMs: PATIENCE_MS,
    });
    upstream = await startUpstream();
    const price = { input: 1, output: 2 };
    plane = await startDataPlane({
      capabilities,
      ledger,
      gateway: { retries: { attempts: 1 } },
      providers: {
        open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' },
        reserve: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-reserve' },
        anth: { type: 'anthropic', baseUrl: upstream.url, credential: 'sk-anth' },
      },
      models: {
        fast: { targets: [{ provider: 'open' }], price, outputTokens: 1000, contextTokens: 1000 },
        claude: { targets: [{ provider: 'anth' }], price },
        both: {
          targets: [{ provider: 'open' }, { provider: 'reserve', priority: 1 }],
          price,
        },
      },
      keys: USERS.map(key),
      others: [
        limit('rate', { per: 'user', requests: 2, window: '1m', match: { users: ['ada', 'bob'] } }),
        limit('budget', { per: 'user', usd: 0.01, period: 'day', match: { users: ['cleo'] } }),
        limit('clamp', {
          per: 'user',
          usd: 0.0009,
          period: 'day',
          onShortfall: 'clamp',
          match: { users: ['dora'] },
        }),
        limit('contract', { per: 'provider', requests: 1, window: '1m', match: { models: ['both'] } }),
        limit('loops', { per: 'workflow', requests: 1, window: '1m', match: { users: ['fay', 'gus'] } }),
        limit('shadow', {
          per: 'user',
          requests: 1,
          window: '1m',
          shadow: true,
          match: { users: ['emil'] },
        }),
      ],
    });
  }, 60_000);
  afterAll(async () => {
    await plane.stop();
    await upstream.close();
    await ledger.close(1000);
    client.disconnect();
    await redis.stop();
  });
  beforeEach(() => {
    upstream.reset();
    plane.forget();
    upstream.always(
      answer(
        200,
        {
          'content-type': 'application/json',
          'x-ratelimit-limit-requests': '9999',
          'x-ratelimit-limit-tokens': '77',
        },
        COMPLETION,
      ),
    );
  });
  afterEach(() => {
    expect(plane.faults).toEqual([]);
  });

  const ask = (user: string, path = CHAT, body: object = { model: 'fast', messages: [] }) =>
    plane.call({
      path,
      body: JSON.stringify(body),
      headers: { authorization: `Bearer ${key(user).key}` },
    });

  test('a client is told what it has left, in the place of what the provider says', async () => {
    const first = await ask('ada');
    expect(first.status).toBe(200);
    expect(first.headers).toMatchObject({
      'x-ratelimit-limit-requests': '2',
      'x-ratelimit-remaining-requests': '1',
    });
    expect(first.headers['x-ratelimit-reset-requests']).toMatch(/^\d+s$/);
    // Of what no rule counts here the provider's own word stands.
    expect(first.headers['x-ratelimit-limit-tokens']).toBe('77');
    expect((await ask('ada')).headers['x-ratelimit-remaining-requests']).toBe('0');
    const refused = await ask('ada');
    expect(refused.status).toBe(429);
    expect(refused.headers).toMatchObject({
      'x-ratelimit-limit-requests': '2',
      'x-ratelimit-remaining-requests': '0',
    });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(refused.json()).toMatchObject({
      error: { code: 'rate_limited', message: expect.stringContaining('user:requests/1m (rate)') },
    });
    expect(upstream.requests).toHaveLength(2);
    const row = await plane.rowOf(refused);
    expect(row).toMatchObject({ status: 429, errorCode: 'rate_limited' });
    expect(row.trace).toContainEqual([
      'limit',
      'rate',
      'ada',
      'refused',
      expect.stringContaining('2 of 2 requests'),
    ]);
  });

  test('each client format has its own refusal, and each user a counter of their own', async () => {
    const body = { model: 'claude', max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] };
    await ask('bob', '/v1/messages', body);
    await ask('bob', '/v1/messages', body);
    const refused = await ask('bob', '/v1/messages', body);
    expect([refused.status, refused.json()]).toMatchObject([
      429,
      { type: 'error', error: { type: 'rate_limit_error' } },
    ]);
  });

  test('a hard budget reserves the most that a request can cost, and settles what it did', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask('cleo')));
    const served = answers.filter(({ status }) => status === 200).length;
    const refused = answers.filter(({ status }) => status === 402);
    // One reserves its body and 1,000 tokens of output, a little more than $0.002: four have room at once.
    expect(served).toBeGreaterThanOrEqual(4);
    expect(served + refused.length).toBe(8);
    const book = new RedisLimitBook(client);
    await vi.waitFor(
      async () => {
        expect(ledger.queued).toBe(0);
        expect(await book.usage({ rule: 'budget', limit: 10 })).toMatchObject([
          { subject: 'cleo', used: served * COST_USD * 1e9, reserved: 0 },
        ]);
      },
      { timeout: 30_000 },
    );
    const last = await ask('cleo');
    expect(last.headers['x-ratelimit-limit-usd']).toBe('0.01');
  });

  test('clamp lowers the request’s own limit to what there is room for', async () => {
    const result = await ask('dora', CHAT, { model: 'fast', max_tokens: 900, messages: [] });
    expect(result.status).toBe(200);
    const sent = z.object({ max_tokens: z.number() }).parse(JSON.parse(upstream.only().body.toString()));
    expect(sent.max_tokens).toBeLessThan(450);
    expect(sent.max_tokens).toBeGreaterThan(300);
  });

  test('a provider without room is left out, and where none has room the request is refused', async () => {
    const both = { model: 'both', messages: [] };
    expect((await ask('emil', CHAT, both)).status).toBe(200);
    // Until it is known who answered, both are held.
    const status = await eventually(async () => {
      const one = await ask('emil', CHAT, both);
      return one.status === 429 ? undefined : one.status;
    });
    expect(status).toBe(200);
    expect((await ask('emil', CHAT, both)).status).toBe(429);
    expect(upstream.requests.flatMap((request) => request.headers('authorization'))).toEqual([
      'Bearer sk-open',
      'Bearer sk-reserve',
    ]);
  });

  test('a workflow that goes round in circles stops itself, and nobody else', async () => {
    const step = async (user: string, workflow: string) => {
      const { status } = await plane.call({
        path: CHAT,
        body: JSON.stringify({ model: 'fast', messages: [] }),
        headers: { authorization: `Bearer ${key(user).key}`, 'x-workflow-id': workflow },
      });
      return status;
    };
    expect([await step('fay', 'w'), await step('fay', 'w')]).toEqual([200, 429]);
    expect([await step('fay', 'other'), await step('gus', 'w')]).toEqual([200, 200]);
  });

  test('a shadow rule refuses nobody, and says that it would', async () => {
    await ask('emil');
    const second = await ask('emil');
    expect(second.status).toBe(200);
    expect(second.headers['x-ratelimit-limit-requests']).toBe('9999');
    expect((await plane.rowOf(second)).trace).toContainEqual([
      'limit',
      'shadow',
      'emil',
      'would refuse',
      expect.any(String),
    ]);
  });
});
