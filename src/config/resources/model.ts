import { z } from 'zod';
import type { TokenPrice } from '../../core/usage.ts';
import { accessSchema } from './access.ts';
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

/** Kinds of tokens have the names that they have in Usage; each token is priced once, by its most specific kind. */
const tokenPriceShape = {
  input: usdPerMillionSchema.describe('Prompt tokens'),
  output: usdPerMillionSchema.describe('Generated tokens'),
  cachedInput: usdPerMillionSchema.optional().describe('Prompt tokens read from a cache; default: input'),
  cacheWrite: usdPerMillionSchema.optional().describe('Prompt tokens written to a cache; default: input'),
  audioInput: usdPerMillionSchema.optional().describe('Prompt tokens of audio; default: input'),
  imageInput: usdPerMillionSchema.optional().describe('Prompt tokens of images; default: input'),
  reasoning: usdPerMillionSchema.optional().describe('Generated tokens of reasoning; default: output'),
  audioOutput: usdPerMillionSchema.optional().describe('Generated tokens of audio; default: output'),
  imageOutput: usdPerMillionSchema.optional().describe('Generated tokens of images; default: output'),
} satisfies Record<keyof TokenPrice, z.ZodType>;

const priceSchema = z
  .strictObject({
    ...tokenPriceShape,
    above: z
      .strictObject({
        inputTokens: z
          .number()
          .int()
          .positive()
          .describe('Length of the prompt in tokens, beyond which these prices hold'),
        ...tokenPriceShape,
      })
      .optional()
      .describe('Other prices for every token of a request with a longer prompt'),
  })
  .optional();

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
  price: priceSchema.describe('USD per million tokens at this target; default: the price of the Model'),
});

const modelSpecSchema = z.strictObject({
  targets: z.array(targetSchema).min(1).max(16).describe('Who answers it, by priority and weight'),
  aliases: z.array(modelNameSchema).max(64).default([]).describe('Further names that clients may use'),
  price: priceSchema.describe(
    'USD per million tokens; default: the list price of each target’s model, where it is a well-known one',
  ),
  failoverOn: z
    .enum(['responseHeaders', 'firstEvent'])
    .default('responseHeaders')
    .describe(
      'Until when another target may take over: until the provider’s response headers, or until its first content. With firstEvent the client’s headers wait for that, and a worker looks at the beginning of each answer',
    ),
  access: accessSchema
    .optional()
    .describe('Who may use it, beyond what roles allow; each member that is there must be met'),
  losses: z
    .enum(['report', 'refuse'])
    .default('report')
    .describe(
      'What becomes of a request that a target’s API cannot express whole: sent without the field, which the header x-limen-dropped then names, or answered with 400',
    ),
  cache: z
    .strictObject({
      ttlSeconds: z
        .number()
        .int()
        .min(1)
        .max(2_592_000)
        .describe('How long an answer is given to equal requests'),
      scope: z
        .enum(['key', 'user', 'team', 'everybody'])
        .default('key')
        .describe('Who shares answers: requests of one virtual key, of one user, of one team, or all'),
    })
    .optional()
    .describe('Answers to equal requests from a store, without asking a provider; default: never'),
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
  multiplier: z
    .strictObject({
      input: z.number().nonnegative().max(1000).default(1).describe('Weight of a prompt token'),
      output: z.number().nonnegative().max(1000).default(1).describe('Weight of a generated token'),
    })
    .optional()
    .describe('What its tokens count in limits on tokens; default: 1'),
  contextTokens: z
    .number()
    .int()
    .positive()
    .max(1e9)
    .optional()
    .describe(
      'Longest prompt in tokens: the most that hard limits reserve for a prompt. Name the largest of all targets',
    ),
  outputTokens: z
    .number()
    .int()
    .positive()
    .max(1e9)
    .optional()
    .describe(
      'Longest answer in tokens: what hard limits reserve where a request names no limit of its own, or a higher one, and then ask of the provider. Name the largest of all targets',
    ),
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
