import { createHash, randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { TestRedis } from '../../test/support/redis.ts';
import type { Principal } from '../core/principal.ts';
import { Identifier } from '../stages/identify.ts';
import { connectRedis, redisReady } from '../store/redis/connection.ts';
import { RedisOnceBook } from '../store/redis/session-book.ts';
import { createLogger } from '../telemetry/logger.ts';
import { compact, hmac, testIssuer } from '../tokens/testing/issuer.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';
import { JWT_BEARER } from './cross-app-access.ts';

const issuer = testIssuer('ES256');
const GATEWAY = 'https://gateway.example.com';
const SECRET = 'a client secret of enough characters';

const CONFIGURATION = `apiVersion: limen.dev/v1alpha1
kind: Gateway
metadata: {name: default}
spec:
  access: {publicUrl: '${GATEWAY}'}
  crossAppAccess:
    enabled: true
    tokenSeconds: 600
    scopes: [models.read, models.write, tools]
    clients:
      - id: assistant
        secretSha256: ${createHash('sha256').update(SECRET).digest('hex')}
        identityProvider: corp
        assertedAs: [assistant-at-corp]
      - {id: public, identityProvider: corp, scopes: [models.read]}
      - {id: other, identityProvider: partner}
---
apiVersion: limen.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp}
spec:
  issuer: ${issuer.issuer}
  audiences: [limen]
  claims: {groups: groups, roles: roles, tenant: 'org.name', features: {plan: org.plan}}
  roleMapping: {dev: [developer], boss: [super-admin]}
---
apiVersion: limen.dev/v1alpha1
kind: IdentityProvider
metadata: {name: partner}
spec: {issuer: 'https://partner.example.com', audiences: [limen]}
`;

let postgres: TestPostgres;
let redis: TestRedis;
let admin: TestAdmin;
let closeRedis: () => void;

beforeAll(async () => {
  postgres = await startPostgres();
  redis = await TestRedis.start();
  return async () => {
    await postgres.stop();
    await redis.stop();
  };
});

/** An admin API that knows the issuer's keys and has no configuration yet. */
async function startUnconfigured(): Promise<void> {
  const logger = createLogger('test', 'silent');
  const connection = connectRedis({ url: redis.url, logger, commandTimeoutMs: 10_000 });
  await redisReady(connection, 10_000);
  closeRedis = () => connection.disconnect();
  admin = await startAdmin(await postgres.createDatabase(), { once: new RedisOnceBook(connection) });
  admin.directory.issuers.set('corp', issuer.keys);
}

/** An admin API for each test, or for all of a block whose tests leave nothing behind. */
function useAdmin(hook: typeof beforeEach | typeof beforeAll): void {
  hook(async () => {
    await startUnconfigured();
    await admin.configure(CONFIGURATION);
    return async () => {
      await admin.close();
      closeRedis();
    };
  });
}

const TYPE = { typ: 'oauth-id-jag+jwt' };

function assertion(claims: object = {}, header: Readonly<Record<string, unknown>> = {}): string {
  return issuer.token(assertionClaims(claims), { ...TYPE, ...header });
}

function assertionClaims(claims: object = {}): object {
  return {
    aud: GATEWAY,
    client_id: 'assistant-at-corp',
    jti: randomUUID(),
    scope: 'models.read models.write',
    resource: GATEWAY,
    ...claims,
  };
}

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers: Headers;
}

/** @param authorization empty: none */
async function exchange(
  parameters: Readonly<Record<string, string>>,
  authorization = basic('assistant', SECRET),
): Promise<Answer> {
  const response = await fetch(`${admin.url}/oauth/token`, {
    method: 'POST',
    headers: authorization === '' ? {} : { authorization },
    body: new URLSearchParams({ grant_type: JWT_BEARER, ...parameters }),
  });
  const body = z.record(z.string(), z.unknown()).parse(await response.json());
  return { status: response.status, body, headers: response.headers };
}

