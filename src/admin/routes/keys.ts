import { z } from 'zod';
import { createdKeySchema, createKeySchema, keyListSchema, keyViewSchema, listKeysSchema } from '../contract.ts';
import type { KeyService } from '../key-service.ts';
import { defineRoute, type Route } from '../router.ts';

/** Virtual keys. */
export function keyRoutes(keys: KeyService): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/keys',
      permission: 'keys:read',
      summary: 'List virtual keys, without the keys themselves',
      tag: 'keys',
      query: listKeysSchema,
      response: keyListSchema,
      handle: ({ query }) => keys.list(query),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/keys',
      permission: 'keys:write',
      summary: 'Make a virtual key; it is in this answer and nowhere again',
      tag: 'keys',
      body: createKeySchema,
      response: createdKeySchema,
      status: 201,
      handle: ({ body, caller }) => keys.create(body, caller.actor),
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/keys/*id',
      permission: 'keys:write',
      summary: 'Revoke a virtual key, on every worker at once',
      tag: 'keys',
      params: z.object({ id: z.string() }),
      response: keyViewSchema,
      handle: ({ params, caller }) => keys.revoke(params.id, caller.actor),
    }),
  ];
}
