import type { Directory } from '../core/access.ts';
import type { Snapshot, SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { TokenVerifier, VerifiedToken } from '../core/verified-token.ts';
import { OAuthError } from './errors.ts';

/** An assertion is for one exchange right after it was made. */
const LONGEST_ASSERTION_SECONDS = 3600;

export interface AssertionVerifierOptions {
  readonly snapshot: () => Snapshot | undefined;
  readonly directory: Pick<Directory, 'user'>;
  /** Verifies assertions alone (ASSERTION_TYPES). */
  readonly assertions: TokenVerifier;
}

/** Whether an identity provider signed an assertion for the gateway, by the rules of its entry. */
export class AssertionVerifier {
  readonly #options: AssertionVerifierOptions;
  /** Snapshots in which each identity provider takes nothing but assertions for the gateway. */
  readonly #views = new WeakMap<Snapshot, Map<string, Snapshot>>();

  constructor(options: AssertionVerifierOptions) {
    this.#options = options;
  }

  /**
   * @param identityProvider name of the one entry whose assertions are taken
   * @param issuer what the gateway calls itself
   * @throws OAuthError, LimenError
   */
  async verify(assertion: string, identityProvider: string, issuer: string): Promise<VerifiedToken> {
    const snapshot = this.#options.snapshot();
    const provider = snapshot && ownEntry(snapshot, identityProvider);
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
    const views = this.#views.get(snapshot) ?? new Map<string, Snapshot>();
    this.#views.set(snapshot, views);
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
}

/** An entry for assertions, never one for tokens that the gateway itself made of them. */
function ownEntry({ identityProviders }: Snapshot, name: string): SnapshotIdentityProvider | undefined {
  const entry = Object.hasOwn(identityProviders, name) ? identityProviders[name] : undefined;
  return entry?.exchangedFor === undefined ? entry : undefined;
}
