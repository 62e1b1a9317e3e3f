import { listHas } from '../core/roles.ts';
import type { SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { VerifiedToken } from '../core/verified-token.ts';
import { refusal } from './refusal.ts';
import { isObject, type JsonObject } from './strict-json.ts';

/** What claims become. */
export type MappedClaims = Pick<
  VerifiedToken,
  'user' | 'email' | 'name' | 'groups' | 'roles' | 'tenant' | 'team' | 'scopes' | 'features'
>;

/** Names travel in headers, rows and counters. */
const LONGEST_NAME = 256;
const MOST_NAMES = 500;

const claimPaths = new Map<string, readonly string[]>();

/** `app."https://example.com/plan"` → its two names. There are as many paths as the configuration has. */
function pathOf(text: string): readonly string[] {
  let path = claimPaths.get(text);
  if (path === undefined) {
    path = [...text.matchAll(/"([^"]+)"|[^".]+/g)].map(([name, quoted]) => quoted ?? name);
    claimPaths.set(text, path);
  }
  return path;
}

/** Null is what is not there. Only members of the token's own are read, nothing of a prototype. */
function claimAt(claims: JsonObject, path: string): unknown {
  let value: unknown = claims;
  for (const name of pathOf(path)) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value ?? undefined;
}

/**
 * What the claims of a verified token say, by the mapping of its entry. A claim that is mapped and has another type is
 * refused: to pass over a tenant or a role would give somebody other rights than the issuer meant.
 *
 * @throws LimenError invalid_token
 */
export function mapClaims(claims: JsonObject, provider: SnapshotIdentityProvider): MappedClaims {
  const { claims: paths, userPrefix, groupPrefix, roleMapping, defaultRoles } = provider;
  const optional = (path: string | undefined) => (path === undefined ? undefined : textAt(claims, path));
  const list = (path: string | undefined) => (path === undefined ? [] : namesAt(claims, path));
  const emailVerified = claimAt(claims, 'email_verified');
  const isEmailProved = emailVerified !== false && emailVerified !== 'false';
  const user = optional(paths.user);
  if (user === undefined) throw wrongClaim(paths.user, 'is missing');
  if (paths.user === 'email' && !isEmailProved) throw wrongClaim('email', 'was not verified by the issuer');
  const mapped = list(paths.roles).flatMap((value) =>
    Object.hasOwn(roleMapping, value) ? (roleMapping[value] ?? []) : [],
  );
  return {
    user: `${userPrefix}${user}`,
    email: isEmailProved ? optional(paths.email) : undefined,
    name: optional(paths.name),
    // Left out, not refused: directories say every group of a person, and those that count here are few.
    groups: list(paths.groups)
      .filter((group) => listHas(provider.allowedGroups, [group]))
      .map((group) => `${groupPrefix}${group}`),
    roles: [...new Set([...mapped, ...defaultRoles])],
    tenant: within(provider.allowedTenants, optional(paths.tenant), paths.tenant),
    team: within(provider.allowedTeams, optional(paths.team), paths.team),
    scopes: scopesAt(claims, paths.scopes),
    features: Object.entries(paths.features).flatMap(([feature, path]) => featuresAt(claims, feature, path)),
  };
}

/** A name that this issuer may say: to pass over another one would put its user among those who have none. */
function within(
  allowed: readonly string[] | undefined,
  name: string | undefined,
  path = '',
): string | undefined {
  if (name === undefined || listHas(allowed, [name])) return name;
  throw wrongClaim(path, 'names what its issuer may not name here');
}

function textAt(claims: JsonObject, path: string): string | undefined {
  const value = claimAt(claims, path);
  return value === undefined ? undefined : checkedName(value, path);
}

/** A list of texts, or one text. */
function namesAt(claims: JsonObject, path: string): readonly string[] {
  return checkedNames(claimAt(claims, path), path);
}

function checkedNames(value: unknown, path: string): readonly string[] {
  if (value === undefined) return [];
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (values.length > MOST_NAMES) throw wrongClaim(path, `has more than ${MOST_NAMES} entries`);
  return [...new Set(values.map((one) => checkedName(one, path)))];
}

/** RFC 6749, section 3.3: a text with spaces between. Some issuers make a list of it. */
function scopesAt(claims: JsonObject, path: string): readonly string[] {
  const value = claimAt(claims, path);
  return checkedNames(
    typeof value === 'string' ? value.split(' ').filter((scope) => scope !== '') : value,
    path,
  );
}

function featuresAt(claims: JsonObject, feature: string, path: string): readonly string[] {
  const value = claimAt(claims, path);
  if (value === undefined || value === false) return [];
  if (value === true) return [feature];
  if (typeof value === 'number') return [`${feature}:${value}`];
  return namesAt(claims, path).map((name) => `${feature}:${name}`);
}

function checkedName(value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '') throw wrongClaim(path, 'is not the text that it should be');
  // A control character could end a header; half a surrogate pair is written differently by everybody.
  if (value.length > LONGEST_NAME) throw wrongClaim(path, `is longer than ${LONGEST_NAME}`);
  if (/\p{Cc}/u.test(value) || !value.isWellFormed())
    throw wrongClaim(path, 'has characters that no name has');
  return value;
}

function wrongClaim(path: string, problem: string): Error {
  return refusal(`claim ${path} ${problem}`, `The claim '${path}' of this token ${problem}.`);
}
