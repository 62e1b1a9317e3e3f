import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
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
import type { JsonWebKey } from '../core/json-web-key.ts';
import type { Vault } from '../vault/vault.ts';

/**
 * How long a key signs, and how long after that its tokens may still be verified: longer than any of them lives, also
 * where it went on signing for some hours because a new one could not be written.
 */
export const SIGNING_MS = 30 * 86_400_000;
export const RETIRED_MS = 86_400_000;

const SEALED = { kind: 'CrossAppAccess', name: 'default', field: 'signingKeys' } as const;

const privateKeySchema = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  d: z.string(),
});
const storedSchema = z.object({ version: z.literal(1), sealed: z.string() });
const keysSchema = z.array(
  z.object({ kid: z.string(), createdAt: z.number(), privateKey: privateKeySchema }),
);
type StoredKey = z.infer<typeof keysSchema>[number];

export interface SigningKeysOptions {
  /** Of a JSON file in the data folder; the keys in it are sealed. */
  readonly path: string;
  readonly vault: Vault;
  /** Brings public keys into force at the workers; resolves when they have them, or took too long. */
  readonly publish: (keys: readonly JsonWebKey[]) => Promise<void>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** The keys that the gateway signs its tokens with: kept over restarts, renewed each month. */
export class SigningKeys {
  readonly #options: SigningKeysOptions;
  #keys: readonly StoredKey[] = [];
  #signer: { readonly kid: string; readonly key: CryptoKey | Uint8Array } | undefined;

  constructor(options: SigningKeysOptions) {
    this.#options = options;
  }

  /** What tokens are verified with: the present key, and those whose tokens may be alive. */
  get publicKeys(): readonly JsonWebKey[] {
    return this.#keys.map(({ kid, privateKey: { kty, crv, x, y } }) => ({
      kty,
      crv,
      x,
      y,
      kid,
      alg: EXCHANGED_ALGORITHM,
      use: 'sig',
    }));
  }

  /** Reads what is kept, or makes a first key; also to be called each hour. A new key signs when workers know it. */
  async refresh(): Promise<void> {
    const { now, publish } = this.#options;
    if (this.#keys.length === 0) this.#keys = await this.#read();
    const alive = this.#keys.filter(({ createdAt }) => now() - createdAt < SIGNING_MS + RETIRED_MS);
    const present = alive.find(({ createdAt }) => now() - createdAt < SIGNING_MS);
    const signing = present ?? (await newKey(now()));
    const keys = present === undefined ? [signing, ...alive] : alive;
    if (keys.length !== this.#keys.length || present === undefined) {
      await this.#write(keys);
      this.#keys = keys;
    }
    await publish(this.publicKeys);
    if (this.#signer?.kid !== signing.kid)
      this.#signer = { kid: signing.kid, key: await importJWK(signing.privateKey, EXCHANGED_ALGORITHM) };
  }

  /**
   * A token of RFC 9068.
   *
   * @throws Error before the first refresh
   */
  sign(claims: JWTPayload): Promise<string> {
    if (this.#signer === undefined) throw new Error('There is no key to sign with yet.');
    return new SignJWT(claims)
      .setProtectedHeader({ alg: EXCHANGED_ALGORITHM, kid: this.#signer.kid, typ: 'at+jwt' })
      .sign(this.#signer.key);
  }

  /** Nothing where there is no file; one that cannot be opened is told, since to replace it would end every token. */
  async #read(): Promise<readonly StoredKey[]> {
    const { path, vault } = this.#options;
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    }
    const { sealed } = storedSchema.parse(JSON.parse(text));
    return keysSchema.parse(JSON.parse(vault.open(sealed, SEALED)));
  }

  async #write(keys: readonly StoredKey[]): Promise<void> {
    const { path, vault } = this.#options;
    const stored: z.infer<typeof storedSchema> = {
      version: 1,
      sealed: vault.seal(JSON.stringify(keys), SEALED),
    };
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(`${path}.new`, JSON.stringify(stored), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }
}

async function newKey(createdAt: number): Promise<StoredKey> {
  const { privateKey } = await generateKeyPair(EXCHANGED_ALGORITHM, { extractable: true });
  const exported = privateKeySchema.parse(await exportJWK(privateKey));
  return { kid: await calculateJwkThumbprint(exported), createdAt, privateKey: exported };
}
