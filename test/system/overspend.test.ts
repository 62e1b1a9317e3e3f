import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NANO_USD, type LimitUsage } from '../../src/core/limits.ts';
import { connectRedis, redisReady } from '../../src/store/redis/connection.ts';
import { RedisLimitBook } from '../../src/store/redis/limit-book.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { startBenchUpstream } from '../../bench/upstream.ts';
import {
  gatewayResource,
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { exchange, type Outcome } from '../support/system/exchange.ts';
import { rowsOf, settled } from '../support/system/ledger-watch.ts';

const WORKERS = 4;
const REQUESTS = 500;
/** Requests that the budget has room for. */
const ROOM = 120;
/** What a request gets, and so what it costs: its output limit, to the token. */
const OUTPUT_TOKENS = 8;
/** Chunks this far apart: a request is open long enough to be met by what goes wrong. */
const PACE_MS = 40;
const USD_PER_MILLION = 1000;
const COST_NANO_USD = (OUTPUT_TOKENS * USD_PER_MILLION * NANO_USD) / 1_000_000;
const BUDGET_NANO_USD = ROOM * COST_NANO_USD;
const BUDGET = 'all-of-it';
/** Short, so that a test sees a reservation of a worker that died run out. */
const LEASE_SECONDS = 5;
const KILL_EVERY_MS = 250;
const KILLS = 8;

function resources(upstreamPort: number): ResourceObject[] {
  return [
    // One try each: a bound holds every try that may be billed, and this test wants to know it to the token.
    gatewayResource({ retries: { attempts: 1 } }),
    providerResource('chat', {
      type: 'openai-compatible',
      baseUrl: `http://127.0.0.1:${upstreamPort}/v1`,
    }),
    // Natively streamed: such a stream outlives the worker that let it through.
    modelResource('chat-model', [{ provider: 'chat' }], {
      price: { input: 0, output: USD_PER_MILLION },
      usageChunk: 'show',
    }),
    {
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'LimitPolicy',
      metadata: { name: BUDGET },
      spec: { per: 'everybody', usd: BUDGET_NANO_USD / NANO_USD, period: 'month', mode: 'hard' },
    },
  ];
}

/** Looks at the budget as often as Redis answers, and remembers what it saw. */
class BudgetWatch {
  readonly #book: RedisLimitBook;
  readonly #redis: ReturnType<typeof connectRedis>;
  #stopped = false;
  #done: Promise<void> = Promise.resolve();
  looks = 0;
  /** Most that was ever settled and reserved at one moment; what was settled after its lease not among it. */
  most = 0;
  last: LimitUsage | undefined;

  constructor(gateway: TestGateway) {
    this.#redis = connectRedis({
      url: gateway.state().endpoints.redisUrl,
      logger: createLogger('test', 'silent'),
      commandTimeoutMs: 5000,
    });
    this.#book = new RedisLimitBook(this.#redis);
  }

  async start(): Promise<void> {
    await redisReady(this.#redis, 10_000);
    this.#done = this.#watch();
  }

  async look(): Promise<LimitUsage | undefined> {
    const [usage] = await this.#book.usage({ rule: BUDGET, limit: 10 });
    if (usage === undefined) return undefined;
    this.looks += 1;
    this.last = usage;
    this.most = Math.max(this.most, usage.used - usage.overrun + usage.reserved);
    return usage;
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      await this.look();
      await delay(1);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
    this.#redis.disconnect();
  }
}

