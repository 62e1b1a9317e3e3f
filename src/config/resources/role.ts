import { z } from 'zod';
import { PERMISSIONS } from '../../core/access.ts';
import { BUILT_IN_ROLES, isBuiltInRole } from '../../core/roles.ts';
import { metadataSchema, resourceNameSchema, resourceSchema } from './common.ts';

const patternsSchema = z.array(z.string().min(1).max(256)).min(1).max(1000);
export const membersSchema = z.array(z.string().min(1).max(512)).max(20_000);

const roleSpecSchema = z.strictObject({
  permissions: z
    .array(z.enum(PERMISSIONS))
    .min(1)
    .describe('What it allows; …:write includes …:read. models:use and the others that clients need first'),
  models: patternsSchema.optional().describe('Models that models:use is about, * as wildcard; default: all'),
  tools: patternsSchema
    .optional()
    .describe('Tools (server__tool) that mcp:connect is about, * as wildcard; default: all'),
  backends: patternsSchema
    .optional()
    .describe('Backends that backends:use is about, * as wildcard; default: all'),
  users: membersSchema.default([]).describe('Users who have it, by their canonical names'),
  groups: membersSchema.default([]).describe('Groups all of whose members have it'),
});

/** What somebody may do, and who has it beside those whom it was given to. */
export const roleSchema = resourceSchema('Role', roleSpecSchema)
  .extend({
    metadata: metadataSchema.extend({
      name: resourceNameSchema
        .refine((name) => !isBuiltInRole(name), {
          error: `a name that no built-in role has (${Object.keys(BUILT_IN_ROLES).join(', ')})`,
        })
        .describe('Name of this role'),
    }),
  })
  .describe(
    'What somebody may do, and who has it. The roles super-admin, admin, team-manager, developer and viewer are always there.',
  );

export type RoleResource = z.infer<typeof roleSchema>;
