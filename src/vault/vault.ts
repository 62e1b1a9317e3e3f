import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readSealingKeys, type SealingKey } from './keys.ts';

/** Where a sealed value belongs: it opens nowhere else, so that nobody can move one secret into another's place. */
export interface SealContext {
  readonly kind: string;
  readonly name: string;
  /** Field path: `spec.credential.value`. */
  readonly field: string;
}

/** A value that does not open. Always this one text, whatever the reason: it must not help an attacker to guess. */
export class UnsealError extends Error {
  override readonly name = 'UnsealError';
  constructor() {
    super('A sealed value could not be opened.');
  }
}

/** Seals and opens secrets that are stored. */
export interface Vault {
  /** `v1:` key id `:` base64url of nonce, ciphertext and tag. Never the same twice. */
  seal(secret: string, context: SealContext): string;
  /** @throws UnsealError for a wrong key, another context, or a changed text */
  open(sealed: string, context: SealContext): string;
  /** Whether a stored value was sealed by another key than the present first, and is due to be sealed again. */
  isStale(sealed: string): boolean;
}

const CIPHER = 'aes-256-gcm';

/** 96 bits, the length that GCM is made for (NIST SP 800-38D, 8.2). */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** JSON, because it is unambiguous: no name can be chosen such that two contexts give the same bytes. */
function associatedData(keyId: string, { kind, name, field }: SealContext): Buffer {
  return Buffer.from(JSON.stringify(['limen', 'v1', keyId, kind, name, field]));
}

/**
 * @param keys text of one or more keys (readSealingKeys)
 * @param where the setting or file they come from, for messages
 * @throws WeakKeyError
 */
export function createVault(keys: string, where: string): Vault {
  const sealingKeys = readSealingKeys(keys, where);
  const [current] = sealingKeys;
  const byId = new Map<string, SealingKey>(sealingKeys.map((key) => [key.id, key]));

  return {
    seal(secret, context) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, current.key, nonce).setAAD(associatedData(current.id, context));
      const sealed = Buffer.concat([
        nonce,
        cipher.update(secret, 'utf8'),
        cipher.final(),
        cipher.getAuthTag(),
      ]);
      return `v1:${current.id}:${sealed.toString('base64url')}`;
    },
    open(sealed, context) {
      try {
        const [version, keyId, body, ...rest] = sealed.split(':');
        const key = byId.get(keyId ?? '');
        const bytes = Buffer.from(body ?? '', 'base64url');
        // Buffer.from skips what is no base64url: the text must be the one that seal wrote, to the letter.
        const genuine = bytes.toString('base64url') === body && bytes.length >= NONCE_BYTES + TAG_BYTES;
        if (version !== 'v1' || !key || rest.length > 0 || !genuine) throw new UnsealError();
        const decipher = createDecipheriv(CIPHER, key.key, bytes.subarray(0, NONCE_BYTES), {
          authTagLength: TAG_BYTES,
        })
          .setAAD(associatedData(key.id, context))
          .setAuthTag(bytes.subarray(-TAG_BYTES));
        const text = Buffer.concat([
          decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)),
          decipher.final(),
        ]);
        return text.toString('utf8');
      } catch {
        throw new UnsealError();
      }
    },
    isStale: (sealed) => sealed.split(':')[1] !== current.id,
  };
}
