import { createHash, randomBytes } from 'node:crypto';

/** 256 bits of randomness: no guessing, so a plain SHA-256 is enough to store. */
const KEY_BYTES = 32;
const ID_BYTES = 9;

export interface MintedKey {
  /** Names the key in rows and lists; tells nothing about it. */
  readonly id: string;
  /** The key itself, to be shown once. */
  readonly key: string;
  /** SHA-256 of the whole key, 64 lower-case hex digits. */
  readonly hash: string;
  /** Last four characters. */
  readonly hint: string;
}

/** Makes a new virtual key that begins with `prefix`. */
export function mintKey(prefix: string): MintedKey {
  const key = `${prefix}${randomBytes(KEY_BYTES).toString('base64url')}`;
  return {
    id: `key_${randomBytes(ID_BYTES).toString('hex')}`,
    key,
    hash: hashKey(key),
    hint: key.slice(-4),
  };
}

/** How keys are stored and compared. */
export function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}
