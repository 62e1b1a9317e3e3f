import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import type { ChargedAttempt, FailedAttempt, GatewayLogRow } from '../../core/ledger.ts';
import { makeUsage } from '../../core/usage.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { RedisCircuitBook } from './circuit-book.ts';
import { connectRedis, redisReady } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { RedisLedger } from './ledger.ts';
import { chargedAttempt, sampleAdmission, sampleRow, sampleSettlement } from './testing/samples.ts';

const logger = createLogger('test', 'silent');
/** What is left, in whole seconds, though some have passed. */
const about = (seconds: number): unknown =>
  expect.toSatisfy((left) => left <= seconds && left > seconds - 20);
let server: TestRedis;
let redis: Redis;
let domains = 0;

beforeAll(async () => {
  server = await TestRedis.start();
  redis = connectRedis({ url: server.url, logger, commandTimeoutMs: 5000 });
  await redisReady(redis, 10_000);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

describe('RedisLedger and circuits', () => {
  const attempt = (requestId: string, over: Partial<FailedAttempt> = {}): ChargedAttempt =>
    chargedAttempt({
      requestId,
      ordinal: 1,
      time: 1_795_242_490_771,
      provider: 'openai',
      providerModel: 'gpt',
      status: 500,
      outcome: 'status',
      mayBeBilled: false,
      costUsd: 0,
      durationMs: 5,
      retryAfterSeconds: 0,
      ...over,
    });

  const row = (requestId: string, over: Partial<GatewayLogRow> = {}): GatewayLogRow =>
    sampleRow(requestId, { usage: makeUsage({}), usageSource: 'none', costUsd: 0, ...over });

  function installation(failures = 2, openSeconds = 0.2) {
    domains += 1;
    const domain = `circuit-${domains}`;
    const observer = {
      admitFailed: vi.fn<() => void>(),
      settled: vi.fn<() => void>(),
      dropped: vi.fn<() => void>(),
      settleFailed: vi.fn<() => void>(),
      tryFailed: vi.fn<(failed: FailedAttempt) => void>(),
    };
    const circuitBreaker = () => ({ failures, openSeconds });
    const worker = () =>
      new RedisLedger({ redis, logger, observer, domain, circuitBreaker, patienceMs: 10_000 });
    const ledger = worker();
    const book = new RedisCircuitBook(redis, domain);
    const sent = async (): Promise<void> => vi.waitFor(() => expect(ledger.queued).toBe(0), 15_000);
    const open = async (by = ledger, requestId = 'any') =>
      Object.fromEntries(
        (await by.admit(sampleAdmission(requestId, { providers: ['openai', 'other'] }))).open,
      );
    return { ledger, worker, book, sent, open, observer, domain };
  }

  /** As if the time were over for which `openai` is left alone. */
  async function timeOver(domain: string): Promise<void> {
    const { circuits } = ledgerKeys(domain);
    const circuit: unknown = JSON.parse((await redis.hget(circuits, 'openai')) ?? '{}');
    await redis.hset(circuits, 'openai', JSON.stringify({ ...Object(circuit), open: Date.now() - 1000 }));
  }

  it('open for all workers after failures in a row, and close after the probe', async () => {
    const { ledger, worker, book, open, observer, domain } = installation(2, 60);
    expect(await open()).toEqual({});
    ledger.recordAttempts([attempt('a')]);
    await vi.waitFor(
      async () =>
        expect(await book.circuits()).toEqual([
          { provider: 'openai', state: 'closed', failures: 1, retryInSeconds: 0 },
        ]),
      15_000,
    );
    expect(await open(worker())).toEqual({});
    ledger.recordAttempts([attempt('b', { status: 0, outcome: 'connect_failure' })]);
    await vi.waitFor(
      async () => expect(await book.circuits()).toMatchObject([{ state: 'open', failures: 2 }]),
      15_000,
    );
    expect(await open(worker())).toEqual({ openai: about(60) });
    expect(observer.tryFailed).toHaveBeenCalledTimes(2);

    await timeOver(domain);
    expect(await book.circuits()).toMatchObject([{ state: 'probing' }]);
    expect(await open(ledger, 'probe')).toEqual({});
    expect(await open(worker())).toEqual({ openai: about(30) });
    ledger.settle(sampleSettlement(row('probe')));
    await vi.waitFor(async () => expect(await book.circuits()).toEqual([]), 15_000);
    expect(await open(worker())).toEqual({});
  });

  it('give a probe back that its request did not need', async () => {
    const { ledger, book, open } = installation(1);
    ledger.recordAttempts([attempt('a')]);
    await vi.waitFor(async () => expect(await book.circuits()).toMatchObject([{ state: 'probing' }]), 15_000);
    expect(await open(ledger, 'elsewhere')).toEqual({});
    expect(await open()).toEqual({ openai: about(30) });
    ledger.settle(sampleSettlement(row('elsewhere', { provider: 'other' })));
    await vi.waitFor(async () => expect(await open(ledger, 'left')).toEqual({}), 15_000);
    // Its client left before the provider had said anything.
    ledger.settle(sampleSettlement(row('left', { status: 0, errorCode: 'client_disconnected' })));
    await vi.waitFor(async () => expect(await open()).toEqual({}), 15_000);
  });

  it('leave a probe to its request that is admitted again', async () => {
    const { ledger, book, open, domain } = installation(1, 60);
    ledger.recordAttempts([attempt('a')]);
    await vi.waitFor(async () => expect(await book.circuits()).toMatchObject([{ state: 'open' }]), 15_000);
    await timeOver(domain);
    const asked = sampleAdmission('probe', { providers: ['openai'] });
    const first = await ledger.admit(asked);
    expect(Object.fromEntries(first.open)).toEqual({});
    const again = await ledger.admit({ ...asked, insteadOf: first.intentId });
    expect(Object.fromEntries(again.open)).toEqual({});
    expect(await open()).toEqual({ openai: about(30) });
  });

  it('open at once for as long as the provider asks, within bounds', async () => {
    const { ledger, open, sent } = installation(100);
    ledger.recordAttempts([
      attempt('a', { status: 429, retryAfterSeconds: 70 }),
      attempt('b', { provider: 'other', status: 429, retryAfterSeconds: 86_400 }),
    ]);
    await sent();
    await vi.waitFor(
      async () => expect(await open()).toEqual({ openai: about(70), other: about(300) }),
      15_000,
    );

    const alone = installation(100);
    alone.ledger.settle(
      sampleSettlement(row('c', { status: 429, errorCode: 'upstream_refused' }), '', {
        retryAfterSeconds: 90,
      }),
    );
    await vi.waitFor(async () => expect(await alone.open()).toEqual({ openai: about(90) }), 15_000);
  });

  it('tell what counts from what the client has earned', async () => {
    const { ledger, book, sent } = installation(100);
    const failures = async () => (await book.circuits())[0]?.failures ?? 0;
    const counts: readonly [Partial<FailedAttempt>, number][] = [
      [{ status: 400 }, 0],
      [{ status: 404 }, 0],
      [{ status: 413 }, 0],
      [{ status: 422 }, 0],
      [{ status: 429 }, 1],
      [{ status: 401 }, 1],
      [{ status: 402 }, 1],
      [{ status: 403 }, 1],
      [{ status: 529 }, 1],
      [{ status: 0, outcome: 'reset' }, 1],
      [{ status: 0, outcome: 'timeout' }, 1],
      [{ status: 200, outcome: 'first_event_error' }, 1],
      [{ status: 200, outcome: 'first_event_timeout' }, 1],
    ];
    let expected = 0;
    for (const [index, [over, counted]] of counts.entries()) {
      ledger.recordAttempts([attempt(`r${index}`, over)]);
      await sent();
      expected += counted;
      await vi.waitFor(async () => expect([over, await failures()]).toEqual([over, expected]), 15_000);
    }
  });

  it('count the last try of a request that failed once, whoever tells of it', async () => {
    const { ledger, book } = installation(100);
    ledger.recordAttempts([attempt('a'), attempt('a', { ordinal: 2 })]);
    ledger.settle(sampleSettlement(row('a', { attempts: 2, status: 502, errorCode: 'upstream_error' })));
    ledger.settle(sampleSettlement(row('b', { status: 400, errorCode: 'upstream_refused' })));
    ledger.settle(sampleSettlement(row('c', { status: 502, errorCode: 'upstream_refused' })));
    ledger.settle(sampleSettlement(row('d', { status: 200, errorCode: 'upstream_reset' })));
    ledger.settle(sampleSettlement(row('e', { status: 0, errorCode: 'client_disconnected' })));
    ledger.settle(
      sampleSettlement(row('f', { status: 503, errorCode: 'upstream_unavailable', attempts: 0 })),
    );
    await ledger.close(5000);
    expect(await book.circuits()).toMatchObject([{ failures: 4 }]);
  });

  it('are gone through once for a batch, and forgotten where nobody needs them', async () => {
    const { ledger, domain, sent, book } = installation(100);
    const { circuits } = ledgerKeys(domain);
    const names = Array.from({ length: 300 }, (_, index) => `openai@tenant-${index}`);
    ledger.recordAttempts(names.map((provider, index) => attempt(`r${index}`, { provider })));
    await sent();
    const old = { failures: 1, open: 0, length: 0, probe: '', lease: 0, last: '', changed: 1 };
    await redis.hset(circuits, 'long ago', JSON.stringify(old));
    await redis.config('RESETSTAT');
    for (let index = 0; index < 100; index += 1) ledger.settle(sampleSettlement(row(`s${index}`)));
    await sent();
    const [, reads = ''] = /cmdstat_hget:calls=(\d+)/.exec(await redis.info('commandstats')) ?? [];
    expect(Number(reads)).toBeGreaterThan(300);
    expect(Number(reads)).toBeLessThan(2000);
    expect(await redis.hexists(circuits, 'long ago')).toBe(0);
    expect(await book.circuits()).toHaveLength(300);
  });

  it('cost nothing while they are clean, and are not looked at where there are none', async () => {
    const { ledger, domain } = installation();
    ledger.settle(sampleSettlement(row('a')));
    await ledger.close(5000);
    expect(await redis.exists(ledgerKeys(domain).circuits)).toBe(0);

    const none = installation(0);
    none.ledger.recordAttempts(Array.from({ length: 9 }, (_, index) => attempt(`r${index}`)));
    await none.sent();
    expect(await none.open()).toEqual({});
    expect(await none.book.circuits()).toEqual([]);
  });
});
