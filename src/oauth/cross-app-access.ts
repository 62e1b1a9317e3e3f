import { createHash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Directory } from '../core/access.ts';
import { ASSERTED_CLAIM, exchangedAudience } from '../core/cross-app-access.ts';
import { LimenError } from '../core/errors.ts';
import type { OnceBook } from '../core/sessions.ts';
import type { Snapshot, SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { TokenVerifier, VerifiedToken } from '../core/verified-token.ts';
import { LONGEST_TOKEN, readToken } from '../tokens/read-token.ts';
import { authenticateClient, type CrossAppClient } from './client.ts';
import { OAuthError, type Refusal } from './errors.ts';
import type { SigningKeys } from './signing-keys.ts';
import { ExchangeStatistics, type ClientStatistics } from './statistics.ts';

/**
 * draft-ietf-oauth-identity-assertion-authz-grant: the gateway as the resource's authorization server. The grant is that
 * of RFC 7523, section 2.1, with an assertion of this type.
 */
export const ASSERTION_TYPES: ReadonlySet<string> = new Set(['oauth-id-jag+jwt']);
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const ID_JAG_PROFILE = 'urn:ietf:params:oauth:grant-profile:id-jag';

/** An assertion is for one exchange right after it was made. */
const LONGEST_ASSERTION_SECONDS = 3600;

/** As the Gateway resource has it. */
export interface CrossAppSettings {
  /** What the gateway calls itself in assertions and tokens: access.publicUrl. */
  readonly issuer: string;
  /** What assertions name as their resource. */
  readonly resource: string;
  readonly tokenSeconds: number;
  readonly scopes: readonly string[];
  readonly clients: readonly CrossAppClient[];
}

export interface CrossAppOptions {
  /** Undefined while it is not enabled. */
  readonly settings: () => CrossAppSettings | undefined;
  readonly snapshot: () => Snapshot | undefined;
  readonly directory: Pick<Directory, 'user'>;
  /** Verifies assertions alone (ASSERTION_TYPES). */
  readonly assertions: TokenVerifier;
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
type AssertionClaims = z.infer<typeof claimsSchema>;

/** Exchanges assertions of identity providers for tokens of the gateway. */
export class CrossAppAccess {
  readonly #options: CrossAppOptions;
  readonly #statistics: ExchangeStatistics;
  /** Snapshots in which each identity provider takes nothing but assertions for the gateway. */
  readonly #assertionViews = new WeakMap<Snapshot, Map<string, Snapshot>>();

  constructor(options: CrossAppOptions) {
    this.#options = options;
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
    const verified = await this.#verify(assertion, client, settings);
    const claims = checkedClaims(assertion, client, settings);
    if (resource !== undefined && !isResource(resource, settings)) {
      throw new OAuthError(
        'invalid_target',
        'other resource',
        'This gateway is not the resource that is asked for.',
      );
    }
    const scopes = grantedScopes(scope, claims.scope, client, settings);
    await this.#claimOnce(claims, verified);
    return this.#issue({ claims, verified, scopes, client, settings });
  }

  /** @throws OAuthError, LimenError */
  async #verify(
    assertion: string,
    client: CrossAppClient,
    { issuer }: CrossAppSettings,
  ): Promise<VerifiedToken> {
    const snapshot = this.#options.snapshot();
    const provider = snapshot && ownEntry(snapshot, client.identityProvider);
    if (snapshot === undefined || provider === undefined) {
      throw new OAuthError(
        'invalid_grant',
        'assertion not valid',
        'The identity provider of this client is not in force.',
      );
    }
    const verified = await this.#options.assertions.verify(assertion, this.#view(snapshot, provider, issuer));
    if (this.#options.directory.user(verified.user)?.disabled === true) {
      throw new OAuthError('invalid_grant', 'assertion revoked or user disabled', 'This user was disabled.');
    }
    return verified;
  }

  /** The snapshot in which this issuer's assertions for the gateway are the one thing that is good. */
  #view(snapshot: Snapshot, provider: SnapshotIdentityProvider, issuer: string): Snapshot {
    const views = this.#assertionViews.get(snapshot) ?? new Map<string, Snapshot>();
    this.#assertionViews.set(snapshot, views);
    const known = views.get(provider.name);
    if (known !== undefined) return known;
    const maxLifetimeSeconds = Math.min(provider.maxLifetimeSeconds, LONGEST_ASSERTION_SECONDS);
    // The others stay for their prefixes alone: with no audience nothing of them is taken.
    const others = Object.values(snapshot.identityProviders)
      .filter(({ name }) => name !== provider.name)
      .map((other) => [other.name, { ...other, audiences: [], withoutAudience: false }] as const);
    const view = {
      ...snapshot,
      identityProviders: Object.fromEntries([
        ...others,
        [provider.name, { ...provider, audiences: [issuer], withoutAudience: false, maxLifetimeSeconds }],
      ]),
    };
    views.set(provider.name, view);
    return view;
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

/** An entry for assertions, never one for tokens that the gateway itself made of them. */
function ownEntry({ identityProviders }: Snapshot, name: string): SnapshotIdentityProvider | undefined {
  const entry = Object.hasOwn(identityProviders, name) ? identityProviders[name] : undefined;
  return entry?.exchangedFor === undefined ? entry : undefined;
}

/**
 * What an assertion must say beyond a token, after its signature was found good.
 *
 * @throws OAuthError invalid_grant, invalid_target
 */
function checkedClaims(
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
function isResource(resource: string, settings: CrossAppSettings): boolean {
  return resource.replace(/\/$/, '') === settings.resource.replace(/\/$/, '');
}

/**
 * What was asked for, all of which must be allowed; where nothing was, what the assertion has of what is allowed.
 *
 * @throws OAuthError invalid_scope
 */
function grantedScopes(
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

/** What the mapping of the issuer's entry reads, unchanged; nothing else goes into the token. */
function assertedClaims(
  claims: AssertionClaims,
  provider: SnapshotIdentityProvider | undefined,
): Readonly<Record<string, unknown>> {
  if (provider === undefined) return {};
  const { user, email, name, groups, roles, tenant, team, features } = provider.claims;
  const paths = [user, email, name, groups, roles, tenant, team, ...Object.values(features)];
  const names = paths.flatMap((path) => {
    const [, quoted, plain] = /^(?:"([^"]+)"|([^".]+))/.exec(path ?? '') ?? [];
    return quoted ?? plain ?? [];
  });
  return Object.fromEntries(
    [...new Set(names)].flatMap((one) => (Object.hasOwn(claims, one) ? [[one, claims[one]] as const] : [])),
  );
}

/** What the verifier says of an assertion, as the token endpoint says it; undefined for a fault of our own. */
function asOAuthError(error: unknown): OAuthError | undefined {
  if (error instanceof OAuthError) return error;
  if (!(error instanceof LimenError)) return undefined;
  if (error.status >= 500) {
    return new OAuthError(
      'temporarily_unavailable',
      'store or issuer away',
      error.message,
      error.retryAfterSeconds,
    );
  }
  const refusals: Readonly<Record<string, Refusal>> = {
    'other audience': 'other audience',
    revoked: 'assertion revoked or user disabled',
  };
  const reason = error.cause instanceof Error ? error.cause.message : '';
  const refusal =
    error.code === 'token_expired' ? 'assertion expired' : (refusals[reason] ?? 'assertion not valid');
  return new OAuthError('invalid_grant', refusal, error.message.replaceAll('This token', 'This assertion'));
}
