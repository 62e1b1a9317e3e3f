/**
 * What both sides of Cross App Access agree on: the control plane makes access tokens of an issuer's assertions, the
 * workers verify them as tokens of an entry of their own, with that issuer's mapping of claims.
 */

/** Name of the entry for what the gateway itself issues on the word of an IdentityProvider. No resource has a slash in its name. */
export function exchangedEntryName(provider: string): string {
  return `${provider}/cross-app`;
}

/** The audience by which the entry of such a token is found, beside that of the resource. */
export function exchangedAudience(provider: string): string {
  return `urn:limen:identity-provider:${provider}`;
}

/** The claim that holds what the assertion said of its user, unchanged. */
export const ASSERTED_CLAIM = 'asserted';

/** The one algorithm that the gateway signs with. */
export const EXCHANGED_ALGORITHM = 'ES256';
