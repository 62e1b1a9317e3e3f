import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { TestRedis } from '../../test/support/redis.ts';
import { PERMISSIONS, type Permission } from '../core/access.ts';
import { connectRedis } from '../store/redis/connection.ts';
import { RedisSessionBook } from '../store/redis/session-book.ts';
import { createLogger } from '../telemetry/logger.ts';
import { testIssuer } from '../tokens/testing/issuer.ts';
import { SESSION_IDLE_MS, SESSION_LIFE_MS, Sessions } from './sessions.ts';

const issuer = testIssuer('ES256');

const CONFIGURATION = `apiVersion: limen.dev/v1alpha1
kind: Team
metadata: {name: core}
spec: {members: [alice], managers: [alice], roles: [team-manager]}
---
apiVersion: limen.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp}
spec:
  issuer: ${issuer.issuer}
  audiences: [limen]
  claims: {roles: roles}
  roleMapping: {reader: [viewer]}
---
${PERMISSIONS.map(
  (permission) => `apiVersion: limen.dev/v1alpha1
kind: Role
metadata: {name: only-${permission.replace(':', '-')}}
spec: {permissions: ['${permission}']}
`,
).join('---\n')}`;

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

/** More patient than a gateway is: a stall of the machine is not what these tests are about. */
function connect() {
  return connectRedis({
    url: redis.url,
    logger: createLogger('test', 'silent'),
    commandTimeoutMs: 10_000,
  });
}

beforeEach(async () => {
  const connection = connect();
  await expect.poll(() => connection.status).toBe('ready');
  closeRedis = () => connection.disconnect();
  admin = await startAdmin(await postgres.createDatabase(), {
    sessions: new RedisSessionBook(connection),
  });
  await admin.configure(CONFIGURATION);
  admin.directory.issuers.set('corp', issuer.keys);
});

afterEach(async () => {
  await admin.close();
  closeRedis();
});

function user(id: string, ...roles: string[]) {
  admin.directory.setUser({ id, groups: [], roles });
}

/** A key for the admin API of a user with these roles. */
function adminKey(id: string, ...roles: string[]): string {
  user(id, ...roles);
  return admin.directory.addKey({ user: id, surfaces: ['admin'] });
}

const FORBIDDEN = (message: string) => ({ error: { code: 'forbidden', message } });
const UNAUTHORIZED = {
  error: { code: 'unauthorized', message: 'The credential is missing or wrong.' },
};

describe('credentials', () => {
  it('takes an admin key, with the permissions of its user', async () => {
    const key = adminKey('ada', 'viewer');
    const { status, body } = await admin.call('GET', '/api/v1/whoami', undefined, key);
    expect(status).toBe(200);
    expect(body).toMatchObject({ user: 'ada', actor: expect.stringMatching(/^key_\w+ of ada$/) });
    expect((await admin.call('GET', '/api/v1/status', undefined, key)).status).toBe(200);
    const refused = await admin.call('POST', '/api/v1/keys', { user: 'bob' }, key);
    expect(refused.status).toBe(403);
    expect(JSON.stringify(refused.body)).toContain('keys:write');
  });

  it('refuses a key without the surface admin, whatever its user may do', async () => {
    user('ada', 'super-admin');
    const key = admin.directory.addKey({ user: 'ada' });
    const { status, body } = await admin.call('GET', '/api/v1/status', undefined, key);
    expect(status).toBe(403);
    expect(body).toEqual(FORBIDDEN('This key is not for the admin API: it lacks the surface admin.'));
  });

  it('bounds a key by its own permissions', async () => {
    user('ada', 'super-admin');
    const key = admin.directory.addKey({ user: 'ada', surfaces: ['admin'], permissions: ['status:read'] });
    expect((await admin.call('GET', '/api/v1/status', undefined, key)).status).toBe(200);
    const { status, body } = await admin.call('GET', '/api/v1/resources', undefined, key);
    expect(status).toBe(403);
    expect(body).toEqual(FORBIDDEN('This needs the permission resources:read.'));
  });

  it('refuses a key that has expired, is gone, or whose user is disabled', async () => {
    const expired = admin.directory.addKey({ user: 'ada', surfaces: ['admin'], expiresAt: Date.now() - 1 });
    expect(await admin.call('GET', '/api/v1/whoami', undefined, expired)).toMatchObject({
      status: 401,
      body: UNAUTHORIZED,
    });
    const key = adminKey('ada', 'super-admin');
    admin.directory.setUser({ id: 'ada', groups: [], roles: ['super-admin'], disabled: true });
    expect((await admin.call('GET', '/api/v1/whoami', undefined, key)).status).toBe(403);
    admin.directory.removeKey(key);
    expect((await admin.call('GET', '/api/v1/whoami', undefined, key)).status).toBe(401);
  });

  it('takes a token of an identity provider whose roles have permissions, and no other', async () => {
    const token = issuer.token({ roles: ['reader'] });
    expect((await admin.call('GET', '/api/v1/status', undefined, token)).status).toBe(200);
    const without = issuer.token({ jti: 'id-2' });
    const { status, body } = await admin.call('GET', '/api/v1/status', undefined, without);
    expect(status).toBe(403);
    expect(body).toEqual(FORBIDDEN('This needs the permission status:read.'));
    const forged = testIssuer('ES256').token({ roles: ['reader'] });
    expect((await admin.call('GET', '/api/v1/status', undefined, forged)).status).toBe(401);
  });

  it('lets an address with too many wrong credentials wait, and forgets it after a minute', async () => {
    for (let attempt = 0; attempt < 20; attempt += 1) {
      expect((await admin.call('GET', '/api/v1/status', undefined, `wrong-${attempt}`)).status).toBe(401);
    }
    const { status, headers, body } = await admin.call('GET', '/api/v1/status');
    expect(status).toBe(429);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect(body).toMatchObject({ error: { code: 'too_many_requests' } });
    admin.clockOffset = 61_000;
    expect((await admin.call('GET', '/api/v1/status')).status).toBe(200);
  });
});

