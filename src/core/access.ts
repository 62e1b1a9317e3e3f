import type { JsonWebKeySet } from './json-web-key.ts';

/** Where a credential may be used. `admin` is the admin API; every other one is on the gateway's port. */
export const SURFACES = ['model', 'mcp', 'a2a', 'backend', 'admin'] as const;
export type Surface = (typeof SURFACES)[number];

/** Surfaces of a key whose maker named none. */
export const DEFAULT_SURFACES: readonly Surface[] = ['model', 'mcp', 'a2a', 'backend'];

/**
 * What a role may allow. `*:use` and `mcp:connect` are rights of clients on the gateway, the others rights in the admin
 * API. `…:write` includes `…:read`.
 */
export const PERMISSIONS = [
  'models:use',
  'mcp:connect',
  'agents:use',
  'backends:use',
  'keys:read',
  'keys:write',
  /** One's own keys alone. */
  'own-keys:write',
  'users:read',
  'users:write',
  'teams:read',
  'teams:write',
  'roles:read',
  'roles:write',
  'limits:read',
  'limits:write',
  'resources:read',
  'resources:write',
  'requests:read',
  'events:read',
  'tokens:revoke',
  'status:read',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** A virtual key as workers know it. The key itself is nowhere: `hash` is its SHA-256. */
export interface VirtualKey {
  readonly id: string;
  /** SHA-256 of the whole key, 64 lower-case hex digits. */
  readonly hash: string;
  readonly user: string;
  readonly team?: string | undefined;
  readonly tenant?: string | undefined;
  /** Absent: DEFAULT_SURFACES. */
  readonly surfaces?: readonly Surface[] | undefined;
  /** Patterns with `*`; absent: every model that its user may use. */
  readonly models?: readonly string[] | undefined;
  /** Patterns with `*` of `server__tool`; absent: every tool that its user may use. */
  readonly tools?: readonly string[] | undefined;
  /** Scopes that it fulfils; a key has none by itself. */
  readonly scopes?: readonly string[] | undefined;
  /** Bounds what its user's roles allow; absent: no bound. */
  readonly permissions?: readonly Permission[] | undefined;
  /** Unix time in milliseconds. For a key that was rotated, the end of its grace. */
  readonly expiresAt?: number | undefined;
}

/** A user as workers know one. Who has none in the directory has no groups and no roles but what a token brings. */
export interface UserRecord {
  /** Canonical subject: `ISSUER:SUBJECT`, or a plain name where the identity provider says so, or that of keys. */
  readonly id: string;
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  /** From the console. */
  readonly groups: readonly string[];
  /** From claims at the last sign-in: they count for the user's keys; a token brings its own. */
  readonly claimGroups?: readonly string[] | undefined;
  /** Names of roles that were given to this user. */
  readonly roles: readonly string[];
  readonly team?: string | undefined;
  readonly tenant?: string | undefined;
  /** Refused with every credential. */
  readonly disabled?: boolean | undefined;
}

/** The keys that an identity provider signs with, as the control plane fetched them. */
export interface IssuerKeys {
  /** Name of the IdentityProvider. */
  readonly provider: string;
  /** Whose they are: no other issuer's token is verified with them. */
  readonly issuer: string;
  /** Public keys; for an issuer with a shared secret that secret alone, as a key of kty `oct`. */
  readonly keys: JsonWebKeySet['keys'];
  /** Unix time in milliseconds. */
  readonly fetchedAt: number;
}

/** Tokens that are no longer good although their signature is. Those issued after `before` are. */
export interface Revocation {
  readonly id: string;
  /** What is compared: the token's `jti`, its canonical user, or the name of the IdentityProvider. */
  readonly kind: 'jti' | 'subject' | 'issuer';
  readonly value: string;
  /** Unix time in milliseconds: tokens issued at or before it (`iat`; without one, and by `jti`, all) are refused. */
  readonly before: number;
  /** Unix time in milliseconds after which no such token can be alive. */
  readonly until: number;
}

/**
 * Everything about identity that changes without a new configuration: it reaches the workers as a numbered log of
 * changes, each entry in the place of the one with the same name.
 */
export type DirectoryEntry =
  | { readonly type: 'key'; readonly key: VirtualKey }
  | { readonly type: 'user'; readonly user: UserRecord }
  | { readonly type: 'issuer-keys'; readonly issuerKeys: IssuerKeys }
  | { readonly type: 'revocation'; readonly revocation: Revocation };

/** The name under which an entry stands: `key/HASH`, `user/ID`, `issuer-keys/PROVIDER`, `revocation/ID`. */
export function entryName(entry: DirectoryEntry): string {
  switch (entry.type) {
    case 'key':
      return `key/${entry.key.hash}`;
    case 'user':
      return `user/${entry.user.id}`;
    case 'issuer-keys':
      return `issuer-keys/${entry.issuerKeys.provider}`;
    case 'revocation':
      return `revocation/${entry.revocation.id}`;
  }
}

/** Whether two entries of one name say the same; made for tens of thousands at once. */
export function sameEntry(left: DirectoryEntry | undefined, right: DirectoryEntry | undefined): boolean {
  return left === right || JSON.stringify(left) === JSON.stringify(right);
}

/** The directory as a worker reads it: in memory, no I/O. */
export interface Directory {
  /** Also one that has expired: who asks has the clock. */
  key(hash: string): VirtualKey | undefined;
  user(id: string): UserRecord | undefined;
  issuerKeys(provider: string): IssuerKeys | undefined;
  /** What is revoked under this name, of this kind. */
  revocation(kind: Revocation['kind'], value: string): Revocation | undefined;
  /** Changes with every change of a user, a revocation or an issuer's keys: what was derived of them is stale then. */
  readonly generation: number;
}

/** What workers tell the control plane of, in batches, outside of requests. */
export interface Sighting {
  /** Ids of virtual keys that were used → Unix ms of the last time. */
  readonly keys: Readonly<Record<string, number>>;
  /** Users of verified tokens that were not seen by this worker, or that differ from when they were. */
  readonly users: readonly SeenUser[];
}

/** What a verified token says of its user. */
export interface SeenUser {
  readonly id: string;
  /** Name of the IdentityProvider. */
  readonly provider: string;
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  readonly tenant?: string | undefined;
  /** Unix time in milliseconds: of several tokens of one user the latest made counts, whenever it is seen. */
  readonly issuedAt?: number | undefined;
  /** Unix time in milliseconds. */
  readonly seenAt: number;
}

/** When what a token says of its user was said. */
export function saidAt({ issuedAt, seenAt }: SeenUser): number {
  return Math.min(issuedAt ?? seenAt, seenAt);
}

/** Two sightings of one user as one: what was said last, seen when it was seen last. */
export function mergedSighting(one: SeenUser, other: SeenUser): SeenUser {
  const latest = saidAt(one) > saidAt(other) || (saidAt(one) === saidAt(other) && one.seenAt > other.seenAt);
  return { ...(latest ? one : other), seenAt: Math.max(one.seenAt, other.seenAt) };
}

/** What a worker tells the control plane of, gathered and bounded behind this. Cheap to call, and never throws. */
export interface IdentityReports {
  /** @param at Unix time in milliseconds */
  keyUsed(id: string, at: number): void;
  /** After a token was verified anew (not where a verified one was remembered). */
  userSeen(user: SeenUser): void;
  /** A token names a signing key that its provider's known keys do not hold. */
  keyMissing(provider: string, kid: string): void;
}
