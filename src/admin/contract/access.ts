import { z } from 'zod';
import { PERMISSIONS } from '../../core/access.ts';

const patterns = z.array(z.string()).optional().describe('Absent: all');

/** GET /api/v1/roles */
export const roleListSchema = z.object({
  roles: z.array(
    z
      .object({
        name: z.string(),
        builtIn: z.boolean(),
        permissions: z.array(z.enum(PERMISSIONS)),
        models: patterns,
        tools: patterns,
        backends: patterns,
        users: z.array(z.string()),
        groups: z.array(z.string()),
      })
      .meta({ id: 'Role' }),
  ),
});

const teamViewSchema = z
  .object({
    name: z.string(),
    tenant: z.string().optional(),
    members: z.array(z.string()),
    groups: z.array(z.string()),
    managers: z.array(z.string()),
    roles: z.array(z.string()),
    models: patterns,
  })
  .meta({ id: 'Team' });

/** GET /api/v1/teams */
export const teamListSchema = z.object({ teams: z.array(teamViewSchema) });

/** PUT /api/v1/teams/{name}/members */
export const teamMembersSchema = z.strictObject({
  members: z.array(z.string().min(1).max(512)).max(20_000),
});

/** GET /api/v1/groups */
export const groupListSchema = z.object({
  groups: z.array(
    z
      .object({
        name: z.string(),
        users: z.number().int().describe('Users who are in it'),
        claimed: z.number().int().describe('Those whom a token says to be in it'),
        roles: z.array(z.string()).describe('Roles that all of its members have'),
        teams: z.array(z.string()).describe('Teams that all of its members are in'),
      })
      .meta({ id: 'Group' }),
  ),
});
