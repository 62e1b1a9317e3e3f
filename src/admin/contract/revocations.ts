import { z } from 'zod';
import { pageSize } from './common.ts';

const time = z.iso.datetime({ offset: true, error: 'a time such as 2027-01-31T00:00:00Z' });
const kind = z.enum(['jti', 'subject', 'issuer']);

/** GET /api/v1/revocations */
export const listRevocationsSchema = z.strictObject({
  limit: pageSize(1000, 100),
  after: z.string().min(1).optional(),
});

export type ListRevocationsRequest = z.infer<typeof listRevocationsSchema>;

/** POST /api/v1/revocations */
export const revokeTokensSchema = z.strictObject({
  kind: kind.describe('What is compared: jti of the token, its canonical user, or its IdentityProvider'),
  value: z.string().min(1).max(512),
  before: time.optional().describe('Tokens issued at or before it are refused; default: now'),
  until: time
    .optional()
    .describe('After it no such token can be alive; default: after the longest lifetime that is taken'),
  reason: z.string().trim().max(256).optional(),
});

export type RevokeTokensRequest = z.infer<typeof revokeTokensSchema>;

export const revocationViewSchema = z
  .object({
    id: z.string(),
    kind,
    value: z.string(),
    before: z.string(),
    until: z.string(),
    reason: z.string().optional(),
    actor: z.string(),
    createdAt: z.string(),
  })
  .meta({ id: 'Revocation' });

export type RevocationView = z.infer<typeof revocationViewSchema>;

export const revocationListSchema = z.object({
  revocations: z.array(revocationViewSchema),
  next: z.string().optional().describe("For the next page's `after`; absent on the last one"),
});
