import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectRedis, redisReady } from '../../src/store/redis/connection.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import type { ResourceObject } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { metric, startSystem, systemResources, type TestSystem } from '../support/system.ts';
import { exchange, type Outcome } from '../support/system/exchange.ts';

/** A command of Redis is given up after 250 ms; the rest is the two cores of a busy machine. */
const LONGEST_MS = 3000;
const REQUESTS_EACH = 8;
const RECOVERED_WITHIN_MS = 20_000;

function limit(name: string, spec: Readonly<Record<string, unknown>>): ResourceObject {
  return { apiVersion: 'limen.dev/v1alpha1', kind: 'LimitPolicy', metadata: { name }, spec };
}

const LIMITS = [
  limit('open-rate', { per: 'user', match: { users: ['open'] }, requests: 100_000, window: '1m' }),
  limit('closed-rate', {
    per: 'user',
    match: { users: ['closed'] },
    requests: 100_000,
    window: '1m',
    onStoreAway: 'refuse',
  }),
  limit('hard-budget', { per: 'user', match: { users: ['budget'] }, usd: 1000, period: 'day', mode: 'hard' }),
  limit('soft-budget', { per: 'user', match: { users: ['soft'] }, usd: 1000, period: 'day', mode: 'soft' }),
];

/** Whom the setting lets through while nothing is known of limits. */
const GOES_ON: Readonly<Record<string, boolean>> = { open: true, soft: true, closed: false, budget: false };
const USERS = Object.keys(GOES_ON);

describe('limits while Redis', () => {
  let system: TestSystem;
  const keys = new Map<string, string>();

  beforeAll(async () => {
    system = await startSystem({
      paceMs: 0,
      config: (port) => [...systemResources(port), ...LIMITS],
      // Longer than any of this: no reservation runs out meanwhile.
      env: { LIMEN_LEASE_SECONDS: '60' },
    });
    for (const user of USERS) keys.set(user, await system.keyOf(user));
  });
  afterAll(() => system.stop());

  const ask = (user: string): Promise<Outcome> =>
    exchange({
      url: system.gateway.url,
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${keys.get(user) ?? ''}` },
      body: JSON.stringify({
        model: 'chat-model',
        max_tokens: 16,
        messages: [{ role: 'user', content: 'Hello.' }],
      }),
    });

  const askAll = async (): Promise<readonly (Outcome & { readonly user: string })[]> =>
    Promise.all(
      USERS.flatMap((user) =>
        Array.from({ length: REQUESTS_EACH }, async () => ({ ...(await ask(user)), user })),
      ),
    );

  async function withRedis<Result>(use: (redis: Redis) => Promise<Result>): Promise<Result> {
    const redis = connectRedis({
      url: system.gateway.state().endpoints.redisUrl,
      logger: createLogger('test', 'silent'),
      commandTimeoutMs: 5000,
    });
    try {
      await redisReady(redis, 10_000);
      return await use(redis);
    } finally {
      redis.disconnect();
    }
  }

  const redisPid = (): number => system.gateway.pids()['redis'] ?? 0;

  const FAULTS: readonly {
    readonly name: string;
    readonly inject: () => Promise<unknown>;
    readonly mend: () => Promise<unknown>;
  }[] = [
    {
      name: 'is silent',
      inject: () => Promise.resolve(process.kill(redisPid(), 'SIGSTOP')),
      mend: () => Promise.resolve(process.kill(redisPid(), 'SIGCONT')),
    },
    {
      name: 'is slow',
      // Answers nothing for so long, again and again.
      inject: () =>
        withRedis(async (redis) => {
          await redis.call('CLIENT', 'PAUSE', '4000', 'ALL');
        }),
      mend: () => delay(4000),
    },
    {
      name: 'is out of memory',
      inject: () => withRedis((redis) => redis.config('SET', 'maxmemory', '1000000')),
      mend: () => withRedis((redis) => redis.config('SET', 'maxmemory', '0')),
    },
    {
      name: 'has become a replica, as after a failover',
      inject: () => withRedis((redis) => redis.replicaof('127.0.0.1', '9')),
      mend: () => withRedis((redis) => redis.replicaof('NO', 'ONE')),
    },
    {
      name: 'is gone',
      inject: () => Promise.resolve(process.kill(redisPid(), 'SIGKILL')),
      mend: () => Promise.resolve(),
    },
  ];

  it.each(FAULTS)(
    '$name: each rule does what its setting says, in time',
    { timeout: 120_000 },
    async (fault) => {
      const before = await askAll();
      expect(before.map(({ status }) => status)).toEqual(before.map(() => 200));
      const failedBefore = (await metric(system.gateway, 'limen_limits_store_away_total')) ?? 0;

      await fault.inject();
      const during = await askAll();
      await fault.mend();

      const wrong = during.filter(({ user, status }) => status !== (GOES_ON[user] === true ? 200 : 503));
      expect(wrong.map(({ user, status, body }) => `${user}: ${status} ${body.slice(0, 200)}`)).toEqual([]);
      const longest = Math.max(...during.map(({ startedAt, endedAt }) => endedAt - startedAt));
      const refused = during.filter(({ status }) => status === 503);
      process.stdout.write(`  Redis ${fault.name}: longest request ${longest.toFixed(0)} ms\n`);
      expect(longest).toBeLessThan(LONGEST_MS);
      expect(refused.every(({ headers }) => headers['retry-after'] !== undefined)).toBe(true);
      expect(refused.every(({ body }) => body.includes('limits_unavailable'))).toBe(true);
      expect((await metric(system.gateway, 'limen_limits_store_away_total')) ?? 0).toBeGreaterThan(
        failedBefore,
      );

      await eventually(async () => {
        const after = await askAll();
        return after.every(({ status }) => status === 200) ? true : undefined;
      }, RECOVERED_WITHIN_MS);
    },
  );
});
