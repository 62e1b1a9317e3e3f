import { z } from 'zod';
import { PERMISSIONS, SURFACES } from '../../core/access.ts';
import { resourceSchema, secretSourceSchema } from './common.ts';

const apiKeySpecSchema = z.strictObject({
  user: z.string().min(1).max(256).describe('Whose key this is; stands in every row'),
  team: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe('Stands in every row too; default: the team of its user'),
  tenant: z.string().min(1).max(256).optional().describe('Whose credentials and limits it uses'),
  description: z.string().max(1024).optional().describe('For your own use'),
  secret: z
    .union(
      [
        ...secretSourceSchema.options,
        z.strictObject({
          sha256: z
            .string()
            .regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits')
            .describe('SHA-256 of the whole key: printf %s "$KEY" | sha256sum'),
        }),
      ],
      { error: 'exactly one of sha256, env, file and value' },
    )
    .describe('The key, or better its SHA-256 in hex'),
  models: z
    .array(z.string().min(1).max(256))
    .min(1)
    .max(1000)
    .optional()
    .describe('Model names it may use, * as wildcard; default: all'),
  surfaces: z
    .array(z.enum(SURFACES))
    .min(1)
    .optional()
    .describe('Where it may be used; default: everywhere but the admin API'),
  tools: z
    .array(z.string().min(1).max(256))
    .min(1)
    .max(1000)
    .optional()
    .describe('Tools (server__tool) it may use, * as wildcard; default: all'),
  scopes: z
    .array(z.string().min(1).max(256))
    .max(100)
    .optional()
    .describe('Scopes that it fulfils; default: none'),
  permissions: z
    .array(z.enum(PERMISSIONS))
    .optional()
    .describe("Bounds what its user's roles allow; default: no bound"),
  expiresAt: z.iso
    .datetime({ offset: true, error: 'a time such as 2027-01-31T00:00:00Z' })
    .optional()
    .describe('From then on the key is refused; default: never'),
});

/** A virtual key declared in configuration. Keys made by `limen keys create` live in the database. */
export const apiKeySchema = resourceSchema('ApiKey', apiKeySpecSchema).describe(
  'A virtual key declared in configuration. Keys made by `limen keys create` live in the database instead.',
);

export type ApiKeyResource = z.infer<typeof apiKeySchema>;
