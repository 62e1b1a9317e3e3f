import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LimenError } from '../core/errors.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import type { SnapshotIdentityProvider } from '../core/snapshot.ts';
import { readToken } from './read-token.ts';
import { compact, goodClaims, hmac, makeKey, testIssuer, type TestIssuer } from './testing/issuer.ts';
import { entry, snapshotOf, verifierOf } from './testing/verifier.ts';

const issuer = testIssuer('RS256');
const now = Math.floor(Date.now() / 1000);

/** What becomes of a token: the user, or why not. */
function fate(token: string, provider: SnapshotIdentityProvider = entry(), of: TestIssuer = issuer): string {
  const { verifier } = verifierOf(of);
  try {
    const verified = verifier.verify(token, snapshotOf(provider));
    return verified instanceof Promise ? 'waits' : `taken as ${verified.user}`;
  } catch (error) {
    if (!(error instanceof LimenError)) throw error;
    return error.cause instanceof Error ? `${error.code}: ${error.cause.message}` : error.code;
  }
}

/** The issuer's keys, changed. */
function withKeys(of: TestIssuer, change: (key: JsonWebKey) => readonly JsonWebKey[]): TestIssuer {
  return { ...of, keys: { ...of.keys, keys: of.keys.keys.flatMap(change) } };
}

describe('a good token', () => {
  it.each(['RS256', 'ES256', 'EdDSA'] as const)('is taken, signed with %s', (algorithm) => {
    const other = testIssuer(algorithm);
    expect(fate(other.token(), entry(), other)).toBe('taken as corp:ada');
  });

  it('is taken with HS256 where the entry has a shared secret', () => {
    const shared = testIssuer('HS256');
    expect(fate(shared.token(), entry({ algorithms: ['HS256'] }), shared)).toBe('taken as corp:ada');
  });

  it.each([
    ['no typ', { typ: undefined }],
    ['the type of access tokens', { typ: 'at+jwt' }],
    ['a media type', { typ: 'application/at+JWT' }],
    ['no kid, where there is one key', { kid: undefined }],
    ['a thumbprint of a certificate', { x5t: 'dGh1bWI' }],
  ])('is taken with %s', (_what, header) => {
    expect(fate(issuer.token({}, header))).toBe('taken as corp:ada');
  });

  it('is taken with several audiences, one of them ours', () => {
    expect(fate(issuer.token({ aud: ['other', 'limen'] }))).toBe('taken as corp:ada');
  });
});

describe('the algorithm', () => {
  it.each(['none', 'None', 'NONE', 'nOnE', ''])('%j without a signature is refused', (alg) => {
    expect(fate(`${compact({ alg, typ: 'JWT', kid: 'k1' }, goodClaims())}.`)).toMatch(/^invalid_token/);
  });

  it.each(['none', 'None'])('%j with the signature of a good token is refused', (alg) => {
    expect(fate(issuer.token({}, { alg }))).toBe('invalid_token: algorithm is not allowed');
  });

  it('HS256 with the public key as secret is refused, in every form of that key', () => {
    const start = compact({ alg: 'HS256', kid: 'k1', typ: 'JWT' }, goodClaims());
    const { publicPem, keys } = issuer;
    const [key] = keys.keys;
    for (const secret of [
      publicPem,
      publicPem.trim(),
      JSON.stringify(key),
      Buffer.from(key?.n ?? '', 'base64url'),
    ]) {
      expect(fate(`${start}.${hmac(start, secret)}`)).toBe('invalid_token: algorithm is not allowed');
    }
  });

  it('HS256 needs a secret, even where an entry would allow it beside public keys', () => {
    const start = compact({ alg: 'HS256', kid: 'k1', typ: 'JWT' }, goodClaims());
    const [key] = issuer.keys.keys;
    const lax = entry({ algorithms: ['RS256', 'HS256'] });
    for (const secret of [issuer.publicPem, Buffer.from(key?.n ?? '', 'base64url'), '']) {
      expect(fate(`${start}.${hmac(start, secret)}`, lax)).toBe('invalid_token: no such key');
    }
  });

  it('a secret among the keys of an issuer verifies nothing where HS256 is not allowed', () => {
    const shared = testIssuer('HS256');
    expect(fate(shared.token(), entry(), shared)).toBe('invalid_token: algorithm is not allowed');
  });

  it('that the entry does not allow is refused, though the issuer has such a key', () => {
    const other = testIssuer('ES256');
    const strict = entry({ algorithms: ['RS256'] });
    expect(fate(other.token(), strict, other)).toBe('invalid_token: algorithm is not allowed');
  });

  it('must be that of the key: a token cannot choose', () => {
    const other = testIssuer('ES256');
    expect(fate(other.token({}, { alg: 'RS256' }), entry(), other)).toBe('waits');
  });

  it.each([undefined, 5, null, ['RS256'], {}])('%j is none', (alg) => {
    expect(fate(issuer.token({}, { alg }))).toBe('invalid_token: alg is no text');
  });
});

