import { z } from 'zod';

const namesSchema = z.array(z.string().min(1).max(256)).min(1).max(1000);

/** Who may use a thing, beyond what roles allow (SnapshotAccess). */
export const accessSchema = z.strictObject({
  roles: namesSchema.optional().describe('Any one of these roles'),
  groups: namesSchema.optional().describe('Member of any one of these groups'),
  teams: namesSchema.optional().describe('Member of any one of these teams'),
  tenants: namesSchema.optional().describe('Of any one of these tenants'),
  features: namesSchema.optional().describe('Any one of these features from claims, such as plan:pro'),
  scopes: z
    .array(
      z
        .string()
        .max(256)
        .regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'a scope: printable ASCII without space, " and \\'),
    )
    .min(1)
    .max(100)
    .optional()
    .describe('All of these scopes'),
});
