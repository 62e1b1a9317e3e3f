import { z } from 'zod';
import {
  createdKeySchema,
  createKeySchema,
  keyListSchema,
  keyViewSchema,
  listKeysSchema,
  rotateKeySchema,
  updateKeySchema,
} from '../contract.ts';
import type { KeyService } from '../key-service.ts';
import { defineRoute, type Route } from '../router.ts';

const keyId = z.object({ id: z.string().min(1).max(512) });

/** Virtual keys: all of them, or those that are the caller's own. */
export function keyRoutes(keys: KeyService): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/keys',
      permission: ['keys:read', 'own-keys:write'],
      summary: 'List virtual keys, without the keys themselves',
      tag: 'keys',
      query: listKeysSchema,
      response: keyListSchema,
      handle: ({ query, caller }) => keys.list(query, caller),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/keys',
      permission: ['keys:write', 'own-keys:write'],
      summary: 'Make a virtual key; it is in this answer and nowhere again',
      tag: 'keys',
      body: createKeySchema,
      response: createdKeySchema,
      status: 201,
      handle: ({ body, caller }) => keys.create(body, caller),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/keys/*id',
      permission: ['keys:read', 'own-keys:write'],
      summary: 'Show a virtual key',
      tag: 'keys',
      params: keyId,
      response: keyViewSchema,
      handle: ({ params, caller }) => keys.show(params.id, caller),
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/keys/*id',
      permission: ['keys:write', 'own-keys:write'],
      summary: 'Change a virtual key: everything but whose it is and its secret',
      tag: 'keys',
      params: keyId,
      body: updateKeySchema,
      response: keyViewSchema,
      handle: ({ params, body, caller }) => keys.update(params.id, body, caller),
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/keys/*id',
      permission: ['keys:write', 'own-keys:write'],
      summary: 'Delete a virtual key: refused at once, purged 30 days later, restorable until then',
      tag: 'keys',
      params: keyId,
      response: keyViewSchema,
      handle: ({ params, caller }) => keys.remove(params.id, caller),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/keys/:id/rotate',
      permission: ['keys:write', 'own-keys:write'],
      summary: 'Give a virtual key a new secret; the one before is good until its grace ends',
      tag: 'keys',
      params: keyId,
      body: rotateKeySchema,
      response: createdKeySchema,
      handle: ({ params, body, caller }) => keys.rotate(params.id, body, caller),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/keys/:id/revoke',
      permission: ['keys:write', 'own-keys:write'],
      summary: 'Revoke a virtual key for good, on every worker at once',
      tag: 'keys',
      params: keyId,
      response: keyViewSchema,
      handle: ({ params, caller }) => keys.revoke(params.id, caller),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/keys/:id/restore',
      permission: ['keys:write', 'own-keys:write'],
      summary: 'Undo the deletion of a virtual key',
      tag: 'keys',
      params: keyId,
      response: keyViewSchema,
      handle: ({ params, caller }) => keys.restore(params.id, caller),
    }),
  ];
}
