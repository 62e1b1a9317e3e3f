import { z } from 'zod';
import {
  listRevocationsSchema,
  revocationListSchema,
  revocationViewSchema,
  revokeTokensSchema,
} from '../contract.ts';
import type { RevocationService } from '../revocation-service.ts';
import { defineRoute, type Route } from '../router.ts';

/** Tokens that are refused before their time. */
export function revocationRoutes(revocations: RevocationService): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/revocations',
      permission: 'tokens:revoke',
      summary: 'List revocations of tokens',
      tag: 'revocations',
      query: listRevocationsSchema,
      response: revocationListSchema,
      handle: ({ query }) => revocations.list(query),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/revocations',
      permission: 'tokens:revoke',
      summary:
        'Revoke a token by its jti, or those of a user or an identity provider, on every worker at once',
      tag: 'revocations',
      body: revokeTokensSchema,
      response: revocationViewSchema,
      status: 201,
      handle: ({ body, caller }) => revocations.create(body, caller),
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/revocations/:id',
      permission: 'tokens:revoke',
      summary: 'Take a revocation back',
      tag: 'revocations',
      params: z.object({ id: z.string().min(1).max(256) }),
      response: revocationViewSchema,
      handle: ({ params, caller }) => revocations.remove(params.id, caller),
    }),
  ];
}
