import { z } from 'zod';
import type { UserRecord } from '../../core/access.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { authenticateClient } from '../../oauth/client.ts';
import type { CrossAppAccess } from '../../oauth/cross-app-access.ts';
import { OAuthError, type OAuthErrorCode } from '../../oauth/errors.ts';
import type { CrossAppSettings } from '../../oauth/settings.ts';
import { Attempts } from '../attempts.ts';
import type { Asking } from '../authentication.ts';
import {
  identityStatisticsSchema,
  keySetSchema,
  oauthErrorSchema,
  tokenAnswerSchema,
  tokenRequestSchema,
} from '../contract.ts';
import { AdminError } from '../errors.ts';
import { iso } from '../page.ts';
import { defineRoute, Reply, type Route } from '../router.ts';

export interface CrossAppRoutesOptions {
  readonly access: Pick<CrossAppAccess, 'exchange' | 'metadata' | 'keySet' | 'statistics' | 'refusedUnseen'>;
  /** Undefined while it is not enabled. */
  readonly settings: () => CrossAppSettings | undefined;
  readonly users: { records(): Promise<readonly UserRecord[]> };
  readonly inForce: () => Snapshot | undefined;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

const issuerParams = z.object({ issuer: z.string() });
const LARGEST_FORM_BYTES = 32 * 1024;
/** Exchanges of one address; a fleet behind one address has this for itself. */
const REQUESTS = { most: 600, windowMs: 60_000, mostAddresses: 10_000 } as const;
/** Wrong clients and assertions of one address. */
const FAILURES = { most: 60, windowMs: 60_000, mostAddresses: 10_000 } as const;

/** Cross App Access, as it stands on the gateway's own port, and what is counted of it. */
export function crossAppRoutes(options: CrossAppRoutesOptions): readonly Route[] {
  const { access } = options;
  const metadata = (path: string): Route =>
    defineRoute({
      method: 'GET',
      path,
      permission: 'public',
      summary: 'Metadata of the gateway as an authorization server (RFC 8414)',
      tag: 'cross-app-access',
      ...(path.includes('*') ? { params: issuerParams } : {}),
      response: z.record(z.string(), z.unknown()),
      handle: ({ params }) => enabled(ofIssuer(params) ? access.metadata() : undefined),
    });
  /** Whether the path after the well-known one is that of the issuer. */
  const ofIssuer = (params: { readonly issuer: string } | undefined): boolean => {
    const issuer = options.settings()?.issuer;
    if (params === undefined || issuer === undefined) return true;
    return new URL(issuer).pathname === `/${params.issuer}`;
  };
  return [
    tokenRoute(options),
    metadata('/.well-known/oauth-authorization-server'),
    // Of an issuer with a path (RFC 8414, section 3.1).
    metadata('/.well-known/oauth-authorization-server/*issuer'),
    defineRoute({
      method: 'GET',
      path: '/oauth/jwks.json',
      permission: 'public',
      summary: 'Keys that tokens of the gateway are verified with',
      tag: 'cross-app-access',
      response: keySetSchema,
      handle: () => enabled(access.keySet()),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/identity/statistics',
      permission: 'users:read',
      summary: 'Users, identity providers, and exchanges of assertions by client',
      tag: 'cross-app-access',
      response: identityStatisticsSchema,
      handle: () => statistics(options),
    }),
  ];
}

function enabled<T>(value: T | undefined): T {
  if (value === undefined) throw new AdminError('not_found', 'There is nothing at this path.');
  return value;
}

function tokenRoute({ access, settings, now }: CrossAppRoutesOptions): Route {
  const requests = new Attempts({ ...REQUESTS, now });
  const failures = new Attempts({ ...FAILURES, now });
  /** @throws OAuthError slow_down; what is refused here counts no further */
  const limit = (asking: Asking, proved: () => boolean): void => {
    const address = addressOf(asking);
    const failing = failures.wait(address);
    const wait = Math.max(requests.wait(address), failing > 0 && !proved() ? failing : 0);
    if (wait === 0) {
      requests.count(address);
      return;
    }
    access.refusedUnseen('too many requests');
    throw new OAuthError('slow_down', 'too many requests', `Too many requests: wait ${wait} seconds.`, wait);
  };
  return defineRoute({
    method: 'POST',
    path: '/oauth/token',
    permission: 'public',
    summary: 'Exchange an identity assertion (ID-JAG) for a token of the gateway',
    tag: 'cross-app-access',
    body: tokenRequestSchema,
    bodyType: 'form',
    largestBody: LARGEST_FORM_BYTES,
    response: tokenAnswerSchema,
    errorSchema: oauthErrorSchema,
    errorReply: (error) => oauthReply(codeOf(error), error.status, error.message),
    handle: async ({ body, headers, asking }) => {
      const present = enabled(settings());
      try {
        limit(asking, () => isProved(body, headers.authorization, present));
        return await access.exchange(body, headers.authorization, present);
      } catch (error) {
        if (!(error instanceof OAuthError)) throw error;
        if (error.status < 429) failures.count(addressOf(asking));
        const { code, status, message, retryAfterSeconds } = error;
        return oauthReply(code, status, message, retryAfterSeconds);
      }
    },
  });
}

/** Whether a client has proved by its secret that it is one: nobody else's failures keep it out. */
function isProved(
  form: Readonly<Record<string, string>>,
  authorization: string | undefined,
  { clients }: CrossAppSettings,
): boolean {
  try {
    return authenticateClient(form, authorization, clients).secretSha256 !== undefined;
  } catch {
    return false;
  }
}

function addressOf({ address }: Asking): string {
  return address ?? 'local';
}

function codeOf({ status }: AdminError): OAuthErrorCode {
  return status < 500 ? 'invalid_request' : 'server_error';
}

function oauthReply(code: OAuthErrorCode, status: number, message: string, retryAfter?: number): Reply {
  return new Reply(
    status,
    { error: code, error_description: message.replace(/[^\x20-\x21\x23-\x5B\x5D-\x7E]/g, "'") },
    {
      headers: {
        pragma: 'no-cache',
        ...(status === 401 ? { 'www-authenticate': 'Basic realm="limen"' } : {}),
        ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
      },
    },
  );
}

async function statistics({ access, settings, users, inForce }: CrossAppRoutesOptions) {
  const records = await users.records();
  const { since, clients } = access.statistics();
  return {
    users: records.length,
    disabledUsers: records.filter(({ disabled }) => disabled === true).length,
    identityProviders: Object.values(inForce()?.identityProviders ?? {}).filter(
      ({ exchangedFor }) => exchangedFor === undefined,
    ).length,
    crossAppAccess: { enabled: settings() !== undefined, since: iso(since), clients },
  };
}
