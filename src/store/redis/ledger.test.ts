import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Redis } from 'ioredis';
import { TestRedis } from '../../../test/support/redis.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';
import { RedisIntentBook } from './intent-book.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { RedisLedger, type LedgerObserver, type RedisLedgerOptions } from './ledger.ts';
import { RedisRowQueue } from './row-queue.ts';
import { rowItem, settleItems } from './settlement-items.ts';
import { sampleAdmission, sampleIntent, sampleRow, sampleSettlement } from './testing/samples.ts';

const logger = createLogger('test', 'silent');
/** A stall of the machine is not to be taken for one of Redis, but where a test stops that. */
const PATIENCE_MS = 10_000;
let server: TestRedis;
let redis: Redis;
const open: Redis[] = [];

async function connect(commandTimeoutMs = 10_000): Promise<Redis> {
  const connection = connectRedis({ url: server.url, logger, commandTimeoutMs });
  open.push(connection);
  await redisReady(connection, 10_000);
  return connection;
}

beforeAll(async () => {
  server = await TestRedis.start();
  redis = await connect();
});

afterEach(async () => {
  await server.signal('SIGCONT');
});

afterAll(async () => {
  for (const connection of open) connection.disconnect();
  await server.stop();
});

let domains = 0;
function freshDomain(): string {
  domains += 1;
  return `test-${domains}`;
}

function observer() {
  return {
    admitFailed: vi.fn<LedgerObserver['admitFailed']>(),
    settled: vi.fn<LedgerObserver['settled']>(),
    dropped: vi.fn<LedgerObserver['dropped']>(),
    settleFailed: vi.fn<LedgerObserver['settleFailed']>(),
    tryFailed: vi.fn<LedgerObserver['tryFailed']>(),
  };
}

function ledgerOf(domain: string, over: Partial<RedisLedgerOptions> = {}) {
  const seen = observer();
  const ledger = new RedisLedger({
    redis,
    logger,
    observer: seen,
    circuitBreaker: () => ({ failures: 2, openSeconds: 30 }),
    domain,
    patienceMs: PATIENCE_MS,
    ...over,
  });
  return { ledger, seen };
}

/** Admits a request and returns its intent's id. */
async function admit(ledger: RedisLedger, requestId: string): Promise<string> {
  return (await ledger.admit(sampleAdmission(requestId))).intentId;
}

function requestIds(rows: readonly { readonly json: string }[]): unknown[] {
  return rows.map(({ json }) => {
    const parsed: unknown = JSON.parse(json);
    return typeof parsed === 'object' && parsed !== null && 'requestId' in parsed
      ? parsed.requestId
      : undefined;
  });
}

