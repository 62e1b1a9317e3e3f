import type { ClickHouseClient } from '@clickhouse/client';
import type { FailedAttempt, GatewayLogRow, GatewayLogStore } from '../../core/ledger.ts';
import type { LimitCharge } from '../../core/limits.ts';
import type { TraceLine } from '../../core/trace.ts';

const LARGEST_UINT32 = 4_294_967_295;

/**
 * A number that a whole column takes. Providers say some of them: one that JSON writes with an exponent would have
 * ClickHouse refuse its whole batch, again and again.
 */
function whole(value: number, largest = Number.MAX_SAFE_INTEGER): number {
  return value > 0 ? Math.min(Math.round(value), largest) : 0;
}

/** What a column takes; tuples as objects. */
type Column = string | number | boolean | readonly string[] | readonly object[];

function chargeTuples(charges: readonly LimitCharge[] = []): Column {
  return charges.map(({ rule, subject, unit, amount }) => ({ rule, subject, unit, amount: whole(amount) }));
}

function traceTuples(trace: readonly TraceLine[]): Column {
  return trace.map(([checkpoint, rule, subject, outcome, numbers]) => ({
    checkpoint,
    rule,
    subject,
    outcome,
    numbers,
  }));
}

/** A row as `gateway_logs` names its columns. */
function recordOf(row: GatewayLogRow): Readonly<Record<string, Column>> {
  return {
    time: whole(row.time),
    request_id: row.requestId,
    revision: row.revision,
    key_id: row.keyId,
    user: row.user,
    team: row.team,
    tenant: row.tenant,
    format: row.format,
    model_asked: row.modelAsked,
    model: row.model,
    provider: row.provider,
    provider_model: row.providerModel,
    stream: row.stream,
    attempts: whole(row.attempts),
    status: whole(row.status),
    error_code: row.errorCode,
    input_tokens: whole(row.usage.input),
    output_tokens: whole(row.usage.output),
    cached_input_tokens: whole(row.usage.cachedInput),
    cache_write_tokens: whole(row.usage.cacheWrite),
    reasoning_tokens: whole(row.usage.reasoning),
    audio_input_tokens: whole(row.usage.audioInput),
    image_input_tokens: whole(row.usage.imageInput),
    audio_output_tokens: whole(row.usage.audioOutput),
    image_output_tokens: whole(row.usage.imageOutput),
    total_tokens: whole(row.usage.total),
    usage_source: row.usageSource,
    cost_usd: row.costUsd,
    cache: row.cache,
    time_to_first_token_ms: row.timeToFirstTokenMs,
    duration_ms: row.durationMs,
    limen_micros: whole(row.limenMicros),
    response_bytes: whole(row.responseBytes),
    snapshot: row.snapshot,
    trace: traceTuples(row.trace),
    charges: chargeTuples(row.charges),
    overrun: row.overrun ?? [],
    cut_off_tokens: whole(row.cutOffTokens ?? 0),
  };
}

/** A failed try as `gateway_attempts` names its columns. */
function attemptRecordOf(attempt: FailedAttempt): Readonly<Record<string, Column>> {
  return {
    time: whole(attempt.time),
    request_id: attempt.requestId,
    ordinal: whole(attempt.ordinal),
    provider: attempt.provider,
    provider_model: attempt.providerModel,
    status: whole(attempt.status),
    outcome: attempt.outcome,
    may_be_billed: attempt.mayBeBilled,
    cost_usd: attempt.costUsd,
    duration_ms: attempt.durationMs,
    retry_after_seconds: whole(attempt.retryAfterSeconds, LARGEST_UINT32),
    charges: chargeTuples(attempt.charges),
  };
}

/** The tables of finished requests and of their failed tries. */
export class ClickHouseGatewayLog implements GatewayLogStore {
  readonly #client: ClickHouseClient;

  constructor(client: ClickHouseClient) {
    this.#client = client;
  }

  async insert(rows: readonly GatewayLogRow[]): Promise<void> {
    await this.#client.insert({ table: 'gateway_logs', values: rows.map(recordOf), format: 'JSONEachRow' });
  }

  async insertAttempts(attempts: readonly FailedAttempt[]): Promise<void> {
    const values = attempts.map(attemptRecordOf);
    await this.#client.insert({ table: 'gateway_attempts', values, format: 'JSONEachRow' });
  }
}
