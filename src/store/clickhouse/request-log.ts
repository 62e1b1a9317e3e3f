import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { ERROR_STATUS } from '../../core/errors.ts';
import {
  ATTEMPT_OUTCOMES,
  type ChargeLog,
  type FailedAttempt,
  type GatewayLogRow,
  type LoggedRequest,
  type RequestLog,
} from '../../core/ledger.ts';
import type { LimitCharge } from '../../core/limits.ts';
import { makeUsage } from '../../core/usage.ts';

/** Whole numbers of 64 bits may come as text. */
const amount = z.coerce.number();

const chargeSchema = z.object({
  rule: z.string(),
  subject: z.string(),
  unit: z.enum(['requests', 'tokens', 'usd']),
  amount,
}) satisfies z.ZodType<LimitCharge>;

const OTHER_ERRORS: readonly string[] = ['', 'client_disconnected', 'unsettled'];

function isErrorCode(code: unknown): code is GatewayLogRow['errorCode'] {
  return typeof code === 'string' && (Object.hasOwn(ERROR_STATUS, code) || OTHER_ERRORS.includes(code));
}

const lineSchema = z
  .object({
    checkpoint: z.string(),
    rule: z.string(),
    subject: z.string(),
    outcome: z.string(),
    numbers: z.string(),
  })
  .transform(
    ({ checkpoint, rule, subject, outcome, numbers }) =>
      [checkpoint, rule, subject, outcome, numbers] as const,
  );

const recordSchema = z.object({
  unix_ms: amount,
  request_id: z.string(),
  revision: z.union([z.literal(1), z.literal(2)]),
  key_id: z.string(),
  user: z.string(),
  team: z.string(),
  tenant: z.string(),
  format: z.string(),
  model_asked: z.string(),
  model: z.string(),
  provider: z.string(),
  provider_model: z.string(),
  stream: z.boolean(),
  attempts: amount,
  status: amount,
  error_code: z.custom<GatewayLogRow['errorCode']>(isErrorCode).catch('internal_error'),
  input_tokens: amount,
  output_tokens: amount,
  cached_input_tokens: amount,
  cache_write_tokens: amount,
  reasoning_tokens: amount,
  audio_input_tokens: amount,
  image_input_tokens: amount,
  audio_output_tokens: amount,
  image_output_tokens: amount,
  usage_source: z.enum(['provider', 'counted', 'estimated', 'none']).catch('none'),
  cost_usd: amount,
  cache: z.enum(['hit', 'miss', '']).catch(''),
  time_to_first_token_ms: amount,
  duration_ms: amount,
  limen_micros: amount,
  response_bytes: amount,
  snapshot: z.string(),
  trace: z.array(lineSchema),
  charges: z.array(chargeSchema),
  overrun: z.array(z.string()),
  cut_off_tokens: amount,
});

const attemptSchema = z.object({
  unix_ms: amount,
  request_id: z.string(),
  ordinal: amount,
  provider: z.string(),
  provider_model: z.string(),
  status: amount,
  outcome: z.enum(ATTEMPT_OUTCOMES),
  may_be_billed: z.boolean(),
  cost_usd: amount,
  duration_ms: amount,
  retry_after_seconds: amount,
  charges: z.array(chargeSchema),
});

/**
 * The table and not its view: a search in the view reads every part that might hold the same row again, while the
 * index of the ids finds this one.
 */
const ROW = `
SELECT *, toUnixTimestamp64Milli(time) AS unix_ms FROM gateway_logs
WHERE request_id = {id:String} ORDER BY revision DESC LIMIT 1`;

const ATTEMPTS = `
SELECT *, toUnixTimestamp64Milli(time) AS unix_ms FROM gateway_attempts
WHERE request_id = {id:String} ORDER BY ordinal LIMIT 1 BY ordinal`;

/**
 * Rows are read once each (FINAL), and only those of days that one of the periods touches. A row belongs to a period by when
 * it was admitted, as its counter does.
 */