describe('an address', () => {
  const flood = async (headers: Record<string, string>) => {
    for (let attempt = 0; attempt < 25; attempt += 1) await fetch(`${admin.url}/api/v1/status`, { headers });
  };

  it('is not closed by requests without any credential, as pages make them', async () => {
    await flood({});
    expect((await admin.call('GET', '/api/v1/status')).status).toBe(200);
  });

  it('that others close stays open to credentials and sessions that were good there', async () => {
    const key = adminKey('ada', 'viewer');
    const response = await fetch(`${admin.url}/api/v1/sessions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${admin.token}` },
    });
    const cookie = response.headers.get('set-cookie')?.split(';')[0] ?? '';
    await flood({ authorization: 'Bearer wrong' });
    await flood({ cookie: `limen-session=${'x'.repeat(43)}` });
    expect((await admin.call('GET', '/api/v1/status')).status).toBe(200);
    expect((await fetch(`${admin.url}/api/v1/whoami`, { headers: { cookie } })).status).toBe(200);
    expect((await admin.call('GET', '/api/v1/status', undefined, key)).status).toBe(429);
  });

  it('whose page goes on asking with a session that has ended can sign in', async () => {
    await flood({ cookie: `limen-session=${'x'.repeat(43)}` });
    expect((await admin.call('POST', '/api/v1/sessions')).status).toBe(201);
  });
});

describe('nobody takes away what gives more than they have', () => {
  it('by changing or deleting it, to have it when it is put back', async () => {
    const put = (key: string | undefined, ...resources: object[]) =>
      admin.call('PUT', '/api/v1/resources', { resources }, key);
    const role = (name: string, permissions: string[]) => ({
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'Role',
      metadata: { name },
      spec: { permissions },
    });
    expect((await put(undefined, role('operators', ['users:write', 'roles:write']))).status).toBe(200);
    const key = adminKey('mallory', 'only-roles-write');
    const refused = [
      await put(key, role('operators', ['roles:read'])),
      await admin.call('DELETE', '/api/v1/resources/Role/operators', undefined, key),
      await admin.call('DELETE', '/api/v1/resources/Role/operators?dryRun=true', undefined, key),
    ];
    expect(refused.map(({ status }) => status)).toEqual([403, 403, 403]);
    expect(JSON.stringify(refused)).toContain('you lack users:read, users:write');
    expect((await put(key, role('readers', ['roles:read']))).status).toBe(200);
    expect((await admin.call('DELETE', '/api/v1/resources/Role/readers', undefined, key)).status).toBe(200);
  });
});

