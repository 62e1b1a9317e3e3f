import type { ClickHouseClient } from '@clickhouse/client';

/** One step of the schema. Every statement can be run again, so that two control planes may start at once. */
interface Migration {
  readonly version: number;
  readonly name: string;
  readonly statements: readonly string[];
}

const GATEWAY_LOGS = `
CREATE TABLE IF NOT EXISTS gateway_logs (
  time DateTime64(3, 'UTC') COMMENT 'when the request was admitted',
  request_id String,
  revision UInt8 COMMENT '1: closed by the reconciler, 2: by the access log',
  key_id String,
  user String,
  team LowCardinality(String),
  format LowCardinality(String) COMMENT 'API of the client',
  model_asked String,
  model LowCardinality(String),
  provider LowCardinality(String),
  provider_model LowCardinality(String),
  stream Bool,
  attempts UInt16,
  status UInt16 COMMENT 'HTTP status that the client got, 0 where it is not known',
  error_code LowCardinality(String),
  input_tokens UInt64 COMMENT 'cached and cache-written ones among them',
  output_tokens UInt64 COMMENT 'reasoning among them',
  cached_input_tokens UInt64,
  cache_write_tokens UInt64,
  reasoning_tokens UInt64,
  total_tokens UInt64,
  usage_source LowCardinality(String) COMMENT 'provider, counted, estimated or none',
  cost_usd Float64,
  time_to_first_token_ms Float64 COMMENT '0 where no byte came',
  duration_ms Float64,
  limen_micros UInt64 COMMENT 'what Limen itself took',
  response_bytes UInt64,
  snapshot LowCardinality(String),
  INDEX request_ids request_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toDate(time)
ORDER BY (toDate(time), request_id)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`;

const GATEWAY_ATTEMPTS = `
CREATE TABLE IF NOT EXISTS gateway_attempts (
  time DateTime64(3, 'UTC') COMMENT 'when the try began',
  request_id String,
  ordinal UInt16 COMMENT 'counts the tries of one request, from 1',
  provider LowCardinality(String),
  provider_model LowCardinality(String),
  status UInt16 COMMENT 'HTTP status of the provider, 0 where none came',
  outcome LowCardinality(String),
  may_be_billed Bool COMMENT 'the provider had the whole request and may have worked on it',
  cost_usd Float64 COMMENT 'what it may cost the operator, never the client',
  duration_ms Float64,
  retry_after_seconds UInt32
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(time)
ORDER BY (request_id, ordinal)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`;

/**
 * The last failed try of a request whose answer broke off is in its row as well, where the client is charged for
 * it; the operator pays it once.
 */
const GATEWAY_LOG_ATTEMPTS = `
CREATE OR REPLACE VIEW gateway_log_attempts AS
SELECT
  log.*,
  tries.failed AS failed_attempts,
  log.cost_usd + arraySum(
    one -> if(one.ordinal = log.attempts AND log.cost_usd > 0, 0, one.cost_usd), tries.failed
  ) AS operator_cost_usd
FROM gateway_log AS log
LEFT JOIN (
  SELECT
    request_id,
    arraySort(one -> one.ordinal, groupArray(tuple(
      ordinal, provider, provider_model, status, outcome, may_be_billed, cost_usd, duration_ms
    )::Tuple(
      ordinal UInt16, provider String, provider_model String, status UInt16, outcome String,
      may_be_billed Bool, cost_usd Float64, duration_ms Float64
    ))) AS failed
  FROM gateway_attempts FINAL
  GROUP BY request_id
) AS tries ON tries.request_id = log.request_id`;

/** What each rule was charged. Whom a rule counts is in it in words, so a sum by any subject needs no other column. */
const CHARGES = `charges Array(Tuple(
    rule LowCardinality(String), subject String, unit LowCardinality(String), amount UInt64
  )) COMMENT 'what limits were charged: requests, weighted tokens, nano-USD'`;

