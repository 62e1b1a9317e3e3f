import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../test/support/redis.ts';
import { TestRedisCluster } from '../../test/support/redis-cluster.ts';
import { openControlBooks } from './control-books.ts';
import { openWorkerStore } from './worker-store.ts';
import { domainOf } from '../core/domains.ts';
import type { LimitCheck } from '../core/limits.ts';
import { ShareKeeper } from '../ledger/share-keeper.ts';
import { createLogger } from '../telemetry/logger.ts';
import { connectRedisOrCluster, redisReady, type RedisClient } from '../store/redis/connection.ts';
import { ledgerKeys } from '../store/redis/ledger-keys.ts';
import { RedisRowQueue } from '../store/redis/row-queue.ts';
import { RedisOnceBook, RedisSessionBook } from '../store/redis/session-book.ts';
import {
  chargedAttempt,
  sampleAdmission,
  sampleCheck,
  sampleIntent,
  sampleRow,
  sampleSettlement,
} from '../store/redis/testing/samples.ts';

const logger = createLogger('test', 'silent');
const HOUR = 3_600_000;
const NOW = Date.now();
const CIRCUITS = () => ({ failures: 1, openSeconds: 30 });
const LEASE_MS = 300;
/** What a domain is waited for that is lost: in vain, if it were not known at once. */
const LOST_PATIENCE_MS = 5000;

let server: TestRedis;
let cluster: TestRedisCluster;
const open: RedisClient[] = [];
let installations = 0;

beforeAll(async () => {
  [server, cluster] = await Promise.all([TestRedis.start(), TestRedisCluster.start()]);
}, 60_000);

afterAll(async () => {
  for (const redis of open) redis.disconnect();
  await Promise.all([server.stop(), cluster.stop()]);
});

/** A worker and a control plane over so many domains, with a tenant in each. */
async function installed(url: string, count: number, patienceMs = 10_000) {
  installations += 1;
  const domains = Array.from({ length: count }, (_, index) => `d${installations}-${index}`);
  const redis = connectRedisOrCluster({ url, logger, commandTimeoutMs: patienceMs });
  open.push(redis);
  await redisReady(redis, 10_000);
  const observer = {
    admitFailed: vi.fn<() => void>(),
    settled: vi.fn<() => void>(),
    dropped: vi.fn<() => void>(),
    settleFailed: vi.fn<() => void>(),
    tryFailed: vi.fn<() => void>(),
    answersKept: vi.fn<() => void>(),
    answersNotKept: vi.fn<() => void>(),
  };
  const options = { redis, logger, circuitBreaker: CIRCUITS, leaseMs: LEASE_MS, patienceMs, domains };
  const store = openWorkerStore({ ...options, observer });
  const books = openControlBooks(options);
  const keeper = new ShareKeeper({ book: books.shares, domains: count, logger, now: Date.now });
  const tenants = domains.map(
    (domain) =>
      Array.from({ length: 200 }, (_, index) => `tenant-${index}`).find(
        (tenant) => domainOf(domains, tenant) === domain,
      ) ?? '',
  );
  const admit = (tenant: string, limits: readonly LimitCheck[] = [], over = {}) =>
    store.ledger.admit(
      sampleAdmission('r', { intent: { ...sampleIntent('r'), tenant }, limits, outputTokens: 0, ...over }),
    );
  const sent = (): Promise<void> => vi.waitFor(() => expect(store.queued()).toBe(0), 15_000);
  return {
    domains,
    tenants,
    redis,
    store,
    books,
    keeper,
    admit,
    sent,
    observer,
    queues: domains.map((one) => new RedisRowQueue(redis, one)),
  };
}

const perHour = (over: Partial<LimitCheck> = {}): LimitCheck =>
  sampleCheck({
    rule: 'budget',
    counter: 'budget/usd/day/everybody',
    unit: 'usd',
    span: { kind: 'calendar', starts: [NOW - 3 * HOUR, NOW - HOUR, NOW + HOUR, NOW + 3 * HOUR] },
    fixed: 30,
    perOutputToken: 0,
    alerts: [50],
    ...over,
  });

