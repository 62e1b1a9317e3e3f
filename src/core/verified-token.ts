import type { Snapshot } from './snapshot.ts';

/** What a token proves, in Limen's own words: every claim that counts, after the mapping of its IdentityProvider. */
export interface VerifiedToken {
  /** Name of the IdentityProvider. */
  readonly provider: string;
  /** Canonical user: the entry's prefix and the user claim. */
  readonly user: string;
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  /** Role names by the entry's mapping, and its default roles. */
  readonly roles: readonly string[];
  readonly tenant?: string | undefined;
  readonly team?: string | undefined;
  readonly scopes: readonly string[];
  readonly features: readonly string[];
  /** Unix time in milliseconds after which it is refused: `exp` and the clock skew that is allowed for. */
  readonly expiresAt: number;
  /** Unix time in milliseconds (`iat`). */
  readonly issuedAt?: number | undefined;
  /** The gateway itself issued it, to an application that acts for this user. */
  readonly isExchanged?: boolean | undefined;
  /** The token's `jti`. */
  readonly id?: string | undefined;
}

/** Verifies tokens against the snapshot's identity providers and the directory. */
export interface TokenVerifier {
  /**
   * At once for a token that was verified before or whose key is at hand; a promise only where a new key of the issuer
   * has to be waited for (about two seconds at most).
   *
   * @param token the credential as it was sent, without `Bearer`
   * @throws LimenError invalid_token, token_expired, user_disabled; a promise rejects with the same
   */
  verify(token: string, snapshot: Snapshot): VerifiedToken | Promise<VerifiedToken>;
}

/** Whether a credential can only be a token: three parts with dots between. A virtual key has no dot. */
export function looksLikeToken(credential: string): boolean {
  return /^[^.]*\.[^.]*\.[^.]*$/.test(credential);
}
