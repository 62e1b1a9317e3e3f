import { createHash, timingSafeEqual } from 'node:crypto';
import { CREDENTIAL_HEADERS } from '../core/gateway-names.ts';
import { LimenError } from '../core/errors.ts';
import type { VirtualKey } from '../core/snapshot.ts';

/** Looks a virtual key up by the SHA-256 of the key, in hex. */
export type KeyLookup = (hash: string) => VirtualKey | undefined;

/** Longest credential that is hashed at all. */
const MAX_CREDENTIAL_LENGTH = 1024;

/**
 * The one credential of a request, from whichever place its client's API puts it: `authorization`,
 * `x-api-key`, `x-goog-api-key`, `api-key` or `?key=`.
 *
 * Throws missing_api_key where there is none, conflicting_credentials where two differ.
 */
export function readCredential(header: (name: string) => string | undefined, query: string): string {
  let found: string | undefined;
  const take = (value: string): void => {
    if (value === '') return;
    if (found !== undefined && !equal(found, value)) {
      throw new LimenError(
        'conflicting_credentials',
        'The request carries two different credentials. Send the key in one place only.',
      );
    }
    found = value;
  };
  for (const name of CREDENTIAL_HEADERS) {
    const value = header(name);
    if (value !== undefined) take(name === 'authorization' ? withoutScheme(value) : value.trim());
  }
  if (query.includes('key=')) {
    for (const value of new URLSearchParams(query).getAll('key')) take(value);
  }
  if (found === undefined) {
    throw new LimenError(
      'missing_api_key',
      'No API key was given. Send it as "Authorization: Bearer KEY" or as "x-api-key: KEY".',
    );
  }
  return found;
}

function withoutScheme(value: string): string {
  const match = /^bearer\s+(.*)$/i.exec(value.trim());
  return (match?.[1] ?? value).trim();
}

function equal(left: string, right: string): boolean {
  const a = Buffer.from(left);
  const b = Buffer.from(right);
  return a.length === b.length && timingSafeEqual(a, b);
}

/**
 * Who this is. A key is looked up by its hash, so no comparison depends on how much of a guess is right.
 *
 * Throws invalid_api_key for a key that is unknown, revoked or expired, without telling which.
 */
export function identify(credential: string, lookup: KeyLookup, now: number): VirtualKey {
  const key =
    credential.length > MAX_CREDENTIAL_LENGTH
      ? undefined
      : lookup(createHash('sha256').update(credential).digest('hex'));
  if (key === undefined || (key.expiresAt !== undefined && key.expiresAt <= now)) {
    throw new LimenError(
      'invalid_api_key',
      'This API key is not valid here, or no longer. Create one with: limen keys create --user NAME',
    );
  }
  return key;
}
