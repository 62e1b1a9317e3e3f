import { comparablePath, isBelow } from '../core/comparable-path.ts';
import { LimenError } from '../core/errors.ts';
import { BACKENDS_PATH, CREDENTIAL_HEADERS } from '../core/gateway-names.ts';
import type { Principal } from '../core/principal.ts';
import type { IdentityField, SnapshotBackend, SnapshotBackendRoute } from '../core/snapshot.ts';

/** Longest list of groups in a query, in characters: a path that is too long is refused by everybody. */
const MAX_GROUPS_LENGTH = 4096;

/** What is below a Backend, as a client asked for it. */
export interface BackendPath {
  /** After `/backends/NAME`: empty, or from a slash on. */
  readonly rest: string;
  readonly query: string;
}

/**
 * The route that decides about a request; undefined where the Backend has none at all.
 *
 * @throws invalid_request for a path that servers read in different ways; not_allowed where no route has it
 */
export function findBackendRoute(
  { name, routes }: SnapshotBackend,
  { rest }: BackendPath,
  method: string,
): SnapshotBackendRoute | undefined {
  const path = comparablePath(rest);
  if (path === undefined) {
    throw new LimenError(
      'invalid_request',
      'The path has dot segments, hidden slashes, or escapes that are none or hide others.',
    );
  }
  if (routes.length === 0) return undefined;
  const nearest = routes.find(({ pathPrefix }) => isBelow(path, pathPrefix));
  if (nearest === undefined) {
    throw new LimenError('not_allowed', `The backend "${name}" has no route for this path.`);
  }
  const { pathPrefix } = nearest;
  const route = routes.find(
    (one) => one.pathPrefix === pathPrefix && (one.methods.length === 0 || one.methods.includes(method)),
  );
  if (route === undefined) {
    throw new LimenError(
      'not_allowed',
      `The backend "${name}" has no route for this method at ${pathPrefix === '' ? '/' : pathPrefix}.`,
    );
  }
  return route;
}

/** Path and query as they go to the service: below its own path, and with what it is to be told of the caller. */
export function backendAddress(backend: SnapshotBackend, path: BackendPath, principal: Principal): string {
  const { basePath, stripPrefix, name, identityQuery } = backend;
  const below = `${basePath}${stripPrefix ? '' : `${BACKENDS_PATH}/${name}`}${path.rest}`;
  const told = Object.entries(identityQuery).flatMap(([parameter, field]) => {
    const value = identityValue(principal, field);
    return value === undefined ? [] : [`${parameter}=${encodeURIComponent(value)}`];
  });
  const guarded = Object.keys(identityQuery);
  const own = path.query
    .split('&')
    .filter((part) => part !== '' && !guarded.some((parameter) => speaksOf(part, parameter)));
  const query = [...own, ...told].join('&');
  return `${below === '' ? '/' : below}${query === '' ? '' : `?${query}`}`;
}

/** Groups in one text, of which a member must not make two: as in the header, but for what a query can carry. */
function identityValue(principal: Principal, field: IdentityField): string | undefined {
  if (field !== 'groups') return principal[field]?.toWellFormed();
  let text = '';
  for (const group of principal.groups) {
    const member = group.toWellFormed().replaceAll('%', '%25').replaceAll(',', '%2C');
    const longer = text === '' ? member : `${text},${member}`;
    if (longer.length > MAX_GROUPS_LENGTH) break;
    text = longer;
  }
  return text;
}

/**
 * Whether a part of a query gives a parameter a value, as any server may read it: in capitals, with an index behind it,
 * with `;` between parameters, or, as PHP has it, with a dot or a space for `_` and nothing from a NUL on.
 */
function speaksOf(part: string, parameter: string): boolean {
  const wanted = comparableName(parameter);
  return part
    .split(';')
    .some((piece) => comparableName(new URLSearchParams(piece).keys().next().value ?? '') === wanted);
}

function comparableName(parameter: string): string {
  const name = parameter.split('\u0000', 1)[0] ?? '';
  return name.trim().split('[', 1)[0]?.toLowerCase().replaceAll(/[. ]/g, '_') ?? '';
}

/** A query without the parameters that hold the client's credential, whatever they are called. */
export function withoutCredential(query: string, credential: string): string {
  const holds = (part: string): boolean =>
    [...new URLSearchParams(part).values()].some((value) => value.trim() === credential);
  return query
    .split('&')
    .filter((part) => !holds(part))
    .join('&');
}

/**
 * The query in which a request's credential is looked for. Where a header has one, the parameter `key` is the service's
 * own: many have one of that name.
 */
export function credentialQuery(header: (name: string) => string | undefined, query: string): string {
  return CREDENTIAL_HEADERS.some((name) => header(name) !== undefined) ? '' : query;
}

/**
 * The Cookie header without what is the gateway's own: browsers send the console's cookies to every port of its host.
 * Undefined where none is left.
 */
export function foreignCookies(cookies: string): string | undefined {
  const foreign = cookies
    .split(';')
    .map((cookie) => cookie.trim())
    .filter((cookie) => cookie !== '' && !OWN_COOKIE.test(cookie));
  return foreign.length === 0 ? undefined : foreign.join('; ');
}

const OWN_COOKIE = /^(__(host|secure)-)?limen/i;