function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`;
}

async function tokenFor(claims: object = {}): Promise<string> {
  const { body } = await exchange({ assertion: assertion(claims) });
  return z.string().parse(body['access_token']);
}

/** As a worker identifies a request. */
async function principalOf(token: string): Promise<Principal> {
  const snapshot = admin.snapshot();
  if (snapshot === undefined) throw new Error('The test has no configuration.');
  const now = () => Date.now() + admin.clockOffset;
  const { directory } = admin;
  const reports = { keyUsed: () => undefined, userSeen: () => undefined, keyMissing: () => undefined };
  const tokens = createTokenVerifier({ directory, reports, now });
  return new Identifier({ directory, tokens, reports, now }).identify(token, snapshot);
}

describe('an exchange', () => {
  useAdmin(beforeEach);

  it('gives a token that is the same user as a token of the issuer, with the scopes that both allow', async () => {
    const claims = {
      email: 'ada@corp.example.com',
      groups: ['research'],
      roles: ['dev'],
      org: { name: 'acme', plan: 'pro' },
      scope: 'models.read models.write admin',
    };
    const { status, body, headers } = await exchange({ assertion: assertion(claims) });
    expect(status).toBe(200);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 600,
      scope: 'models.read models.write',
    });
    const exchanged = await principalOf(z.string().parse(body['access_token']));
    const direct = await principalOf(issuer.token(claims));
    const { user, keyId, groups, roles, tenant, features, email } = direct;
    expect(exchanged).toMatchObject({ user, keyId, groups, roles, tenant, features, email });
    expect(exchanged.user).toBe('corp:ada');
    expect(exchanged.scopes).toEqual(['models.read', 'models.write']);
  });

  it('names no group, team or tenant that the issuer may not name', async () => {
    await admin.configure(
      CONFIGURATION.replace(
        'roleMapping: {dev',
        'groupPrefix: "c:"\n  allowedGroups: [research]\n  allowedTenants: [acme]\n  roleMapping: {dev',
      ),
    );
    const groups = ['research', 'finance'];
    const { body } = await exchange({ assertion: assertion({ groups, org: { name: 'acme' } }) });
    await expect(principalOf(z.string().parse(body['access_token']))).resolves.toMatchObject({
      groups: ['c:research'],
      tenant: 'acme',
    });
    const refused = await exchange({ assertion: assertion({ groups, org: { name: 'other' } }) });
    expect(refused).toMatchObject({
      status: 400,
      body: {
        error: 'invalid_grant',
        error_description: "The claim 'org.name' of this assertion names what its issuer may not name here.",
      },
    });
    // One that was exchanged before the list was made shorter.
    const token = await tokenFor({ groups, org: { name: 'acme' } });
    await admin.configure(
      CONFIGURATION.replace('roleMapping: {dev', 'allowedTenants: [north]\n  roleMapping: {dev'),
    );
    await expect(principalOf(token)).rejects.toThrow("The claim 'asserted.org.name' of this token");
  });

  it('takes the secret in the body, and no secret of a public client', async () => {
    const inBody = { client_id: 'assistant', client_secret: SECRET };
    expect((await exchange({ assertion: assertion(), ...inBody }, '')).status).toBe(200);
    const asserted = assertion({ client_id: 'public' });
    const answer = await exchange({ assertion: asserted, client_id: 'public' }, '');
    expect(answer.body).toMatchObject({ scope: 'models.read' });
  });

  it('narrows the scopes to those that are asked for', async () => {
    const { body } = await exchange({
      assertion: assertion(),
      scope: 'models.read',
      resource: `${GATEWAY}/`,
    });
    expect(body).toMatchObject({ scope: 'models.read' });
  });

  it('gives no way into the admin API, whatever the user may do', async () => {
    const token = await tokenFor({ roles: ['boss'] });
    const refused = await admin.call('GET', '/api/v1/status', undefined, token);
    expect(refused.status).toBe(403);
    const direct = await admin.call('GET', '/api/v1/status', undefined, issuer.token({ roles: ['boss'] }));
    expect(direct.status).toBe(200);
  });

  it('is counted and recorded', async () => {
    await tokenFor();
    await exchange({ assertion: assertion({ client_id: 'another' }) });
    const { body } = await admin.call('GET', '/api/v1/identity/statistics');
    expect(body).toMatchObject({
      identityProviders: 2,
      crossAppAccess: {
        enabled: true,
        clients: [{ client: 'assistant', exchanged: 1, active: 1, refused: { 'other client': 1 } }],
      },
    });
    await expect
      .poll(async () => JSON.stringify((await admin.call('GET', '/api/v1/events?kind=identity')).body))
      .toMatch(/refused: other client[^]*exchanged an assertion of corp for a token of corp:ada/);
  });

  it('is described where clients look, and only while it is enabled', async () => {
    const metadata = await admin.call('GET', '/.well-known/oauth-authorization-server');
    expect(metadata.body).toMatchObject({
      issuer: GATEWAY,
      token_endpoint: `${GATEWAY}/oauth/token`,
      grant_types_supported: [JWT_BEARER],
      authorization_grant_profiles_supported: ['urn:ietf:params:oauth:grant-profile:id-jag'],
    });
    const keys = await admin.call('GET', '/oauth/jwks.json');
    expect(keys.body).toMatchObject({ keys: [{ kty: 'EC', crv: 'P-256', alg: 'ES256' }] });
    expect(JSON.stringify(keys.body)).not.toContain('"d"');
    expect((await admin.call('GET', '/.well-known/oauth-authorization-server/other')).status).toBe(404);
    await admin.configure(CONFIGURATION.replaceAll(GATEWAY, `${GATEWAY}/ai`));
    expect(await admin.call('GET', '/.well-known/oauth-authorization-server/ai')).toMatchObject({
      status: 200,
      body: { issuer: `${GATEWAY}/ai` },
    });
    await admin.configure(CONFIGURATION.replace('enabled: true', 'enabled: false'));
    expect((await admin.call('GET', '/.well-known/oauth-authorization-server')).status).toBe(404);
    expect((await exchange({ assertion: assertion() })).status).toBe(404);
  });
});

describe('a forged or strange assertion is refused:', () => {
  useAdmin(beforeAll);

  const now = Math.floor(Date.now() / 1000);
  const other = testIssuer('ES256');
  const signedBy = (start: string, secret: string) => `${start}.${hmac(start, secret)}`;

  it.each<[string, () => string]>([
    ['a token of the issuer that is no assertion', () => issuer.token(assertionClaims())],
    ['one without a type', () => assertion({}, { typ: undefined })],
    ['one of the type of access tokens', () => assertion({}, { typ: 'at+jwt' })],
    ['one signed by another', () => other.token(assertionClaims(), TYPE)],
    [
      'alg none',
      () => `${compact({ alg: 'none', ...TYPE }, { ...assertionClaims(), iss: issuer.issuer, sub: 'ada' })}.`,
    ],
    [
      'HMAC with the public key',
      () =>
        signedBy(
          compact(
            { alg: 'HS256', kid: 'k1', ...TYPE },
            { iss: issuer.issuer, sub: 'ada', iat: now, exp: now + 60, ...assertionClaims() },
          ),
          issuer.publicPem,
        ),
    ],
    ['a key of its own in the header', () => assertion({}, { jwk: issuer.keys.keys[0] })],
    ['another issuer', () => assertion({ iss: 'https://evil.example.com' })],
    ['the audience of tokens', () => assertion({ aud: 'limen' })],
    ['another audience', () => assertion({ aud: 'https://other.example.com' })],
    ['more than one audience', () => assertion({ aud: [GATEWAY, 'https://other.example.com'] })],
    ['another client', () => assertion({ client_id: 'public' })],
    ['no client', () => assertion({ client_id: undefined })],
    ['another resource', () => assertion({ resource: 'https://other.example.com' })],
    ['a resource among others', () => assertion({ resource: [GATEWAY, 'https://other.example.com'] })],
    ['one that has expired', () => assertion({ iat: now - 600, exp: now - 300 })],
    ['one that is not valid yet', () => assertion({ nbf: now + 600 })],
    ['one that lives too long', () => assertion({ exp: now + 7200 })],
    ['no exp', () => assertion({ exp: undefined })],
    ['no iat', () => assertion({ iat: undefined })],
    ['no jti', () => assertion({ jti: undefined })],
    ['no sub', () => assertion({ sub: undefined })],
    ['one that is bound to a key', () => assertion({ cnf: { jkt: 'x' } })],
    ['nonsense', () => 'a.b.c'],
    ['far too much', () => assertion({ more: 'x'.repeat(9000) })],
  ])('%s', async (_, make) => {
    const { status, body } = await exchange({ assertion: make() });
    expect({ status, error: body['error'] }).toEqual({ status: 400, error: 'invalid_grant' });
    expect(body['access_token']).toBeUndefined();
  });

  it('one that the gateway itself issued', async () => {
    const { body } = await exchange({ assertion: await tokenFor() });
    expect(body['error']).toBe('invalid_grant');
  });

  it('one that was used before, also by two at once', async () => {
    const once = assertion();
    const answers = await Promise.all([1, 2, 3, 4].map(() => exchange({ assertion: once })));
    expect(answers.map(({ status }) => status).sort((left, right) => left - right)).toEqual([
      200, 400, 400, 400,
    ]);
    expect((await exchange({ assertion: once })).body).toMatchObject({
      error: 'invalid_grant',
      error_description: 'This assertion was used before: get a new one.',
    });
  });

  it('any at all while nobody can tell whether it was used before', async () => {
    closeRedis();
    const { status, body } = await exchange({ assertion: assertion() });
    expect({ status, error: body['error'] }).toEqual({ status: 503, error: 'temporarily_unavailable' });
  });
});

describe('a request is refused', () => {
  useAdmin(beforeAll);

  it.each<[string, Record<string, string>, string | undefined, number, string]>([
    ['of an unknown client', {}, basic('nobody', SECRET), 401, 'invalid_client'],
    ['with a wrong secret', {}, basic('assistant', 'wrong'), 401, 'invalid_client'],
    ['without a secret', { client_id: 'assistant' }, '', 401, 'invalid_client'],
    [
      'with a secret of a public client',
      { client_id: 'public', client_secret: 'x' },
      '',
      401,
      'invalid_client',
    ],
    ['of nobody', {}, '', 401, 'invalid_client'],
    ['with a bearer', {}, 'Bearer x', 401, 'invalid_client'],
    ['in two ways', { client_secret: SECRET }, undefined, 400, 'invalid_request'],
    ['for another grant', { grant_type: 'client_credentials' }, undefined, 400, 'unsupported_grant_type'],
    ['without an assertion', {}, undefined, 400, 'invalid_request'],
  ])('%s', async (_, parameters, authorization, status, error) => {
    const answer = await exchange(parameters, authorization);
    expect({ status: answer.status, error: answer.body['error'] }).toEqual({ status, error });
    expect(answer.headers.get('www-authenticate')).toBe(status === 401 ? 'Basic realm="limen"' : null);
  });

  it('for a client of another identity provider', async () => {
    const { body } = await exchange({ assertion: assertion({ client_id: 'other' }), client_id: 'other' }, '');
    expect(body['error']).toBe('invalid_grant');
  });

  it('for scopes that the assertion or the client does not have, and other resources', async () => {
    const beyond = await exchange({ assertion: assertion(), scope: 'tools' });
    expect(beyond.body['error']).toBe('invalid_scope');
    const asserted = assertion({ client_id: 'public' });
    const ofClient = { assertion: asserted, scope: 'models.write', client_id: 'public' };
    expect((await exchange(ofClient, '')).body['error']).toBe('invalid_scope');
    const elsewhere = await exchange({ assertion: assertion(), resource: 'https://other.example.com' });
    expect(elsewhere.body['error']).toBe('invalid_target');
  });

  it('with a body that is no form, twice the same parameter, or too much', async () => {
    const send = async (body: string, type: string) => {
      const response = await fetch(`${admin.url}/oauth/token`, {
        method: 'POST',
        headers: { authorization: basic('assistant', SECRET), 'content-type': type },
        body,
      });
      return { status: response.status, body: await response.json() };
    };
    const form = 'application/x-www-form-urlencoded';
    const invalid = { error: 'invalid_request', error_description: expect.any(String) };
    expect(await send('{}', 'application/json')).toEqual({ status: 415, body: invalid });
    expect(await send('scope=a&scope=b', form)).toEqual({ status: 400, body: invalid });
    expect((await send(`assertion=${'x'.repeat(40_000)}`, form)).status).toBe(413);
  });

  it('in the same words whether a client is unknown or its secret is wrong', async () => {
    const [unknown, wrong] = [
      await exchange({}, basic('nobody', SECRET)),
      await exchange({}, basic('assistant', 'x')),
    ];
    expect(unknown.body).toEqual(wrong.body);
  });

  it('from an address that fails too often, but not of a client that proves itself', async () => {
    for (let count = 0; count < 60; count += 1) await exchange({ client_id: 'nobody' }, '');
    const asPublic = { assertion: assertion({ client_id: 'public' }), client_id: 'public' };
    const { status, headers, body } = await exchange(asPublic, '');
    expect({ status, error: body['error'] }).toEqual({ status: 429, error: 'slow_down' });
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await exchange({ assertion: assertion() }, basic('assistant', 'guess'))).status).toBe(429);
    // Refused ones do not use up what an address may ask.
    for (let count = 0; count < 600; count += 1) await exchange({ client_id: 'nobody' }, '');
    expect((await exchange({ assertion: assertion() })).status).toBe(200);
  });
});

describe('two clients', () => {
  useAdmin(beforeAll);

  it('are not called the same by one identity provider', async () => {
    // Else who has no secret could bring what was made for one that has a secret.
    const shared = CONFIGURATION.replace('{id: public,', '{id: public, assertedAs: [assistant-at-corp],');
    await expect(admin.configure(shared)).rejects.toThrow('for one client alone');
    const byId = CONFIGURATION.replace('{id: public,', '{id: assistant-at-corp,');
    await expect(admin.configure(byId)).rejects.toThrow('for one client alone');
    const elsewhere = CONFIGURATION.replace('{id: other,', '{id: other, assertedAs: [assistant-at-corp],');
    await expect(admin.configure(elsewhere)).resolves.toBeUndefined();
  });
});

describe('an assertion', () => {
  useAdmin(beforeAll);

  it('counts once, also where its issuer has two entries', async () => {
    await admin.configure(
      CONFIGURATION.replace('{id: other, identityProvider: partner}', '{id: other, identityProvider: twin}') +
        `---
