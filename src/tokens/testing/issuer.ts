import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import type { IssuerKeys } from '../../core/access.ts';
import type { JsonWebKey } from '../../core/json-web-key.ts';

/** Signs by hand whatever it is told: forgers do not use libraries that keep them from it. */
export interface TestIssuer {
  readonly issuer: string;
  readonly keys: IssuerKeys;
  readonly publicPem: string;
  /** @param header members beside alg, kid and typ; undefined takes one of these out */
  token(claims?: object, header?: Readonly<Record<string, unknown>>): string;
}

const ISSUER = 'https://id.example.com';

export type TestAlgorithm = 'RS256' | 'ES256' | 'EdDSA' | 'HS256';

interface TestKey {
  readonly publicKey: JsonWebKey;
  readonly publicPem: string;
  sign(text: string): Buffer;
}

/** What a good token of it says. */
export function goodClaims(now = Date.now()): Record<string, unknown> {
  const seconds = Math.floor(now / 1000);
  return { iss: ISSUER, aud: 'limen', sub: 'ada', iat: seconds, exp: seconds + 600, jti: 'id-1' };
}

export function testIssuer(algorithm: TestAlgorithm = 'RS256', kid = 'k1', provider = 'corp'): TestIssuer {
  const key = makeKey(algorithm);
  return {
    issuer: ISSUER,
    publicPem: key.publicPem,
    keys: { provider, issuer: ISSUER, keys: [{ ...key.publicKey, kid }], fetchedAt: 0 },
    token: (claims = {}, header = {}) => {
      const start = compact({ alg: algorithm, kid, typ: 'JWT', ...header }, { ...goodClaims(), ...claims });
      return `${start}.${key.sign(start).toString('base64url')}`;
    },
  };
}

/** Header and claims as they are signed. */
export function compact(header: object | string, claims: object | string): string {
  return [header, claims]
    .map((part) => (typeof part === 'string' ? part : JSON.stringify(part)))
    .map((text) => Buffer.from(text).toString('base64url'))
    .join('.');
}

export function hmac(text: string, secret: string | Buffer): string {
  return createHmac('sha256', secret).update(text).digest('base64url');
}

/** Also for raw bytes that a test has put together itself. */
export function makeKey(algorithm: TestAlgorithm): TestKey {
  if (algorithm === 'HS256') {
    const secret = Buffer.from('a shared secret of enough bytes!');
    return {
      publicKey: { kty: 'oct', k: secret.toString('base64url') },
      publicPem: '',
      sign: (text) => createHmac('sha256', secret).update(text).digest(),
    };
  }
  const { publicKey, privateKey } = keyPair(algorithm);
  return {
    publicKey: jsonWebKey(publicKey),
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    sign: (text) => {
      const bytes = Buffer.from(text);
      if (algorithm === 'EdDSA') return sign(null, bytes, privateKey);
      return sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    },
  };
}

function keyPair(algorithm: TestAlgorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  if (algorithm === 'RS256') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return generateKeyPairSync('ed25519');
}

function jsonWebKey(key: KeyObject): JsonWebKey {
  const { kty = '', ...others } = key.export({ format: 'jwk' });
  return { kty, ...others };
}
