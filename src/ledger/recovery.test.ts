import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../test/support/redis.ts';
import { TRY_ID_HEADER } from '../core/gateway-names.ts';
import type { ChargedAttempt, LedgerSettlement } from '../core/ledger.ts';
import { NO_AMOUNTS } from '../core/limits.ts';
import { connectRedis, redisReady } from '../store/redis/connection.ts';
import { RedisIntentBook } from '../store/redis/intent-book.ts';
import { RedisLedger } from '../store/redis/ledger.ts';
import { RedisLimitBook } from '../store/redis/limit-book.ts';
import { RedisRecoveryBook } from '../store/redis/recovery-book.ts';
import {
  chargedAttempt,
  sampleAdmission,
  sampleRow,
  sampleSettlement,
} from '../store/redis/testing/samples.ts';
import { createLogger } from '../telemetry/logger.ts';
import { Reconciler } from './reconciler.ts';
import { Recovery } from './recovery.ts';
import { namesIn } from './witness-names.ts';
import { WitnessRing } from './witness-ring.ts';

const silent = createLogger('test', 'silent');
const COUNTER = 'rule/tokens/1m/everybody/w60000';
const circuitBreaker = () => ({ failures: 0, openSeconds: 30 });
let server: TestRedis;
let patient: ReturnType<typeof connectRedis>;
/** Gives up soon on a store that is silent. All else is patient: a stall of the machine is no loss of Redis. */
let hasty: ReturnType<typeof connectRedis>;
const PATIENCE_MS = 10_000;
let domains = 0;

beforeAll(async () => {
  server = await TestRedis.start();
  hasty = connectRedis({ url: server.url, logger: silent, commandTimeoutMs: 500 });
  patient = connectRedis({ url: server.url, logger: silent, commandTimeoutMs: PATIENCE_MS });
  await Promise.all([hasty, patient].map((one) => redisReady(one, 10_000)));
});
afterAll(async () => {
  for (const one of [hasty, patient]) one.disconnect();
  await server.stop();
});

/** One that is charged 7 tokens. */
function failedTry(intentId: string): ChargedAttempt {
  const hold = { rule: 'rule', subject: 'everybody', counter: COUNTER, unit: 'tokens', limit: 100 } as const;
  const attempt = {
    requestId: 'tried',
    ordinal: 1,
    time: 1,
    provider: 'a',
    providerModel: 'm',
    status: 0,
    outcome: 'timeout',
    mayBeBilled: true,
    costUsd: 0,
    durationMs: 1,
    retryAfterSeconds: 0,
    charges: [{ rule: 'rule', subject: 'everybody', unit: 'tokens', amount: 7 }],
  } as const;
  const holds = [{ ...hold, window: 60_000, reserved: 0, alerts: [] }];
  return chargedAttempt(attempt, { intentId, holds, amounts: { ...NO_AMOUNTS, tokens: 7 } });
}

/** A control plane whose messages are no more than what its ring looks for; one with `end` in it tells of an end. */
function controlPlane(leaseMs = 60_000, logger = silent, redis = patient) {
  domains += 1;
  const options = { redis, logger, circuitBreaker, leaseMs, domain: `witness-${domains}` };
  const observer = {
    admitFailed: () => undefined,
    settled: () => undefined,
    dropped: () => undefined,
    settleFailed: () => undefined,
    tryFailed: () => undefined,
  };
  const ledger = new RedisLedger({ ...options, redis: patient, patienceMs: PATIENCE_MS, observer });
  const intents = new RedisIntentBook(patient, options.domain);
  const clock: { stoppedAt?: number | undefined } = {};
  const ring = new WitnessRing({
    maxBytes: 1_000_000,
    maxAgeMs: 60_000,
    now: () => clock.stoppedAt ?? performance.now(),
    onDropped: () => undefined,
  });
  const onRecovered = vi.fn<(requests: number) => void>();
  const recovery = new Recovery({
    ring,
    book: new RedisRecoveryBook(options),
    read: (messages, intentIds) => {
      const ended = messages
        .filter((message) => message.includes('end'))
        .flatMap((message) => namesIn(message))
        .filter((id) => intentIds.has(id));
      const ids = [...new Set(ended)];
      // Every request has the same failed try.
      const hasTries = messages.some((message) => message.includes(TRY_ID_HEADER));
      return Promise.resolve({
        settlements: ids.map((id): LedgerSettlement => sampleSettlement(sampleRow(id), id)),
        attempts: hasTries ? ids.map(failedTry) : [],
      });
    },
    leaseMs,
    onRecovered,
    logger,
  });
  return {
    recovery,
    onRecovered,
    intents,
    admit: async (requestId: string) => (await ledger.admit(sampleAdmission(requestId))).intentId,
    /** Nothing that is told from now on is long enough ago, until `goOn`. */
    stopClock: () => {
      clock.stoppedAt = performance.now();
    },
    goOn: () => {
      clock.stoppedAt = undefined;
    },
    told: (intentId: string, what: 'end' | 'open' = 'end') =>
      ring.push(Buffer.from(`"intentId":"${intentId}" ${what}`)),
    triedBy: (requestId: string) =>
      ring.push(Buffer.from(`${TRY_ID_HEADER}\x12${String.fromCodePoint(requestId.length)}${requestId}`)),
    settle: (intentId: string) => ledger.settle(sampleSettlement(sampleRow('tried'), intentId)),
    used: async () => (await new RedisLimitBook(patient, options.domain).usage({ limit: 10 }))[0]?.used,
    open: async () => (await intents.backlog()).intents,
  };
}

