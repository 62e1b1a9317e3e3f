import { z } from 'zod';
import { CONTEXT_NAMESPACE } from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { ProcessingRequest } from '../envoy-protocol/messages.ts';

const priceSchema = z.object({
  input: z.number(),
  output: z.number(),
  cachedInput: z.number().optional(),
  cacheWrite: z.number().optional(),
});

const contextSchema = z.object({
  requestId: z.string(),
  time: z.number(),
  keyId: z.string(),
  user: z.string(),
  team: z.string(),
  format: z.string(),
  modelAsked: z.string(),
  model: z.string(),
  stream: z.boolean(),
  inputEstimate: z.number(),
  snapshot: z.string(),
  price: priceSchema.optional(),
  intentId: z.string(),
  exposeUsage: z.boolean(),
  mode: z.enum(['native', 'strip', 'processed']),
  targets: z.array(
    z.object({
      cluster: z.string(),
      provider: z.string(),
      type: z.string(),
      model: z.string(),
      basePath: z.string(),
      defaultMaxOutputTokens: z.number(),
    }),
  ),
  limenMicros: z.number(),
}) satisfies z.ZodType<RequestContext>;

/** What the front leg wrote, as Envoy forwards it to the other legs. Throws where it is missing. */
export function readContext(message: ProcessingRequest): RequestContext {
  const field = message.metadataContext?.filterMetadata[CONTEXT_NAMESPACE]?.fields['context']?.stringValue;
  if (typeof field !== 'string') throw new Error('Envoy forwarded no context of the front leg');
  return contextSchema.parse(JSON.parse(field));
}
