import type { ConfigIssue } from '../config/load/issue.ts';
import { resolveSecrets, type ResolvedSecrets, type SecretSurroundings } from '../config/secrets.ts';
import type { ProviderSecrets, VirtualKey } from '../core/snapshot.ts';
import type { BuiltSnapshot } from '../snapshot/build.ts';
import { GoogleTokens, type TokenObserver } from './google-tokens.ts';
import type { GuardedFetch } from './guarded-fetch.ts';

export interface CredentialsOptions extends SecretSurroundings {
  readonly fetch: GuardedFetch;
  readonly observer: TokenObserver;
  /** A credential has changed by itself: an access token was renewed. */
  readonly onChange: () => void;
}

/** How the credential of one provider stands. */
export interface CredentialStatus {
  readonly state: 'ready' | 'missing';
  /** When the access token expires that is in use, in Unix milliseconds; absent for what does not expire. */
  readonly expiresAt?: number | undefined;
  /** Why the latest try to renew it failed; ends a sentence. */
  readonly problem?: string | undefined;
}

/** Every secret that is in force: those that were declared, and those that are fetched with them. */
export class Credentials {
  readonly #surroundings: SecretSurroundings;
  readonly #tokens: GoogleTokens;
  #resolved: ResolvedSecrets = {
    providers: {},
    googleAccounts: {},
    keys: [],
    sharedSecrets: {},
    promotions: {},
    warnings: [],
  };

  constructor({ environment, ownFolder, ...options }: CredentialsOptions) {
    this.#surroundings = { environment, ownFolder };
    this.#tokens = new GoogleTokens(options);
  }

  /** Reads afresh what is declared. Access tokens come when they come, and `onChange` tells of them. */
  async read(built: Pick<BuiltSnapshot, 'credentials' | 'keys' | 'issuers'>): Promise<void> {
    this.#resolved = await resolveSecrets(built, this.#surroundings);
    this.#tokens.setAccounts(this.#resolved.googleAccounts);
  }

  /** What Envoy is to have. */
  get secrets(): ProviderSecrets {
    return { ...this.#resolved.providers, ...this.#tokens.tokens };
  }

  /** Keys that the configuration declares. */
  get keys(): readonly VirtualKey[] {
    return this.#resolved.keys;
  }

  /** Shared secrets of issuers, by IdentityProvider. */
  get sharedSecrets(): Readonly<Record<string, string>> {
    return this.#resolved.sharedSecrets;
  }

  /** Of identity providers whose clients are promoted. */
  get promotions(): ResolvedSecrets['promotions'] {
    return this.#resolved.promotions;
  }

  get warnings(): readonly ConfigIssue[] {
    const failed = [...this.#tokens.status].flatMap(([provider, { problem }]) =>
      problem === undefined
        ? []
        : [{ resource: `Provider/${provider}`, message: `No new access token is to be had: ${problem}` }],
    );
    return [...this.#resolved.warnings, ...failed].map((warning) => ({ ...warning, path: '' }));
  }

  statusOf(provider: string): CredentialStatus {
    const token = this.#tokens.status.get(provider);
    return { state: Object.hasOwn(this.secrets, provider) ? 'ready' : 'missing', ...token };
  }

  close(): void {
    this.#tokens.close();
  }
}
