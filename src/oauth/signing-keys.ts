import {
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  importJWK,
  SignJWT,
  type CryptoKey,
  type JWTPayload,
} from 'jose';
import { z } from 'zod';
import { EXCHANGED_ALGORITHM } from '../core/cross-app-access.ts';
import type { SigningKeyStore } from '../core/identity-store.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import { UnsealError, type Vault } from '../vault/vault.ts';

const DAY_MS = 86_400_000;
/** How long a key signs. */
export const SIGNING_MS = 30 * DAY_MS;
/**
 * How long before that it is published: every control plane reads the keys each hour, so also one that was without the
 * database for most of a day has told its workers of a key when another one begins to sign with it.
 */
export const AHEAD_MS = DAY_MS;
/**
 * How long after that its tokens may still be verified: longer than any of them lives, also where a control plane went
 * on signing because it could not read that there is a new one.
 */
export const RETIRED_MS = DAY_MS;

const SEALED = { kind: 'CrossAppAccess', name: 'default', field: 'signingKeys' } as const;

const privateKeySchema = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  d: z.string(),
});
/** Newest first; times are Unix time in milliseconds. */
const keysSchema = z.array(
  z.object({ kid: z.string(), signsFrom: z.number(), privateKey: privateKeySchema }),
);
type SigningKey = z.infer<typeof keysSchema>[number];

export interface SigningKeysOptions {
  readonly store: SigningKeyStore;
  readonly vault: Vault;
  /** Brings public keys into force at the workers; resolves when they have them, or took too long. */
  readonly publish: (keys: readonly JsonWebKey[]) => Promise<void>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** The keys that the gateway signs its tokens with: the same for all control planes of a database, renewed each month. */
export class SigningKeys {
  readonly #options: SigningKeysOptions;
  /** Published. */
  #keys: readonly SigningKey[] = [];
  #signer: { readonly kid: string; readonly key: CryptoKey | Uint8Array } | undefined;

  constructor(options: SigningKeysOptions) {
    this.#options = options;
  }

  /** What tokens are verified with: keys that sign, will sign, or have signed tokens that may be alive. */
  get publicKeys(): readonly JsonWebKey[] {
    return publicKeysOf(this.#keys);
  }

  /**
   * Reads what is stored, and changes it where it is time to; also to be called each hour. Workers know a key before it
   * signs. Where the store is away, what was read before stays, and is published to whoever needs it now.
   *
   * @throws what the store or `publish` throws; Error where the stored keys cannot be opened
   */
  async refresh(): Promise<void> {
    let keys = this.#keys;
    try {
      keys = await this.#upToDate();
    } finally {
      if (keys.length > 0) {
        await this.#options.publish(publicKeysOf(keys));
        this.#keys = keys;
      }
    }
  }

  /**
   * A token of RFC 9068.
   *
   * @throws Error before the first refresh
   */
  async sign(claims: JWTPayload): Promise<string> {
    const now = this.#options.now();
    // The first one of all signs from when it was made, by another clock perhaps.
    const signing = this.#keys.find(({ signsFrom }) => signsFrom <= now) ?? this.#keys.at(-1);
    if (signing === undefined) throw new Error('There is no key to sign with yet.');
    const { kid, privateKey } = signing;
    if (this.#signer?.kid !== kid)
      this.#signer = { kid, key: await importJWK(privateKey, EXCHANGED_ALGORITHM) };
    return new SignJWT(claims)
      .setProtectedHeader({ alg: EXCHANGED_ALGORITHM, kid, typ: 'at+jwt' })
      .sign(this.#signer.key);
  }

  /** Of several control planes that change the keys at once one does it; the others read what it made of them. */
  async #upToDate(): Promise<readonly SigningKey[]> {
    const { store, vault, now } = this.#options;
    for (;;) {
      const stored = await store.read();
      const kept = stored === undefined ? [] : this.#open(stored);
      const keys = await renewed(kept, now());
      if (keys === kept && stored !== undefined && !vault.isStale(stored)) return kept;
      if (await store.replace(stored, vault.seal(JSON.stringify(keys), SEALED))) return keys;
    }
  }

  /** What cannot be opened is told and stays: to replace it would end every token. */
  #open(sealed: string): readonly SigningKey[] {
    try {
      return keysSchema.parse(JSON.parse(this.#options.vault.open(sealed, SEALED)));
    } catch (error) {
      if (!(error instanceof UnsealError)) throw error;
      const message =
        'The signing keys in the database cannot be opened with the present encryption key: bring the old key back, or remove the row from signing_keys.';
      throw new Error(message, { cause: error });
    }
  }
}

/** The same array where it is time for nothing. */
async function renewed(keys: readonly SigningKey[], now: number): Promise<readonly SigningKey[]> {
  // A key has signed until the next newer one began to.
  const isOver = (index: number): boolean => now - (keys[index - 1]?.signsFrom ?? Infinity) >= RETIRED_MS;
  const alive = keys.some((_, index) => isOver(index)) ? keys.filter((_, index) => !isOver(index)) : keys;
  const [newest] = alive;
  if (newest === undefined) return [await newKey(now)];
  if (now < newest.signsFrom + SIGNING_MS - AHEAD_MS) return alive;
  return [await newKey(now + AHEAD_MS), ...alive];
}

async function newKey(signsFrom: number): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair(EXCHANGED_ALGORITHM, { extractable: true });
  const exported = privateKeySchema.parse(await exportJWK(privateKey));
  return { kid: await calculateJwkThumbprint(exported), signsFrom, privateKey: exported };
}

function publicKeysOf(keys: readonly SigningKey[]): readonly JsonWebKey[] {
  return keys.map(({ kid, privateKey: { kty, crv, x, y } }) => ({
    kty,
    crv,
    x,
    y,
    kid,
    alg: EXCHANGED_ALGORITHM,
    use: 'sig',
  }));
}
