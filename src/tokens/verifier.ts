import { createHash } from 'node:crypto';
import type { Directory, IssuerKeys } from '../core/access.ts';
import { LimenError } from '../core/errors.ts';
import type { Snapshot, SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { TokenVerifier, VerifiedToken } from '../core/verified-token.ts';
import { mapClaims, type MappedClaims } from './claims.ts';
import { MissingKeys, type MissingKeysOptions } from './missing-keys.ts';
import { LONGEST_TOKEN, readToken, type UnverifiedToken } from './read-token.ts';
import { refusal } from './refusal.ts';
import { isSignedBy, keysFor } from './signature.ts';
import type { JsonObject } from './strict-json.ts';

export interface TokenVerifierOptions extends MissingKeysOptions {
  readonly directory: Pick<Directory, 'issuerKeys' | 'revocation'>;
  /** What is verified, by `typ` in lower case; tokens unless said otherwise. */
  readonly types?: ReadonlySet<string>;
}

/** Tokens that are remembered; some KiB each at most. */
const MOST_REMEMBERED = 10_000;
/** After which a client may ask again where the keys of its issuer have not come yet. */
const NO_KEYS_RETRY_SECONDS = 5;

/** The identity providers of a snapshot, made ready once. */
interface Issuers {
  /** The same for snapshots that say the same. */
  readonly fingerprint: string;
  readonly byIssuer: ReadonlyMap<string, readonly SnapshotIdentityProvider[]>;
  /** Prefixes of users, longest first. */
  readonly prefixes: readonly string[];
  /** And of groups. */
  readonly groupPrefixes: readonly string[];
}

/** A token that was verified, with what it was verified by. */
interface Remembered {
  readonly token: VerifiedToken;
  readonly fingerprint: string;
  readonly keys: IssuerKeys;
}

/** Whose token it says it is, by the entry for it. */
interface Claimed {
  readonly token: UnverifiedToken;
  readonly provider: SnapshotIdentityProvider;
  readonly algorithm: SnapshotIdentityProvider['algorithms'][number];
}

/** Makes the verifier of a worker. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  return new Verifier(options);
}

class Verifier implements TokenVerifier {
  readonly #options: TokenVerifierOptions;
  readonly #missing: MissingKeys;
  /** By SHA-256 of the token; what was used last stands last. */
  readonly #remembered = new Map<string, Remembered>();
  readonly #issuers = new WeakMap<Snapshot['identityProviders'], Issuers>();

  constructor(options: TokenVerifierOptions) {
    this.#options = options;
    this.#missing = new MissingKeys(options);
  }

  verify(text: string, snapshot: Snapshot): VerifiedToken | Promise<VerifiedToken> {
    const issuers = this.#issuersOf(snapshot);
    const hash = text.length > LONGEST_TOKEN ? '' : createHash('sha256').update(text).digest('base64');
    const remembered = this.#recall(hash, issuers);
    if (remembered !== undefined) return this.#stillGood(remembered);
    const claimed = claimedBy(readToken(text, this.#options.types), issuers);
    const { token, provider } = claimed;
    const verified = this.#verify(claimed, issuers, hash);
    if (verified !== undefined) return verified;
    const coming =
      token.kid === undefined || claimed.algorithm === 'HS256'
        ? undefined
        : this.#missing.wait(provider.name, token.kid);
    if (coming === undefined) throw this.#noKey(provider);
    return this.#verifyLater(coming, claimed, issuers, hash);
  }

  async #verifyLater(
    coming: Promise<void>,
    claimed: Claimed,
    issuers: Issuers,
    hash: string,
  ): Promise<VerifiedToken> {
    await coming;
    const verified = this.#verify(claimed, issuers, hash);
    if (verified !== undefined) return verified;
    const { provider, token } = claimed;
    if (token.kid !== undefined) this.#missing.giveUp(provider.name, token.kid);
    throw this.#noKey(provider);
  }

  /** Undefined where its key is not at hand. */
  #verify(
    { token, provider, algorithm }: Claimed,
    issuers: Issuers,
    hash: string,
  ): VerifiedToken | undefined {
    const keys = this.#keysOf(provider);
    const fitting = keys === undefined ? [] : keysFor(keys, algorithm, token.kid);
    if (keys === undefined || fitting.length === 0) return undefined;
    if (!isSignedBy(fitting, token)) throw refusal('signature is wrong');
    const verified = this.#stillGood({
      ...checkedTimes(token.claims, provider, this.#options.now()),
      ...checkedNames(token.claims),
      ...withOwnGroups(mapClaims(token.claims, provider), provider, issuers),
      provider: provider.exchangedFor ?? provider.name,
      isExchanged: provider.exchangedFor === undefined ? undefined : true,
    });
    checkPrefix(verified.user, provider, issuers);
    this.#remember(hash, { token: verified, fingerprint: issuers.fingerprint, keys });
    return verified;
  }

  /** What may change between two uses of a token. */
  #stillGood(token: VerifiedToken): VerifiedToken {
    if (token.expiresAt <= this.#options.now()) throw expired();
    const { provider, user, id, issuedAt } = token;
    const { directory } = this.#options;
    const revocations = [directory.revocation('issuer', provider), directory.revocation('subject', user)];
    // A jti is one token's: that its issuer's clock is ahead, within what is allowed, does not make it another one.
    const isRevoked =
      (id !== undefined && directory.revocation('jti', id) !== undefined) ||
      revocations.some((one) => one !== undefined && (issuedAt === undefined || issuedAt <= one.before));
    if (isRevoked) throw refusal('revoked', 'This token was revoked. Sign in again to get a new one.');
    return token;
  }

  /** Keys of another issuer that had this entry's name before are none. */
  #keysOf({ name, issuer }: SnapshotIdentityProvider): IssuerKeys | undefined {
    const keys = this.#options.directory.issuerKeys(name);
    return keys?.issuer === issuer ? keys : undefined;
  }

  #noKey(provider: SnapshotIdentityProvider): LimenError {
    if (this.#keysOf(provider) !== undefined) return refusal('no such key');
    return new LimenError(
      'unavailable',
      'The gateway does not have the keys of this token’s issuer at the moment. Try again shortly.',
      { retryAfterSeconds: NO_KEYS_RETRY_SECONDS },
    );
  }

  #recall(hash: string, { fingerprint }: Issuers): VerifiedToken | undefined {
    const found = this.#remembered.get(hash);
    if (found === undefined) return undefined;
    this.#remembered.delete(hash);
    const isCurrent =
      found.fingerprint === fingerprint &&
      found.keys === this.#options.directory.issuerKeys(found.keys.provider);
    if (!isCurrent) return undefined;
    if (found.token.expiresAt > this.#options.now()) this.#remembered.set(hash, found);
    return found.token;
  }

  #remember(hash: string, found: Remembered): void {
    this.#remembered.set(hash, found);
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > MOST_REMEMBERED && oldest !== undefined) this.#remembered.delete(oldest);
  }

  #issuersOf({ identityProviders }: Snapshot): Issuers {
    let issuers = this.#issuers.get(identityProviders);
    if (issuers === undefined) {
      const providers = Object.values(identityProviders);
      issuers = {
        fingerprint: JSON.stringify(identityProviders),
        byIssuer: Map.groupBy(providers, ({ issuer }) => issuer),
        prefixes: longestFirst(providers.map(({ userPrefix }) => userPrefix)),
        groupPrefixes: longestFirst(providers.map(({ groupPrefix }) => groupPrefix)),
      };
      this.#issuers.set(identityProviders, issuers);
    }
    return issuers;
  }
}

