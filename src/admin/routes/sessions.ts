import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { SESSION_COOKIES, type Authentication } from '../authentication.ts';
import type { Caller } from '../caller.ts';
import { callerViewSchema, sessionViewSchema } from '../contract.ts';
import { defineRoute, Reply, type Route } from '../router.ts';
import { SESSION_LIFE_MS } from '../sessions.ts';

/** Who asks, and sessions by cookie for browsers. */
export function sessionRoutes(authentication: Authentication): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/whoami',
      permission: 'authenticated',
      summary: 'Who asks, and what they may do here',
      tag: 'sessions',
      response: callerViewSchema,
      handle: ({ caller }) => callerView(caller),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/sessions',
      permission: 'authenticated',
      summary: 'Begin a session: a bearer credential becomes a cookie of this browser and address',
      tag: 'sessions',
      response: sessionViewSchema,
      status: 201,
      handle: async ({ asking }) => {
        const { caller, session } = await authentication.signIn(asking);
        return new Reply(201, sessionView(caller, session), {
          headers: { 'set-cookie': cookie(session.id, SESSION_LIFE_MS / 1000, asking.headers) },
        });
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/sessions/current',
      permission: 'authenticated',
      summary: 'The session of this cookie',
      tag: 'sessions',
      response: sessionViewSchema,
      handle: async ({ asking }) => {
        const session = await authentication.session(asking);
        return sessionView(session.caller, session);
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/sessions/current',
      permission: 'authenticated',
      summary: 'End the session of this cookie',
      tag: 'sessions',
      response: z.object({ ended: z.literal(true) }),
      handle: async ({ asking }) => {
        await authentication.signOut(asking);
        return new Reply(200, { ended: true }, { headers: { 'set-cookie': cookie('', 0, asking.headers) } });
      },
    }),
  ];
}

function callerView({ actor, user, permissions, managedTeams }: Caller) {
  return { actor, user, permissions: [...permissions], managedTeams };
}

function sessionView(caller: Caller, session: { readonly csrfToken: string; readonly expiresAt: number }) {
  const { csrfToken, expiresAt } = session;
  return { ...callerView(caller), csrfToken, expiresAt: new Date(expiresAt).toISOString() };
}

/**
 * Over TLS it is for TLS alone, and bound to this host. A proxy that ends TLS before Envoy is known by what the browser
 * itself says of where it is.
 */
function cookie(value: string, maxAgeSeconds: number, headers: IncomingHttpHeaders): string {
  const secure = headers['x-forwarded-proto'] === 'https' || headers.origin?.startsWith('https://') === true;
  const name = secure ? SESSION_COOKIES.secure : SESSION_COOKIES.plain;
  return `${name}=${value}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`;
}
