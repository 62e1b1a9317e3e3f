import { hash, timingSafeEqual } from 'node:crypto';
import {
  DEFAULT_SURFACES,
  SURFACES,
  type Directory,
  type IdentityReports,
  type VirtualKey,
} from '../core/access.ts';
import { LimenError } from '../core/errors.ts';
import { CREDENTIAL_HEADERS } from '../core/gateway-names.ts';
import type { Principal } from '../core/principal.ts';
import { membershipOf } from '../core/roles.ts';
import type { Snapshot } from '../core/snapshot.ts';
import type { TraceLine } from '../core/trace.ts';
import { looksLikeToken, type TokenVerifier, type VerifiedToken } from '../core/verified-token.ts';

/** Longest credential that is looked up as a key; tokens have a bound of their own. */
const MAX_KEY_LENGTH = 1024;
/** How often the use of one key is told of, in milliseconds. */
const KEY_SIGHTING_MS = 60_000;
/** And that of one token; of a user with many of them, `reports` tells less often. */
const USER_SIGHTING_MS = 300_000;
/** Roles that a line of the trace names. */
const MOST_NAMED_ROLES = 20;

/**
 * The one credential of a request, from whichever place its client's API puts it: `authorization`,
 * `x-api-key`, `x-goog-api-key`, `api-key` or `?key=`.
 *
 * Throws missing_api_key where there is none, conflicting_credentials where two differ.
 */
export function readCredential(header: (name: string) => string | undefined, query: string): string {
  let found: string | undefined;
  const take = (value: string): void => {
    if (value === '') return;
    if (found !== undefined && !equal(found, value)) {
      throw new LimenError(
        'conflicting_credentials',
        'The request carries two different credentials. Send the key in one place only.',
      );
    }
    found = value;
  };
  for (const name of CREDENTIAL_HEADERS) {
    const value = header(name);
    if (value !== undefined) take(name === 'authorization' ? withoutScheme(value) : value.trim());
  }
  if (query.includes('key=')) {
    for (const value of new URLSearchParams(query).getAll('key')) take(value);
  }
  if (found === undefined) {
    throw new LimenError(
      'missing_api_key',
      'No API key was given. Send it as "Authorization: Bearer KEY" or as "x-api-key: KEY".',
    );
  }
  return found;
}

function withoutScheme(value: string): string {
  const match = /^bearer\s+(.*)$/i.exec(value.trim());
  return (match?.[1] ?? value).trim();
}

function equal(left: string, right: string): boolean {
  const a = Buffer.from(left);
  const b = Buffer.from(right);
  return a.length === b.length && timingSafeEqual(a, b);
}

export interface IdentifierDependencies {
  readonly directory: Directory;
  readonly tokens: TokenVerifier;
  /** Told of the users of tokens, and that a key was used. */
  readonly reports: Pick<IdentityReports, 'keyUsed' | 'userSeen'>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** A principal and what it was made of. */
interface Made {
  readonly principal: Principal;
  readonly snapshot: Snapshot;
  readonly generation: number;
}

/** Turns credentials into principals. */
export class Identifier {
  readonly #dependencies: IdentifierDependencies;
  /** By what they were made of: gone with the key, or with the token in the verifier's cache. */
  readonly #made = new WeakMap<VirtualKey | VerifiedToken, Made>();
  /** When the use of a key, or of a token, was last told of. */
  readonly #told = new WeakMap<VirtualKey | VerifiedToken, number>();

  constructor(dependencies: IdentifierDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Who this is; a promise only for a token whose key must be waited for. A key is looked up by its hash, so no comparison
   * depends on how much of a guess is right.
   *
   * Throws, or rejects with, invalid_api_key for a key that is unknown, revoked or expired, without telling which;
   * invalid_token, token_expired; user_disabled.
   */
  identify(credential: string, snapshot: Snapshot): Principal | Promise<Principal> {
    const { directory, tokens, now } = this.#dependencies;
    const key =
      credential.length > MAX_KEY_LENGTH ? undefined : directory.key(hash('sha256', credential, 'hex'));
    if (key !== undefined && (key.expiresAt === undefined || key.expiresAt > now())) {
      const principal = this.#remembered(key, snapshot, keyPrincipal);
      this.#tellOfKey(key);
      return principal;
    }
    if (key === undefined && looksLikeToken(credential)) {
      const token = tokens.verify(credential, snapshot);
      return token instanceof Promise
        ? token.then((verified) => this.#ofToken(verified, snapshot))
        : this.#ofToken(token, snapshot);
    }
    throw new LimenError(
      'invalid_api_key',
      'This API key is not valid here, or no longer. Create one with: limen keys create --user NAME',
    );
  }

  #ofToken(token: VerifiedToken, snapshot: Snapshot): Principal {
    const principal = this.#remembered(token, snapshot, tokenPrincipal);
    this.#tellOfUser(token);
    return principal;
  }

  /** Made once for each credential, snapshot and generation of the directory. */
  #remembered<Source extends VirtualKey | VerifiedToken>(
    source: Source,
    snapshot: Snapshot,
    make: (source: Source, snapshot: Snapshot, directory: Directory) => Principal,
  ): Principal {
    const { directory } = this.#dependencies;
    const { generation } = directory;
    const known = this.#made.get(source);
    if (known?.snapshot === snapshot && known.generation === generation) return known.principal;
    const principal = make(source, snapshot, directory);
    this.#made.set(source, { principal, snapshot, generation });
    return principal;
  }

