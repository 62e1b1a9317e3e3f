import { z } from 'zod';
import type { LimitHold } from './limits.ts';
import type { TraceLine } from './trace.ts';

/** Parts of records that travel with a request and are read by more than one side. */

export const limitUnitSchema = z.enum(['requests', 'tokens', 'usd']);

export const holdSchema = z.object({
  rule: z.string(),
  subject: z.string(),
  counter: z.string(),
  unit: limitUnitSchema,
  limit: z.number(),
  window: z.number().optional(),
  ends: z.number().optional(),
  reserved: z.number(),
  providers: z.array(z.string()).optional(),
  alerts: z.array(z.number()),
  shared: z.literal(true).optional(),
}) satisfies z.ZodType<LimitHold>;

export const traceSchema: z.ZodType<readonly TraceLine[]> = z.array(
  z.tuple([z.string(), z.string(), z.string(), z.string(), z.string()]),
);
