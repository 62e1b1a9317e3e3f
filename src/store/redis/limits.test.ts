import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import type { FailedAttempt } from '../../core/ledger.ts';
import { NANO_USD, NO_AMOUNTS, type LimitCheck, type SettledAmounts } from '../../core/limits.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';
import { RedisIntentBook } from './intent-book.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { RedisLedger, type LedgerObserver, type RedisLedgerOptions } from './ledger.ts';
import { RedisLimitBook } from './limit-book.ts';
import { RedisRowQueue } from './row-queue.ts';
import { LossyProxy } from './testing/lossy-proxy.ts';
import {
  chargedAttempt,
  sampleAdmission,
  sampleCheck,
  sampleRow,
  sampleSettlement,
} from './testing/samples.ts';

const logger = createLogger('test', 'silent');
/** A stall of the machine is not to be taken for one of Redis, but where a test stops that. */
const PATIENCE_MS = 10_000;
let server: TestRedis;
let redis: Redis;
let domains = 0;
const open: Redis[] = [];

async function connect(url = server.url): Promise<Redis> {
  const connection = connectRedis({ url, logger, commandTimeoutMs: PATIENCE_MS });
  open.push(connection);
  await redisReady(connection, 10_000);
  return connection;
}

beforeAll(async () => {
  server = await TestRedis.start();
  redis = await connect();
});

afterAll(async () => {
  for (const connection of open) connection.disconnect();
  await server.stop();
});

const HOUR = 3_600_000;
const NOW = Date.now();
/** A calendar period that began an hour ago and ends in one. */
const CALENDAR: LimitCheck['span'] = {
  kind: 'calendar',
  starts: [NOW - 3 * HOUR, NOW - HOUR, NOW + HOUR, NOW + 3 * HOUR],
};

function installation(over: Partial<RedisLedgerOptions> = {}) {
  domains += 1;
  const domain = `limits-${domains}`;
  const observer = {
    admitFailed: vi.fn<LedgerObserver['admitFailed']>(),
    settled: vi.fn<LedgerObserver['settled']>(),
    dropped: vi.fn<LedgerObserver['dropped']>(),
    settleFailed: vi.fn<LedgerObserver['settleFailed']>(),
    tryFailed: vi.fn<LedgerObserver['tryFailed']>(),
  };
  const circuitBreaker = () => ({ failures: 0, openSeconds: 30 });
  const options = { redis, logger, observer, circuitBreaker, domain, patienceMs: PATIENCE_MS, ...over };
  const ledger = new RedisLedger(options);
  const book = new RedisLimitBook(redis, domain);
  const admit = (limits: readonly LimitCheck[], outputTokens = 20) =>
    ledger.admit(sampleAdmission('r', { limits, outputTokens, providers: ['openai', 'other'] }));
  const sent = (): Promise<void> => vi.waitFor(() => expect(ledger.queued).toBe(0), 15_000);
  const settle = async (
    admission: Awaited<ReturnType<typeof admit>>,
    amounts: Partial<SettledAmounts>,
    provider = 'openai',
  ): Promise<void> => {
    const { intentId, holds } = admission;
    const charged = { holds, amounts: { ...NO_AMOUNTS, requests: 1, ...amounts } };
    ledger.settle(sampleSettlement(sampleRow('r', { provider }), intentId, charged));
    await sent();
  };
  /** Rule → used, reserved, overrun. */
  const usage = async (): Promise<Record<string, readonly number[]>> =>
    Object.fromEntries(
      (await book.usage({ limit: 100 })).map(({ rule, used, reserved, overrun }) => [
        rule,
        [used, reserved, overrun],
      ]),
    );
  return { domain, observer, options, ledger, book, admit, settle, sent, usage, keys: ledgerKeys(domain) };
}

const failed: FailedAttempt = {
  requestId: 'r',
  ordinal: 1,
  time: 1_795_242_490_771,
  provider: 'other',
  providerModel: 'gpt',
  status: 0,
  outcome: 'reset',
  mayBeBilled: true,
  costUsd: 0.1,
  durationMs: 5,
  retryAfterSeconds: 0,
};

const perMinute = (over: Partial<LimitCheck> = {}) =>
  sampleCheck({
    rule: 'rate',
    counter: 'rate/requests/1m/ada',
    unit: 'requests',
    fixed: 1,
    perOutputToken: 0,
    ...over,
  });