// A view keeps the columns that its table had when it was made.
const GATEWAY_LOG = 'CREATE OR REPLACE VIEW gateway_log AS SELECT * FROM gateway_logs FINAL';

const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: 'gateway logs',
    statements: [
      GATEWAY_LOGS,
      // The one to read: a row that was written twice or replaced is there once.
      'CREATE VIEW IF NOT EXISTS gateway_log AS SELECT * FROM gateway_logs FINAL',
    ],
  },
  {
    version: 2,
    name: 'failed tries, kinds of tokens, answer cache',
    statements: [
      `ALTER TABLE gateway_logs
        ADD COLUMN IF NOT EXISTS audio_input_tokens UInt64 COMMENT 'part of input_tokens',
        ADD COLUMN IF NOT EXISTS image_input_tokens UInt64 COMMENT 'part of input_tokens',
        ADD COLUMN IF NOT EXISTS audio_output_tokens UInt64 COMMENT 'part of output_tokens',
        ADD COLUMN IF NOT EXISTS image_output_tokens UInt64 COMMENT 'part of output_tokens',
        ADD COLUMN IF NOT EXISTS cache LowCardinality(String) COMMENT 'hit, miss, or empty where it was not asked'`,
      GATEWAY_ATTEMPTS,
      GATEWAY_LOG,
      GATEWAY_LOG_ATTEMPTS,
    ],
  },
  {
    version: 3,
    name: 'tenants, traces and limits',
    statements: [
      `ALTER TABLE gateway_logs
        ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) AFTER team,
        ADD COLUMN IF NOT EXISTS trace Array(Tuple(
          checkpoint LowCardinality(String), rule String, subject String,
          outcome LowCardinality(String), numbers String
        )) COMMENT 'every decision, in order',
        ADD COLUMN IF NOT EXISTS ${CHARGES},
        ADD COLUMN IF NOT EXISTS overrun Array(LowCardinality(String))
          COMMENT 'limits whose reservation did not cover what was settled',
        ADD COLUMN IF NOT EXISTS cut_off_tokens UInt64
          COMMENT 'tokens of output after which a budget ended the answer, 0 where none did'`,
      `ALTER TABLE gateway_attempts ADD COLUMN IF NOT EXISTS ${CHARGES}`,
      GATEWAY_LOG,
      GATEWAY_LOG_ATTEMPTS,
    ],
  },
];

const HISTORY = `
CREATE TABLE IF NOT EXISTS limen_migrations (
  version UInt32,
  name String,
  applied DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied)
ORDER BY version`;

/** Brings the database of the connection to the newest schema. Safe to run at every start, and twice at once. */
export async function migrateClickHouse(client: ClickHouseClient): Promise<void> {
  await client.command({ query: HISTORY });
  const result = await client.query({
    query: 'SELECT DISTINCT version FROM limen_migrations',
    format: 'JSONEachRow',
  });
  const applied = new Set((await result.json<{ version: number }>()).map(({ version }) => version));
  for (const { version, name, statements } of MIGRATIONS) {
    if (applied.has(version)) continue;
    for (const query of statements) await client.command({ query });
    await client.insert({ table: 'limen_migrations', values: [{ version, name }], format: 'JSONEachRow' });
  }
}

/**
 * Sets how long rows stay. A day's rows go together, once the youngest of them is old enough.
 *
 * @param days whole days, at least 1
 */
export async function setRetention(client: ClickHouseClient, days: number): Promise<void> {
  const result = await client.query({
    query:
      "SELECT name, create_table_query AS sql FROM system.tables WHERE database = currentDatabase() AND name IN ('gateway_logs', 'gateway_attempts')",
    format: 'JSONEachRow',
  });
  for (const { name, sql } of await result.json<{ name: string; sql: string }>()) {
    if (sql.includes(`toIntervalDay(${days})`)) continue;
    await client.command({
      query: `ALTER TABLE ${name} MODIFY TTL toDateTime(time) + INTERVAL ${Math.max(1, Math.trunc(days))} DAY`,
    });
  }
}
