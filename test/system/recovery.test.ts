import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NANO_USD } from '../../src/core/limits.ts';
import { connectRedis, redisReady } from '../../src/store/redis/connection.ts';
import { RedisLimitBook } from '../../src/store/redis/limit-book.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import type { ResourceObject, Row } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { metric, startSystem, systemResources, type TestSystem } from '../support/system.ts';
import { rowsOf, settled } from '../support/system/ledger-watch.ts';
import { isGood, Traffic, type TrafficOutcome } from '../support/system/traffic.ts';

const WORKERS = 2;
const LANES = 8;
const CHUNKS = 3;
const PACE_MS = 10;
const USD = 1_000_000;
/** Longer than a lease: what it was told is settled without it. */
const STOPPED_MS = 9000;
const RESTART_WITHIN_MS = 60_000;

const LIMIT: ResourceObject = {
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'LimitPolicy',
  metadata: { name: 'spent' },
  spec: { per: 'user', usd: USD, period: 'month', mode: 'hard' },
};

/** What workers were told and did not settle is settled by the control plane, once. */
describe('an end that a worker was told of', () => {
  let system: TestSystem;

  beforeAll(async () => {
    system = await startSystem({
      paceMs: PACE_MS,
      config: (port) => [...systemResources(port), LIMIT],
      env: { LIMEN_WORKERS: String(WORKERS), LIMEN_DRAIN_SECONDS: '5' },
    });
  });
  afterAll(() => system.stop());

  async function usageOf(user: string): Promise<number> {
    const redis = connectRedis({
      url: system.gateway.state().endpoints.redisUrl,
      logger: createLogger('test', 'silent'),
      commandTimeoutMs: 5000,
    });
    try {
      await redisReady(redis, 10_000);
      const usage = await new RedisLimitBook(redis).usage({ rule: 'spent', limit: 100 });
      return usage.find(({ subject }) => subject === user)?.used ?? 0;
    } finally {
      redis.disconnect();
    }
  }

  async function under(
    user: string,
    fault: (signal: (worker: string, name: NodeJS.Signals) => number) => Promise<void>,
  ): Promise<{
    readonly good: readonly TrafficOutcome[];
    readonly rows: readonly Row[];
    readonly recovered: number;
  }> {
    const { gateway } = system;
    const recoveredBefore = (await metric(gateway, 'limen_ledger_recovered_total')) ?? 0;
    const traffic = new Traffic({
      url: gateway.url,
      key: await system.keyOf(user),
      lanes: Array.from({ length: LANES }, () => ({
        kind: 'chat native stream',
        chunks: CHUNKS,
        long: false,
      })),
      timeoutMs: 30_000,
    });
    try {
      await delay(1000);
      await fault((worker, name) => {
        const pid = gateway.pids()[worker] ?? 0;
        if (pid <= 1) throw new Error(`${worker} does not run`);
        process.kill(pid, name);
        return pid;
      });
      await delay(1000);
    } finally {
      await traffic.stop();
    }
    await settled(gateway);
    const recovered = ((await metric(gateway, 'limen_ledger_recovered_total')) ?? 0) - recoveredBefore;
    const good = traffic.outcomes.filter(isGood);
    process.stdout.write(
      `  ${user}: ${good.length} of ${traffic.outcomes.length} good, ${recovered} recovered\n`,
    );
    return { good, rows: await rowsOf(gateway, user), recovered };
  }

  async function restarted(worker: string, pid: number): Promise<void> {
    await eventually(() => {
      const child = system.gateway.state().children.find(({ name }) => name === worker);
      return child?.state === 'ready' && child.pid !== pid ? true : undefined;
    }, RESTART_WITHIN_MS);
  }

  /** Ids of those that have no row of what their provider told. */
  function unpaid(good: readonly TrafficOutcome[], rows: readonly Row[]): unknown[] {
    const paid = new Set(
      rows.filter((row) => row['usage_source'] === 'provider').map((row) => row['request_id']),
    );
    return good.map(({ headers }) => headers['x-request-id']).filter((id) => !paid.has(id));
  }

  const costOf = (rows: readonly Row[]): number =>
    rows.reduce((sum, row) => sum + Math.ceil(Number(row['cost_usd']) * NANO_USD), 0);

  it('is settled where the worker was stopped in order', { timeout: 120_000 }, async () => {
    const { good, rows } = await under('stopped', async (signal) => {
      for (const worker of ['processor-0', 'processor-1', 'processor-0']) {
        const pid = signal(worker, 'SIGTERM');
        await restarted(worker, pid);
      }
    });
    expect(good.length).toBeGreaterThan(100);
    expect(unpaid(good, rows)).toEqual([]);
    expect(rows.filter((row) => row['error_code'] === 'unsettled')).toEqual([]);
    expect(await usageOf('stopped')).toBe(costOf(rows));
  });

  it('is settled where the worker was killed', { timeout: 120_000 }, async () => {
    const { good, rows, recovered } = await under('killed', async (signal) => {
      for (const worker of ['processor-0', 'processor-1', 'processor-0', 'processor-1']) {
        const pid = signal(worker, 'SIGKILL');
        await restarted(worker, pid);
        await delay(1500);
      }
    });
    expect(good.length).toBeGreaterThan(100);
    expect(recovered).toBeGreaterThan(0);
    expect(unpaid(good, rows)).toEqual([]);
    expect(await usageOf('killed')).toBe(costOf(rows.filter((row) => row['error_code'] !== 'unsettled')));
  });

  it('is settled once where the worker was stuck, and goes on later', { timeout: 120_000 }, async () => {
    const { good, rows, recovered } = await under('stuck', async (signal) => {
      for (const worker of ['processor-0', 'processor-1']) {
        signal(worker, 'SIGSTOP');
        await delay(STOPPED_MS);
        signal(worker, 'SIGCONT');
        await delay(3000);
      }
    });
    expect(good.length).toBeGreaterThan(100);
    expect(recovered).toBeGreaterThan(0);
    expect(unpaid(good, rows)).toEqual([]);
    expect(await usageOf('stuck')).toBe(costOf(rows.filter((row) => row['error_code'] !== 'unsettled')));
  });
});