describe('domainOf', () => {
  it('divides tenants, and moves none between two that stay', () => {
    const tenants = Array.from({ length: 300 }, (_, index) => `tenant-${index}`);
    const two = tenants.map((tenant) => domainOf(['a', 'b'], tenant));
    const three = tenants.map((tenant) => domainOf(['a', 'b', 'c'], tenant));
    expect(two.filter((domain) => domain === 'a').length).toBeGreaterThan(100);
    expect(two.filter((domain) => domain === 'b').length).toBeGreaterThan(100);
    expect(three.filter((domain, index) => domain !== 'c' && domain !== two[index])).toEqual([]);
    expect(three.filter((domain) => domain === 'c').length).toBeGreaterThan(50);
    expect(domainOf(['a', 'b'], '')).toBe('a');
    expect(domainOf(['b', 'a'], 'tenant-1')).toBe(domainOf(['a', 'b'], 'tenant-1'));
  });
});

describe.each([
  ['a server, one domain', () => server.url, 1],
  ['a server, two domains', () => server.url, 2],
  ['a cluster, one domain', () => cluster.url, 1],
  ['a cluster, two domains', () => cluster.url, 2],
  ['a cluster, three domains', () => cluster.url, 3],
] as const)('limit domains on %s', (_, url, count) => {
  it("have all that is a request's own in the domain of its tenant", async () => {
    const { domains, tenants, store, books, admit, sent, redis, queues, observer } = await installed(
      url(),
      count,
    );
    for (const [index, tenant] of tenants.entries()) {
      const kept = Buffer.from('answer');
      store.keptAnswers.put('cached', kept, 60, undefined, tenant);
      const keys = ledgerKeys(domains[index] ?? '');
      await vi.waitFor(async () => expect(await redis.get(keys.kept('cached'))).toBe('answer'), 15_000);
      expect(observer.answersNotKept).not.toHaveBeenCalled();
      const admission = await admit(
        tenant,
        [perHour({ counter: `own/${tenant}`, oneTenant: true, fixed: 90 })],
        {
          wanted: 'cached',
          keep: { key: 'pending', value: Buffer.from(' more'), ttlSeconds: 60 },
          providers: ['openai'],
        },
      );
      expect(admission).toMatchObject({ storeAway: false, found: kept });
      expect(admission.intentId).not.toBe('');
      store.keptAnswers.put('conversation', Buffer.from('!'), 60, 'pending', tenant);
      store.ledger.renew([admission.intentId]);
      const { intentId, holds } = admission;
      const charged = { holds, amounts: { requests: 1, tokens: 0, usd: 7 } };
      const failed = {
        requestId: 'r',
        ordinal: 1,
        time: 1,
        provider: 'openai',
        providerModel: '',
        status: 500,
      };
      store.ledger.recordAttempts([
        chargedAttempt(
          {
            ...failed,
            outcome: 'status',
            mayBeBilled: true,
            costUsd: 0,
            durationMs: 1,
            retryAfterSeconds: 0,
          },
          { ...charged, intentId },
        ),
      ]);
      store.ledger.settle(sampleSettlement(sampleRow('r', { tenant }), intentId, charged));
      await sent();
      expect(await redis.xlen(keys.rows)).toBe(2);
      expect(await redis.xlen(keys.intents)).toBe(0);
      await vi.waitFor(
        async () => expect(await redis.get(keys.kept('conversation'))).toBe('answer more!'),
        15_000,
      );
      const rows = await queues[index]?.read(10, 0);
      expect(rows?.map(({ kind }) => kind)).toEqual(['attempt', 'row']);
      await queues[index]?.acknowledge(rows?.map(({ id }) => id) ?? []);
    }
    const usage = await books.limits.usage({ limit: 10 });
    expect(usage.map(({ used, reserved, limit }) => [used, reserved, limit])).toEqual(
      tenants.map(() => [14, 0, 100]),
    );
    expect(await books.intents.backlog()).toEqual({ intents: 0, rows: 0 });
  });

  it('close what was left open in each, and settle it where its end is known', async () => {
    const { tenants, books, admit, queues } = await installed(url(), count);
    const intents = [];
    for (const tenant of [...tenants, ...tenants]) intents.push(await admit(tenant, [perHour({ fixed: 5 })]));
    const found = await books.recovery.open('', 100);
    expect(found.map(({ intentId }) => intentId).sort()).toEqual(
      intents.map(({ intentId }) => intentId).sort(),
    );
    const paged = [];
    for (let after = ''; ;) {
      const page = await books.recovery.open(after, 2);
      paged.push(...page);
      after = page.at(-1)?.intentId ?? '';
      if (page.length < 2) break;
    }
    expect(paged).toEqual(found);
    const known = intents.slice(0, count);
    const settled = await books.recovery.settle(
      [],
      known.map(({ intentId }, index) =>
        sampleSettlement(sampleRow('r', { tenant: tenants[index] ?? '' }), intentId),
      ),
    );
    expect(settled).toBe(count);
    expect(await books.intents.lead(1000)).toBe(true);
    const lapsed = await vi.waitFor(async () => {
      const some = await books.intents.lapsed(LEASE_MS, 100);
      expect(some).toHaveLength(count);
      return some;
    }, 15_000);
    const closings = lapsed.map(({ intentId }) => ({ intentId, row: sampleRow('r', { revision: 1 }) }));
    expect(await books.intents.close(closings, LEASE_MS)).toBe(count);
    expect(await books.intents.backlog()).toEqual({ intents: 0, rows: 2 * count });
    for (const queue of queues) expect(await queue.reclaim(0, 10)).toEqual([]);
    expect((await books.limits.usage({ limit: 10 })).filter(({ reserved }) => reserved > 0)).toEqual([]);
  });

  it('share a limit, are seen as one, reset as one, and alert once', async () => {
    const { tenants, store, books, keeper, admit, sent } = await installed(url(), count);
    const spend = async (tenant: string, fixed: number): Promise<boolean> => {
      for (let rounds = 0; rounds < 4; rounds += 1) {
        const { intentId, holds } = await admit(tenant, [perHour({ fixed })]);
        if (intentId !== '') {
          const charged = { holds, amounts: { requests: 1, tokens: 0, usd: fixed } };
          store.ledger.settle(sampleSettlement(sampleRow('r', { tenant }), intentId, charged));
          await sent();
          return true;
        }
        if (count > 1) await keeper.keep();
      }
      return false;
    };
    const [first = '', last = ''] = [tenants[0], tenants.at(-1)];
    expect(await spend(first, 30)).toBe(true);
    expect(await spend(last, 60)).toBe(true);
    if (count > 1) await keeper.keep();
    expect(await spend(first, 11)).toBe(false);
    expect(await spend(last, 10)).toBe(true);
    const [usage] = await books.limits.usage({ limit: 10 });
    expect(usage).toMatchObject({ rule: 'budget', limit: 100, used: 100, reserved: 0, overrun: 0 });
    const alerts = await books.limits.alerts(10);
    expect(alerts.map(({ alert }) => [alert.rule, alert.percent, alert.limit])).toEqual([
      ['budget', 50, 100],
    ]);
    await books.limits.acknowledge(alerts.map(({ id }) => id));
    expect(await books.limits.alerts(10)).toEqual([]);
    expect(await books.limits.reset('budget', 'everybody')).toBe(1);
    expect(await books.limits.usage({ limit: 10 })).toEqual([]);
    expect(await spend(first, 100)).toBe(true);
    if (count > 1) await keeper.keep();
    expect((await books.limits.alerts(10)).map(({ alert }) => alert.percent)).toEqual([50]);
  });

  it('learn of providers by themselves, and tell the worst', async () => {
    const { tenants, store, books, admit, sent } = await installed(url(), count);
    const tenant = tenants.at(-1) ?? '';
    const { intentId } = await admit(tenant, [], { providers: ['openai'] });
    store.ledger.settle(
      sampleSettlement(sampleRow('r', { tenant, status: 503, errorCode: 'upstream_error' }), intentId),
    );
    await sent();
    expect((await admit(tenant, [], { providers: ['openai'] })).open.has('openai')).toBe(true);
    expect((await admit(tenants[0] ?? '', [], { providers: ['openai'] })).open.size).toBe(
      count === 1 ? 1 : 0,
    );
    expect(await books.circuits.circuits()).toMatchObject([{ provider: 'openai', state: 'open' }]);
  });

  it('put nothing else into Redis where there is one', async () => {
    const { domains, admit, redis, books } = await installed(url(), count);
    const sessions = new RedisSessionBook(redis);
    await sessions.put(`s${domains[0] ?? ''}`, 'x', 60_000);
    expect(await sessions.get(`s${domains[0] ?? ''}`)).toBe('x');
    expect(await new RedisOnceBook(redis).claim(`o${domains[0] ?? ''}`, 60_000)).toBe(true);
    for (let times = 0; times < 6; times += 1) await admit('', [perHour()]);
    const { counters } = ledgerKeys(domains[0] ?? '');
    expect(await redis.exists(`${counters}-asks`)).toBe(count === 1 ? 0 : 1);
    expect(await redis.exists(`${counters}-shares`)).toBe(0);
    expect(await books.limits.usage({ rule: 'budget', limit: 1 })).toHaveLength(1);
  });
});

