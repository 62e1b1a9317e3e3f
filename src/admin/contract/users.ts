import { z } from 'zod';
import { nameSchema as name, pageSize } from './common.ts';

const MOST_USERS = 1000;
const names = z.array(name).max(200);

/** GET /api/v1/users */
export const listUsersSchema = z.strictObject({
  limit: pageSize(MOST_USERS, 100),
  after: z.string().min(1).optional(),
  search: z.string().max(256).optional().describe('Part of id, email or name'),
  provider: name.optional(),
  team: name.optional(),
  group: name.optional(),
  disabled: z.stringbool().optional(),
});

export type ListUsersRequest = z.infer<typeof listUsersSchema>;

/** PATCH /api/v1/users/{id}: null takes a value away, lists take the place of those before. */
export const editUserSchema = z.strictObject({
  email: z.email().max(256).nullable().optional(),
  name: name.nullable().optional(),
  groups: names.optional(),
  roles: names.optional(),
  team: name.nullable().optional(),
  tenant: name.nullable().optional(),
  disabled: z.boolean().optional(),
});

export type EditUserRequest = z.infer<typeof editUserSchema>;

export const userIdSchema = z.object({
  id: z
    .string()
    .min(1)
    .max(512)
    .regex(/^\P{Cc}*$/u, 'a user without control characters'),
});

/** A user as the API shows it: what is claimed by tokens and what was set here apart. */
export const userViewSchema = z
  .object({
    id: z.string(),
    provider: z
      .string()
      .optional()
      .describe('IdentityProvider whose token made it; absent for one that was made here'),
    email: z.string().optional(),
    name: z.string().optional(),
    groups: z.array(z.string()).describe('Set here'),
    claimedGroups: z.array(z.string()).describe('Of the last verified token'),
    roles: z.array(z.string()),
    team: z.string().optional(),
    tenant: z.string().optional(),
    disabled: z.boolean(),
    createdAt: z.string(),
    lastSeenAt: z.string().optional(),
  })
  .meta({ id: 'User' });

export type UserView = z.infer<typeof userViewSchema>;

export const userListSchema = z.object({
  users: z.array(userViewSchema),
  next: z.string().optional().describe("For the next page's `after`; absent on the last one"),
});

export type UserList = z.infer<typeof userListSchema>;
