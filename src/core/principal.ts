import type { Permission, Surface } from './access.ts';

/** Who asks: one view of virtual keys and tokens, made by the stage identify. Everything after it reads this alone. */
export interface Principal {
  /** Canonical user: what rows, limits and headers name. */
  readonly user: string;
  /** Id of the virtual key; `token/PROVIDER` for a token of that IdentityProvider. */
  readonly keyId: string;
  readonly kind: 'key' | 'token';
  readonly team?: string | undefined;
  readonly tenant?: string | undefined;
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  /** Names of all roles that count: of the user, of its groups, of its team, of the token. Sorted. */
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  /** Features and tiers from claims: `plan:pro`, `beta`. */
  readonly features: readonly string[];
  readonly surfaces: readonly Surface[];
  /** Patterns; undefined: no bound beyond the roles'. */
  readonly models?: readonly string[] | undefined;
  readonly tools?: readonly string[] | undefined;
  /** Bound of the key; undefined: the roles' alone. */
  readonly permissions?: readonly Permission[] | undefined;
  /** Unix time in milliseconds after which the credential is no longer good. */
  readonly expiresAt?: number | undefined;
}

/**
 * Whose kept answers, conversations and sealed reasoning these are. A token's `keyId` is shared by all users of its
 * issuer, and a tenant's must never come to another one.
 */
export function ownerOf({
  keyId,
  user,
  tenant = '',
}: {
  readonly keyId: string;
  readonly user: string;
  readonly tenant?: string | undefined;
}): string {
  return JSON.stringify([tenant, keyId, user]);
}
