import { createHmac, createPublicKey, timingSafeEqual, verify, type KeyObject } from 'node:crypto';
import type { IssuerKeys } from '../core/access.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import type { SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { UnverifiedToken } from './read-token.ts';

type Algorithm = SnapshotIdentityProvider['algorithms'][number];

/** A signature that is right for these bytes. */
type Check = (signed: Buffer, signature: Buffer) => boolean;

/** A key with the one algorithm that it is for. */
interface VerificationKey {
  readonly kid: string | undefined;
  readonly algorithm: Algorithm;
  readonly isRight: Check;
}

/** RFC 7518, section 3.3 */
const SHORTEST_RSA_BITS = 2048;

/** Keys are read once for each time that they were fetched. */
const read = new WeakMap<IssuerKeys, readonly VerificationKey[]>();

/**
 * The keys of an issuer that may have signed this token: of its algorithm, and by the name that it gives. A token that
 * names none fits only where the issuer has one key for the algorithm.
 *
 * @param algorithm one of those that the issuer's entry allows
 */
export function keysFor(
  issuerKeys: IssuerKeys,
  algorithm: Algorithm,
  kid: string | undefined,
): readonly VerificationKey[] {
  let keys = read.get(issuerKeys);
  if (keys === undefined) {
    keys = issuerKeys.keys.flatMap((key) => verificationKey(key) ?? []);
    read.set(issuerKeys, keys);
  }
  const fitting = keys.filter((key) => key.algorithm === algorithm);
  // A shared secret has no name of its own; some issuers give theirs one.
  if (kid !== undefined && algorithm !== 'HS256') return fitting.filter((key) => key.kid === kid);
  return fitting.length === 1 ? fitting : [];
}

export function isSignedBy(keys: readonly VerificationKey[], token: UnverifiedToken): boolean {
  return keys.some((key) => key.isRight(token.signed, token.signature));
}

/** Nothing for a key that is not for signatures, is too weak, or of a kind that no allowed algorithm has. */
function verificationKey(key: JsonWebKey): VerificationKey | undefined {
  const algorithm = algorithmOf(key);
  if (algorithm === undefined || (key.use !== undefined && key.use !== 'sig')) return undefined;
  if (key.alg !== undefined && key.alg !== algorithm && !(algorithm === 'EdDSA' && key.alg === 'Ed25519'))
    return undefined;
  const isRight = checkOf(key, algorithm);
  return isRight && { kid: key.kid, algorithm, isRight };
}

/** The key's kind decides, never the token: a public key is no secret, so HS256 is for `oct` alone. */
function algorithmOf({ kty, crv }: JsonWebKey): Algorithm | undefined {
  if (kty === 'RSA') return 'RS256';
  if (kty === 'EC' && crv === 'P-256') return 'ES256';
  if (kty === 'OKP' && crv === 'Ed25519') return 'EdDSA';
  return kty === 'oct' ? 'HS256' : undefined;
}

function checkOf(key: JsonWebKey, algorithm: Algorithm): Check | undefined {
  if (algorithm === 'HS256')
    return key.k === undefined ? undefined : macCheck(Buffer.from(key.k, 'base64url'));
  const publicKey = publicKeyOf(key);
  if (publicKey === undefined) return undefined;
  if (algorithm === 'EdDSA') return (signed, signature) => verify(null, signed, publicKey, signature);
  if (algorithm === 'RS256') {
    const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
    return bits < SHORTEST_RSA_BITS
      ? undefined
      : (signed, signature) => verify('sha256', signed, publicKey, signature);
  }
  // RFC 7518, section 3.4: both numbers one after the other, not DER.
  const ecKey = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
  return (signed, signature) => verify('sha256', signed, ecKey, signature);
}

function macCheck(secret: Buffer): Check {
  return (signed, signature) => {
    const mac = createHmac('sha256', secret).update(signed).digest();
    return mac.length === signature.length && timingSafeEqual(mac, signature);
  };
}

function publicKeyOf({ kty, crv, n, e, x, y }: JsonWebKey): KeyObject | undefined {
  const parts = Object.entries({ kty, crv, n, e, x, y }).filter(([, part]) => part !== undefined);
  try {
    return createPublicKey({ key: Object.fromEntries(parts), format: 'jwk' });
  } catch {
    return undefined;
  }
}
