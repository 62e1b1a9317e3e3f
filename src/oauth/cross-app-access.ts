import { createHash, randomUUID } from 'node:crypto';
import { ASSERTED_CLAIM, exchangedAudience } from '../core/cross-app-access.ts';
import type { OnceBook } from '../core/sessions.ts';
import type { VerifiedToken } from '../core/verified-token.ts';
import { LONGEST_TOKEN } from '../tokens/read-token.ts';
import { checkedClaims, isResource, type AssertionClaims } from './assertion.ts';
import { AssertionVerifier, type AssertionVerifierOptions } from './assertion-verifier.ts';
import { assertedClaims } from './asserted-claims.ts';
import { authenticateClient, type CrossAppClient } from './client.ts';
import { asOAuthError, OAuthError, type Refusal } from './errors.ts';
import { grantedScopes } from './scopes.ts';
import type { CrossAppSettings } from './settings.ts';
import type { SigningKeys } from './signing-keys.ts';
import { ExchangeStatistics, type ClientStatistics } from './statistics.ts';

/**
 * draft-ietf-oauth-identity-assertion-authz-grant: the gateway as the resource's authorization server. The grant is that
 * of RFC 7523, section 2.1, with an assertion of a type of its own (ASSERTION_TYPES).
 */
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const ID_JAG_PROFILE = 'urn:ietf:params:oauth:grant-profile:id-jag';

export interface CrossAppOptions extends AssertionVerifierOptions {
  /** Undefined while it is not enabled. */
  readonly settings: () => CrossAppSettings | undefined;
  readonly keys: Pick<SigningKeys, 'sign' | 'publicKeys'>;
  readonly once: OnceBook;
  /** Told of each exchange and refusal. */
  readonly onOutcome: (outcome: ExchangeOutcome) => void;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** For the record. */
export interface ExchangeOutcome {
  /** A declared one, or undefined. */
  readonly client: string | undefined;
  readonly user?: string | undefined;
  readonly identityProvider?: string | undefined;
  /** Of the token that was made. */
  readonly tokenId?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
  /** Absent where it was exchanged. */
  readonly refusal?: Refusal | undefined;
}

/** RFC 6749, section 5.1. */
export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: 'Bearer';
  /** Seconds. */
  readonly expires_in: number;
  readonly scope: string;
}

/** Exchanges assertions of identity providers for tokens of the gateway. */
export class CrossAppAccess {
  readonly #options: CrossAppOptions;
  readonly #verifier: AssertionVerifier;
  readonly #statistics: ExchangeStatistics;

  constructor(options: CrossAppOptions) {
    this.#options = options;
    this.#verifier = new AssertionVerifier(options);
    this.#statistics = new ExchangeStatistics(options.now);
  }

