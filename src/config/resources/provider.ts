import { z } from 'zod';
import { resourceSchema, secretSourceSchema } from './common.ts';

/** Provider types that Limen can speak to. Each has a folder of its own under src/providers. */
export const PROVIDER_TYPES = ['openai', 'anthropic', 'openai-compatible'] as const;

type ProviderType = (typeof PROVIDER_TYPES)[number];

/** Base URL of a provider's public service; openai-compatible has none, it must be named. */
export const DEFAULT_BASE_URLS: Readonly<Partial<Record<ProviderType, string>>> = {
  openai: 'https://api.openai.com/v1',
  anthropic: 'https://api.anthropic.com/v1',
};

/** Model names that a provider of this type answers even where no Model names them. */
export const DEFAULT_MODEL_PREFIXES: Readonly<Record<ProviderType, readonly string[]>> = {
  openai: ['gpt-', 'o1-', 'o3-', 'o4-', 'chatgpt-'],
  anthropic: ['claude-'],
  'openai-compatible': [],
};

const providerSpecSchema = z
  .strictObject({
    type: z
      .enum(PROVIDER_TYPES)
      .describe('API that it speaks; openai-compatible is Chat Completions under any address'),
    baseUrl: z
      .url({ protocol: /^https?$/, error: 'an http or https URL' })
      .refine(
        (url) => !url.includes('?') && !url.includes('#') && !/\/\/[^/]*@/.test(url),
        'a URL without query, fragment or user name',
      )
      .optional()
      .describe('Where the API lives, version path included: https://api.openai.com/v1'),
    credential: secretSourceSchema
      .optional()
      .describe('The key that Envoy injects; none for servers that want none'),
    tls: z
      .strictObject({
        caFile: z
          .string()
          .min(1)
          .optional()
          .describe('PEM file of the authority to trust instead of the system’s'),
        serverName: z
          .string()
          .min(1)
          .optional()
          .describe('Name to ask for and to check; default: the host of baseUrl'),
      })
      .optional()
      .describe('How its certificate is verified, where baseUrl is https'),
    connectTimeoutSeconds: z
      .number()
      .positive()
      .max(60)
      .default(5)
      .describe('Longest wait for a connection, before the next target is tried'),
    defaultMaxOutputTokens: z
      .number()
      .int()
      .positive()
      .default(8192)
      .describe('Output limit sent where this provider demands one and the client named none'),
    modelPrefixes: z
      .array(z.string().min(1).max(128))
      .max(64)
      .optional()
      .describe(
        'Model names that begin so go to this provider without a Model; default: gpt-, o1-, o3-, o4- and chatgpt- for the one of type openai, claude- for the one of type anthropic; [] for none',
      ),
  })
  .refine((spec) => spec.baseUrl !== undefined || DEFAULT_BASE_URLS[spec.type] !== undefined, {
    path: ['baseUrl'],
    error: 'needed for this type',
  });

/** An upstream that answers model requests. */
export const providerSchema = resourceSchema('Provider', providerSpecSchema).describe(
  'An upstream that answers model requests.',
);

export type ProviderResource = z.infer<typeof providerSchema>;