/**
 * The entry for a token by what it says itself; the signature must prove it with that entry's keys.
 *
 * @throws LimenError invalid_token
 */
function claimedBy(token: UnverifiedToken, { byIssuer }: Issuers): Claimed {
  const { iss, aud } = token.claims;
  const providers = typeof iss === 'string' ? byIssuer.get(iss) : undefined;
  if (providers === undefined) throw refusal('no entry for its issuer');
  const audiences: readonly unknown[] = aud === undefined ? [] : Array.isArray(aud) ? aud : [aud];
  if (!audiences.every((audience) => typeof audience === 'string')) throw refusal('aud is no text');
  const provider = providers.find((one) =>
    aud === undefined ? one.withoutAudience : one.audiences.some((audience) => audiences.includes(audience)),
  );
  if (provider === undefined) {
    throw refusal(
      'other audience',
      'This token is meant for somebody else: its audience is not this gateway.',
    );
  }
  const algorithm = provider.algorithms.find((one) => one === token.algorithm);
  if (algorithm === undefined) throw refusal('algorithm is not allowed');
  return { token, provider, algorithm };
}

/** RFC 7519, sections 4.1.4 to 4.1.6. */
function checkedTimes(
  claims: JsonObject,
  { clockSkewSeconds, maxLifetimeSeconds }: SnapshotIdentityProvider,
  now: number,
): Pick<VerifiedToken, 'expiresAt' | 'issuedAt'> {
  const exp = timeOf(claims, 'exp');
  const nbf = timeOf(claims, 'nbf');
  const iat = timeOf(claims, 'iat');
  const skew = clockSkewSeconds * 1000;
  if (exp === undefined)
    throw refusal('no exp', 'This token never expires (exp is missing): it is not taken.');
  if (nbf !== undefined && nbf - skew > now) {
    throw refusal('not yet valid', 'This token is not valid yet: is the clock of its issuer right?');
  }
  if (iat !== undefined && iat - skew > now) {
    throw refusal('issued in the future', 'This token is not valid yet: is the clock of its issuer right?');
  }
  if (exp - (iat ?? now) > maxLifetimeSeconds * 1000) {
    throw refusal(
      'lives too long',
      'This token lives longer than this gateway allows. Get one for a shorter time.',
    );
  }
  return { expiresAt: exp + skew, issuedAt: iat };
}

/** A NumericDate in Unix milliseconds. */
function timeOf(claims: JsonObject, name: string): number | undefined {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || value < 0) throw refusal(`${name} is no time`);
  return value * 1000;
}

function checkedNames({ sub, jti }: JsonObject): Pick<VerifiedToken, 'id'> {
  if (typeof sub !== 'string' || sub === '')
    throw refusal('no sub', 'This token names nobody (sub is missing).');
  if (jti !== undefined && typeof jti !== 'string') throw refusal('jti is no text');
  return { id: jti };
}

function longestFirst(prefixes: readonly string[]): readonly string[] {
  return [...new Set(prefixes)].sort((left, right) => right.length - left.length);
}

/** Without a prefix of its own, or with a shorter one, an issuer could name the users and groups of another. */
function isOwn(name: string, prefix: string, prefixes: readonly string[]): boolean {
  return prefixes.find((one) => name.startsWith(one)) === prefix;
}

function withOwnGroups(
  claims: MappedClaims,
  { groupPrefix }: SnapshotIdentityProvider,
  { groupPrefixes }: Issuers,
): MappedClaims {
  return { ...claims, groups: claims.groups.filter((group) => isOwn(group, groupPrefix, groupPrefixes)) };
}

function checkPrefix(user: string, provider: SnapshotIdentityProvider, { prefixes }: Issuers): void {
  if (!isOwn(user, provider.userPrefix, prefixes)) throw refusal('user of another issuer');
}

function expired(): LimenError {
  return new LimenError('token_expired', 'This token has expired. Get a new one and try again.');
}
