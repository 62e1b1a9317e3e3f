import { z } from 'zod';
import type { LimitCharge } from '../core/limits.ts';
import {
  ATTEMPT_OUTCOMES,
  type FailedAttempt,
  type GatewayLogRow,
  type Intent,
  type RequestContext,
} from '../core/ledger.ts';
import { ERROR_STATUS } from '../core/errors.ts';
import { priceSchema } from '../core/price-schema.ts';
import { holdSchema, limitUnitSchema, traceSchema } from '../core/record-schemas.ts';

const text = z.string().catch('');
const amount = z.number().nonnegative().catch(0);

const traceOrNone = traceSchema.catch([]);
/** One that another version wrote without thresholds is charged all the same. */
const holdsOrNone = z.array(holdSchema.extend({ alerts: holdSchema.shape.alerts.catch([]) })).catch([]);

const chargeSchema = z.object({
  rule: z.string(),
  subject: z.string(),
  unit: limitUnitSchema,
  amount,
}) satisfies z.ZodType<LimitCharge>;
const chargesSchema = z.array(chargeSchema).optional().catch(undefined);

/**
 * What the ledger reads of an Intent. It is read by whatever version runs when it is settled, so all but the
 * identity may be missing.
 */
const intentSchema = z.object({
  requestId: z.string().min(1),
  time: z.number().positive(),
  keyId: text,
  user: text,
  team: text,
  tenant: text,
  format: text,
  modelAsked: text,
  model: text,
  stream: z.boolean().catch(false),
  inputEstimate: amount,
  snapshot: text,
  price: priceSchema.optional().catch(undefined),
}) satisfies z.ZodType<Partial<Intent>>;

const contextSchema = intentSchema.extend({
  intentId: text,
  limenMicros: amount,
  trace: traceOrNone,
  holds: holdsOrNone,
  multiplier: z.object({ input: z.number(), output: z.number() }).optional().catch(undefined),
  mostOutputTokens: z.number().nonnegative().optional().catch(undefined),
  untoldInput: z.number().nonnegative().optional().catch(undefined),
  cache: z.enum(['hit', 'miss']).optional().catch(undefined),
  targets: z
    .array(
      z.object({
        cluster: text,
        provider: text,
        model: text,
        defaultMaxOutputTokens: amount,
        price: priceSchema.optional().catch(undefined),
      }),
    )
    .catch([]),
}) satisfies z.ZodType<Partial<Omit<RequestContext, 'targets'>>>;

const rowErrors = ['', 'client_disconnected', 'unsettled'] as const;

function isErrorCode(code: string): code is GatewayLogRow['errorCode'] {
  return Object.hasOwn(ERROR_STATUS, code) || rowErrors.some((known) => known === code);
}

const rowSchema: z.ZodType<GatewayLogRow> = z.object({
  requestId: z.string().min(1),
  revision: z.union([z.literal(1), z.literal(2)]),
  time: z.number().positive(),
  keyId: text,
  user: text,
  team: text,
  tenant: text,
  format: text,
  modelAsked: text,
  model: text,
  provider: text,
  providerModel: text,
  stream: z.boolean().catch(false),
  attempts: amount,
  status: amount,
  errorCode: z
    .custom<GatewayLogRow['errorCode']>((code) => typeof code === 'string' && isErrorCode(code))
    .catch('internal_error'),
  usage: z.object({
    input: amount,
    output: amount,
    cachedInput: amount,
    cacheWrite: amount,
    reasoning: amount,
    audioInput: amount,
    imageInput: amount,
    audioOutput: amount,
    imageOutput: amount,
    total: amount,
  }),
  usageSource: z.enum(['provider', 'counted', 'estimated', 'none']),
  costUsd: amount,
  cache: z.enum(['hit', 'miss', '']).catch(''),
  timeToFirstTokenMs: amount,
  durationMs: amount,
  limenMicros: amount,
  responseBytes: amount,
  snapshot: text,
  trace: traceOrNone,
  charges: chargesSchema,
  overrun: z.array(z.string()).optional().catch(undefined),
  cutOffTokens: amount.optional(),
});

const attemptSchema: z.ZodType<FailedAttempt> = z.object({
  requestId: z.string().min(1),
  ordinal: z.number().positive(),
  time: z.number().positive(),
  provider: text,
  providerModel: text,
  status: amount,
  outcome: z.enum(ATTEMPT_OUTCOMES),
  mayBeBilled: z.boolean().catch(false),
  costUsd: amount,
  durationMs: amount,
  retryAfterSeconds: amount,
  charges: chargesSchema,
});

/** What the ledger reads of an Intent. */
export type SettleIntent = z.output<typeof intentSchema>;
/** What the ledger reads of a RequestContext. */
export type SettleContext = z.output<typeof contextSchema>;

/** Reads JSON by a schema; undefined for what is no JSON or does not fit. */
export function parseRecord<Output>(schema: z.ZodType<Output>, json: string | undefined): Output | undefined {
  if (json === undefined || json === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  const result = schema.safeParse(value);
  return result.success ? result.data : undefined;
}

export function readIntent(json: string): SettleIntent | undefined {
  return parseRecord(intentSchema, json);
}

/** The context in a metadata field, or undefined where there is none that can be read. */
export function readRequestContext(json: string | undefined): SettleContext | undefined {
  return parseRecord(contextSchema, json);
}

export function readRow(json: string): GatewayLogRow | undefined {
  return parseRecord(rowSchema, json);
}

export function readAttempt(json: string): FailedAttempt | undefined {
  return parseRecord(attemptSchema, json);
}
