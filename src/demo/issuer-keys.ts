import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, SignJWT, type JWK } from 'jose';
import { z } from 'zod';

export const DEMO_ALGORITHMS = ['ES256', 'EdDSA', 'RS256'] as const;
export type DemoAlgorithm = (typeof DEMO_ALGORITHMS)[number];

/** Older keys stay published, so that their tokens hold until they expire; more than these nobody needs. */
const MOST_KEYS = 5;

const fileSchema = z.object({
  /** Where its issuer is, for tokens that are made without it. */
  issuer: z.string(),
  /** Private keys; the last one signs. */
  keys: z
    .array(z.looseObject({ kty: z.string(), kid: z.string(), alg: z.enum(DEMO_ALGORITHMS) }))
    .min(1)
    .max(MOST_KEYS),
});
type KeyFile = z.infer<typeof fileSchema>;

/** What a token of the demo issuer says. */
export interface DemoClaims {
  readonly subject: string;
  readonly audience: string;
  readonly lifetimeSeconds: number;
  /** Beside iss, sub, aud, iat, exp and jti. */
  readonly others: Readonly<Record<string, unknown>>;
  /** `typ` of its header; JWT where nothing is said. */
  readonly type?: string;
}

/** The keys of the demo issuer, in a file that its server and `limen demo token` share. */
export class DemoIssuerKeys {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Makes the file where there is none, and notes where the issuer is. */
  async prepare(issuer: string, algorithm: DemoAlgorithm): Promise<void> {
    const keys = (await this.#find())?.keys ?? [];
    const signs = keys.at(-1)?.alg === algorithm;
    await this.#write({ issuer, keys: signs ? keys : [...keys, await makeKey(algorithm)].slice(-MOST_KEYS) });
  }

  /** Signs with a new key from now on, of the same kind. */
  async rotate(): Promise<void> {
    const { issuer, keys } = await this.#read();
    const algorithm = keys.at(-1)?.alg ?? 'ES256';
    await this.#write({ issuer, keys: [...keys, await makeKey(algorithm)].slice(-MOST_KEYS) });
  }

  /** RFC 7517, section 5. */
  async publicKeys(): Promise<{ readonly keys: readonly JWK[] }> {
    const { keys } = await this.#read();
    return { keys: keys.map(publicPart) };
  }

  async mint({ subject, audience, lifetimeSeconds, others, type = 'JWT' }: DemoClaims): Promise<string> {
    const { issuer, keys } = await this.#read();
    const key = keys.at(-1);
    if (key === undefined) throw new Error('The demo issuer has no key.');
    const now = Math.floor(Date.now() / 1000);
    return new SignJWT({ ...others })
      .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: type })
      .setIssuer(issuer)
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt(now)
      .setExpirationTime(now + lifetimeSeconds)
      .setJti(crypto.randomUUID())
      .sign(await importJWK(key, key.alg));
  }

  /** @throws where the demo issuer has never run on this data folder */
  async #read(): Promise<KeyFile> {
    const found = await this.#find();
    if (found === undefined)
      throw new Error('There is no demo issuer yet: start one with limen demo issuer.');
    return found;
  }

  async #find(): Promise<KeyFile | undefined> {
    try {
      return fileSchema.parse(JSON.parse(await readFile(this.#path, 'utf8')));
    } catch {
      return undefined;
    }
  }

  async #write(content: KeyFile): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true });
    await writeFile(`${this.#path}.new`, JSON.stringify(content), { mode: 0o600 });
    await rename(`${this.#path}.new`, this.#path);
  }
}

async function makeKey(algorithm: DemoAlgorithm): Promise<KeyFile['keys'][number]> {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const key = await exportJWK(privateKey);
  return { ...key, kty: key.kty ?? '', kid: await calculateJwkThumbprint(key), alg: algorithm };
}

function publicPart({ kty, kid, alg, crv, n, e, x, y }: JWK): JWK {
  const parts = Object.entries({ kty, kid, alg, crv, n, e, x, y }).filter(([, part]) => part !== undefined);
  return { ...Object.fromEntries(parts), use: 'sig' };
}
