import { createHash, timingSafeEqual } from 'node:crypto';
import { OAuthError } from './errors.ts';

/** Who may exchange assertions. */
export interface CrossAppClient {
  readonly id: string;
  /** SHA-256 in hex; absent: a public client. */
  readonly secretSha256?: string | undefined;
  /** Name of the IdentityProvider whose assertions it may bring. */
  readonly identityProvider: string;
  /** What assertions call it; absent: its id. */
  readonly assertedAs?: readonly string[] | undefined;
  /** Absent: all that there are. */
  readonly scopes?: readonly string[] | undefined;
}

interface Credentials {
  readonly id: string;
  readonly secret: string | undefined;
}

const NOT_AUTHENTICATED = 'The client is not known here, or did not authenticate as it should.';

/**
 * The client of a token request, by Basic or by parameters of the body (RFC 6749, section 2.3.1).
 *
 * @throws OAuthError invalid_client, invalid_request
 */
export function authenticateClient(
  form: Readonly<Record<string, string>>,
  authorization: string | undefined,
  clients: readonly CrossAppClient[],
): CrossAppClient {
  const { id, secret } = credentialsOf(form, authorization);
  const client = clients.find((one) => one.id === id);
  // In the same words as a wrong secret: a stranger does not learn which clients there are.
  if (client === undefined) throw new OAuthError('invalid_client', 'unknown client', NOT_AUTHENTICATED);
  // A public client has nothing to prove, and one that is not public must.
  const isRight =
    client.secretSha256 === undefined
      ? secret === undefined
      : secret !== undefined && isSecret(secret, client.secretSha256);
  if (isRight) return client;
  throw new OAuthError('invalid_client', 'wrong client secret', NOT_AUTHENTICATED);
}

function isSecret(secret: string, sha256: string): boolean {
  return timingSafeEqual(createHash('sha256').update(secret).digest(), Buffer.from(sha256, 'hex'));
}

function credentialsOf(
  { client_id: id, client_secret: secret }: Readonly<Record<string, string>>,
  authorization: string | undefined,
): Credentials {
  if (authorization === undefined) {
    if (id === undefined || id === '')
      throw new OAuthError('invalid_client', 'unknown client', 'client_id is missing.');
    return { id, secret };
  }
  const basic = basicCredentials(authorization);
  if (basic === undefined) {
    throw new OAuthError('invalid_client', 'bad request', 'Clients authenticate by Basic or in the body.');
  }
  if (secret !== undefined || (id !== undefined && id !== basic.id)) {
    throw new OAuthError(
      'invalid_request',
      'bad request',
      'The client authenticates in two ways: choose one.',
    );
  }
  return basic;
}

function basicCredentials(authorization: string): Credentials | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(authorization.trim())?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return undefined;
  try {
    return { id: formDecoded(text.slice(0, colon)), secret: formDecoded(text.slice(colon + 1)) };
  } catch {
    return undefined;
  }
}

/** Both parts are encoded as in a form before Basic encodes them (RFC 6749, appendix B). */
function formDecoded(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}
