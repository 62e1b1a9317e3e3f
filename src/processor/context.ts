import { z } from 'zod';
import { ERROR_STATUS, LimenError, type ErrorCode } from '../core/errors.ts';
import { ATTEMPT_NAMESPACE, CONTEXT_NAMESPACE } from '../core/gateway-names.ts';
import type { ConversionNote, RequestContext } from '../core/ledger.ts';
import { priceSchema } from '../core/price-schema.ts';
import { holdSchema, traceSchema } from '../core/record-schemas.ts';
import type { ProcessingRequest } from '../envoy-protocol/messages.ts';
import { metadataText } from '../envoy-protocol/values.ts';

const contextSchema = z.object({
  requestId: z.string(),
  time: z.number(),
  keyId: z.string(),
  user: z.string(),
  team: z.string(),
  tenant: z.string(),
  format: z.string(),
  modelAsked: z.string(),
  model: z.string(),
  stream: z.boolean(),
  inputEstimate: z.number(),
  snapshot: z.string(),
  intentId: z.string(),
  exposeUsage: z.boolean(),
  framing: z.enum(['sse', 'json-array']),
  refuseLosses: z.boolean(),
  betas: z.string().optional(),
  converted: z.object({ dropped: z.string(), freeTextTools: z.array(z.string()) }).optional(),
  failoverOn: z.enum(['responseHeaders', 'firstEvent']),
  keep: z
    .object({
      cacheKey: z.string().optional(),
      cacheSeconds: z.number().optional(),
      shared: z.boolean().optional(),
      storeSeconds: z.number().optional(),
    })
    .optional(),
  cache: z.enum(['hit', 'miss']).optional(),
  embeddingEncoding: z.enum(['float', 'base64']).optional(),
  mode: z.enum(['native', 'strip', 'processed']),
  targets: z.array(
    z.object({
      cluster: z.string(),
      provider: z.string(),
      type: z.string(),
      model: z.string(),
      basePath: z.string(),
      defaultMaxOutputTokens: z.number(),
      options: z.record(z.string(), z.string()),
      user: z.string().optional(),
      price: priceSchema.optional(),
    }),
  ),
  limenMicros: z.number(),
  trace: traceSchema,
  holds: z.array(holdSchema),
  multiplier: z.object({ input: z.number(), output: z.number() }).optional(),
  mostOutputTokens: z.number().optional(),
  untoldInput: z.number().optional(),
  cutOffTokens: z.number().optional(),
}) satisfies z.ZodType<RequestContext>;

/** What the front leg wrote, as Envoy hands it on; undefined where that is no context. */
export function parseContext(json: string): RequestContext | undefined {
  try {
    return contextSchema.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}

/** What the front leg wrote, as Envoy forwards it to the other legs. Throws where it is missing. */
export function readContext(message: ProcessingRequest): RequestContext {
  const json = metadataText(message.metadataContext, CONTEXT_NAMESPACE, 'context');
  const context = json === undefined ? undefined : parseContext(json);
  if (context === undefined) throw new Error('Envoy forwarded no context of the front leg');
  return context;
}

/** What the upstream leg of the last try tells the response leg. */
export interface AttemptNote extends ConversionNote {
  readonly cluster: string;
  /** How its stream failed before it began. */
  readonly failure?: LimenError | undefined;
}

function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_STATUS, code);
}

const failureSchema = z.object({
  code: z.custom<ErrorCode>(isErrorCode),
  message: z.string(),
  status: z.number(),
  retryAfterSeconds: z.number().optional(),
});

/** The note as metadata. All of it each time: what one try leaves out would stay as another left it. */
export function encodeNote(note: AttemptNote): Readonly<Record<string, string>> {
  const { cluster, dropped, freeTextTools, failure } = note;
  return {
    cluster,
    dropped,
    freeTextTools: freeTextTools.length === 0 ? '' : JSON.stringify(freeTextTools),
    failure:
      failure === undefined
        ? ''
        : JSON.stringify({
            code: failure.code,
            message: failure.message,
            status: failure.status,
            retryAfterSeconds: failure.retryAfterSeconds,
          } satisfies z.input<typeof failureSchema>),
  };
}

/** The note that concerns a cluster; an empty one where there is none, or that of an earlier try. */
export function readNote(message: ProcessingRequest, cluster: string): AttemptNote {
  const text = (field: string): string =>
    metadataText(message.metadataContext, ATTEMPT_NAMESPACE, field) ?? '';
  if (text('cluster') !== cluster) return { cluster, dropped: '', freeTextTools: [] };
  const failure = text('failure');
  const tools = text('freeTextTools');
  return {
    cluster,
    dropped: text('dropped'),
    freeTextTools: tools === '' ? [] : z.array(z.string()).parse(JSON.parse(tools)),
    failure: failure === '' ? undefined : readFailure(failure),
  };
}

function readFailure(json: string): LimenError {
  const { code, message, status, retryAfterSeconds } = failureSchema.parse(JSON.parse(json));
  return new LimenError(code, message, {
    status,
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

/** An attribute that the filter's configuration asks for; empty where Envoy knows none. */
export function readAttribute(message: ProcessingRequest, name: string): string {
  for (const { fields } of Object.values(message.attributes)) {
    const text = fields[name]?.stringValue;
    if (typeof text === 'string') return text;
  }
  return '';
}
