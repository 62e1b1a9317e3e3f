import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { ClickHouseClient } from '@clickhouse/client';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { GatewayLogStore, Intent, QueuedRow, RowQueue } from '../../src/core/ledger.ts';
import { NANO_USD, NO_AMOUNTS, type LimitCheck } from '../../src/core/limits.ts';
import type { AccessLogEntry } from '../../src/ledger/access-log-entry.ts';
import { createAccessLogHandler } from '../../src/ledger/access-log.ts';
import { limitDrift } from '../../src/ledger/drift.ts';
import { OutputEstimator } from '../../src/ledger/estimator.ts';
import { Reconciler } from '../../src/ledger/reconciler.ts';
import { LedgerWriter, type LedgerWriterOptions } from '../../src/ledger/writer.ts';
import { connectClickHouse } from '../../src/store/clickhouse/client.ts';
import { ClickHouseGatewayLog } from '../../src/store/clickhouse/gateway-log.ts';
import { migrateClickHouse, setRetention } from '../../src/store/clickhouse/migrations.ts';
import { ClickHouseRequestLog } from '../../src/store/clickhouse/request-log.ts';
import { connectRedis, redisReady } from '../../src/store/redis/connection.ts';
import { RedisIntentBook } from '../../src/store/redis/intent-book.ts';
import { RedisLedger } from '../../src/store/redis/ledger.ts';
import { RedisLimitBook } from '../../src/store/redis/limit-book.ts';
import { RedisRowQueue } from '../../src/store/redis/row-queue.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { ControlMetrics } from '../../src/telemetry/control-metrics.ts';
import { WorkerMetrics } from '../../src/telemetry/worker-metrics.ts';
import { TestClickHouse } from '../support/clickhouse.ts';
import { TestRedis } from '../support/redis.ts';

const logger = createLogger('test', 'silent');
const price = { input: 1_000, output: 10_000 };
const targets = [
  {
    cluster: 'provider/openai',
    provider: 'openai',
    type: 'openai',
    model: 'gpt',
    basePath: '/v1',
    defaultMaxOutputTokens: 1,
    price,
  },
];

let redisServer: TestRedis;
let clickhouseServer: TestClickHouse;
let redis: Redis;
let blockingRedis: Redis;
let clickhouse: ClickHouseClient;
let store: GatewayLogStore;
const running: LedgerWriter[] = [];

beforeAll(async () => {
  [redisServer, clickhouseServer] = await Promise.all([TestRedis.start(), TestClickHouse.start()]);
  redis = connectRedis({ url: redisServer.url, logger, commandTimeoutMs: 10_000 });
  blockingRedis = connectRedis({ url: redisServer.url, logger, commandTimeoutMs: 10_000 });
  await Promise.all([redisReady(redis, 10_000), redisReady(blockingRedis, 10_000)]);
  clickhouse = connectClickHouse({ url: clickhouseServer.url });
  await Promise.all([migrateClickHouse(clickhouse), migrateClickHouse(clickhouse)]);
  store = new ClickHouseGatewayLog(clickhouse);
});

afterEach(async () => {
  await Promise.all(running.splice(0).map((writer) => writer.stop()));
});

afterAll(async () => {
  redis.disconnect();
  blockingRedis.disconnect();
  await clickhouse.close();
  await Promise.all([redisServer.stop(), clickhouseServer.stop()]);
});