it('spreads the domains over the nodes of a cluster', async () => {
  const nodes = await cluster.keys();
  expect(nodes.filter((keys) => keys.some((key) => key.startsWith('{limen:'))).length).toBeGreaterThan(1);
  const homes = Map.groupBy(
    nodes.flatMap((keys, node) => keys.map((key) => ({ node, tag: /^\{[^}]*\}/.exec(key)?.[0] ?? key }))),
    ({ tag }) => tag,
  );
  expect([...homes.values()].filter((keys) => new Set(keys.map(({ node }) => node)).size > 1)).toEqual([]);
});

it('loses one domain with its node, at once and alone', async () => {
  const { domains, tenants, admit, redis, store, sent, tagsOf } = await onTwoNodes();
  const [kept = '', lost = ''] = tenants;
  expect((await admit(kept)).storeAway).toBe(false);
  expect((await admit(lost)).storeAway).toBe(false);
  const lines: string[] = [];
  const noted = createLogger('test', 'warn', { write: (line) => void lines.push(line) });
  const options = { redis, logger: noted, circuitBreaker: CIRCUITS, leaseMs: LEASE_MS };
  const books = openControlBooks({ ...options, domains });
  const others = openControlBooks({ ...options, domains: domains.toReversed() });
  const { intentId, holds } = await admit(kept, [perHour({ oneTenant: true, fixed: 60 })]);
  store.ledger.settle(
    sampleSettlement(sampleRow('r', { tenant: kept, status: 503, errorCode: 'upstream_error' }), intentId, {
      holds,
      amounts: { requests: 1, tokens: 0, usd: 60 },
    }),
  );
  await sent();
  // Each has two open; one of them a threshold that was crossed, and an open circuit.
  expect(await books.intents.backlog()).toEqual({ intents: 4, rows: 1 });
  await cluster.killNodeOf(tagsOf(domains[1] ?? ''));
  const startedAt = performance.now();
  expect((await admit(lost)).storeAway).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(LOST_PATIENCE_MS / 2);
  expect((await admit(kept)).storeAway).toBe(false);

  for (const { intents, recovery, circuits, limits } of [books, others]) {
    expect(await intents.lead(60_000)).toBe(true);
    await vi.waitFor(async () => expect(await intents.lapsed(1, 10)).toHaveLength(3), 15_000);
    const found = await recovery.open('', 10);
    expect(found).toHaveLength(3);
    // Who looks for more hears of the lost one, and so looks again.
    await expect(recovery.open(found.at(-1)?.intentId ?? '', 10)).rejects.toThrow();
    expect(await circuits.circuits()).toMatchObject([{ provider: 'openai', state: 'open' }]);
    expect((await limits.alerts(10)).map(({ alert }) => alert.percent)).toEqual([50]);
    expect(await intents.lead(1)).toBe(true);
    await delay(5);
  }
  // Of the lost one as it was told last.
  expect(await books.intents.backlog()).toEqual({ intents: 5, rows: 1 });
  const [open] = await books.intents.lapsed(1, 10);
  const closings = [open?.intentId ?? '', `1-0@${domains[1] ?? ''}`].map((intentId) => ({
    intentId,
    row: undefined,
  }));
  expect(await books.intents.close(closings, 1)).toBe(1);
  const [, next] = await books.intents.lapsed(1, 10);
  const settlements = [`1-0@${domains[1] ?? ''}`, next?.intentId ?? ''].map((intentId) =>
    sampleSettlement(sampleRow('r'), intentId),
  );
  await expect(books.recovery.settle([], settlements)).rejects.toThrow();
  expect((await books.intents.lapsed(1, 10)).map(({ intentId }) => intentId)).not.toContain(next?.intentId);
  expect(lines.filter((line) => line.includes('a limit domain is away'))).toHaveLength(2);
});

/** Two domains whose keys lie on different nodes. */
async function onTwoNodes() {
  const tagsOf = (domain: string): string => `{limen:${domain}}`;
  for (;;) {
    const found = await installed(cluster.url, 2, LOST_PATIENCE_MS);
    for (const tenant of found.tenants) await found.admit(tenant);
    const nodes = (await cluster.keys()).map((keys) =>
      found.domains.filter((domain) => keys.some((key) => key.startsWith(tagsOf(domain)))),
    );
    if (nodes.every((domains) => domains.length < 2)) return { ...found, tagsOf };
  }
}
