import { z } from 'zod';
import { resourceNameSchema, resourceSchema } from './common.ts';
import { membersSchema } from './role.ts';

const teamSpecSchema = z.strictObject({
  tenant: resourceNameSchema
    .optional()
    .describe('Tenant of its members who have none of their own: whose provider keys they use'),
  members: membersSchema.default([]).describe('Users who are in it, by their canonical names'),
  groups: membersSchema.default([]).describe('Groups all of whose members are in it'),
  managers: membersSchema.default([]).describe('Users who may manage its keys and members'),
  roles: z
    .array(resourceNameSchema)
    .max(100)
    .default([])
    .describe('Roles that every member has: names of Roles, or built-in ones'),
  models: z
    .array(z.string().min(1).max(256))
    .min(1)
    .max(1000)
    .optional()
    .describe('Models that its members may use at most, * as wildcard; default: all'),
});

/** People who share roles, limits and a tenant. Who is in several belongs to the first by name. */
export const teamSchema = resourceSchema('Team', teamSpecSchema).describe(
  'People who share roles, limits and a tenant. Who is in several, and whose credential names none, belongs to the first by name.',
);

export type TeamResource = z.infer<typeof teamSchema>;