describe('the key', () => {
  it('of somebody else with the same name does not verify', () => {
    expect(fate(testIssuer('RS256').token())).toBe('invalid_token: signature is wrong');
  });

  it('for encryption alone does not verify', () => {
    const encrypting = withKeys(issuer, (key) => [{ ...key, use: 'enc' }]);
    expect(fate(issuer.token(), entry(), encrypting)).toBe('waits');
  });

  it('for another algorithm does not verify', () => {
    const other = withKeys(issuer, (key) => [{ ...key, alg: 'RSA-OAEP' }]);
    expect(fate(issuer.token(), entry(), other)).toBe('waits');
  });

  it('of another issuer that had the name of the entry before does not verify', () => {
    const before = { ...issuer, keys: { ...issuer.keys, issuer: 'https://old.example.com' } };
    expect(fate(issuer.token({}, { kid: undefined }), entry(), before)).toBe('unavailable');
  });

  it('is not guessed where a token names none and there are two', () => {
    const second = { ...makeKey('RS256').publicKey, kid: 'k2' };
    const two = withKeys(issuer, (key) => [key, second]);
    expect(fate(issuer.token({}, { kid: undefined }), entry(), two)).toBe('invalid_token: no such key');
  });

  it.each([
    '../../../../dev/null',
    '/dev/null',
    'file:///proc/self/environ',
    'https://evil.example.com/keys.json',
    "k1' OR '1'='1",
    'k1\u0000',
    'K1',
    ' k1',
    '__proto__',
    'constructor',
    '0',
  ])('%j is a name and nothing else, and no such key is there', (kid) => {
    const start = compact({ alg: 'RS256', kid, typ: 'JWT' }, goodClaims());
    const empty = hmac(start, '');
    expect(fate(`${start}.${empty}`)).toBe('waits');
    expect(fate(issuer.token({}, { kid }))).toBe('waits');
  });

  it.each([5, '', null, ['k1'], { kid: 'k1' }, 'k'.repeat(257)])('is not named by %j', (kid) => {
    expect(fate(issuer.token({}, { kid }))).toBe('invalid_token: kid is no text of usual length');
  });
});

describe('the header', () => {
  const mine = makeKey('RS256');
  it.each([
    ['jku', 'https://evil.example.com/jwks.json'],
    ['x5u', 'https://evil.example.com/certificate.pem'],
    ['x5c', ['MIIB']],
    ['jwk', mine.publicKey],
    ['crit', ['exp']],
    ['b64', false],
  ])('with %s is refused, whoever signed it', (name, value) => {
    const forged = compact({ alg: 'RS256', kid: 'k1', [name]: value }, goodClaims());
    expect(fate(`${forged}.${mine.sign(forged).toString('base64url')}`)).toBe(
      `invalid_token: header has ${name}`,
    );
    expect(fate(issuer.token({}, { [name]: value }))).toBe(`invalid_token: header has ${name}`);
  });

  it.each(['JWE', 'dpop+jwt', 'logout+jwt', 'secevent+jwt', 5, null])('with typ %j is refused', (typ) => {
    expect(fate(issuer.token({}, { typ }))).toBe('invalid_token: typ is another');
  });
});