apiVersion: limen.dev/v1alpha1
kind: IdentityProvider
metadata: {name: twin}
spec: {issuer: '${issuer.issuer}', audiences: [another], userPrefix: 'twin:'}
`,
    );
    admin.directory.issuers.set('twin', { ...issuer.keys, provider: 'twin' });
    const jti = randomUUID();
    expect((await exchange({ assertion: assertion({ jti }) })).status).toBe(200);
    const again = { assertion: assertion({ jti, client_id: 'other' }), client_id: 'other' };
    expect((await exchange(again, '')).body).toMatchObject({
      error_description: 'This assertion was used before: get a new one.',
    });
    const fresh = { assertion: assertion({ client_id: 'other' }), client_id: 'other' };
    expect((await exchange(fresh, '')).status).toBe(200);
  });
});

describe('revocation', () => {
  useAdmin(beforeEach);

  const revoke = (kind: 'jti' | 'subject' | 'issuer', value: string) =>
    admin.directory.revocations.push({
      id: randomUUID(),
      kind,
      value,
      // What is asserted next is still of before.
      before: Date.now() + 60_000,
      until: Date.now() + 3_600_000,
    });

  it.each<['subject' | 'issuer', string]>([
    ['subject', 'corp:ada'],
    ['issuer', 'corp'],
  ])('by %s ends tokens that were exchanged, and takes no assertion made before', async (kind, value) => {
    const token = await tokenFor();
    await expect(principalOf(token)).resolves.toMatchObject({ user: 'corp:ada' });
    revoke(kind, value);
    await expect(principalOf(token)).rejects.toThrow('This token was revoked');
    const { body } = await exchange({ assertion: assertion() });
    expect(body['error']).toBe('invalid_grant');
  });

  it('by jti ends that one token', async () => {
    const [first, second] = [await tokenFor(), await tokenFor()];
    const payload = Buffer.from(first.split('.')[1] ?? '', 'base64url').toString();
    revoke('jti', z.object({ jti: z.string() }).parse(JSON.parse(payload)).jti);
    await expect(principalOf(first)).rejects.toThrow('This token was revoked');
    await expect(principalOf(second)).resolves.toMatchObject({ user: 'corp:ada' });
  });

  it('of a user who is disabled', async () => {
    admin.directory.setUser({ id: 'corp:ada', groups: [], roles: [], disabled: true });
    const { body } = await exchange({ assertion: assertion() });
    expect(body['error']).toBe('invalid_grant');
  });

  it('ends with its own time, and with the issuer’s entry', async () => {
    const token = await tokenFor();
    admin.clockOffset = 700_000;
    await expect(principalOf(token)).rejects.toThrow('expired');
    admin.clockOffset = 0;
    await admin.configure(
      CONFIGURATION.replace(
        'metadata: {name: corp}\nspec:',
        'metadata: {name: corp}\nspec:\n  enabled: false',
      ),
    );
    await expect(principalOf(token)).rejects.toThrow('This token');
  });
});

it('an assertion is good for later while the gateway has no key to sign with', async () => {
  await startUnconfigured();
  const { database } = admin.connection;
  await database.execute("insert into signing_keys values ('cross-app-access', 'v1:00000000:x', now())");
  await admin.configure(CONFIGURATION);
  const given = assertion();
  const { status, body, headers } = await exchange({ assertion: given });
  expect({ status, error: body['error'] }).toEqual({ status: 503, error: 'temporarily_unavailable' });
  expect(headers.get('retry-after')).toBe('5');
  await database.execute('delete from signing_keys');
  await admin.configure(CONFIGURATION);
  expect((await exchange({ assertion: given })).status).toBe(200);
  await admin.close();
  closeRedis();
});
