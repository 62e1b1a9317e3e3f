import { z } from 'zod';

/** Longest list that one answer gives. */
const MOST_KEYS = 1000;

const modelPattern = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[A-Za-z0-9*]([A-Za-z0-9._:/@*-]*[A-Za-z0-9*])?$/, 'a model name, * as wildcard');

/** POST /api/v1/keys */
export const createKeySchema = z.strictObject({
  user: z.string().trim().min(1).max(256),
  team: z.string().trim().min(1).max(256).optional(),
  name: z.string().trim().min(1).max(256).optional(),
  models: z.array(modelPattern).min(1).max(1000).optional(),
  expiresAt: z.iso.datetime({ offset: true, error: 'a time such as 2027-01-31T00:00:00Z' }).optional(),
});

export type CreateKeyRequest = z.infer<typeof createKeySchema>;

/** GET /api/v1/keys */
export const listKeysSchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(MOST_KEYS).default(100),
  after: z.string().min(1).optional(),
});

/** A virtual key as the API shows it. Times are ISO 8601. */
export const keyViewSchema = z.object({
  id: z.string(),
  name: z.string().optional(),
  user: z.string(),
  team: z.string().optional(),
  models: z.array(z.string()).optional(),
  /** What the key begins and ends with; empty for one that the configuration declares. */
  hint: z.string(),
  source: z.enum(['database', 'file']),
  status: z.enum(['active', 'expired', 'revoked']),
  createdAt: z.string().optional(),
  expiresAt: z.string().optional(),
  revokedAt: z.string().optional(),
});

export type KeyView = z.infer<typeof keyViewSchema>;

export const keyListSchema = z.object({
  keys: z.array(keyViewSchema),
  /** For the next page's `after`; absent on the last one. */
  next: z.string().optional(),
});

export type KeyList = z.infer<typeof keyListSchema>;

export const createdKeySchema = z.object({
  /** Shown this once. */
  key: z.string(),
  ...keyViewSchema.shape,
  warnings: z.array(z.string()),
});

export type CreatedKey = z.infer<typeof createdKeySchema>;
