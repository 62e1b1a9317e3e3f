import { createHash, hkdfSync } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';

/** A key that seals, with the short name that stands in what it sealed. */
export interface SealingKey {
  /** First 8 hex digits of a hash of the key: names it, tells nothing about it. */
  readonly id: string;
  /** 32 bytes for AES-256. */
  readonly key: Uint8Array;
}

/** A key that is too weak or malformed; the message never shows it. */
export class WeakKeyError extends Error {
  override readonly name = 'WeakKeyError';
}

const SHORTEST_KEY = 32;

/** 32 random base64 characters have about 150 bits by this estimate, words and patterns far less. */
const LEAST_ENTROPY_BITS = 128;

/** The smaller of two estimates: by how often each letter stands there, and by how far the text compresses. */
function estimatedEntropyBits(text: string): number {
  const counts = Map.groupBy(text, (letter) => letter).values();
  const bitsPerLetter = [...counts].reduce((sum, letters) => {
    const share = letters.length / text.length;
    return sum - share * Math.log2(share);
  }, 0);
  return Math.min(bitsPerLetter * text.length, deflateRawSync(text).length * 8);
}

/**
 * Reads sealing keys: one, or several separated by commas or white space while keys are rotated. The first
 * seals, all open. Any text will do that is long and random enough: `openssl rand -hex 32`, or base64.
 *
 * @param where the setting or file, for the message about a weak one
 * @throws WeakKeyError
 */
export function readSealingKeys(text: string, where: string): [SealingKey, ...SealingKey[]] {
  const keys = text
    .split(/[\s,]+/)
    .filter((part) => part !== '')
    .map((part, index) => {
      if (part.length < SHORTEST_KEY || estimatedEntropyBits(part) < LEAST_ENTROPY_BITS) {
        throw new WeakKeyError(
          `Key ${index + 1} in ${where} is too weak: at least ${SHORTEST_KEY} random characters; make one with: openssl rand -hex 32`,
        );
      }
      return sealingKey(part);
    });
  const [first, ...others] = keys;
  if (!first) throw new WeakKeyError(`There is no key in ${where}; make one with: openssl rand -hex 32`);
  return [first, ...others];
}

function sealingKey(secret: string): SealingKey {
  const id = createHash('sha256').update(`limen sealing key id\0${secret}`).digest('hex').slice(0, 8);
  // The text has its entropy spread over more than 32 bytes; HKDF (RFC 5869) draws it together.
  return { id, key: new Uint8Array(hkdfSync('sha256', secret, '', 'limen sealing key v1', 32)) };
}
