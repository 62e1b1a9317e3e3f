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
      "SELECT create_table_query AS sql FROM system.tables WHERE database = currentDatabase() AND name = 'gateway_logs'",
    format: 'JSONEachRow',
  });
  const [table] = await result.json<{ sql: string }>();
  if (table?.sql.includes(`toIntervalDay(${days})`)) return;
  await client.command({
    query: `ALTER TABLE gateway_logs MODIFY TTL toDateTime(time) + INTERVAL ${Math.max(1, Math.trunc(days))} DAY`,
  });
}
