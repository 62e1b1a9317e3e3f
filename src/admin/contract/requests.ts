import { z } from 'zod';

const count = z.number().int().nonnegative();

/** TraceLine with names. */
const traceLineSchema = z
  .object({
    checkpoint: z.string().describe('identify, authorize, limit, cache, circuit, route, settle …'),
    rule: z.string().describe('What decided'),
    subject: z.string().describe('About whom or what'),
    outcome: z.string().describe('allowed, refused, cut …'),
    numbers: z.string().describe('In words: `7 of 10 requests in 1m`'),
  })
  .meta({ id: 'TraceLine' });

const chargeSchema = z
  .object({
    rule: z.string(),
    subject: z.string(),
    unit: z.enum(['requests', 'tokens', 'usd']),
    amount: z.number().describe('Weighted tokens; for usd, nano-USD'),
  })
  .meta({ id: 'LimitCharge' });

/** GET /api/v1/requests/{id} */
export const requestViewSchema = z
  .object({
    id: z.string(),
    time: z.string().describe('When it was admitted'),
    user: z.string().describe('Empty where it was refused before anyone was identified'),
    keyId: z.string(),
    team: z.string(),
    tenant: z.string(),
    format: z.string(),
    modelAsked: z.string(),
    model: z.string(),
    provider: z.string(),
    providerModel: z.string(),
    stream: z.boolean(),
    attempts: count,
    status: count.describe('What the client got; 0 where it is not known'),
    errorCode: z.string().describe('Empty for a good answer'),
    usage: z.object({
      input: count,
      output: count,
      cachedInput: count,
      cacheWrite: count,
      reasoning: count,
      audioInput: count,
      imageInput: count,
      audioOutput: count,
      imageOutput: count,
      total: count,
    }),
    usageSource: z.enum(['provider', 'counted', 'estimated', 'none']).describe('Who counted the tokens'),
    costUsd: z.number(),
    cache: z.enum(['hit', 'miss', '']),
    timeToFirstTokenMs: z.number(),
    durationMs: z.number(),
    limenMicros: z.number(),
    responseBytes: z.number(),
    snapshot: z.string(),
    cutOffTokens: count.optional().describe('Tokens of output after which a budget ended the answer'),
    overrun: z.array(z.string()).describe('Limits whose reservation did not cover what was settled'),
    trace: z.array(traceLineSchema).describe('Every decision, in order'),
    charges: z.array(chargeSchema).describe('What limits were charged for the answer'),
    failedAttempts: z
      .array(
        z.object({
          ordinal: count,
          time: z.string(),
          provider: z.string(),
          providerModel: z.string(),
          status: count.describe('0 where none came'),
          outcome: z.string(),
          mayBeBilled: z.boolean(),
          costUsd: z.number().describe("What it may cost the operator; never the client's"),
          durationMs: z.number(),
          retryAfterSeconds: z.number(),
          charges: z.array(chargeSchema),
        }),
      )
      .describe('Tries that another one made good'),
  })
  .meta({ id: 'Request' });

export type RequestView = z.input<typeof requestViewSchema>;