const budget = (over: Partial<LimitCheck> = {}) =>
  sampleCheck({ rule: 'budget', counter: 'budget/usd/month/ada', unit: 'usd', span: CALENDAR, ...over });

describe('limits in Redis', () => {
  it('reserve by every rule or by none, and write nothing for a refused request', async () => {
    const { admit, usage, keys, ledger, domain } = installation({
      circuitBreaker: () => ({ failures: 1, openSeconds: 0.01 }),
    });
    ledger.recordAttempts([chargedAttempt({ ...failed, provider: 'openai' })]);
    await vi.waitFor(async () => expect(await redis.exists(keys.circuits)).toBe(1), 15_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const circuit = await redis.hgetall(keys.circuits);

    const limits = [perMinute(), sampleCheck({ limit: 200 }), budget({ limit: 29 })];
    const admission = await ledger.admit(
      sampleAdmission('r', {
        limits,
        outputTokens: 20,
        providers: ['openai'],
        keep: { key: 'kept', value: Buffer.from('x'), ttlSeconds: 60 },
      }),
    );
    expect(admission).toMatchObject({ intentId: '', holds: [], storeAway: false });
    expect(admission.limits.map(({ outcome, reserved }) => [outcome, reserved])).toEqual([
      ['allowed', 0],
      ['allowed', 0],
      ['refused', 0],
    ]);
    expect(admission.limits[2]?.resetMs).toBeGreaterThan(HOUR - 60_000);
    expect(await usage()).toEqual({});
    // No probe was taken, and nothing kept, for a request that goes nowhere.
    expect(await redis.hgetall(keys.circuits)).toEqual(circuit);
    const written = (await redis.keys(`{limen:${domain}}*`)).filter((key) => !key.includes(':batch:'));
    expect(written.sort()).toEqual([keys.circuits, keys.rows].sort());

    const other = await admit([perMinute(), sampleCheck({ limit: 200 }), budget({ limit: 30 })]);
    expect(other.intentId).not.toBe('');
    expect(other.limits.map(({ outcome, reserved }) => [outcome, reserved])).toEqual([
      ['allowed', 1],
      ['allowed', 30],
      ['allowed', 30],
    ]);
    expect(other.holds.map(({ rule, reserved }) => [rule, reserved])).toEqual([
      ['rule', 30],
      ['budget', 30],
    ]);
    expect(await usage()).toEqual({ rate: [1, 0, 0], rule: [0, 30, 0], budget: [0, 30, 0] });
  });

  it('never overspend, however many ask at once', async () => {
    const { options, usage } = installation();
    const connections = await Promise.all(Array.from({ length: 5 }, () => connect()));
    const workers = connections.map((connection) => new RedisLedger({ ...options, redis: connection }));
    const limits = [budget({ limit: 37 * 30 + 29 }), sampleCheck({ limit: 1_000_000, span: CALENDAR })];
    const admissions = await Promise.all(
      workers.flatMap((worker) =>
        Array.from({ length: 40 }, (_, index) =>
          worker.admit(sampleAdmission(`r${index}`, { limits, outputTokens: 20 })),
        ),
      ),
    );
    const admitted = admissions.filter(({ intentId }) => intentId !== '');
    expect(admitted).toHaveLength(37);
    expect(await usage()).toEqual({ budget: [0, 37 * 30, 0], rule: [0, 37 * 30, 0] });
  });

  it('replace a reservation by the truth', async () => {
    const { admit, settle, usage, keys } = installation();
    const admission = await admit([perMinute(), budget({ limit: 100 })]);
    await settle(admission, { tokens: 7, usd: 11 });
    expect(await usage()).toEqual({ rate: [1, 0, 0], budget: [11, 0, 0] });
    expect(await redis.exists(keys.reservations, keys.leases, keys.intents)).toBe(1);
    expect(await redis.xlen(keys.intents)).toBe(0);
  });

  it('free what nobody settles or renews, and count what is settled after that as an overrun', async () => {
    const { admit, settle, usage, ledger, domain, keys } = installation({ leaseMs: 1500 });
    const limits = [budget({ limit: 40 })];
    const lost = await admit(limits);
    const refused = await admit(limits);
    expect(refused.limits).toMatchObject([{ outcome: 'refused', used: 0, held: 30 }]);
    ledger.renew([lost.intentId]);
    await vi.waitFor(async () => expect((await admit(limits)).intentId).not.toBe(''), {
      timeout: 15_000,
      interval: 20,
    });
    expect(await usage()).toEqual({ budget: [0, 30, 0] });
    await settle(lost, { usd: 25 });
    expect(await usage()).toEqual({ budget: [25, 30, 25] });
    const [row] = await new RedisRowQueue(await connect(), domain).read(10, 0);
    expect(row).toMatchObject({ kind: 'row', overrun: ['budget'] });
    expect(await redis.hlen(keys.reservations)).toBe(1);
  });

  it('hold a reservation for as long as it is renewed', async () => {
    const { admit, ledger, usage, keys } = installation({ leaseMs: 2500 });
    const limits = [sampleCheck({ limit: 40 })];
    const long = await admit(limits);
    const end = Date.now() + 4000;
    while (Date.now() < end) {
      ledger.renew([long.intentId]);
      expect((await admit(limits)).intentId).toBe('');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await usage()).toEqual({ rule: [0, 30, 0] });
    // A stream may outlive the window of its counter by far.
    const counter = `${keys.counters}:rule/tokens/1m/everybody/w60000`;
    await redis.pexpire(counter, 400);
    ledger.renew([long.intentId]);
    await vi.waitFor(async () => expect(await redis.pttl(counter)).toBeGreaterThan(10_000), 15_000);
  });

  it('are freed without a charge by the reconciler', async () => {
    const { admit, usage, domain } = installation({ leaseMs: 1 });
    const { intentId } = await admit([budget({ limit: 40 })]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    const book = new RedisIntentBook(redis, domain);
    expect(await book.close([{ intentId, row: sampleRow('r', { revision: 1 }) }], 0)).toBe(1);
    expect(await usage()).toEqual({});
  });

  it('pay failed tries out of the reservation of their request', async () => {
    const { admit, settle, usage, ledger, sent } = installation();
    const admission = await admit([budget({ limit: 30 })]);
    const { intentId, holds } = admission;
    ledger.recordAttempts([chargedAttempt(failed, { intentId, holds, amounts: { ...NO_AMOUNTS, usd: 12 } })]);
    await sent();
    expect(await usage()).toEqual({ budget: [12, 18, 0] });
    await settle(admission, { usd: 18 });
    expect(await usage()).toEqual({ budget: [30, 0, 0] });
  });

  it('tell each threshold once in a period, and again after a reset', async () => {
    const { admit, settle, book, usage } = installation();
    const limits = [budget({ limit: 100, alerts: [50, 80, 100] })];
    const spend = async (usd: number) => settle(await admit(limits, 0), { usd });
    await spend(45);
    expect(await book.alerts(10)).toEqual([]);
    await spend(44);
    await spend(1);
    const alerts = await book.alerts(10);
    expect(alerts.map(({ alert }) => [alert.percent, alert.used, alert.limit, alert.unit])).toEqual([
      [50, 89, 100, 'usd'],
      [80, 89, 100, 'usd'],
    ]);
    expect(alerts[0]?.alert).toMatchObject({ rule: 'budget', subject: 'everybody' });
    expect(alerts[0]?.alert.resetsAt).toBeGreaterThan(Date.now());
    await book.acknowledge(alerts.map(({ id }) => id));
    expect(await book.alerts(10)).toEqual([]);

    const open = await admit(limits, 0);
    expect(await book.reset('budget', 'somebody else')).toBe(0);
    expect(await book.reset('budget', 'everybody')).toBe(1);
    expect(await usage()).toEqual({ budget: [0, 10, 0] });
    await settle(open, { usd: 60 });
    expect((await book.alerts(10)).map(({ alert }) => alert.percent)).toEqual([50]);
  });

  it('can be reset after a clock that was far ahead', async () => {
    const { admit, book, keys } = installation();
    const limits = [perMinute({ limit: 1 })];
    await admit(limits);
    const counter = `${keys.counters}:rate/requests/1m/ada/w60000`;
    const head = Number(await redis.hget(counter, 'head'));
    await redis.hset(counter, 'head', String(head + 61), String((head + 61) % 61), '1');
    const refused = await admit(limits);
    expect(refused.limits).toMatchObject([{ outcome: 'refused', used: 1 }]);
    expect(refused.limits[0]?.resetMs).toBeGreaterThan(110_000);
    expect(await book.reset('', '')).toBe(0);
    expect(await book.reset('rate', 'everybody')).toBe(1);
    const admitted = await admit(limits);
    expect(admitted.limits).toMatchObject([{ outcome: 'allowed', used: 0 }]);
    expect(admitted.limits[0]?.resetMs).toBeLessThan(62_000);
  });

  it('count a batch once whose reply was lost', async () => {
    const proxy = await LossyProxy.start(server.url);
    const lossy = connectRedis({ url: proxy.url, logger, commandTimeoutMs: 1500 });
    open.push(lossy);
    await redisReady(lossy, 15_000);
    const { admit, usage, ledger, observer, keys } = installation({ redis: lossy });
    const limits = [budget({ limit: 1000 })];
    const first = await admit(limits);
    const second = await admit(limits);
    proxy.loseReplies();
    for (const { intentId, holds } of [first, second]) {
      const charged = { holds, amounts: { ...NO_AMOUNTS, usd: 10 } };
      ledger.settle(sampleSettlement(sampleRow('r'), intentId, charged));
    }
    await vi.waitFor(() => expect(observer.settleFailed).toHaveBeenCalled(), 15_000);
    await vi.waitFor(async () => expect(await usage()).toEqual({ budget: [20, 0, 0] }), 15_000);
    // What comes meanwhile goes into the next batch.
    ledger.settle(
      sampleSettlement(sampleRow('late'), '', { holds: first.holds, amounts: { ...NO_AMOUNTS, usd: 1 } }),
    );
    expect(ledger.queued).toBe(3);
    proxy.passReplies();
    await vi.waitFor(() => expect(ledger.queued).toBe(0), 15_000);
    expect(await usage()).toEqual({ budget: [21, 0, 1] });
    expect(await redis.xlen(keys.rows)).toBe(3);
    await proxy.stop();
  });

  it('go on where something else is in the place of a counter', async () => {
    const { admit, settle, usage, keys } = installation({ leaseMs: 50 });
    const limits = [budget({ limit: 1000 }), sampleCheck({ limit: 1000 })];
    const admission = await admit(limits);
    const counter = `${keys.counters}:${admission.holds[0]?.counter}`;
    await redis.set(counter, 'no hash');
    await settle(admission, { tokens: 3, usd: 4 });
    expect(await usage()).toEqual({ budget: [4, 0, 0], rule: [3, 0, 0] });
    await admit(limits);
    await redis.set(counter, 'no hash');
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect((await admit(limits)).limits).toMatchObject([
      { used: 0, held: 0 },
      { used: 3, held: 0 },
    ]);
  });

  it('leave out the providers that have no room, and charge the one that answered', async () => {
    const { admit, settle, usage } = installation();
    const of = (provider: string, limit: number) =>
      budget({ rule: provider, subject: provider, counter: `${provider}/usd`, limit, providers: [provider] });
    const limits = [
      of('openai', 100),
      of('other', 29),
      perMinute({ rule: 'calls', counter: 'calls', providers: ['openai'] }),
    ];
    const admission = await admit(limits);
    expect(admission.limits.map(({ outcome }) => outcome)).toEqual(['allowed', 'left out', 'allowed']);
    expect(admission.holds.map(({ rule, providers }) => [rule, providers])).toEqual([
      ['openai', ['openai']],
      ['calls', ['openai']],
    ]);
    expect(await usage()).toEqual({ openai: [0, 30, 0], calls: [0, 1, 0] });
    await settle(admission, { usd: 5 });
    expect(await usage()).toEqual({ openai: [5, 0, 0], calls: [1, 0, 0] });
    await settle(await admit(limits), { usd: 5 }, 'other');
    expect(await usage()).toEqual({ openai: [5, 0, 0], calls: [1, 0, 0] });
    const none = await admit([of('openai', 10), of('other', 29)]);
    expect(none.limits.map(({ outcome }) => outcome)).toEqual(['refused', 'refused']);
  });

  it('reserve once where rules of several providers share a counter', async () => {
    const { admit, settle, usage } = installation();
    const of = (provider: string) => budget({ counter: 'shared/usd', limit: 40, providers: [provider] });
    const admission = await admit([of('openai'), of('other')]);
    expect(admission.holds).toHaveLength(2);
    expect(await usage()).toEqual({ budget: [0, 30, 0] });
    await settle(admission, { usd: 30 }, 'other');
    expect(await usage()).toEqual({ budget: [30, 0, 0] });
  });

  it('cut the output to what is left, down to a useful least', async () => {
    const { admit } = installation();
    const limits = (limit: number) => [
      budget({ limit, onShortfall: 'clamp', perOutputToken: 0.5 }),
      sampleCheck({ limit: 1000 }),
    ];
    expect(await admit(limits(30), 80)).toMatchObject({
      outputTokens: 40,
      limits: [
        { outcome: 'cut', reserved: 30 },
        { outcome: 'allowed', reserved: 50 },
      ],
    });
    const refused = await admit(limits(30 + 17), 80);
    expect(refused.limits.map(({ outcome }) => outcome)).toEqual(['refused', 'allowed']);
    expect(refused).not.toHaveProperty('outputTokens');
    expect(await admit(limits(30 + 18), 80)).toMatchObject({ outputTokens: 16 });
  });

  it('find the room for output where it is more than can be counted', async () => {
    const { admit } = installation();
    const limit = 9_000_000 * NANO_USD;
    const admission = await admit([
      budget({ limit, onShortfall: 'clamp', fixed: 0, perOutputToken: 0.7 }),
      sampleCheck({ rule: 'other', counter: 'other', limit, onShortfall: 'clamp', perOutputToken: 1e-300 }),
    ]);
    expect(admission.limits.map(({ outcome }) => outcome)).toEqual(['allowed', 'allowed']);
    expect(admission).not.toHaveProperty('outputTokens');
  });

  it('count only the request where a kept answer spares the upstream', async () => {
    const { ledger, usage, keys } = installation();
    await redis.set(keys.kept('answer'), 'answer');
    const limits = [perMinute(), budget({ limit: 1 }), sampleCheck()];
    const found = { limits, outputTokens: 20, wanted: 'answer', foundIsAnswer: true };
    const admission = await ledger.admit(sampleAdmission('r', found));
    expect(admission.found?.toString()).toBe('answer');
    expect(admission.holds).toEqual([]);
    expect(admission.limits.map(({ outcome }) => outcome)).toEqual(['allowed', 'allowed', 'allowed']);
    expect(await usage()).toEqual({ rate: [1, 0, 0] });
    const basis = await ledger.admit(sampleAdmission('r', { ...found, foundIsAnswer: false }));
    expect(basis.limits.map(({ outcome }) => outcome)).toEqual(['allowed', 'refused', 'allowed']);
  });

  it('count a request once that is admitted again, and forget the first time', async () => {
    const { ledger, usage, keys } = installation();
    const limits = [perMinute({ limit: 1 }), budget({ limit: 1000 })];
    const ask = { limits, outputTokens: 20, providers: ['openai'] };
    const first = await ledger.admit(sampleAdmission('r', ask));
    const second = await ledger.admit(sampleAdmission('r', { ...ask, insteadOf: first.intentId }));
    expect(second.limits).toMatchObject([
      { outcome: 'allowed', used: 1, reserved: 0 },
      { outcome: 'allowed', held: 0, reserved: 30 },
    ]);
    expect((await redis.xrange(keys.intents, '-', '+')).map(([id]) => id)).toEqual([second.intentId]);
    expect(await redis.zrange(keys.leases, '0', '-1')).toEqual([second.intentId]);
    expect(await usage()).toEqual({ rate: [1, 0, 0], budget: [0, 30, 0] });
    // It goes as well where its successor is refused.
    const tooMuch = { ...ask, limits: [budget({ limit: 1 })], insteadOf: second.intentId };
    expect((await ledger.admit(sampleAdmission('r', tooMuch))).intentId).toBe('');
    expect(await redis.xlen(keys.intents)).toBe(0);
    expect(await usage()).toEqual({ rate: [1, 0, 0] });
  });

  it('keep nothing for ever, and everything under one hash tag', async () => {
    const { admit, settle, domain, keys } = installation();
    for (let user = 0; user < 20; user += 1) {
      await settle(
        await admit([
          perMinute({ counter: `rate/${user}` }),
          budget({ counter: `budget/${user}`, limit: 100 }),
        ]),
        {
          usd: 1,
        },
      );
    }
    const all = await redis.keys(`*${domain}*`);
    expect(all.every((key) => key.startsWith(`{limen:${domain}}:`))).toBe(true);
    const counters = all.filter((key) => key.startsWith(`${keys.counters}:`));
    expect(counters).toHaveLength(40);
    const lives = await Promise.all(counters.map((key) => redis.pttl(key)));
    expect(lives.every((left) => left > 60_000 && left < 27 * HOUR)).toBe(true);
    // Counters that are gone leave the index, a few for each new one.
    await redis.del(...counters);
    const members = await redis.zrange(keys.counters, '0', '-1');
    await redis.zadd(keys.counters, ...members.flatMap((member) => ['1', member]));
    for (let user = 20; user < 40; user += 1) await admit([perMinute({ counter: `rate/${user}` })]);
    expect(await redis.zcard(keys.counters)).toBe(20);
    expect(await redis.hgetall(`${keys.counters}:rate/20/w60000`)).toMatchObject({ settled: '1' });
  });

  it('go on where names hold whatever a client chose', async () => {
    const { admit, book } = installation();
    const subject = 'a\u001Fb\u0000\uD800 {x} "\\';
    const admission = await admit([perMinute({ subject, counter: `rate/${subject}/w1` })]);
    expect(admission.intentId).not.toBe('');
    expect(await book.usage({ subject, limit: 10 })).toMatchObject([
      { used: 1, subject: 'a b\u0000\uFFFD {x} "\\' },
    ]);
  });
});

describe('without a Redis that writes', () => {
  // Whatever became of a test, the next one has a Redis.
  afterEach(async () => {
    const other = await connect();
    await other.config('SET', 'maxmemory', '0');
    await other.replicaof('NO', 'ONE');
    await redisReady(redis, 10_000);
  });

  it('knows when it is out of memory, and loses nothing', async () => {
    const { admit, ledger, observer, usage, settle, keys } = installation();
    const limits = [budget({ limit: 1000 })];
    const admission = await admit(limits);
    const other = await admit(limits);
    const lease = await redis.zscore(keys.leases, other.intentId);
    await redis.config('SET', 'maxmemory', '1');
    const started = performance.now();
    expect(await admit(limits)).toEqual({
      intentId: '',
      open: new Map(),
      limits: [],
      holds: [],
      storeAway: true,
    });
    // It says so at once: nobody waits for it.
    expect(performance.now() - started).toBeLessThan(PATIENCE_MS / 2);
    expect(observer.admitFailed).toHaveBeenCalledExactlyOnceWith('oom');
    const charged = { holds: admission.holds, amounts: { ...NO_AMOUNTS, usd: 10 } };
    ledger.settle(sampleSettlement(sampleRow('r'), admission.intentId, charged));
    await vi.waitFor(() => expect(observer.settleFailed).toHaveBeenCalled(), 15_000);
    expect(await usage()).toEqual({ budget: [0, 60, 0] });
    // What is open stays alive.
    ledger.renew([other.intentId]);
    await vi.waitFor(
      async () => expect(await redis.zscore(keys.leases, other.intentId)).not.toBe(lease),
      15_000,
    );
    await redis.config('SET', 'maxmemory', '0');
    await settle(other, { usd: 0 });
    await vi.waitFor(async () => expect(await usage()).toEqual({ budget: [10, 0, 0] }), 15_000);
  });

  it('takes back what was admitted too late', async () => {
    const { admit, usage, keys } = installation({ patienceMs: 250 });
    await server.signal('SIGSTOP');
    const admissions = Promise.all([admit([budget()]), admit([budget()])]);
    try {
      expect((await admissions).map(({ storeAway }) => storeAway)).toEqual([true, true]);
    } finally {
      await server.signal('SIGCONT');
    }
    await vi.waitFor(async () => expect(await redis.xlen(keys.intents)).toBe(0), 15_000);
    await vi.waitFor(async () => expect(await usage()).toEqual({}), 15_000);
    expect(await redis.exists(keys.reservations, keys.leases, keys.rows)).toBe(0);
  });

  it('knows a replica, and finds its master again', async () => {
    const { admit, observer } = installation();
    const limits = [budget({ limit: 1000 })];
    await redis.replicaof('127.0.0.1', '1');
    expect(await admit(limits)).toMatchObject({ storeAway: true, limits: [] });
    expect(observer.admitFailed).toHaveBeenCalledExactlyOnceWith('readonly');
    const other = await connect();
    await other.replicaof('NO', 'ONE');
    await vi.waitFor(async () => expect((await admit(limits)).intentId).not.toBe(''), {
      timeout: 15_000,
      interval: 50,
    });
  });

  it('says that it is away where too many requests are open', async () => {
    const { admit, observer, usage } = installation({ maxOpenIntents: 1 });
    const limits = [perMinute()];
    expect(await admit(limits)).toMatchObject({ storeAway: false, limits: [{ outcome: 'allowed' }] });
    expect(await admit(limits)).toMatchObject({ intentId: '', storeAway: true, limits: [], holds: [] });
    expect(observer.admitFailed).toHaveBeenCalledExactlyOnceWith('full');
    expect(await usage()).toEqual({ rate: [1, 0, 0] });
  });
});
