import { z } from 'zod';
import { CONTEXT_NAMESPACE } from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { ProcessingRequest } from '../envoy-protocol/messages.ts';

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
  intentId: z.string(),
  exposeUsage: z.boolean(),
  mode: z.enum(['native', 'strip', 'processed']),
  limenMicros: z.number(),
}) satisfies z.ZodType<RequestContext>;

/** What the front leg wrote, as Envoy forwards it to the other legs. Throws where it is missing. */
export function readContext(message: ProcessingRequest): RequestContext {
  const field = message.metadataContext?.filterMetadata[CONTEXT_NAMESPACE]?.fields['context']?.stringValue;
  if (typeof field !== 'string') throw new Error('Envoy forwarded no context of the front leg');
  return contextSchema.parse(JSON.parse(field));
}