/** A whole ledger of its own: one worker and one control plane on one limit domain. */
function installation(domain: string = randomUUID(), leaseMs = 1) {
  const metrics = new WorkerMetrics({ queuedRows: () => 0, redisUp: () => true });
  const control = new ControlMetrics({ providers: () => [], circuits: () => Promise.resolve([]) });
  const circuitBreaker = () => ({ failures: 0, openSeconds: 0 });
  const options = { redis, logger, circuitBreaker, domain, leaseMs, patienceMs: 10_000 };
  const ledger = new RedisLedger({ ...options, observer: metrics });
  const admit = async (made: Intent) =>
    (await ledger.admit({ intent: made, providers: [], limits: [], outputTokens: 0, foundIsAnswer: false }))
      .intentId;
  const book = new RedisIntentBook(redis, domain);
  const queue = new RedisRowQueue(blockingRedis, domain);
  const onAccessLog = createAccessLogHandler({
    ledger,
    observer: metrics,
    estimator: new OutputEstimator(),
  });
  const reconciler = new Reconciler({
    book,
    recover: () => Promise.resolve(0),
    logger,
    observer: control,
    leaseMs: 0,
    everyMs: 50,
  });
  const writer = (over: Partial<LedgerWriterOptions> = {}) =>
    new LedgerWriter({ queue, store, logger, observer: control, batchWaitMs: 1, claimIdleMs: 0, ...over });
  const limits = new RedisLimitBook(redis, domain);
  return { ledger, admit, book, queue, limits, onAccessLog, reconciler, writer };
}

function intent(requestId: string): Intent {
  return {
    requestId,
    time: Date.now(),
    keyId: 'key-1',
    user: 'ada',
    team: '',
    tenant: '',
    format: 'chat',
    modelAsked: 'fast',
    model: 'fast',
    stream: false,
    inputEstimate: 7,
    snapshot: 'abc',
    price,
  };
}

function accessLog(admitted: Intent, intentId: string, over: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    kind: 'end',
    context: JSON.stringify({ ...admitted, intentId, mode: 'native', targets, limenMicros: 100 }),
    response: undefined,
    tokenUsage: { status: 'complete', inputTokens: 10, outputTokens: 20 },
    status: 200,
    flags: [],
    details: 'via_upstream',
    responseBytes: 500,
    attempts: 1,
    upstreamCluster: 'provider/openai',
    durationMs: 12.5,
    firstUpstreamByteMs: 3.5,
    ...over,
  };
}

interface SeenRow {
  readonly request_id: string;
  readonly revision: number;
}

async function seenRows(prefix: string): Promise<SeenRow[]> {
  const result = await clickhouse.query({
    query:
      'SELECT request_id, revision FROM gateway_log WHERE startsWith(request_id, {prefix:String}) ORDER BY request_id',
    query_params: { prefix },
    format: 'JSONEachRow',
  });
  return result.json<SeenRow>();
}

