import { z } from 'zod';
import { readToken } from '../tokens/read-token.ts';
import type { CrossAppClient } from './client.ts';
import { OAuthError } from './errors.ts';
import type { CrossAppSettings } from './settings.ts';

export const ASSERTION_TYPES: ReadonlySet<string> = new Set(['oauth-id-jag+jwt']);

const claimsSchema = z.looseObject({
  iss: z.string(),
  aud: z.union([z.string(), z.array(z.string())]),
  client_id: z.string().min(1),
  jti: z.string().min(1).max(512),
  iat: z.number(),
  exp: z.number(),
  sub: z.string().min(1),
  resource: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  scope: z.string().optional(),
});
export type AssertionClaims = z.infer<typeof claimsSchema>;

/**
 * What an assertion must say beyond a token, after its signature was found good.
 *
 * @throws OAuthError invalid_grant, invalid_target
 */
export function checkedClaims(
  assertion: string,
  client: CrossAppClient,
  settings: CrossAppSettings,
): AssertionClaims {
  const parsed = claimsSchema.safeParse(readToken(assertion, ASSERTION_TYPES).claims);
  if (!parsed.success) {
    const names = [...new Set(parsed.error.issues.map(({ path }) => String(path[0])))].join(', ');
    throw new OAuthError(
      'invalid_grant',
      'assertion not valid',
      `The assertion lacks or has wrongly: ${names}.`,
    );
  }
  const claims = parsed.data;
  // One audience: an assertion that others take too could be theirs to bring.
  if (claims.aud !== settings.issuer && !(Array.isArray(claims.aud) && claims.aud.length === 1)) {
    throw new OAuthError(
      'invalid_grant',
      'other audience',
      'The assertion is for others too: it must be for this gateway alone.',
    );
  }
  if (!(client.assertedAs ?? [client.id]).includes(claims.client_id)) {
    throw new OAuthError('invalid_grant', 'other client', 'The assertion was made for another client.');
  }
  if (claims.resource !== undefined && ![claims.resource].flat().every((one) => isResource(one, settings))) {
    throw new OAuthError('invalid_grant', 'other resource', 'The assertion was made for another resource.');
  }
  // It wants a proof of possession that nobody here asks for: without it, it is not to be taken.
  if (claims['cnf'] !== undefined) {
    throw new OAuthError(
      'invalid_grant',
      'assertion not valid',
      'Assertions that are bound to a key (cnf) are not taken here.',
    );
  }
  return claims;
}

/** To the letter, but for a slash at the end. */
export function isResource(resource: string, settings: CrossAppSettings): boolean {
  return resource.replace(/\/$/, '') === settings.resource.replace(/\/$/, '');
}