describe('a hard budget', () => {
  let upstream: Awaited<ReturnType<typeof startBenchUpstream>>;
  let gateway: TestGateway;
  let watch: BudgetWatch;

  beforeAll(async () => {
    upstream = await startBenchUpstream({ paceMs: PACE_MS });
    gateway = await startGateway({
      config: resources(upstream.port),
      env: {
        LIMEN_WORKERS: String(WORKERS),
        LIMEN_LEASE_SECONDS: String(LEASE_SECONDS),
        LIMEN_DEFAULT_LIMITS: 'off',
      },
    });
    watch = new BudgetWatch(gateway);
    await watch.start();
  });
  afterAll(async () => {
    await watch.stop();
    await gateway.stop();
    await upstream.close();
  });

  const ask = (): Promise<Outcome> =>
    exchange({
      url: gateway.url,
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${gateway.key}` },
      body: JSON.stringify({
        model: 'chat-model',
        stream: true,
        stream_options: { include_usage: true },
        max_tokens: OUTPUT_TOKENS,
        messages: [{ role: 'user', content: 'Count.' }],
      }),
    });

  /** Kills a worker now and then, any of them. */
  async function killWorkers(): Promise<number> {
    let killed = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      await delay(KILL_EVERY_MS);
      const workers = Object.entries(gateway.pids()).filter(([name]) => name.startsWith('processor-'));
      const [, pid] = workers[Math.floor(Math.random() * workers.length)] ?? [];
      if (pid === undefined) continue;
      try {
        process.kill(pid, 'SIGKILL');
        killed += 1;
      } catch {
        // It is being started again.
      }
    }
    return killed;
  }

  const countOf = (outcomes: readonly Outcome[], status: number): number =>
    outcomes.filter((outcome) => outcome.status === status).length;

  it(
    `is never overspent by ${REQUESTS} requests at once on ${WORKERS} workers of which some are killed`,
    { timeout: 240_000 },
    async () => {
      const kills = killWorkers();
      const first = await Promise.all(Array.from({ length: REQUESTS }, ask));
      const killed = await kills;
      expect(killed).toBeGreaterThan(2);
      // What died with a worker is free again once its lease is over; then the budget is used up to the last request.
      await settled(gateway);
      // A counter at rest is in no list.
      const freed = async () => (((await watch.look())?.reserved ?? 0) === 0 ? true : undefined);
      await eventually(freed, 60_000);
      const rest: Outcome[] = [];
      // More than there can be room for: the workers that were killed last may be on their way still.
      while (rest.length <= 3 * ROOM && rest.at(-1)?.status !== 402) {
        rest.push(await ask());
        if (rest.at(-1)?.status === 503) await delay(100);
      }
      await settled(gateway);
      const outcomes = [...first, ...rest];
      const served = outcomes.filter(({ status }) => status === 200);
      const rows = await rowsOf(gateway, 'tester');
      const billed = rows.filter((row) => row['error_code'] !== 'unsettled' && Number(row['cost_usd']) > 0);
      const unsettled = rows.filter((row) => row['error_code'] === 'unsettled');
      const answered = new Set<unknown>(served.map(({ headers }) => headers['x-request-id']));
      const usage = await watch.look();
      process.stdout.write(
        `  overspend: ${watch.looks} looks, at most ${watch.most / COST_NANO_USD} of ${ROOM} requests settled and reserved; ` +
          `${served.length} served, ${countOf(outcomes, 402)} refused with 402, ${countOf(outcomes, 503)} with 503, ` +
          `${killed} workers killed, ${unsettled.length} rows unsettled, overrun ${(usage?.overrun ?? 0) / COST_NANO_USD}\n`,
      );

      expect(watch.looks).toBeGreaterThan(100);
      expect(watch.most).toBeLessThanOrEqual(BUDGET_NANO_USD);
      expect(new Set(outcomes.map(({ status }) => status))).toEqual(
        new Set([200, 402, 503, 0]).intersection(new Set(outcomes.map(({ status }) => status))),
      );
      expect(countOf(outcomes, 402)).toBeGreaterThan(0);
      // What was settled is what the rows say, and what the rows say was served.
      const costs = billed.reduce((sum, row) => sum + Math.round(Number(row['cost_usd']) * NANO_USD), 0);
      expect(usage?.used ?? 0).toBe(costs);
      const ids = new Set(rows.map((row) => row['request_id']));
      expect(served.filter(({ headers }) => !ids.has(headers['x-request-id']))).toEqual([]);
      // What a worker that is killed was told of an end, the control plane knows too: what was served is settled.
      const paid = new Set(billed.map((row) => row['request_id']));
      expect(served.filter(({ headers }) => !paid.has(headers['x-request-id']))).toEqual([]);
      // The others never reached the provider.
      expect(unsettled.filter((row) => Number(row['cost_usd']) > 0)).toEqual([]);
      expect(unsettled.filter((row) => answered.has(row['request_id']))).toEqual([]);
      expect(usage?.overrun ?? 0).toBe(0);
      expect(usage?.reserved ?? 0).toBe(0);
      // To the last request: the next one no longer fits.
      expect((usage?.used ?? 0) + COST_NANO_USD).toBeGreaterThan(BUDGET_NANO_USD);
    },
  );
});