async function until(condition: () => Promise<boolean>, withinMs: number): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms`);
    await delay(20);
  }
}

/** A writer that dies between the insert and the acknowledgement. */
function dyingQueue(queue: RowQueue): RowQueue {
  return {
    read: (limit, waitMs) => queue.read(limit, waitMs),
    reclaim: (idleMs, limit) => queue.reclaim(idleMs, limit),
    acknowledge: () => Promise.reject(new Error('killed')),
  };
}

describe('gateway_log', () => {
  it('holds every column of a settled request', async () => {
    const { ledger, admit, onAccessLog, writer } = installation();
    const admitted = intent(`columns-${randomUUID()}`);
    onAccessLog(accessLog(admitted, await admit(admitted)));
    await ledger.close(5000);
    expect(await writer().writeBatch(0)).toBe(1);
    const result = await clickhouse.query({
      query:
        'SELECT *, toUnixTimestamp64Milli(time)::Float64 AS millis FROM gateway_log WHERE request_id = {id:String}',
      query_params: { id: admitted.requestId },
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    expect(await result.json()).toEqual([
      {
        time: new Date(admitted.time).toISOString().replace('T', ' ').replace('Z', ''),
        millis: admitted.time,
        request_id: admitted.requestId,
        revision: 2,
        key_id: 'key-1',
        user: 'ada',
        team: '',
        format: 'chat',
        model_asked: 'fast',
        model: 'fast',
        provider: 'openai',
        provider_model: 'gpt',
        stream: false,
        attempts: 1,
        status: 200,
        error_code: '',
        input_tokens: 10,
        output_tokens: 20,
        cached_input_tokens: 0,
        cache_write_tokens: 0,
        reasoning_tokens: 0,
        total_tokens: 30,
        usage_source: 'provider',
        cost_usd: 0.21,
        cache: '',
        time_to_first_token_ms: 3.5,
        duration_ms: 12.5,
        limen_micros: 100,
        response_bytes: 500,
        snapshot: 'abc',
        audio_input_tokens: 0,
        image_input_tokens: 0,
        audio_output_tokens: 0,
        image_output_tokens: 0,
        tenant: '',
        trace: [],
        charges: [],
        overrun: [],
        cut_off_tokens: 0,
      },
    ]);
  });

  it('has the failed tries of a request beside it, whichever came first', async () => {
    const { ledger, admit, onAccessLog, writer } = installation();
    const admitted = intent(`tries-${randomUUID()}`);
    const id = await admit(admitted);
    ledger.recordAttempts([
      {
        requestId: admitted.requestId,
        ordinal: 1,
        time: admitted.time + 1,
        provider: 'claude',
        providerModel: 'haiku',
        status: 0,
        outcome: 'reset',
        mayBeBilled: true,
        costUsd: 0.25,
        durationMs: 100,
        retryAfterSeconds: 0,
        intentId: id,
        holds: [],
        amounts: NO_AMOUNTS,
      },
    ]);
    await until(async () => ledger.queued === 0, 10_000);
    expect(await writer().writeBatch(0)).toBe(1);
    onAccessLog(accessLog(admitted, id, { attempts: 2 }));
    await ledger.close(5000);
    expect(await writer().writeBatch(0)).toBe(1);
    const result = await clickhouse.query({
      query:
        'SELECT attempts, cost_usd, round(operator_cost_usd, 9) AS operator_cost_usd, failed_attempts.provider AS providers, failed_attempts.may_be_billed AS billed FROM gateway_log_attempts WHERE request_id = {id:String}',
      query_params: { id: admitted.requestId },
      format: 'JSONEachRow',
    });
    expect(await result.json()).toEqual([
      { attempts: 2, cost_usd: 0.21, operator_cost_usd: 0.46, providers: ['claude'], billed: [true] },
    ]);
  });

  it('knows what each rule was charged, what was overrun, and what Redis has forgotten', async () => {
    const domain = randomUUID();
    const { ledger, queue, limits, onAccessLog, writer } = installation(domain, 60_000);
    const rule = `month-${domain}`;
    const day = 86_400_000;
    const start = Date.now() - day;
    const check: LimitCheck = {
      rule,
      label: 'user:usd/month',
      subject: 'ada',
      counter: `${rule}/usd/month/ada`,
      unit: 'usd',
      limit: 10 * NANO_USD,
      span: { kind: 'calendar', starts: [start - day, start, start + 2 * day, start + 3 * day] },
      mode: 'hard',
      shadow: false,
      onShortfall: 'refuse',
      fixed: 100_000_000,
      perOutputToken: 10_000_000,
      alerts: [],
    };
    const send = async (outputTokens: number) => {
      const admitted = intent(`charged-${randomUUID()}`);
      const { intentId, holds } = await ledger.admit({
        intent: admitted,
        providers: ['openai'],
        limits: [check],
        outputTokens,
        foundIsAnswer: false,
      });
      const entry = accessLog(admitted, intentId);
      onAccessLog({ ...entry, context: JSON.stringify({ ...admitted, intentId, targets, holds }) });
      return admitted.requestId;
    };
    const covered = await send(20);
    const overrun = await send(10);
    await until(async () => ledger.queued === 0, 10_000);
    expect(await writer({ queue }).writeBatch(0)).toBe(2);

    const requests = new ClickHouseRequestLog(clickhouse);
    const charges = [{ rule, subject: 'ada', unit: 'usd', amount: 210_000_000 }];
    const [first, second] = await Promise.all([requests.read(covered), requests.read(overrun)]);
    expect([first?.row.charges, first?.row.overrun]).toEqual([charges, undefined]);
    expect([second?.row.charges, second?.row.overrun]).toEqual([charges, [rule]]);
    expect(second?.row.trace).toEqual([['settle', rule, 'ada', 'settled', 'reserved $0.2, settled $0.21']]);

    const rules = [
      { rule, unit: 'usd', limit: check.limit, periodStart: start, resetsAt: start + 2 * day },
    ] as const;
    const drift = async () =>
      limitDrift(
        rules,
        await limits.usage({ rule, limit: 10 }),
        await requests.charged([{ rule, since: start }]),
      );
    expect(await drift()).toMatchObject([
      { subject: 'ada', used: 420_000_000, ledger: 420_000_000, drift: 0 },
    ]);
    await limits.reset(rule, 'ada');
    expect(await drift()).toMatchObject([
      { subject: 'ada', used: 0, ledger: 420_000_000, drift: 420_000_000 },
    ]);
    await ledger.close(5000);
  });

  it('is migrated again without harm, and keeps rows for as long as it is told', async () => {
    await migrateClickHouse(clickhouse);
    for (const days of [30, 30, 90]) {
      await setRetention(clickhouse, days);
      const result = await clickhouse.query({
        query: "SELECT create_table_query AS sql FROM system.tables WHERE name = 'gateway_logs'",
        format: 'JSONEachRow',
      });
      expect(JSON.stringify(await result.json())).toContain(`toIntervalDay(${days})`);
    }
  });
});

describe('exactly one row for each admitted request', () => {
  const REQUESTS = 4;
  const request = fc.nat(REQUESTS - 1);
  const action = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('admit' as const), request }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('end' as const), request }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('periodic' as const), request }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('flush' as const), request }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('reconcile' as const), request }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('write' as const), request }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('die before insert' as const), request }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('die after insert' as const), request }) },
  );

  it('holds for any interleaving of admission, end, reconciling, repeats and crashes', async () => {
    const property = fc.asyncProperty(fc.array(action, { minLength: 4, maxLength: 24 }), async (actions) => {
      const prefix = `${randomUUID()}-`;
      const { ledger, admit, book, queue, onAccessLog, reconciler, writer } = installation(prefix);
      const admitted = new Map<number, { readonly intent: Intent; readonly id: string }>();
      const ended = new Set<number>();
      const flush = () => until(async () => ledger.queued === 0, 10_000);
      for (const step of actions) {
        const open = admitted.get(step.request);
        if (step.do === 'admit' && open === undefined) {
          const made = intent(`${prefix}${step.request}`);
          admitted.set(step.request, { intent: made, id: await admit(made) });
        } else if (step.do === 'end' && open !== undefined) {
          onAccessLog(accessLog(open.intent, open.id));
          ended.add(step.request);
        } else if (step.do === 'periodic' && open !== undefined) {
          onAccessLog(accessLog(open.intent, open.id, { kind: 'periodic' }));
        } else if (step.do === 'flush') await flush();
        else if (step.do === 'reconcile') await reconciler.reconcile();
        else if (step.do === 'write') await writer().writeBatch(0);
        else if (step.do === 'die before insert') await queue.read(10, 0);
        else if (step.do === 'die after insert') {
          await writer({ queue: dyingQueue(queue) })
            .writeBatch(0)
            .catch(() => undefined);
        }
      }
      expect(await ledger.close(10_000)).toBe(0);
      await until(async () => {
        await reconciler.reconcile();
        await writer().writeBatch(0);
        const { intents, rows } = await book.backlog();
        return intents === 0 && rows === 0;
      }, 20_000);
      const expected = [...admitted.keys()]
        .sort((one, other) => one - other)
        .map((number) => ({ request_id: `${prefix}${number}`, revision: ended.has(number) ? 2 : 1 }));
      expect(await seenRows(prefix)).toEqual(expected);
    });
    await fc.assert(property, { numRuns: 40 });
  });
});

describe('faults', () => {
  it('loses no row while Redis is killed and comes back', async () => {
    const prefix = `${randomUUID()}-`;
    const { admit, book, onAccessLog, writer } = installation(prefix);
    const carrier = writer();
    running.push(carrier);
    carrier.start();
    const admitted = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const made = intent(`${prefix}${index}`);
        return { made, id: await admit(made) };
      }),
    );
    expect(admitted.every(({ id }) => id !== '')).toBe(true);
    for (const { made, id } of admitted.slice(0, 20)) onAccessLog(accessLog(made, id));
    await redisServer.signal('SIGKILL');
    for (const { made, id } of admitted.slice(20)) onAccessLog(accessLog(made, id));
    const late = intent(`${prefix}late`);
    onAccessLog(accessLog(late, await admit(late)));
    await redisServer.start();
    await until(async () => (await seenRows(prefix)).length === 51, 30_000);
    await vi.waitFor(async () => expect(await book.backlog()).toEqual({ intents: 0, rows: 0 }), 20_000);
    expect((await seenRows(prefix)).every(({ revision }) => revision === 2)).toBe(true);
  });

  it('loses no row while ClickHouse is killed and comes back, again and again', async () => {
    const prefix = `${randomUUID()}-`;
    const { ledger, book, onAccessLog, writer } = installation(prefix);
    const carrier = writer({ batchRows: 50, claimIdleMs: 500 });
    running.push(carrier);
    carrier.start();
    let count = 0;
    for (let round = 0; round < 3; round += 1) {
      const target = count + 300;
      while (count < target) {
        const made = intent(`${prefix}${count}`);
        onAccessLog(accessLog(made, ''));
        count += 1;
      }
      // In the midst of writing: some rows are there, some are not.
      await until(async () => (await seenRows(prefix)).length > target - 300, 20_000);
      await clickhouseServer.signal('SIGKILL');
      onAccessLog(accessLog(intent(`${prefix}${count}`), ''));
      count += 1;
      await clickhouseServer.start();
    }
    await until(async () => (await seenRows(prefix)).length === count, 30_000);
    await vi.waitFor(async () => expect(await book.backlog()).toMatchObject({ rows: 0 }), 20_000);
    expect(await ledger.close(1000)).toBe(0);
  });

  it('closes by itself what was admitted and never reported, and lets the late report win', async () => {
    const prefix = `${randomUUID()}-`;
    const { admit, book, onAccessLog, reconciler, writer } = installation(prefix);
    const carrier = writer();
    running.push(carrier);
    carrier.start();
    const made = intent(`${prefix}lost`);
    const id = await admit(made);
    reconciler.start();
    await until(async () => (await seenRows(prefix)).length === 1, 20_000);
    await reconciler.stop();
    const read = async () => {
      const result = await clickhouse.query({
        query:
          'SELECT error_code, usage_source, total_tokens::UInt32 AS tokens, cost_usd FROM gateway_log WHERE request_id = {id:String}',
        query_params: { id: made.requestId },
        format: 'JSONEachRow',
      });
      return result.json();
    };
    expect(await read()).toEqual([
      { error_code: 'unsettled', usage_source: 'estimated', tokens: 7, cost_usd: 0.007 },
    ]);
    onAccessLog(accessLog(made, id));
    await until(async () => (await seenRows(prefix))[0]?.revision === 2, 20_000);
    expect(await read()).toEqual([{ error_code: '', usage_source: 'provider', tokens: 30, cost_usd: 0.21 }]);
    expect(await book.backlog()).toMatchObject({ intents: 0 });
  });

  it('passes over a row that cannot be read', async () => {
    const written: QueuedRow[] = [
      { id: '1-1', kind: 'row', json: '{' },
      { id: '1-2', kind: 'attempt', json: '{"requestId":""}' },
    ];
    const acknowledged: string[] = [];
    const queue: RowQueue = {
      read: async () => [],
      reclaim: async () => written,
      acknowledge: async (ids) => {
        acknowledged.push(...ids);
      },
    };
    expect(await installation().writer({ queue }).writeBatch(0)).toBe(0);
    expect(acknowledged).toEqual(['1-1', '1-2']);
  });
});