describe('nobody gives more than they have', () => {
  const put = (resource: object, key: string) =>
    admin.call(
      'PUT',
      '/api/v1/resources',
      { resources: [{ apiVersion: 'limen.dev/v1alpha1', ...resource }] },
      key,
    );

  it('a role', async () => {
    const key = adminKey('ada', 'only-roles-write', 'only-resources-write');
    const role = (permissions: Permission[]) => ({
      kind: 'Role',
      metadata: { name: 'mine' },
      spec: { permissions, users: ['ada'] },
    });
    const { status, body } = await put(role(['roles:write', 'keys:write']), key);
    expect(status).toBe(403);
    expect(body).toEqual(FORBIDDEN('Nobody can give more than they have: you lack keys:read, keys:write.'));
    expect((await put(role(['roles:read']), key)).status).toBe(200);
  });

  it('a team with roles, default roles of keys, an issuer', async () => {
    const key = adminKey('ada', 'admin');
    const team = {
      kind: 'Team',
      metadata: { name: 'mine' },
      spec: { members: ['ada'], roles: ['super-admin'] },
    };
    expect((await put(team, key)).body).toEqual(
      FORBIDDEN('Nobody can give more than they have: you lack roles:write.'),
    );
    const gateway = {
      kind: 'Gateway',
      metadata: { name: 'default' },
      spec: { access: { keyRoles: ['super-admin'] } },
    };
    expect((await put(gateway, key)).status).toBe(403);
    const idp = {
      kind: 'IdentityProvider',
      metadata: { name: 'mine' },
      spec: { issuer: 'https://mine.example.com', audiences: ['limen'], userPrefix: '' },
    };
    expect((await put(idp, key)).status).toBe(403);
    expect((await put({ ...team, spec: { members: ['ada'], roles: ['admin'] } }, key)).status).toBe(200);
  });

  it('a declared key of somebody with more', async () => {
    const key = adminKey('ada', 'admin');
    user('root', 'super-admin');
    const declared = (spec: object) => ({
      kind: 'ApiKey',
      metadata: { name: 'mine' },
      spec: { secret: { sha256: 'ab'.repeat(32) }, ...spec },
    });
    expect((await put(declared({ user: 'bob' }), key)).status).toBe(200);
    const minter = adminKey('carol', 'only-keys-write');
    expect((await put(declared({ user: 'root' }), minter)).body).toEqual(
      FORBIDDEN(
        'Nobody can give more than they have: you lack agents:use, backends:use, mcp:connect, models:use.',
      ),
    );
  });

  it('and the permission for the kind is asked for each resource', async () => {
    const key = adminKey('ada', 'only-limits-write');
    const { status, body } = await put(
      { kind: 'Provider', metadata: { name: 'mine' }, spec: { type: 'openai' } },
      key,
    );
    expect(status).toBe(403);
    expect(body).toEqual(FORBIDDEN('This needs the permission resources:write.'));
    const deleted = await admin.call('DELETE', '/api/v1/resources/Role/mine', undefined, key);
    expect(deleted.body).toEqual(FORBIDDEN('This needs the permission roles:write.'));
  });
});