describe('readToken for something else than tokens', () => {
  it('takes what says that it is that, and nothing without a type', () => {
    const types = new Set(['oauth-id-jag+jwt']);
    expect(readToken(issuer.token({}, { typ: 'oauth-id-jag+jwt' }), types).kid).toBe('k1');
    expect(() => readToken(issuer.token({}, { typ: undefined }), types)).toThrow(LimenError);
    expect(() => readToken(issuer.token(), types)).toThrow(LimenError);
  });
});

/** A key that signs any text: these checks hold although the signature is right. */
const raw = makeKey('RS256');
const rawIssuer: TestIssuer = {
  ...issuer,
  keys: { ...issuer.keys, keys: [{ ...raw.publicKey, kid: 'k1' }] },
};

function signed(header: string, claims: string): string {
  const start = compact(header, claims);
  return `${start}.${raw.sign(start).toString('base64url')}`;
}

describe('the form', () => {
  const header = '{"alg":"RS256","kid":"k1","typ":"JWT"}';
  const claims = JSON.stringify(goodClaims());

  it('is taken as it should be', () => {
    expect(fate(signed(header, claims), entry(), rawIssuer)).toBe('taken as corp:ada');
  });

  it.each([
    ['a second alg', '{"alg":"none","alg":"RS256","kid":"k1"}', claims],
    ['a second kid', '{"alg":"RS256","kid":"other","kid":"k1"}', claims],
    ['a second sub', header, claims.replace('"sub":"ada"', '"sub":"root","sub":"ada"')],
    [
      'a second sub, escaped',
      header,
      claims.replace('"sub":"ada"', String.raw`"s\u0075b":"root","sub":"ada"`),
    ],
    ['a second sub, with space', header, claims.replace('"sub":"ada"', '"sub" : "root" , "sub"\n:"ada"')],
    ['a second aud', header, claims.replace('"aud":"limen"', '"aud":"other","aud":"limen"')],
    ['a second member further in', header, claims.replace('{', '{"app":[{"plan":"free","plan":"pro"}],')],
    ['a second __proto__', header, claims.replace('{', '{"__proto__":1,"__proto__":{},')],
  ])('with %s is refused', (_what, ofHeader, ofClaims) => {
    expect(fate(signed(ofHeader, ofClaims), entry(), rawIssuer)).toMatch(
      /^invalid_token: .*each member once$/,
    );
  });

  it.each([
    ['an array', '[]'],
    ['null', 'null'],
    ['text after the object', `${claims}{}`],
    ['a comment', `/**/${claims}`],
    ['nothing', ''],
    ['UTF-8 that is none', `${claims.slice(0, -1)},"x":"`],
  ])('with claims that are %s is refused', (_what, ofClaims) => {
    expect(fate(signed(header, ofClaims), entry(), rawIssuer)).toMatch(/^invalid_token/);
  });

  it('with half a character in it is refused', () => {
    const bytes = Buffer.concat([
      Buffer.from(claims.slice(0, -1)),
      Buffer.from(',"x":"'),
      Buffer.from([0xc3]),
      Buffer.from('"}'),
    ]);
    const start = `${Buffer.from(header).toString('base64url')}.${bytes.toString('base64url')}`;
    const token = `${start}.${raw.sign(start).toString('base64url')}`;
    expect(fate(token, entry(), rawIssuer)).toMatch(/each member once$/);
  });

  it('takes no member in braces or quotes for another one', () => {
    const tricky = claims.replace('{', String.raw`{"a":"\"sub\":{","b":{"sub":"x","c":[{"sub":1}]},`);
    expect(fate(signed(header, tricky), entry(), rawIssuer)).toBe('taken as corp:ada');
  });

  it.each([1, 2, 4, 5])('of %d parts is refused', (count) => {
    const parts = [...issuer.token().split('.'), 'e30', 'e30'].slice(0, count);
    expect(fate(parts.join('.'))).toBe('invalid_token: not three parts in base64url');
  });

  it('longer than 8 KiB is refused unread, at that length it is not', () => {
    const filler = (length: number) => issuer.token({ filler: 'x'.repeat(length) });
    expect(fate(filler(5000))).toBe('taken as corp:ada');
    expect(fate(filler(9000))).toBe('invalid_token: too long');
    expect(fate('x'.repeat(10_000_000))).toBe('invalid_token: too long');
  });

  it('in other base64 is refused: one token has one text', () => {
    const token = issuer.token();
    const [start = '', middle = '', signature = ''] = token.split('.');
    const variants = [
      `${start}.${middle}.${signature}=`,
      `${start}.${middle}.${signature}==`,
      `${start}.${middle}.${signature.slice(0, 3)}\n${signature.slice(3)}`,
      `${start}.${middle}. ${signature}`,
      `${start}.${middle}.${signature}!`,
      `${start}.${middle}.${signature.slice(0, -1)}${signature.endsWith('A') ? 'B' : String.fromCharCode(signature.charCodeAt(signature.length - 1) + 1)}`,
    ];
    for (const variant of variants) expect(fate(variant)).toMatch(/^invalid_token/);
  });
});