  #tellOfKey(key: VirtualKey): void {
    const time = this.#tellAgain(key, KEY_SIGHTING_MS);
    if (time !== undefined) this.#dependencies.reports.keyUsed(key.id, time);
  }

  #tellOfUser(token: VerifiedToken): void {
    // What an application brings of its user is less than a sign-in says, and must not take its place.
    if (token.isExchanged === true && this.#dependencies.directory.user(token.user) !== undefined) return;
    const seenAt = this.#tellAgain(token, USER_SIGHTING_MS);
    if (seenAt === undefined) return;
    const { provider, user: id, email, name, groups, tenant, issuedAt } = token;
    this.#dependencies.reports.userSeen({ id, provider, email, name, groups, tenant, issuedAt, seenAt });
  }

  /** The time, where it is to be told of it (again). */
  #tellAgain(source: VirtualKey | VerifiedToken, everyMs: number): number | undefined {
    const time = this.#dependencies.now();
    if (time - (this.#told.get(source) ?? -Infinity) < everyMs) return undefined;
    this.#told.set(source, time);
    return time;
  }
}

function keyPrincipal(key: VirtualKey, snapshot: Snapshot, directory: Directory): Principal {
  const record = enabled(directory, key.user);
  const groups = union(record?.groups ?? [], record?.claimGroups ?? []);
  const { user, team, tenant } = key;
  return {
    user,
    keyId: key.id,
    kind: 'key',
    email: record?.email,
    name: record?.name,
    groups,
    ...membershipOf(snapshot, {
      user,
      record,
      groups,
      team,
      tenant,
      roles: [],
      rolesByDefault: snapshot.gateway.access.keyRoles,
    }),
    scopes: key.scopes ?? [],
    features: [],
    surfaces: key.surfaces ?? DEFAULT_SURFACES,
    models: key.models,
    tools: key.tools,
    permissions: key.permissions,
    expiresAt: key.expiresAt,
  };
}

function tokenPrincipal(token: VerifiedToken, snapshot: Snapshot, directory: Directory): Principal {
  const { user, team, tenant, roles } = token;
  const record = enabled(directory, user);
  const groups = union(record?.groups ?? [], token.groups);
  return {
    user,
    keyId: `token/${token.provider}`,
    kind: 'token',
    email: token.email ?? record?.email,
    name: token.name ?? record?.name,
    groups,
    // Deny by default: who has no role may do nothing.
    ...membershipOf(snapshot, { user, record, groups, team, tenant, roles, rolesByDefault: [] }),
    scopes: token.scopes,
    features: token.features,
    // An application acts for its user on the gateway, and never manages it.
    surfaces: token.isExchanged === true ? DEFAULT_SURFACES : SURFACES,
    expiresAt: token.expiresAt,
  };
}

/** What the directory knows of a user. Throws user_disabled. */
function enabled(directory: Directory, user: string): ReturnType<Directory['user']> {
  const record = directory.user(user);
  if (record?.disabled !== true) return record;
  throw new LimenError('user_disabled', 'This user was disabled. Ask an administrator of the gateway.');
}

function union(left: readonly string[], right: readonly string[]): readonly string[] {
  return right.length === 0 ? left : [...new Set([...left, ...right])];
}

/** How somebody was identified, for the trace. */
export function identifiedLine({ kind, keyId, user, team, tenant, roles }: Principal): TraceLine {
  const parts = [
    `roles ${roles.length === 0 ? 'none' : roles.slice(0, MOST_NAMED_ROLES).join(', ')}`,
    ...(team === undefined ? [] : [`team ${team}`]),
    ...(tenant === undefined ? [] : [`tenant ${tenant}`]),
  ];
  return ['identify', kind === 'key' ? `key/${keyId}` : keyId, user, 'allowed', parts.join('; ')];
}
