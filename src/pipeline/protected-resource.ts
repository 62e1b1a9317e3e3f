import { LimenError } from '../core/errors.ts';
import { METADATA_PATH } from '../core/gateway-names.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { JSON_HEADERS, type Answer, type RequestHead } from './answer.ts';

const MOST_SCOPE_CHARACTERS = 2048;

/** A host and its port, as they may stand in a quoted string. */
const HOST = /^[A-Za-z0-9._-]{1,253}(:\d{1,5})?$|^\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?$/;

/** What clients reach the gateway under, without a trailing slash; undefined where they asked for no host. */
export function publicUrl(snapshot: Snapshot, head: RequestHead): string | undefined {
  const { publicUrl: configured } = snapshot.gateway.access;
  if (configured !== undefined) return configured;
  const host = head.header(':authority') ?? '';
  const scheme = (head.header('x-forwarded-proto') ?? head.header(':scheme')) === 'https' ? 'https' : 'http';
  return HOST.test(host) ? `${scheme}://${host}` : undefined;
}

export function isMetadataPath(path: string): boolean {
  return path === METADATA_PATH || path.startsWith(`${METADATA_PATH}/`);
}

/** Who issues tokens for the gateway, or for the part of it that the path goes on with, and which scopes count. */
export function protectedResource(snapshot: Snapshot, head: RequestHead, path: string): Answer {
  if (head.method !== 'GET') {
    throw new LimenError('invalid_request', `Send a GET request to ${METADATA_PATH}.`, { status: 405 });
  }
  const url = publicUrl(snapshot, head);
  if (url === undefined) throw new LimenError('invalid_request', 'The request names no host.');
  const issuers = Object.values(snapshot.identityProviders)
    .map(({ issuer }) => issuer)
    // Who shares a secret with the gateway may have any name, and is nobody to get a token from.
    .filter((issuer) => /^https?:/.test(issuer));
  const metadata = {
    resource: `${url}${path.slice(METADATA_PATH.length)}`,
    authorization_servers: [...new Set(issuers)],
    scopes_supported: scopesOf(snapshot),
    bearer_methods_supported: ['header'],
  };
  return { kind: 'answer', status: 200, headers: JSON_HEADERS, body: Buffer.from(JSON.stringify(metadata)) };
}

const scopes = new WeakMap<Snapshot, readonly string[]>();

/** Every scope that something asks for, gathered once for each snapshot. */
export function scopesOf(snapshot: Snapshot): readonly string[] {
  const known = scopes.get(snapshot);
  if (known !== undefined) return known;
  const accesses = [
    ...Object.values(snapshot.models).map(({ access }) => access),
    ...Object.values(snapshot.backends).flatMap(({ access, routes }) => [
      access,
      ...routes.map((route) => route.access),
    ]),
  ];
  const gathered = [...new Set(accesses.flatMap((access) => access?.scopes ?? []))].sort((left, right) =>
    left < right ? -1 : 1,
  );
  scopes.set(snapshot, gathered);
  return gathered;
}

/**
 * `www-authenticate` of a refusal that other credentials would mend (RFC 6750, section 3; RFC 9728, section 5.1);
 * undefined for all others.
 *
 * @param url what the gateway is reached under
 */
export function challenge({ status, code, scopes: wanted }: LimenError, url?: string): string | undefined {
  const parameters: string[] = [];
  if (code === 'invalid_token' || code === 'token_expired') parameters.push('error="invalid_token"');
  if (code === 'insufficient_scope') {
    parameters.push('error="insufficient_scope"');
    const names = (wanted ?? []).join(' ');
    // Clients bound what they take of headers.
    if (names.length <= MOST_SCOPE_CHARACTERS) parameters.push(`scope="${names}"`);
  } else if (status !== 401) return undefined;
  if (url !== undefined) parameters.push(`resource_metadata="${url}${METADATA_PATH}"`);
  return ['Bearer', parameters.join(', ')].join(' ').trim();
}