describe('the claims', () => {
  it.each([
    ['no iss', { iss: undefined }, 'no entry for its issuer'],
    ['another iss', { iss: 'https://evil.example.com' }, 'no entry for its issuer'],
    ['a slash more', { iss: 'https://id.example.com/' }, 'no entry for its issuer'],
    ['iss in capitals', { iss: 'https://ID.example.com' }, 'no entry for its issuer'],
    ['iss as a list', { iss: ['https://id.example.com'] }, 'no entry for its issuer'],
    ['iss __proto__', { iss: '__proto__' }, 'no entry for its issuer'],
    ['no aud', { aud: undefined }, 'other audience'],
    ['aud null', { aud: null }, 'aud is no text'],
    ['another aud', { aud: 'other' }, 'other audience'],
    ['aud in capitals', { aud: 'Limen' }, 'other audience'],
    ['a part of aud', { aud: 'limen-admin' }, 'other audience'],
    ['an empty list as aud', { aud: [] }, 'other audience'],
    ['an aud that is a number', { aud: ['limen', 5] }, 'aud is no text'],
    ['an object as aud', { aud: { limen: true } }, 'aud is no text'],
    ['no exp', { exp: undefined }, 'no exp'],
    ['exp as text', { exp: String(now + 600) }, 'exp is no time'],
    ['exp null', { exp: null }, 'exp is no time'],
    ['no end in sight', { exp: 1e300 }, 'lives too long'],
    ['a week to live', { exp: now + 604_800 }, 'lives too long'],
    ['a week to live and no iat', { exp: now + 604_800, iat: undefined }, 'lives too long'],
    ['nbf to come', { nbf: now + 60 }, 'not yet valid'],
    ['nbf as text', { nbf: '0' }, 'nbf is no time'],
    ['iat to come', { iat: now + 60 }, 'issued in the future'],
    ['iat as text', { iat: '0' }, 'iat is no time'],
    ['a negative iat', { iat: -1 }, 'iat is no time'],
    ['no sub', { sub: undefined }, 'no sub'],
    ['an empty sub', { sub: '' }, 'no sub'],
    ['sub as a number', { sub: 1 }, 'no sub'],
    ['sub as a list', { sub: ['ada'] }, 'no sub'],
    ['jti as a number', { jti: 1 }, 'jti is no text'],
  ])('with %s are refused', (_what, claims, reason) => {
    expect(fate(issuer.token(claims))).toBe(`invalid_token: ${reason}`);
  });

  it('that have expired are told of as such, within the clock skew not yet', () => {
    expect(fate(issuer.token({ iat: now - 700, exp: now - 31 }))).toBe('token_expired');
    expect(fate(issuer.token({ iat: now - 700, exp: now - 20 }))).toBe('taken as corp:ada');
    expect(fate(issuer.token({ nbf: now + 20, iat: now + 20 }))).toBe('taken as corp:ada');
  });

  it('expired and forged says forged', () => {
    const forger = testIssuer('RS256');
    expect(fate(forger.token({ iat: now - 700, exp: now - 600 }))).toBe('invalid_token: signature is wrong');
  });

  it.each([
    ['a line break', 'ada\r\nx-user-admin: true'],
    ['a null character', 'ada\u0000'],
    ['half a surrogate pair', 'ada\ud800'],
    ['more than 256 characters', 'a'.repeat(257)],
  ])('with %s in the name of the user are refused', (_what, sub) => {
    expect(fate(issuer.token({ sub }))).toMatch(/^invalid_token: claim sub/);
  });

  it('cannot name the user of another issuer', () => {
    const { verifier } = verifierOf(issuer);
    const plain = entry({ userPrefix: '' });
    const other = entry({ name: 'partner', issuer: 'https://partner.example.com', userPrefix: 'partner:' });
    expect(() => verifier.verify(issuer.token({ sub: 'partner:bob' }), snapshotOf(plain, other))).toThrow(
      expect.objectContaining({ code: 'invalid_token' }),
    );
    expect(verifier.verify(issuer.token({ sub: 'bob' }), snapshotOf(plain, other))).toMatchObject({
      user: 'bob',
    });
  });

  it('cannot name the group of another issuer', () => {
    const { verifier } = verifierOf(issuer);
    const claims = { ...entry().claims, groups: 'groups' };
    const partner = { name: 'partner', issuer: 'https://partner.example.com', claims };
    const token = issuer.token({ groups: ['staff', 'partner:staff', 'c:finance', 'c:x:finance'] });
    const groups = (own: string, theirs: string) =>
      verifier.verify(
        token,
        snapshotOf(entry({ claims, groupPrefix: own }), entry({ ...partner, groupPrefix: theirs })),
      );
    expect(groups('', 'partner:')).toMatchObject({ groups: ['staff', 'c:finance', 'c:x:finance'] });
    expect(groups('c:', 'c:c:x:')).toMatchObject({ groups: ['c:staff', 'c:partner:staff', 'c:c:finance'] });
  });
});

