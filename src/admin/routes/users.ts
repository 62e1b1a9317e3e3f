import {
  editUserSchema,
  listUsersSchema,
  userIdSchema,
  userListSchema,
  userViewSchema,
} from '../contract.ts';
import { endOfUnknown } from '../../core/nearest.ts';
import { roleOf } from '../../core/roles.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { AdminError } from '../errors.ts';
import { defineRoute, type Route } from '../router.ts';
import type { UserService } from '../user-service.ts';

/**
 * Users.
 *
 * @param inForce the configuration at present; nothing before the first
 */
export function userRoutes(users: UserService, inForce: () => Snapshot | undefined): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/users',
      permission: 'users:read',
      summary: 'List users',
      tag: 'users',
      query: listUsersSchema,
      response: userListSchema,
      handle: ({ query }) => users.list(query),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/users/*id',
      permission: 'users:read',
      summary: 'Show a user',
      tag: 'users',
      params: userIdSchema,
      response: userViewSchema,
      handle: ({ params }) => users.show(params.id),
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/users/*id',
      permission: 'users:write',
      summary: 'Change what is set of a user here; makes the user where there is none',
      tag: 'users',
      params: userIdSchema,
      body: editUserSchema,
      response: userViewSchema,
      handle: async ({ params, body, caller }) => {
        if (body.roles !== undefined) requireRoles(body.roles, await rolesOf(users, params.id), inForce());
        return users.edit(params.id, body, caller);
      },
    }),
  ];
}

async function rolesOf(users: UserService, id: string): Promise<readonly string[]> {
  try {
    return (await users.show(id)).roles;
  } catch (error) {
    if (error instanceof AdminError && error.code === 'not_found') return [];
    throw error;
  }
}

/**
 * A role that is nowhere gives nothing today, and whatever somebody else calls so tomorrow. What a user has already may
 * stay.
 *
 * @throws AdminError invalid_request
 */
function requireRoles(
  wanted: readonly string[],
  present: readonly string[],
  snapshot: Snapshot | undefined,
): void {
  const unknown = wanted.find(
    (name) => !present.includes(name) && (snapshot === undefined || roleOf(snapshot, name) === undefined),
  );
  if (unknown === undefined) return;
  const end = endOfUnknown(unknown, Object.keys(snapshot?.roles ?? {}));
  throw new AdminError('invalid_request', `There is no role ${JSON.stringify(unknown)}${end}`);
}