describe('RedisLedger', () => {
  it('writes an intent, and settling turns it into a row', async () => {
    const domain = freshDomain();
    const { ledger, seen } = ledgerOf(domain);
    const book = new RedisIntentBook(redis, domain);
    const id = await admit(ledger, 'a');
    expect(id).toMatch(/^\d+-\d+$/);
    expect(await book.backlog()).toEqual({ intents: 1, rows: 0 });

    ledger.settle(sampleSettlement(sampleRow('a'), id));
    ledger.settle(sampleSettlement(sampleRow('never-admitted'), ''));
    expect(await ledger.close(5000)).toBe(0);
    expect(await book.backlog()).toEqual({ intents: 0, rows: 2 });
    expect(seen.settled).toHaveBeenCalledWith(2);

    const queue = new RedisRowQueue(await connect(), domain);
    const rows = await queue.read(10, 0);
    expect(requestIds(rows)).toEqual(['a', 'never-admitted']);
    expect(await queue.read(10, 0)).toEqual([]);
    await queue.acknowledge(rows.map(({ id: entry }) => entry));
    expect(await book.backlog()).toEqual({ intents: 0, rows: 0 });
  });

  it('sends many rows in batches', async () => {
    const domain = freshDomain();
    const { ledger } = ledgerOf(domain);
    for (let index = 0; index < 1000; index += 1)
      ledger.settle(sampleSettlement(sampleRow(String(index)), ''));
    expect(await ledger.close(10_000)).toBe(0);
    expect(await new RedisIntentBook(redis, domain).backlog()).toMatchObject({ rows: 1000 });
  });

  it('settles and renews all others where one is of a limit domain that is gone', async () => {
    const domain = freshDomain();
    const { ledger, seen } = ledgerOf(domain);
    const [ended, alive] = [await admit(ledger, 'ended'), await admit(ledger, 'alive')];
    ledger.renew([`${ended}@gone`, alive]);
    ledger.settle(sampleSettlement(sampleRow('elsewhere'), '1-1@gone'));
    ledger.settle(sampleSettlement(sampleRow('ended'), ended));
    expect(await ledger.close(5000)).toBe(0);
    expect(await new RedisIntentBook(redis, domain).backlog()).toEqual({ intents: 1, rows: 2 });
    expect(await redis.zrange(ledgerKeys(domain).leases, '0', '-1')).toEqual([alive]);
    expect(seen.settleFailed).not.toHaveBeenCalled();
  });

  it('loses nothing of a batch but what fails', async () => {
    const domain = freshDomain();
    const { ledger, seen } = ledgerOf(domain);
    await redis.set(ledgerKeys(domain).circuits, 'no hash');
    const [first, second] = [await admit(ledger, 'first'), await admit(ledger, 'second')];
    for (const [name, id] of [
      ['first', first],
      ['second', second],
    ] as const) {
      const status = { status: 502, errorCode: 'upstream_error' } as const;
      ledger.settle(sampleSettlement(sampleRow(name, status), id));
    }
    expect(await ledger.close(5000)).toBe(0);
    expect(await new RedisIntentBook(redis, domain).backlog()).toEqual({ intents: 0, rows: 2 });
    expect(seen.settleFailed).not.toHaveBeenCalled();
  });

  it('does nothing for a batch that comes behind a later one', async () => {
    const domain = freshDomain();
    const keys = ledgerKeys(domain);
    const send = (number: number, name: string) =>
      settleItems(redis, [rowItem(sampleSettlement(sampleRow(name)))], {
        keys,
        batch: { key: keys.batch('worker'), number },
        circuits: { failures: 0, openSeconds: 30 },
        maxWaitingRows: 100,
        leaseMs: 60_000,
      });
    for (const number of [9, 10, 9, 10]) await send(number, String(number));
    expect(await redis.xlen(keys.rows)).toBe(2);
  });

  it('writes no intent beyond the limit, and says so', async () => {
    const { ledger, seen } = ledgerOf(freshDomain(), { maxOpenIntents: 2 });
    expect(await admit(ledger, 'a')).not.toBe('');
    expect(await admit(ledger, 'b')).not.toBe('');
    expect(await admit(ledger, 'c')).toBe('');
    expect(seen.admitFailed).toHaveBeenCalledExactlyOnceWith('full');
  });

  it('keeps rows while the stream is full, drops the oldest beyond its own bound, and counts them', async () => {
    const domain = freshDomain();
    const { ledger, seen } = ledgerOf(domain, { maxWaitingRows: 1, maxQueuedRows: 3 });
    ledger.settle(sampleSettlement(sampleRow('first'), ''));
    await vi.waitFor(() => expect(ledger.queued).toBe(0), 15_000);
    for (const name of ['lost', 'b', 'c', 'd']) ledger.settle(sampleSettlement(sampleRow(name), ''));
    expect(seen.dropped).toHaveBeenCalledExactlyOnceWith(1);
    await vi.waitFor(() => expect(seen.settleFailed).toHaveBeenCalled(), 15_000);
    expect(ledger.queued).toBe(3);

    const queue = new RedisRowQueue(await connect(), domain);
    const found: unknown[] = [];
    await vi.waitFor(
      async () => {
        const rows = await queue.read(10, 0);
        await queue.acknowledge(rows.map(({ id }) => id));
        found.push(...requestIds(rows));
        // A batch goes whole or not at all, so three rows never fit into a stream of one.
        expect(found).toEqual(['first']);
      },
      { timeout: 15_000 },
    );
    expect(await ledger.close(100)).toBe(3);
  });

  it('fails fast while Redis is gone, keeps the rows, and sends them when it is back', async () => {
    const domain = freshDomain();
    const { ledger, seen } = ledgerOf(domain);
    const id = await admit(ledger, 'a');
    await server.signal('SIGKILL');
    await vi.waitFor(() => expect(redis.status).not.toBe('ready'), 15_000);
    try {
      const before = performance.now();
      expect(await admit(ledger, 'b')).toBe('');
      // Long before an answer would be given up.
      expect(performance.now() - before).toBeLessThan(PATIENCE_MS / 2);
      expect(seen.admitFailed).toHaveBeenCalledWith('away');
      ledger.settle(sampleSettlement(sampleRow('a'), id));
      ledger.settle(sampleSettlement(sampleRow('b'), ''));
      await vi.waitFor(() => expect(seen.settleFailed).toHaveBeenCalled(), 15_000);
    } finally {
      await server.start();
    }
    const book = new RedisIntentBook(redis, domain);
    // A batch on its way is in neither queue, and the connections come back one after the other.
    await vi.waitFor(async () => expect(await book.backlog()).toEqual({ intents: 0, rows: 2 }), 15_000);
    expect(ledger.queued).toBe(0);
    expect(await admit(ledger, 'c')).not.toBe('');
  });

  it('waits for a silent Redis no longer than the command timeout, then not at all', async () => {
    const impatient = await connect(100);
    const { ledger, seen } = ledgerOf(freshDomain(), { redis: impatient });
    await server.signal('SIGSTOP');
    for (let index = 0; index < 3; index += 1) expect(await admit(ledger, 'a')).toBe('');
    // The one that asks again, and then those that do not.
    for (let index = 0; index < 20; index += 1) expect(await admit(ledger, 'a')).toBe('');
    const reasons = seen.admitFailed.mock.calls.flat();
    expect(reasons.slice(0, 3)).toEqual(['timeout', 'timeout', 'timeout']);
    expect(reasons.filter((reason) => reason === 'skipped').length).toBeGreaterThanOrEqual(15);
    await server.signal('SIGCONT');
    await vi.waitFor(async () => expect(await admit(ledger, 'a')).not.toBe(''), {
      timeout: 15_000,
      interval: 100,
    });
  });
});

