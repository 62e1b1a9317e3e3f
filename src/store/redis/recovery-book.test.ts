import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import type { FailedAttempt } from '../../core/ledger.ts';
import { NO_AMOUNTS } from '../../core/limits.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';
import { RedisIntentBook } from './intent-book.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { RedisLedger } from './ledger.ts';
import { RedisLimitBook } from './limit-book.ts';
import { RedisRecoveryBook } from './recovery-book.ts';
import { RedisRowQueue } from './row-queue.ts';
import {
  chargedAttempt,
  sampleAdmission,
  sampleCheck,
  sampleRow,
  sampleSettlement,
} from './testing/samples.ts';

const logger = createLogger('test', 'silent');
const open: Redis[] = [];
let server: TestRedis;
let redis: Redis;
let domains = 0;

async function connect(): Promise<Redis> {
  const connection = connectRedis({ url: server.url, logger, commandTimeoutMs: 10_000 });
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

const LIMIT = sampleCheck({
  rule: 'budget',
  limit: 1_000_000,
  span: { kind: 'window', milliseconds: 3_600_000 },
});
const CLEAN = { failures: 0, openSeconds: 30 };
const FAILED: FailedAttempt = {
  requestId: 'r',
  ordinal: 1,
  time: 1_795_242_490_771,
  provider: 'other',
  providerModel: 'gpt',
  status: 0,
  outcome: 'timeout',
  mayBeBilled: true,
  costUsd: 0.1,
  durationMs: 5,
  retryAfterSeconds: 0,
};

/** A worker and the control plane on the same ledger. */
function installation({ leaseMs = 60_000, circuitBreaker = () => CLEAN } = {}) {
  domains += 1;
  const domain = `recovery-${domains}`;
  const observer = {
    admitFailed: vi.fn<() => void>(),
    settled: vi.fn<() => void>(),
    dropped: vi.fn<() => void>(),
    settleFailed: vi.fn<() => void>(),
    tryFailed: vi.fn<() => void>(),
  };
  const options = { redis, logger, circuitBreaker, domain, leaseMs, patienceMs: 10_000 };
  const ledger = new RedisLedger({ ...options, observer });
  const limits = new RedisLimitBook(redis, domain);
  return {
    ledger,
    book: new RedisRecoveryBook(options),
    intents: new RedisIntentBook(redis, domain),
    keys: ledgerKeys(domain),
    /** An admitted request, which has reserved 30, and its end, which is charged 20. */
    admitted: async (requestId = 'r') => {
      const request = sampleAdmission(requestId, { limits: [LIMIT], outputTokens: 20 });
      const { intentId, holds } = await ledger.admit(request);
      const amounts = { ...NO_AMOUNTS, tokens: 20 };
      const end = sampleSettlement(sampleRow(requestId), intentId, { holds, amounts });
      const failure = chargedAttempt(
        { ...FAILED, requestId },
        { intentId, holds, amounts: { ...NO_AMOUNTS, tokens: 7 } },
      );
      return { intentId, end, failure };
    },
    sent: (): Promise<void> => vi.waitFor(() => expect(ledger.queued).toBe(0), 15_000),
    /** Used, reserved and overrun. */
    usage: async () => {
      const [usage] = await limits.usage({ limit: 10 });
      return usage === undefined ? [] : [usage.used, usage.reserved, usage.overrun];
    },
    rows: async () =>
      (await new RedisRowQueue(await connect(), domain).read(1000, 0)).map(({ kind }) => kind),
  };
}

describe('RedisRecoveryBook', () => {
  it('settles what is open as a worker would, and leaves out the worker that comes later', async () => {
    const { ledger, book, admitted, sent, usage, rows, intents } = installation();
    const { end } = await admitted();
    expect(await usage()).toEqual([0, 30, 0]);
    expect(await book.settle([], [end])).toBe(1);
    expect(await usage()).toEqual([20, 0, 0]);
    ledger.settle(end);
    await sent();
    expect(await usage()).toEqual([20, 0, 0]);
    expect(await rows()).toEqual(['row']);
    expect(await intents.backlog()).toMatchObject({ intents: 0 });
  });

  it('leaves alone what a worker has settled', async () => {
    const { ledger, book, admitted, sent, usage, rows } = installation();
    const { end } = await admitted();
    ledger.settle(end);
    await sent();
    expect(await book.settle([], [end])).toBe(0);
    expect(await book.settle([], [end])).toBe(0);
    expect(await usage()).toEqual([20, 0, 0]);
    expect(await rows()).toEqual(['row']);
  });

  it('leaves alone what the reconciler has closed', async () => {
    const { book, admitted, usage, rows, intents } = installation({ leaseMs: 1 });
    const { intentId, end } = await admitted();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await intents.close([{ intentId, row: sampleRow('r', { revision: 1 }) }], 0)).toBe(1);
    expect(await book.settle([], [end])).toBe(0);
    expect(await usage()).toEqual([]);
    expect(await rows()).toEqual(['row']);
  });

  it('settles each of many once, whoever is first', async () => {
    const { ledger, admitted, sent, usage, rows, intents, book } = installation();
    const requests = await Promise.all(Array.from({ length: 300 }, (_, index) => admitted(`r${index}`)));
    const recovered: Promise<number>[] = [];
    for (const [index, { end, failure }] of requests.entries()) {
      if (index % 2 === 0) recovered.push(book.settle([failure], [end]));
      ledger.recordAttempts([failure]);
      ledger.settle(end);
      // Of these the worker is sure to be first; of most others it is as it comes.
      if (index % 20 === 19) await sent();
      if (index % 2 === 1) recovered.push(book.settle([failure], [end]));
    }
    const counts = await Promise.all(recovered);
    await sent();
    const first = counts.reduce((sum, count) => sum + count, 0);
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(300);
    const [used, reserved] = await usage();
    expect([used, reserved]).toEqual([300 * 27, 0]);
    const kinds = await rows();
    expect(kinds.filter((kind) => kind === 'row')).toHaveLength(300);
    expect(kinds.filter((kind) => kind === 'attempt')).toHaveLength(300);
    expect(await intents.backlog()).toMatchObject({ intents: 0 });
  });

  it('charges a failed try once, by whomever it is told', async () => {
    const { ledger, book, admitted, sent, usage } = installation();
    const { end, failure } = await admitted();
    ledger.recordAttempts([failure]);
    await sent();
    expect(await usage()).toEqual([7, 23, 0]);
    expect(await book.settle([failure], [end])).toBe(1);
    expect(await usage()).toEqual([27, 0, 0]);
    ledger.recordAttempts([failure, { ...failure, ordinal: 2, time: failure.time + 1 }]);
    await sent();
    expect(await usage()).toEqual([34, 0, 7]);
  });

  it('counts what is recovered after its lease as an overrun', async () => {
    const { ledger, book, admitted, usage } = installation({ leaseMs: 50 });
    const { end } = await admitted();
    await new Promise((resolve) => setTimeout(resolve, 80));
    await ledger.admit(sampleAdmission('other', { limits: [{ ...LIMIT, limit: 1 }], outputTokens: 20 }));
    // A counter at rest is in no list.
    expect(await usage()).toEqual([]);
    expect(await book.settle([], [end])).toBe(1);
    expect(await usage()).toEqual([20, 0, 20]);
  });

  it('teaches circuits by the answer, and not by tries of long ago', async () => {
    const circuitBreaker = () => ({ failures: 1, openSeconds: 30 });
    const { book, admitted, keys } = installation({ circuitBreaker });
    const { end, failure } = await admitted();
    const row = sampleRow('r', { provider: 'openai', status: 503, errorCode: 'upstream_error' });
    expect(await book.settle([failure], [{ ...end, row }])).toBe(1);
    expect(await redis.hkeys(keys.circuits)).toEqual(['openai']);
  });

  it('lists what is open in pages', async () => {
    const { book, admitted } = installation();
    const ids = [];
    for (const name of ['a', 'b', 'c']) ids.push((await admitted(name)).intentId);
    const [first, second] = await book.open('', 2);
    expect([first?.intentId, second?.intentId]).toEqual(ids.slice(0, 2));
    expect(JSON.parse(second?.json ?? '')).toMatchObject({ requestId: 'b' });
    expect((await book.open(ids[1] ?? '', 2)).map(({ intentId }) => intentId)).toEqual(ids.slice(2));
    expect(await book.open(ids[2] ?? '', 2)).toEqual([]);
  });

  it('remembers nothing for ever', async () => {
    const { book, admitted, keys, ledger, sent } = installation();
    const { end, failure } = await admitted();
    await redis.zadd(keys.settledOnce, 1, 'of long ago');
    await book.settle([failure], [end]);
    expect(await redis.zrange(keys.settledOnce, '0', '-1')).toEqual([`r/${failure.time}`, end.intentId]);
    expect(await redis.pttl(keys.settledOnce)).toBeGreaterThan(86_000_000);
    // The usual way leaves nothing there.
    const { end: usual } = await admitted('usual');
    ledger.settle(usual);
    await sent();
    expect(await redis.zcard(keys.settledOnce)).toBe(2);
  });
});