describe('Recovery', () => {
  it('settles what a worker was told that is gone, once the others had their time', async () => {
    const { recovery, admit, told, stopClock, goOn, open, onRecovered } = controlPlane();
    const ended = await admit('a');
    const streaming = await admit('b');
    await admit('unheard of');
    stopClock();
    told(ended);
    told(streaming, 'open');
    recovery.workerGone();
    expect(await recovery.recoverOpen()).toBe(0);
    expect(await open()).toBe(3);
    goOn();
    await vi.waitFor(async () => expect(await open()).toBe(2), 15_000);
    // Envoy goes on telling one that is gone for a while.
    told(streaming);
    await vi.waitFor(async () => expect(await open()).toBe(1), 15_000);
    expect(onRecovered.mock.calls).toEqual([[1], [1]]);
    await recovery.stop();
  });

  it(
    'tries again until the store is back, and tells once a minute that it is not',
    { timeout: 40_000 },
    async () => {
      const lines: string[] = [];
      const logger = createLogger('test', 'warn', { write: (line) => void lines.push(line) });
      const { recovery, admit, told, open } = controlPlane(60_000, logger, hasty);
      told(await admit('a'));
      await server.signal('SIGSTOP');
      recovery.workerGone();
      await delay(6000);
      await server.signal('SIGCONT');
      await vi.waitFor(async () => expect(await open()).toBe(0), 15_000);
      await recovery.stop();
      expect(lines.filter((line) => line.includes('cannot be looked for yet'))).toHaveLength(1);
    },
  );

  it('looks through more open requests than are read at once', { timeout: 60_000 }, async () => {
    const { recovery, admit, told, open } = controlPlane();
    const ids: string[] = [];
    for (let page = 0; page < 11; page += 1) {
      ids.push(...(await Promise.all(Array.from({ length: 500 }, (_, index) => admit(`r${page}-${index}`)))));
    }
    for (const id of [ids[0], ids[5400]]) told(id ?? '');
    await delay(1050);
    expect(await recovery.recoverOpen()).toBe(2);
    expect(await open()).toBe(5498);
  });

  it('knows the ends of requests that nobody heard of for a lease', async () => {
    const { recovery, admit, told, intents, open } = controlPlane(1);
    told(await admit('a'));
    await admit('unheard of');
    await delay(20);
    const unsettled = vi.fn<(count: number) => void>();
    const reconciler = new Reconciler({
      book: intents,
      recover: (lapsed) => recovery.recover(lapsed),
      logger: silent,
      observer: { unsettled, backlog: () => undefined },
      leaseMs: 1,
    });
    expect(await reconciler.reconcile()).toBe(1);
    expect(unsettled).toHaveBeenCalledExactlyOnceWith(1);
    expect(await open()).toBe(0);
  });

  it.each([
    { when: 'soon', ms: 2500 },
    { when: 'later', ms: 5500 },
  ])(
    'charges a try that only the lost worker knew, though another one settles the request $when',
    { timeout: 60_000 },
    async ({ ms }) => {
      const { recovery, admit, told, triedBy, settle, used, open, onRecovered, stopClock, goOn } =
        controlPlane();
      const intentId = await admit('tried');
      triedBy('tried');
      recovery.workerGone();
      await delay(ms);
      stopClock();
      settle(intentId);
      told(intentId);
      await vi.waitFor(async () => expect(await open()).toBe(0), 15_000);
      expect(await used()).toBeUndefined();
      goOn();
      await vi.waitFor(async () => expect(await used()).toBe(7), 15_000);
      expect(onRecovered).not.toHaveBeenCalled();
      await recovery.stop();
    },
  );

  it('does nothing more once it is stopped', async () => {
    const { recovery, admit, told, open } = controlPlane();
    told(await admit('a'));
    recovery.workerGone();
    await recovery.stop();
    recovery.workerGone();
    await delay(2200);
    expect(await open()).toBe(1);
  });
});
