import { z } from 'zod';
import { PERMISSIONS, SURFACES } from '../../core/access.ts';
import { nameSchema as name, pageSize } from './common.ts';

/** Longest list that one answer gives. */
const MOST_KEYS = 1000;
const LONGEST_GRACE_SECONDS = 30 * 86_400;

const time = z.iso.datetime({ offset: true, error: 'a time such as 2027-01-31T00:00:00Z' });

const modelPattern = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[A-Za-z0-9*]([A-Za-z0-9._:/@*-]*[A-Za-z0-9*])?$/, 'a model name, * as wildcard');

const toolPattern = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[A-Za-z0-9_.*-]+$/, 'server__tool, * as wildcard');

const scope = z
  .string()
  .min(1)
  .max(256)
  // RFC 6749, appendix A.4
  .regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'a scope, without spaces and quotes');

/** POST /api/v1/keys */
export const createKeySchema = z.strictObject({
  user: name.describe('Whose key it is; stands in every row'),
  team: name.optional(),
  tenant: name.optional(),
  name: name.optional(),
  description: z.string().trim().max(1024).optional(),
  labels: z.record(z.string().min(1).max(63), z.string().max(256)).optional(),
  surfaces: z
    .array(z.enum(SURFACES))
    .min(1)
    .optional()
    .describe('Where it may be used; default: everywhere but the admin API'),
  models: z.array(modelPattern).min(1).max(1000).optional(),
  tools: z.array(toolPattern).min(1).max(1000).optional(),
  scopes: z.array(scope).max(100).optional(),
  permissions: z
    .array(z.enum(PERMISSIONS))
    .optional()
    .describe("Bounds what its user's roles allow; default: no bound"),
  expiresAt: time.optional(),
  inactivityDays: z
    .int()
    .min(1)
    .max(3650)
    .optional()
    .describe('Days without use after which it is revoked; default: never'),
});

export type CreateKeyRequest = z.infer<typeof createKeySchema>;

const { user: _, ...settings } = createKeySchema.shape;

/** PATCH /api/v1/keys/{id}: what is not there stays; null takes a value away. */
export const updateKeySchema = z.strictObject({
  team: settings.team.nullable(),
  tenant: settings.tenant.nullable(),
  name: settings.name.nullable(),
  description: settings.description.nullable(),
  labels: settings.labels.nullable(),
  surfaces: settings.surfaces.nullable(),
  models: settings.models.nullable(),
  tools: settings.tools.nullable(),
  scopes: settings.scopes.nullable(),
  permissions: settings.permissions.nullable(),
  expiresAt: settings.expiresAt.nullable(),
  inactivityDays: settings.inactivityDays.nullable(),
});

export type UpdateKeyRequest = z.infer<typeof updateKeySchema>;

/** GET /api/v1/keys */
export const listKeysSchema = z.strictObject({
  limit: pageSize(MOST_KEYS, 100),
  after: z.string().min(1).optional(),
  user: name.optional(),
  team: name.optional(),
  search: z.string().max(256).optional().describe('Part of id, name, user or team'),
  deleted: z.stringbool().default(false).describe('With those that are deleted and not purged yet'),
});

export type ListKeysRequest = z.infer<typeof listKeysSchema>;

/** POST /api/v1/keys/{id}/rotate */
export const rotateKeySchema = z.strictObject({
  graceSeconds: z
    .int()
    .min(0)
    .max(LONGEST_GRACE_SECONDS)
    .default(86_400)
    .describe('How long the secret before is good, too'),
});

export type RotateKeyRequest = z.infer<typeof rotateKeySchema>;

/** A virtual key as the API shows it. Times are ISO 8601. */
export const keyViewSchema = z
  .object({
    id: z.string(),
    name: z.string().optional(),
    description: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
    user: z.string(),
    team: z.string().optional(),
    tenant: z.string().optional(),
    surfaces: z.array(z.enum(SURFACES)).optional(),
    models: z.array(z.string()).optional(),
    tools: z.array(z.string()).optional(),
    scopes: z.array(z.string()).optional(),
    permissions: z.array(z.enum(PERMISSIONS)).optional(),
    hint: z
      .string()
      .describe('What the key begins and ends with; empty for one that the configuration declares'),
    source: z.enum(['database', 'file']),
    status: z.enum(['active', 'expired', 'revoked', 'deleted']),
    createdAt: z.string().optional(),
    expiresAt: z.string().optional(),
    inactivityDays: z.number().optional(),
    lastUsedAt: z.string().optional().describe('To the minute, some time after'),
    rotatedAt: z.string().optional(),
    graceUntil: z.string().optional().describe('Until when the secret before the rotation is good, too'),
    revokedAt: z.string().optional(),
    revokedReason: z.string().optional(),
    deletedAt: z.string().optional(),
    purgedAt: z.string().optional().describe('From when on it cannot be restored'),
  })
  .meta({ id: 'Key' });

export type KeyView = z.infer<typeof keyViewSchema>;

export const keyListSchema = z.object({
  keys: z.array(keyViewSchema),
  next: z.string().optional().describe("For the next page's `after`; absent on the last one"),
});

export type KeyList = z.infer<typeof keyListSchema>;

export const createdKeySchema = z.object({
  key: z.string().describe('Shown this once'),
  ...keyViewSchema.shape,
  warnings: z.array(z.string()),
});

export type CreatedKey = z.infer<typeof createdKeySchema>;
