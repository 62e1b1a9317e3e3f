import {
  editUserSchema,
  listUsersSchema,
  userIdSchema,
  userListSchema,
  userViewSchema,
} from '../contract.ts';
import { defineRoute, type Route } from '../router.ts';
import type { UserService } from '../user-service.ts';

/** Users. */
export function userRoutes(users: UserService): readonly Route[] {
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
      handle: ({ params, body, caller }) => users.edit(params.id, body, caller),
    }),
  ];
}
