import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestClickHouse } from '../../../test/support/clickhouse.ts';
import type { FailedAttempt, GatewayLogRow } from '../../core/ledger.ts';
import { makeUsage } from '../../core/usage.ts';
import { connectClickHouse } from './client.ts';
import { ClickHouseGatewayLog } from './gateway-log.ts';
import { migrateClickHouse, setRetention } from './migrations.ts';
import { ClickHouseRequestLog } from './request-log.ts';

let server: TestClickHouse;
let client: ClickHouseClient;
let log: ClickHouseGatewayLog;
let requests: ClickHouseRequestLog;

beforeAll(async () => {
  server = await TestClickHouse.start();
  client = connectClickHouse({ url: server.url });
  await migrateClickHouse(client);
  log = new ClickHouseGatewayLog(client);
  requests = new ClickHouseRequestLog(client);
});

afterAll(async () => {
  await client.close();
  await server.stop();
});

const NOW = Date.now();

const row = (requestId: string, over: Partial<GatewayLogRow> = {}): GatewayLogRow => ({
  requestId,
  revision: 2,
  time: NOW,
  keyId: 'key-1',
  user: 'ada',
  team: '',
  tenant: '',
  format: 'chat',
  modelAsked: 'fast',
  model: 'fast',
  provider: 'second',
  providerModel: 'model-2',
  stream: true,
  attempts: 2,
  status: 200,
  errorCode: '',
  usage: makeUsage({ input: 30, output: 40, audioInput: 1, imageInput: 2, audioOutput: 3, imageOutput: 4 }),
  usageSource: 'provider',
  costUsd: 0.5,
  cache: 'miss',
  timeToFirstTokenMs: 1,
  durationMs: 2,
  limenMicros: 3,
  responseBytes: 4,
  snapshot: 'abc',
  trace: [],
  ...over,
});

const attempt = (requestId: string, ordinal: number, over: Partial<FailedAttempt> = {}): FailedAttempt => ({
  requestId,
  ordinal,
  time: NOW + ordinal,
  provider: 'first',
  providerModel: 'model-1',
  status: 0,
  outcome: 'reset',
  mayBeBilled: true,
  costUsd: 0.125,
  durationMs: 12.5,
  retryAfterSeconds: 0,
  ...over,
});

async function rows(query: string): Promise<unknown[]> {
  const result = await client.query({
    query,
    format: 'JSONEachRow',
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
  });
  return result.json();
}

const seen = async (requestId: string) =>
  rows(
    `SELECT cost_usd, operator_cost_usd, failed_attempts FROM gateway_log_attempts WHERE request_id = '${requestId}'`,
  );

describe('gateway_log', () => {
  it('has the kinds of tokens and what the cache did', async () => {
    await log.insert([row('kinds')]);
    expect(
      await rows(
        "SELECT audio_input_tokens AS ai, image_input_tokens AS ii, audio_output_tokens AS ao, image_output_tokens AS io, cache FROM gateway_log WHERE request_id = 'kinds'",
      ),
    ).toEqual([{ ai: 1, ii: 2, ao: 3, io: 4, cache: 'miss' }]);
  });
});

describe('gateway_log_attempts', () => {
  it('lists each failed try of a request once and in order, with what the operator may pay', async () => {
    await log.insert([row('tries')]);
    const second = attempt('tries', 2, {
      provider: 'other',
      status: 500,
      outcome: 'status',
      mayBeBilled: false,
      costUsd: 0,
    });
    await log.insertAttempts([second, attempt('tries', 1)]);
    await log.insertAttempts([attempt('tries', 1)]);
    await log.insertAttempts([attempt('of another', 1)]);
    expect(await seen('tries')).toEqual([
      {
        cost_usd: 0.5,
        operator_cost_usd: 0.625,
        failed_attempts: [
          {
            ordinal: 1,
            provider: 'first',
            provider_model: 'model-1',
            status: 0,
            outcome: 'reset',
            may_be_billed: true,
            cost_usd: 0.125,
            duration_ms: 12.5,
          },
          {
            ordinal: 2,
            provider: 'other',
            provider_model: 'model-1',
            status: 500,
            outcome: 'status',
            may_be_billed: false,
            cost_usd: 0,
            duration_ms: 12.5,
          },
        ],
      },
    ]);
  });

  it('has requests without a failed try, and none that have no row yet', async () => {
    await log.insert([row('clean', { attempts: 1 })]);
    await log.insertAttempts([attempt('rowless', 1)]);
    expect(await seen('clean')).toEqual([{ cost_usd: 0.5, operator_cost_usd: 0.5, failed_attempts: [] }]);
    expect(await seen('rowless')).toEqual([]);
  });

  it('counts a last try that broke off once: by its row where the client pays, else by itself', async () => {
    await log.insert([row('broke off', { attempts: 1 }), row('failed', { attempts: 1, costUsd: 0 })]);
    await log.insertAttempts([attempt('broke off', 1), attempt('failed', 1)]);
    expect(await seen('broke off')).toMatchObject([{ operator_cost_usd: 0.5 }]);
    expect(await seen('failed')).toMatchObject([{ operator_cost_usd: 0.125 }]);
  });

  it('takes whatever numbers a provider tells: one that cannot be read would hold all others up', async () => {
    const usage = { ...makeUsage({ input: 1 }), input: 1e300, total: 1e21 };
    await log.insert([row('absurd', { usage })]);
    await log.insertAttempts([attempt('absurd', 1, { retryAfterSeconds: 1e300 })]);
    expect(await seen('absurd')).toHaveLength(1);
    expect(
      await rows("SELECT retry_after_seconds FROM gateway_attempts WHERE request_id = 'absurd'"),
    ).toEqual([{ retry_after_seconds: 4_294_967_295 }]);
  });

  it('finds a request by its id through the keys of both tables', async () => {
    const plan = JSON.stringify(
      await rows("EXPLAIN indexes = 1 SELECT * FROM gateway_log_attempts WHERE request_id = 'tries'"),
    );
    expect(plan.split("Condition: (request_id in ['tries', 'tries'])")).toHaveLength(3);
  });
});

