import { z } from 'zod';
import { resourceNameSchema, resourceSchema } from './common.ts';

const usdPerMillionSchema = z.number().nonnegative().max(1_000_000);

/** What may stand in the `model` field of a client: word characters and the separators that providers use. */
const modelNameSchema = z
  .string()
  .min(1)
  .max(256)
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9])?$/,
    'letters, digits and . _ : / @ -, a letter or digit at both ends',
  );

const targetSchema = z.strictObject({
  provider: resourceNameSchema.describe('Name of a Provider'),
  model: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe('Model name sent to the provider; default: the name that the client used'),
  priority: z
    .number()
    .int()
    .min(0)
    .max(15)
    .default(0)
    .describe('0 is tried first; the next number when a try fails'),
  weight: z.number().int().min(1).max(1000).default(1).describe('Share among targets of one priority'),
});

const modelSpecSchema = z.strictObject({
  targets: z.array(targetSchema).min(1).max(16).describe('Who answers it, by priority and weight'),
  aliases: z.array(modelNameSchema).max(64).default([]).describe('Further names that clients may use'),
  price: z
    .strictObject({
      input: usdPerMillionSchema.describe('Prompt tokens'),
      output: usdPerMillionSchema.describe('Generated tokens, reasoning among them'),
      cachedInput: usdPerMillionSchema.optional().describe('Prompt tokens read from a cache; default: input'),
      cacheWrite: usdPerMillionSchema.optional().describe('Prompt tokens written to a cache; default: input'),
    })
    .optional()
    .describe('USD per million tokens'),
  usageChunk: z
    .enum(['hide', 'show'])
    .default('hide')
    .describe('Whether a streaming client sees the usage chunk that Limen asked for and it did not'),
  perTryTimeoutSeconds: z
    .number()
    .positive()
    .max(3600)
    .optional()
    .describe('Longest wait for response headers of one try; default: the gateway’s'),
});

/** A name that clients ask for, and who answers it. */
export const modelSchema = resourceSchema('Model', modelSpecSchema)
  .extend({
    metadata: z.strictObject({
      name: modelNameSchema.describe('The name that clients send as `model`'),
      labels: z.record(z.string(), z.string()).optional().describe('For your own use'),
    }),
  })
  .describe('A name that clients ask for, and who answers it.');

export type ModelResource = z.infer<typeof modelSchema>;