  /** RFC 8414; undefined while it is not enabled. */
  metadata(): Readonly<Record<string, unknown>> | undefined {
    const settings = this.#options.settings();
    if (settings === undefined) return undefined;
    const { issuer, scopes } = settings;
    return {
      issuer,
      token_endpoint: `${issuer}/oauth/token`,
      jwks_uri: `${issuer}/oauth/jwks.json`,
      response_types_supported: [],
      grant_types_supported: [JWT_BEARER],
      authorization_grant_profiles_supported: [ID_JAG_PROFILE],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'none'],
      scopes_supported: scopes,
    };
  }

  /** RFC 7517, section 5; undefined while it is not enabled. */
  keySet(): { readonly keys: SigningKeys['publicKeys'] } | undefined {
    return this.#options.settings() === undefined ? undefined : { keys: this.#options.keys.publicKeys };
  }

  statistics(): { readonly since: number; readonly clients: readonly ClientStatistics[] } {
    return { since: this.#statistics.since, clients: this.#statistics.all() };
  }

  /** Counts a request that was refused before it was looked at. */
  refusedUnseen(refusal: Refusal): void {
    this.#statistics.refused(undefined, refusal);
  }

  /**
   * @param form parameters of the body, each once
   * @throws OAuthError
   */
  async exchange(
    form: Readonly<Record<string, string>>,
    authorization: string | undefined,
    settings: CrossAppSettings,
  ): Promise<TokenAnswer> {
    let client: CrossAppClient | undefined;
    try {
      client = authenticateClient(form, authorization, settings.clients);
      return await this.#exchange(form, client, settings);
    } catch (error) {
      const refused = asOAuthError(error);
      if (refused === undefined) throw error;
      this.#statistics.refused(client?.id, refused.refusal);
      const { id, identityProvider } = client ?? {};
      this.#options.onOutcome({ client: id, identityProvider, refusal: refused.refusal });
      throw refused;
    }
  }

  async #exchange(
    form: Readonly<Record<string, string>>,
    client: CrossAppClient,
    settings: CrossAppSettings,
  ): Promise<TokenAnswer> {
    const { grant_type: grantType, assertion, scope, resource } = form;
    if (grantType !== JWT_BEARER) {
      throw grantType === undefined
        ? new OAuthError('invalid_request', 'bad request', 'grant_type is missing.')
        : new OAuthError(
            'unsupported_grant_type',
            'other grant type',
            `The one grant here is ${JWT_BEARER}.`,
          );
    }
    if (assertion === undefined || assertion === '')
      throw new OAuthError('invalid_request', 'bad request', 'assertion is missing.');
    const verified = await this.#verifier.verify(assertion, client.identityProvider, settings.issuer);
    const claims = checkedClaims(assertion, client, settings);
    if (resource !== undefined && !isResource(resource, settings)) {
      throw new OAuthError(
        'invalid_target',
        'other resource',
        'This gateway is not the resource that is asked for.',
      );
    }
    const scopes = grantedScopes(scope, claims.scope, client, settings);
    this.#checkSigning();
    await this.#claimOnce(claims, verified);
    return this.#issue({ claims, verified, scopes, client, settings });
  }

  /** Before the assertion counts as used: it may be brought again. */
  #checkSigning(): void {
    if (this.#options.keys.publicKeys.length > 0) return;
    throw new OAuthError(
      'temporarily_unavailable',
      'no key to sign with',
      'The gateway has no key to sign tokens with at this moment. Try again shortly.',
      5,
    );
  }

  /** By issuer, not by entry: two entries may be of one issuer. */
  async #claimOnce({ iss, jti }: AssertionClaims, { expiresAt }: VerifiedToken): Promise<void> {
    const name = `id-jag:${createHash('sha256').update(`${iss}\n${jti}`).digest('hex')}`;
    let isFirst: boolean;
    try {
      isFirst = await this.#options.once.claim(name, expiresAt - this.#options.now());
    } catch {
      throw new OAuthError(
        'temporarily_unavailable',
        'store or issuer away',
        'Whether this assertion was used before cannot be told at this moment. Try again shortly.',
        1,
      );
    }
    if (!isFirst)
      throw new OAuthError(
        'invalid_grant',
        'assertion used before',
        'This assertion was used before: get a new one.',
      );
  }

  async #issue({ claims, verified, scopes, client, settings }: Granted): Promise<TokenAnswer> {
    const { issuer, resource, tokenSeconds } = settings;
    const { identityProvider } = client;
    const now = Math.floor(this.#options.now() / 1000);
    const tokenId = randomUUID();
    const provider = this.#options.snapshot()?.identityProviders[identityProvider];
    const token = await this.#options.keys.sign({
      iss: issuer,
      sub: claims.sub,
      aud: [resource, exchangedAudience(identityProvider)],
      client_id: client.id,
      scope: scopes.join(' '),
      iat: now,
      exp: now + tokenSeconds,
      jti: tokenId,
      [ASSERTED_CLAIM]: assertedClaims(claims, provider),
    });
    if (token.length > LONGEST_TOKEN) {
      throw new OAuthError(
        'invalid_grant',
        'assertion not valid',
        'The assertion says more of its user than a token can hold.',
      );
    }
    this.#statistics.exchanged(client.id, (now + tokenSeconds) * 1000);
    this.#options.onOutcome({ client: client.id, user: verified.user, identityProvider, tokenId, scopes });
    return { access_token: token, token_type: 'Bearer', expires_in: tokenSeconds, scope: scopes.join(' ') };
  }
}

interface Granted {
  readonly claims: AssertionClaims;
  readonly verified: VerifiedToken;
  readonly scopes: readonly string[];
  readonly client: CrossAppClient;
  readonly settings: CrossAppSettings;
}
