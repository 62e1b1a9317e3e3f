import type { CrossAppClient } from './client.ts';
import { OAuthError } from './errors.ts';
import type { CrossAppSettings } from './settings.ts';

/**
 * What was asked for, all of which must be allowed; where nothing was, what the assertion has of what is allowed.
 *
 * @throws OAuthError invalid_scope
 */
export function grantedScopes(
  wanted: string | undefined,
  asserted: string | undefined,
  client: CrossAppClient,
  { scopes }: CrossAppSettings,
): readonly string[] {
  const inAssertion = words(asserted);
  const allowed = inAssertion.filter(
    (scope) => scopes.includes(scope) && (client.scopes === undefined || client.scopes.includes(scope)),
  );
  const asked = words(wanted);
  const beyond = asked.filter((scope) => !allowed.includes(scope));
  if (beyond.length > 0 || (asked.length === 0 && allowed.length === 0 && inAssertion.length > 0)) {
    throw new OAuthError(
      'invalid_scope',
      'scope not allowed',
      'A scope is not in the assertion, or not allowed to this client.',
    );
  }
  return asked.length > 0 ? asked : allowed;
}

function words(text: string | undefined): readonly string[] {
  return [...new Set((text ?? '').split(' ').filter((word) => word !== ''))];
}