describe('a stall of Redis', () => {
  it('is one timeout, however many requests waited in it', async () => {
    const impatient = await connect(100);
    const { ledger, seen } = ledgerOf(freshDomain(), { redis: impatient });
    await server.signal('SIGSTOP');
    await Promise.all(Array.from({ length: 20 }, () => admit(ledger, 'a')));
    const waiting = Array.from({ length: 3 }, () => admit(ledger, 'b'));
    // Who is not asked is told so at once.
    expect(new Set(seen.admitFailed.mock.calls.flat())).toEqual(new Set(['timeout']));
    await server.signal('SIGCONT');
    await Promise.all(waiting);
    await vi.waitFor(async () => expect(await admit(ledger, 'c')).not.toBe(''), 15_000);
  });
});

describe('RedisIntentBook', () => {
  it('finds what lapsed, leaves what was renewed or settled, and closes each intent once', async () => {
    const domain = freshDomain();
    const { ledger } = ledgerOf(domain, { leaseMs: 60_000 });
    const book = new RedisIntentBook(redis, domain);
    const lapsed = await admit(ledger, 'lapsed');
    const alive = await admit(ledger, 'alive');
    const settled = await admit(ledger, 'settled');
    expect(await book.lapsed(60_000, 10)).toEqual([]);

    ledger.renew([alive, settled, '', '1-1']);
    await vi.waitFor(async () => expect(await redis.zcard(ledgerKeys(domain).leases)).toBe(2), 15_000);
    const found = await book.lapsed(0, 10);
    expect(found).toEqual([{ intentId: lapsed, json: JSON.stringify(sampleIntent('lapsed')) }]);

    ledger.settle(sampleSettlement(sampleRow('settled'), settled));
    await ledger.close(5000);
    const closings = [
      { intentId: lapsed, row: sampleRow('lapsed', { revision: 1 }) },
      { intentId: alive, row: sampleRow('alive', { revision: 1 }) },
      { intentId: settled, row: sampleRow('settled', { revision: 1 }) },
    ];
    expect(await book.close(closings, 60_000)).toBe(0);
    expect(await book.close(closings, 0)).toBe(1);
    expect(await book.close(closings, 0)).toBe(0);
    expect(await book.backlog()).toEqual({ intents: 1, rows: 2 });
    expect(await redis.zrange(ledgerKeys(domain).leases, '0', '-1')).toEqual([alive]);
  });

  it('looks past a page of live streams, and takes no more than it was asked for', async () => {
    const domain = freshDomain();
    const { ledger } = ledgerOf(domain);
    const alive = await Promise.all(Array.from({ length: 600 }, (_, index) => admit(ledger, String(index))));
    const lapsed = await Promise.all(['x', 'y', 'z'].map((name) => admit(ledger, name)));
    ledger.renew(alive);
    await vi.waitFor(async () => expect(await redis.zcard(ledgerKeys(domain).leases)).toBe(600), 15_000);
    const book = new RedisIntentBook(redis, domain);
    expect((await book.lapsed(0, 10)).map(({ intentId }) => intentId)).toEqual(lapsed);
    expect(await book.lapsed(0, 2)).toHaveLength(2);
    await ledger.close(1000);
  });

  it('lets one lead at a time', async () => {
    const domain = freshDomain();
    const first = new RedisIntentBook(redis, domain);
    const second = new RedisIntentBook(redis, domain);
    expect(await first.lead(60_000)).toBe(true);
    expect(await second.lead(60_000)).toBe(false);
    expect(await first.lead(1)).toBe(true);
    await vi.waitFor(async () => expect(await second.lead(60_000)).toBe(true), 15_000);
  });
});

describe('RedisRowQueue', () => {
  it('waits for the first row, gives each to one reader, and gives back what was never acknowledged', async () => {
    const domain = freshDomain();
    const { ledger } = ledgerOf(domain);
    const first = new RedisRowQueue(await connect(10_000), domain);
    const second = new RedisRowQueue(await connect(10_000), domain);
    expect(await first.read(10, 1)).toEqual([]);
    const waiting = first.read(10, 5000);
    ledger.settle(sampleSettlement(sampleRow('a'), ''));
    await ledger.close(5000);
    const taken = await waiting;
    expect(requestIds(taken)).toEqual(['a']);
    expect(await second.read(10, 0)).toEqual([]);
    expect(await second.reclaim(60_000, 10)).toEqual([]);
    expect(await second.reclaim(0, 10)).toEqual(taken);
    await second.acknowledge(taken.map(({ id }) => id));
    expect(await first.reclaim(0, 10)).toEqual([]);
  });
});