describe('sessions', () => {
  interface SessionAnswer {
    readonly cookie: string;
    readonly csrf: string;
    readonly setCookie: string;
  }

  async function signIn(credential: string, headers: Record<string, string> = {}): Promise<SessionAnswer> {
    const response = await fetch(`${admin.url}/api/v1/sessions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${credential}`, ...headers },
    });
    expect(response.status).toBe(201);
    const body: unknown = await response.json();
    const setCookie = response.headers.get('set-cookie') ?? '';
    return {
      setCookie,
      cookie: setCookie.split(';')[0] ?? '',
      csrf: Reflect.get(Object(body), 'csrfToken'),
    };
  }

  const by = (method: string, path: string, headers: Record<string, string>) =>
    fetch(`${admin.url}${path}`, { method, headers });

  it('lets a browser in by a cookie that no script and no other site can use', async () => {
    const { setCookie, cookie } = await signIn(admin.token);
    expect(setCookie).toMatch(/^limen-session=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/);
    expect((await by('GET', '/api/v1/status', { cookie })).status).toBe(200);
    const secure = await signIn(admin.token, { origin: 'https://limen.example.com' });
    expect(secure.setCookie).toMatch(/^__Host-limen-session=.*; Secure$/);
    expect((await by('GET', '/api/v1/status', { cookie: secure.cookie })).status).toBe(200);
  });

  it('needs the token in a header for what changes something', async () => {
    const { cookie, csrf } = await signIn(admin.token);
    const other = await signIn(admin.token);
    const send = (headers: Record<string, string>) =>
      by('DELETE', '/api/v1/keys/none', { cookie, ...headers });
    expect((await send({})).status).toBe(403);
    expect((await send({ 'x-limen-csrf': 'guess' })).status).toBe(403);
    expect((await send({ 'x-limen-csrf': other.csrf })).status).toBe(403);
    expect((await send({ 'x-limen-csrf': csrf })).status).toBe(404);
  });

  it('stores nothing that could be used', async () => {
    const key = adminKey('ada', 'viewer');
    const { cookie } = await signIn(key);
    const connection = connect();
    await expect.poll(() => connection.status).toBe('ready');
    const names = await connection.keys('limen:session:*');
    const values = await Promise.all(names.map((name) => connection.get(name)));
    connection.disconnect();
    const stored = JSON.stringify([names, values]);
    expect(values.length).toBeGreaterThan(0);
    expect(stored).not.toContain(key);
    expect(stored).not.toContain(cookie.split('=')[1]);
  });

  it('ends when it is ended, when its credential ends, and when its time is over', async () => {
    const { cookie, csrf } = await signIn(admin.token);
    expect((await by('GET', '/api/v1/sessions/current', { cookie })).status).toBe(200);
    const ended = await by('DELETE', '/api/v1/sessions/current', { cookie, 'x-limen-csrf': csrf });
    expect(ended.status).toBe(200);
    expect(ended.headers.get('set-cookie')).toContain('Max-Age=0');
    expect((await by('GET', '/api/v1/status', { cookie })).status).toBe(401);

    const key = adminKey('ada', 'viewer');
    const ofKey = await signIn(key);
    user('ada');
    expect((await by('GET', '/api/v1/status', { cookie: ofKey.cookie })).status).toBe(403);
    admin.directory.removeKey(key);
    expect((await by('GET', '/api/v1/status', { cookie: ofKey.cookie })).status).toBe(401);

    const old = await signIn(admin.token);
    admin.clockOffset = SESSION_LIFE_MS + 1000;
    expect((await by('GET', '/api/v1/status', { cookie: old.cookie })).status).toBe(401);
  });

  it('lasts while it is used, and no longer than an hour without', async () => {
    await signIn(admin.token);
    const connection = connect();
    await expect.poll(() => connection.status).toBe('ready');
    const names = await connection.keys('limen:session:*');
    const lives = await Promise.all(names.map((name) => connection.pttl(name)));
    connection.disconnect();
    expect(Math.max(...lives)).toBeLessThanOrEqual(SESSION_IDLE_MS);
    expect(Math.min(...lives)).toBeGreaterThan(0);
  });

  it('is not made of another session, and not without a credential', async () => {
    const { cookie, csrf } = await signIn(admin.token);
    const headers = { cookie, 'x-limen-csrf': csrf };
    expect((await by('POST', '/api/v1/sessions', headers)).status).toBe(400);
    expect((await by('POST', '/api/v1/sessions', {})).status).toBe(401);
    expect((await by('GET', '/api/v1/status', { cookie: `limen-session=${'a'.repeat(43)}` })).status).toBe(
      401,
    );
  });

  it('are bound to the address that they began at', async () => {
    const connection = connect();
    await expect.poll(() => connection.status).toBe('ready');
    const sessions = new Sessions(new RedisSessionBook(connection), Date.now);
    const { id } = await sessions.create('a credential', '192.0.2.1');
    await expect(sessions.open(id, '192.0.2.1')).resolves.toMatchObject({ credential: 'a credential' });
    await expect(sessions.open(id, '192.0.2.2')).rejects.toThrow('The session has ended');
    connection.disconnect();
  });

  it('says so while Redis is away', async () => {
    const { cookie } = await signIn(admin.token);
    closeRedis();
    const response = await by('GET', '/api/v1/status', { cookie });
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { code: 'unavailable' } });
    expect((await admin.call('GET', '/api/v1/status')).status).toBe(200);
  });
});