const CHARGED = `
SELECT charge.rule AS rule, charge.subject AS subject, charge.unit AS unit, sum(charge.amount) AS amount
FROM (
  SELECT time, charges FROM gateway_logs FINAL WHERE time >= fromUnixTimestamp64Milli({first:Int64})
  UNION ALL
  SELECT time, charges FROM gateway_attempts FINAL WHERE time >= fromUnixTimestamp64Milli({first:Int64})
)
ARRAY JOIN charges AS charge
WHERE time >= fromUnixTimestamp64Milli(transform(charge.rule, {rules:Array(String)}, {since:Array(Int64)}, {never:Int64}))
GROUP BY rule, subject, unit
ORDER BY rule, subject, unit`;
/** Beyond every row: for rules that nobody asked about. */
const NEVER = Date.UTC(2200);

/** Reads finished requests, and what rules were charged by them. */
export class ClickHouseRequestLog implements RequestLog, ChargeLog {
  readonly #client: ClickHouseClient;

  constructor(client: ClickHouseClient) {
    this.#client = client;
  }

  async read(requestId: string): Promise<LoggedRequest | undefined> {
    const [[record], attempts] = await Promise.all([
      this.#rows(recordSchema, ROW, { id: requestId }),
      this.#rows(attemptSchema, ATTEMPTS, { id: requestId }),
    ]);
    return record && { row: rowOf(record), failedAttempts: attempts.map(attemptOf) };
  }

  async charged(
    rules: readonly { readonly rule: string; readonly since: number }[],
  ): Promise<readonly LimitCharge[]> {
    if (rules.length === 0) return [];
    const since = rules.map((one) => one.since);
    return await this.#rows(chargeSchema, CHARGED, {
      first: Math.min(...since),
      rules: rules.map(({ rule }) => rule),
      since,
      never: NEVER,
    });
  }

  async #rows<Output>(
    schema: z.ZodType<Output>,
    query: string,
    query_params: Readonly<Record<string, unknown>>,
  ): Promise<readonly Output[]> {
    const result = await this.#client.query({ query, query_params, format: 'JSONEachRow' });
    return z.array(schema).parse(await result.json());
  }
}

function rowOf(record: z.output<typeof recordSchema>): GatewayLogRow {
  const { charges, overrun, cut_off_tokens: cutOffTokens } = record;
  return {
    requestId: record.request_id,
    revision: record.revision,
    time: record.unix_ms,
    keyId: record.key_id,
    user: record.user,
    team: record.team,
    tenant: record.tenant,
    format: record.format,
    modelAsked: record.model_asked,
    model: record.model,
    provider: record.provider,
    providerModel: record.provider_model,
    stream: record.stream,
    attempts: record.attempts,
    status: record.status,
    errorCode: record.error_code,
    usage: makeUsage({
      input: record.input_tokens,
      output: record.output_tokens,
      cachedInput: record.cached_input_tokens,
      cacheWrite: record.cache_write_tokens,
      reasoning: record.reasoning_tokens,
      audioInput: record.audio_input_tokens,
      imageInput: record.image_input_tokens,
      audioOutput: record.audio_output_tokens,
      imageOutput: record.image_output_tokens,
    }),
    usageSource: record.usage_source,
    costUsd: record.cost_usd,
    cache: record.cache,
    timeToFirstTokenMs: record.time_to_first_token_ms,
    durationMs: record.duration_ms,
    limenMicros: record.limen_micros,
    responseBytes: record.response_bytes,
    snapshot: record.snapshot,
    trace: record.trace,
    ...(charges.length === 0 ? {} : { charges }),
    ...(overrun.length === 0 ? {} : { overrun }),
    ...(cutOffTokens === 0 ? {} : { cutOffTokens }),
  };
}

function attemptOf(record: z.output<typeof attemptSchema>): FailedAttempt {
  const { charges } = record;
  return {
    requestId: record.request_id,
    ordinal: record.ordinal,
    time: record.unix_ms,
    provider: record.provider,
    providerModel: record.provider_model,
    status: record.status,
    outcome: record.outcome,
    mayBeBilled: record.may_be_billed,
    costUsd: record.cost_usd,
    durationMs: record.duration_ms,
    retryAfterSeconds: record.retry_after_seconds,
    ...(charges.length === 0 ? {} : { charges }),
  };
}
