import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { KEY_WAIT_MS } from '../../src/tokens/missing-keys.ts';
import { compact, hmac, makeKey, testIssuer } from '../../src/tokens/testing/issuer.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import type { ClientAnswer } from '../support/data-plane/client.ts';
import { request } from '../support/data-plane/requests.ts';
import { eventually } from '../support/running-envoy.ts';
import { openai, startUpstream, type ScriptedUpstream } from '../support/upstream/index.ts';

const corp = testIssuer('RS256', 'k1', 'corp');
const partner = testIssuer('ES256', 'k1', 'partner');
const shared = testIssuer('HS256', 's1', 'webui');
const PARTNER = 'https://partner.example.com';
const seconds = () => Math.floor(Date.now() / 1000);
const claimsOf = (token: string) => Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');

describe('tokens of identity providers', () => {
  let plane: DataPlane;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    upstream = await startUpstream();
    plane = await startDataPlane({
      gateway: { retries: { attempts: 1 } },
      providers: { open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open-secret' } },
      models: {
        fast: { targets: [{ provider: 'open' }] },
        'wide-fast': { targets: [{ provider: 'open' }] },
        'of-finance': { targets: [{ provider: 'open' }], access: { groups: ['finance'] } },
      },
      others: [
        {
          kind: 'IdentityProvider',
          name: 'corp',
          spec: {
            issuer: corp.issuer,
            audiences: ['limen'],
            claims: { roles: 'app.roles', groups: 'groups', tenant: 'tenant' },
            roleMapping: { dev: ['developer'] },
            allowedGroups: ['*'],
            allowedTenants: ['*'],
          },
        },
        {
          kind: 'IdentityProvider',
          name: 'partner',
          spec: {
            issuer: PARTNER,
            audiences: ['limen'],
            defaultRoles: ['developer'],
            claims: { groups: 'groups', tenant: 'tenant' },
            groupPrefix: 'partner:',
            allowedTenants: ['partner-*'],
          },
        },
        {
          kind: 'IdentityProvider',
          name: 'webui',
          spec: {
            issuer: 'open-webui',
            sharedSecret: { value: 'is brought by the directory alone' },
            defaultRoles: ['developer'],
          },
        },
      ],
      issuerKeys: [corp.keys, { ...partner.keys, issuer: PARTNER }, { ...shared.keys, issuer: 'open-webui' }],
    });
  });
  afterAll(async () => {
    await plane.stop();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.reset();
    upstream.always(openai.answer({ text: ['fine'] }));
    plane.forget();
  });
  afterEach(() => {
    expect(plane.faults).toEqual([]);
  });

  const good = (more: object = {}) => corp.token({ app: { roles: ['dev'] }, ...more });
  const ask = (headers: Readonly<Record<string, string | string[]>>, model = 'fast'): Promise<ClientAnswer> =>
    plane.call({ ...request('chat', { model }), key: undefined, headers });
  const bearer = (token: string): Promise<ClientAnswer> => ask({ authorization: `Bearer ${token}` });
  const codeOf = (answer: ClientAnswer): unknown => answer.json();

  test.each(['authorization', 'x-api-key', 'api-key', 'x-goog-api-key'])(
    'are taken in %s, and reach no provider',
    async (name) => {
      const token = good();
      const answer = await ask({ [name]: name === 'authorization' ? `bearer ${token}` : token });
      expect(answer.status).toBe(200);
      expect(await plane.rowOf(answer)).toMatchObject({ user: 'corp:ada', keyId: 'token/corp', status: 200 });
      expect(JSON.stringify(upstream.only().rawHeaders)).not.toContain(token.slice(-40));
    },
  );

  test('of several issuers stand side by side, each with its users', async () => {
    const other = await bearer(partner.token({ iss: PARTNER }));
    expect(other.status).toBe(200);
    expect((await plane.rowOf(other)).user).toBe('partner:ada');
    const third = await bearer(shared.token({ iss: 'open-webui', aud: undefined }));
    expect(third.status).toBe(200);
    expect((await plane.rowOf(third)).user).toBe('webui:ada');
  });

  test('name no group and no tenant of another issuer', async () => {
    const ofFinance = (token: string) => ask({ authorization: `Bearer ${token}` }, 'of-finance');
    const theirs = (claims: object) => partner.token({ iss: PARTNER, ...claims });
    expect((await ofFinance(good({ groups: ['finance'] }))).status).toBe(200);
    expect((await ofFinance(theirs({ groups: ['finance'] }))).status).toBe(403);
    const own = await bearer(theirs({ tenant: 'partner-one' }));
    expect(own.status).toBe(200);
    expect((await plane.rowOf(own)).tenant).toBe('partner-one');
    upstream.reset();
    const foreign = await bearer(theirs({ tenant: 'acme' }));
    expect(foreign.status).toBe(401);
    expect(foreign.text).toContain("The claim 'tenant' of this token");
    expect(foreign.headers['www-authenticate']).toMatch(/error="invalid_token"/);
    expect(upstream.requests).toEqual([]);
  });

  test('without a role that may use models get a 403 that names the right', async () => {
    const answer = await bearer(corp.token());
    expect(answer.status).toBe(403);
    expect(codeOf(answer)).toMatchObject({ error: { code: 'not_allowed' } });
    expect(answer.text).toContain('models:use');
    expect(upstream.requests).toEqual([]);
  });

  test('that have expired are told of as such, in the shape of each API', async () => {
    const token = good({ iat: seconds() - 700, exp: seconds() - 60 });
    for (const format of ['chat', 'messages', 'responses', 'gemini'] as const) {
      const answer = await plane.call({
        ...request(format, { model: 'fast' }),
        key: undefined,
        headers: { authorization: `Bearer ${token}` },
      });
      expect(answer.status).toBe(401);
      expect(answer.text).toContain('expired');
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer .*error="invalid_token"/);
    }
  });

  describe('that are forged', () => {
    const forger = makeKey('RS256');
    const sign = (header: object, claims: object | string): string => {
      const start = compact(header, claims);
      return `${start}.${forger.sign(start).toString('base64url')}`;
    };
    const publicKeyAsSecret = (): string => {
      const start = compact({ alg: 'HS256', kid: 'k1', typ: 'JWT' }, claimsOf(good()));
      return `${start}.${hmac(start, corp.publicPem)}`;
    };
    const edited = (): string => {
      const [header, , signature] = good().split('.');
      const claims = Buffer.from(claimsOf(good()).replace('"ada"', '"root"')).toString('base64url');
      return [header, claims, signature].join('.');
    };

    test.each<[string, () => string]>([
      ['alg none', () => `${compact({ alg: 'none', typ: 'JWT' }, claimsOf(good()))}.`],
      ['alg none and a signature', () => good().replace(/^[^.]+/, compact({ alg: 'none' }, '').slice(0, -1))],
      ['HMAC with the public key', publicKeyAsSecret],
      ['HS256 of another issuer’s secret', () => shared.token({ app: { roles: ['dev'] } })],
      ['claims that were edited', edited],
      ['a key of their own', () => sign({ alg: 'RS256', kid: 'k1' }, claimsOf(good()))],
      [
        'a key in the header',
        () => sign({ alg: 'RS256', kid: 'k1', jwk: forger.publicKey }, claimsOf(good())),
      ],
      ['jku', () => sign({ alg: 'RS256', kid: 'k1', jku: upstream.url }, claimsOf(good()))],
      ['x5u', () => sign({ alg: 'RS256', kid: 'k1', x5u: upstream.url }, claimsOf(good()))],
      ['jku, though truly signed', () => corp.token({ app: { roles: ['dev'] } }, { jku: upstream.url })],
      ['another issuer', () => good({ iss: 'https://evil.example.com' })],
      ['the issuer of the partner', () => good({ iss: PARTNER })],
      ['another audience', () => good({ aud: 'elsewhere' })],
      ['no end', () => good({ exp: undefined })],
      ['a start in the future', () => good({ nbf: seconds() + 3600 })],
      ['nobody’s name', () => good({ sub: undefined })],
      ['a path as kid', () => corp.token({ app: { roles: ['dev'] } }, { kid: '../../../dev/null' })],
      ['9 KiB', () => good({ filler: 'x'.repeat(9000) })],
    ])('with %s, are refused, and nobody is asked', async (_what, forge) => {
      const answer = await bearer(forge());
      expect(answer.status).toBe(401);
      expect(codeOf(answer)).toMatchObject({ error: { code: 'invalid_token' } });
      const challenge = answer.headers['www-authenticate'];
      expect(challenge).toMatch(/^Bearer .*error="invalid_token"/);
      expect(challenge).toMatch(/resource_metadata="[^"]+\/\.well-known\/oauth-protected-resource"/);
      expect(upstream.requests).toEqual([]);
    });
  });

  describe('beside another credential', () => {
    test.each<[string, () => Readonly<Record<string, string | string[]>>]>([
      ['a virtual key', () => ({ authorization: `Bearer ${good()}`, 'x-api-key': CLIENT_KEY })],
      ['a virtual key first', () => ({ authorization: `Bearer ${CLIENT_KEY}`, 'x-api-key': good() })],
      [
        'a token of somebody else',
        () => ({ authorization: `Bearer ${good()}`, 'api-key': good({ sub: 'bob' }) }),
      ],
      [
        'the same claims, signed again',
        () => ({ authorization: `Bearer ${good()}`, 'x-api-key': good({ jti: 'b' }) }),
      ],
      ['nonsense', () => ({ authorization: `Bearer ${good()}`, 'x-goog-api-key': 'x' })],
    ])('(%s) are refused: nobody could say which counts', async (_what, headers) => {
      const answer = await ask(headers());
      expect(answer.status).toBe(400);
      expect(codeOf(answer)).toMatchObject({ error: { code: 'conflicting_credentials' } });
      expect(upstream.requests).toEqual([]);
    });

    test('in the query are refused too', async () => {
      const { path, body } = request('gemini', { model: 'fast' });
      const answer = await plane.call({
        path: `${path}?key=${CLIENT_KEY}`,
        body,
        key: undefined,
        headers: { authorization: `Bearer ${good()}` },
      });
      expect(answer.status).toBe(400);
    });

    test('in a second authorization header are refused', async () => {
      const answer = await ask({ authorization: [`Bearer ${good()}`, `Bearer ${good({ sub: 'root' })}`] });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(402);
      expect(upstream.requests).toEqual([]);
    });

    test('that is the same count once', async () => {
      const token = good();
      expect((await ask({ authorization: `Bearer ${token}`, 'x-api-key': token })).status).toBe(200);
    });
  });

  test('that were revoked are refused from then on', async () => {
    const token = good({ jti: 'lost' });
    expect((await bearer(token)).status).toBe(200);
    const before = Date.now();
    const revocation = { id: 'r1', kind: 'jti', value: 'lost', before, until: before + 1e8 } as const;
    await plane.publish({ revocations: [revocation] });
    const answer = await bearer(token);
    expect(answer.status).toBe(401);
    expect(answer.text).toContain('revoked');
    expect((await bearer(good({ jti: 'other' }))).status).toBe(200);
    await plane.publish({ revocations: [] });
  });

  test('of users who were disabled are refused', async () => {
    await plane.publish({ users: [{ id: 'corp:eve', groups: [], roles: [], disabled: true }] });
    const answer = await bearer(good({ sub: 'eve' }));
    expect(answer.status).toBe(403);
    expect(codeOf(answer)).toMatchObject({ error: { code: 'user_disabled' } });
    expect((await bearer(good())).status).toBe(200);
    await plane.publish({ users: [] });
  });

  test('whose key is not there yet wait for it; one that never comes costs no more than two seconds', async () => {
    let tries = 0;
    const answered = await eventually(async () => {
      tries += 1;
      const young = testIssuer('EdDSA', `young-${String(tries)}`, 'corp');
      const asked = performance.now();
      const coming = bearer(young.token({ app: { roles: ['dev'] } }));
      const [key] = young.keys.keys;
      const keys = key === undefined ? [] : [...corp.keys.keys, key];
      await plane.publish({ issuerKeys: [{ ...corp.keys, keys }] });
      const isLate = performance.now() - asked > KEY_WAIT_MS - 500;
      const { status } = await coming;
      // Once more where the machine stalls for longer than a key is waited for.
      return isLate && status === 401 ? undefined : status;
    });
    expect(answered).toBe(200);

    const started = performance.now();
    const flood = await Promise.all(
      Array.from({ length: 100 }, (_, index) => bearer(corp.token({}, { kid: `made-up-${index}` }))),
    );
    expect(new Set(flood.map(({ status }) => status))).toEqual(new Set([401]));
    // All of them together: one after the other they would take minutes.
    expect(performance.now() - started).toBeLessThan(KEY_WAIT_MS + 6000);
    expect((await bearer(good())).status).toBe(200);
  });
});