describe('mutations of a good token', () => {
  const token = testIssuer('ES256');
  const good = token.token({ email: 'ada@example.com' });
  const characters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\u00e9';
  const mutation = fc.oneof(
    fc.record({
      kind: fc.constant('replace' as const),
      at: fc.nat(good.length - 1),
      by: fc.constantFrom(...characters.split('')),
    }),
    fc.record({
      kind: fc.constant('insert' as const),
      at: fc.nat(good.length),
      by: fc.constantFrom(...characters.split('')),
    }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.nat(good.length - 1), by: fc.constant('') }),
    fc.record({
      kind: fc.constant('swap' as const),
      at: fc.nat(good.length - 2),
      by: fc.constant(''),
    }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(good.length - 1), by: fc.constant('') }),
  );

  it('never verify', () => {
    const { verifier } = verifierOf(token);
    const snapshot = snapshotOf(entry());
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
        const mutated = mutations.reduce((text, { kind, at, by }) => {
          if (kind === 'replace') return text.slice(0, at) + by + text.slice(at + 1);
          if (kind === 'insert') return text.slice(0, at) + by + text.slice(at);
          if (kind === 'remove') return text.slice(0, at) + text.slice(at + 1);
          if (kind === 'cut') return text.slice(0, at);
          return text.slice(0, at) + text.charAt(at + 1) + text.charAt(at) + text.slice(at + 2);
        }, good);
        fc.pre(mutated !== good);
        let taken = false;
        try {
          // A promise: it waits for a key of a name that the mutation has made up.
          const result = verifier.verify(mutated, snapshot);
          if (result instanceof Promise) result.catch(() => undefined);
          else taken = true;
        } catch (error) {
          if (!(error instanceof LimenError)) throw error;
        }
        return !taken;
      }),
      { numRuns: 3000 },
    );
    expect(verifier.verify(good, snapshot)).toMatchObject({ user: 'corp:ada' });
  });
});