const CHARGED = {
  charges: [
    { rule: 'month', subject: 'ada', unit: 'usd', amount: 1_500_000_000 },
    { rule: 'day', subject: 'ada', unit: 'tokens', amount: 70 },
  ],
} as const;

describe('a request by its id', () => {
  it('is read as it was written, with its failed tries in order', async () => {
    const written = row('read', {
      ...CHARGED,
      tenant: 'acme',
      trace: [
        ['identify', 'key', 'ada', 'allowed', ''],
        ['limit', 'month', 'ada', 'cut', '$4.99 of $5'],
      ],
      overrun: ['month'],
      cutOffTokens: 130,
    });
    const tries = [attempt('read', 1, CHARGED), attempt('read', 2)];
    await log.insert([written]);
    await log.insertAttempts(tries.toReversed());
    await log.insertAttempts(tries);
    expect(await requests.read('read')).toEqual({ row: written, failedAttempts: tries });
    expect(await requests.read("' OR 1 = 1 --")).toBeUndefined();
  });

  it('is the one that the access log closed, whichever came first', async () => {
    await log.insert([row('late'), row('late', { revision: 1, errorCode: 'unsettled' })]);
    expect(await requests.read('late')).toMatchObject({ row: { revision: 2, errorCode: '' } });
  });
});

describe('what rules were charged', () => {
  const since = NOW - 1000;

  it('is summed by rule, subject and unit, each row once and only of its own period', async () => {
    const before = row('before', { ...CHARGED, time: since - 1 });
    const tries = [attempt('charged', 1, CHARGED)];
    await log.insert([row('charged', CHARGED), before]);
    await log.insert([row('charged', CHARGED)]);
    await log.insertAttempts(tries);
    await log.insertAttempts(tries);
    const other = { ...CHARGED.charges[1], subject: 'bob' };
    await log.insert([row('of bob', { charges: [other] })]);
    const sums = await requests.charged([
      { rule: 'month', since: since - 5000 },
      { rule: 'day', since },
    ]);
    // 'read' of the tests above is among them, with one charged try.
    expect(sums).toEqual([
      { rule: 'day', subject: 'ada', unit: 'tokens', amount: 280 },
      { rule: 'day', subject: 'bob', unit: 'tokens', amount: 70 },
      { rule: 'month', subject: 'ada', unit: 'usd', amount: 7_500_000_000 },
    ]);
    expect(await requests.charged([])).toEqual([]);
  });
});

describe('migrations', () => {
  it('bring a database of the version before up to date, with what is in it', async () => {
    await client.command({ query: 'ALTER TABLE limen_migrations DELETE WHERE version = 3' });
    for (const column of ['tenant', 'trace', 'charges', 'overrun', 'cut_off_tokens']) {
      await client.command({ query: `ALTER TABLE gateway_logs DROP COLUMN ${column}` });
    }
    await migrateClickHouse(client);
    expect(await requests.read('clean')).toMatchObject({ row: { user: 'ada', tenant: '', trace: [] } });
    await log.insert([row('after', { tenant: 'acme' })]);
    expect(await rows("SELECT tenant FROM gateway_log_attempts WHERE request_id = 'after'")).toEqual([
      { tenant: 'acme' },
    ]);
  });

  it('may run again, and retention reaches both tables', async () => {
    await client.command({ query: 'TRUNCATE TABLE limen_migrations' });
    await migrateClickHouse(client);
    expect(await seen('tries')).toMatchObject([{ operator_cost_usd: 0.625 }]);
    await setRetention(client, 17);
    expect(
      await rows(
        "SELECT name FROM system.tables WHERE create_table_query LIKE '%toIntervalDay(17)%' ORDER BY name",
      ),
    ).toEqual([{ name: 'gateway_attempts' }, { name: 'gateway_logs' }]);
  });
});
