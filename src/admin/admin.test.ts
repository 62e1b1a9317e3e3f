import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { LARGEST_BODY_BYTES } from './body.ts';
import { formatIssue } from '../config/load/issue.ts';
import { createResourceStore } from '../store/postgres/repositories/resources.ts';
import { createLogger } from '../telemetry/logger.ts';
import { sealSpec } from '../vault/sealed-spec.ts';
import { createVault } from '../vault/vault.ts';
import { openStoredResources, resealStoredResources } from './stored-resources.ts';
import type { StatusSource } from './contract.ts';
import { diffFields } from './diff.ts';
import { createRights } from './rights.ts';
import { createAdminServer } from './server.ts';
import { createTokenCheck, readAdminToken, readOrCreateAdminToken } from './token.ts';

let server: TestPostgres;
let admin: TestAdmin;

beforeAll(async () => {
  server = await startPostgres();
  return () => server.stop();
});

beforeEach(async () => {
  admin = await startAdmin(await server.createDatabase());
  return () => admin.close();
});

function provider(name: string, spec: object = { type: 'openai' }) {
  return { apiVersion: 'limen.dev/v1alpha1', kind: 'Provider', metadata: { name }, spec };
}

function model(name: string, target: string, more: object = {}) {
  const spec = { targets: [{ provider: target, model: 'gpt-4o' }], ...more };
  return { apiVersion: 'limen.dev/v1alpha1', kind: 'Model', metadata: { name }, spec };
}

const FILE = `apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {type: openai, credential: {value: sk-from-the-file}}
---
apiVersion: limen.dev/v1alpha1
kind: ApiKey
metadata: {name: ci}
spec: {user: ci, secret: {env: CI_KEY}}
`;

async function apply(...resources: object[]) {
  return admin.call('PUT', '/api/v1/resources', { resources });
}

describe('access', () => {
  it.each([
    ['no token', {}],
    ['a wrong token', { authorization: 'Bearer admin-wrong' }],
    ['another scheme', { authorization: 'Basic YWRtaW46YWRtaW4=' }],
    ['an empty token', { authorization: 'Bearer ' }],
  ])('refuses %s, for every path alike', async (_, headers) => {
    for (const path of ['/api/v1/status', '/api/v1/keys', '/api/v1/nothing', '/api/v1/keys/%zz']) {
      const response = await fetch(`${admin.url}${path}`, { headers });
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toContain('Bearer');
      expect(await response.json()).toEqual({
        error: { code: 'unauthorized', message: 'The credential is missing or wrong.' },
      });
    }
  });

  it('tells at the root what this is, to people and to programs', async () => {
    const page = await fetch(`${admin.url}/`, { headers: { accept: 'text/html' } });
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(await page.text()).toContain('admin side of an AI gateway');
    const json = await fetch(`${admin.url}/`);
    expect(await json.json()).toMatchObject({ name: 'Limen', api: '/api/v1/status' });
  });

  it('sends security headers with everything, and caches nothing', async () => {
    for (const path of ['/', '/api/v1/keys', '/api/v1/nothing']) {
      const { headers } = await admin.call('GET', path);
      expect(headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('cache-control')).toBe('no-store');
    }
  });

  it('never logs a token or a key', async () => {
    const { body } = await admin.call('POST', '/api/v1/keys', { user: 'ada' });
    await admin.call('GET', '/api/v1/status');
    expect(admin.log.length).toBeGreaterThan(0);
    expect(admin.log.join('')).not.toContain(admin.token);
    expect(admin.log.join('')).not.toContain(JSON.parse(JSON.stringify(body)).key);
  });

  it('has no /metrics without a token for it, whatever token comes', async () => {
    const bare = serverWithout(admin.status, () => Promise.reject(new Error('not used')));
    const port = await bare.listen(0);
    for (const authorization of ['', 'Bearer wrong', 'Bearer the-token']) {
      const response = await fetch(`http://127.0.0.1:${port}/metrics`, { headers: { authorization } });
      expect(response.status).toBe(404);
    }
    await bare.close();
  });

  it('keeps a token of its own in a file that only this user may read', () => {
    const folder = mkdtempSync(join(tmpdir(), 'limen-token-'));
    try {
      expect(readAdminToken(folder)).toBeUndefined();
      const token = readOrCreateAdminToken(folder);
      expect(token.length).toBeGreaterThan(40);
      expect(readOrCreateAdminToken(folder)).toBe(token);
      expect(readAdminToken(folder)).toBe(token);
      expect(statSync(join(folder, 'keys/admin.token')).mode & 0o777).toBe(0o600);
      expect(readFileSync(join(folder, 'keys/admin.token'), 'utf8').trim()).toBe(token);
      writeFileSync(join(folder, 'keys/admin.token'), 'short');
      expect(() => readOrCreateAdminToken(folder)).toThrow(/delete it and start again/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('compares tokens whole', () => {
    const check = createTokenCheck('admin-0123456789');
    expect(check('Bearer admin-0123456789')).toBe(true);
    expect(check('bearer   admin-0123456789')).toBe(true);
    for (const header of [
      undefined,
      '',
      'Bearer',
      'Bearer admin-012345678',
      'Bearer admin-01234567890',
      'admin-0123456789',
    ]) {
      expect(check(header)).toBe(false);
    }
  });
});

describe('requests', () => {
  it('get a clear answer when they are not right', async () => {
    expect(await admin.call('GET', '/api/v1/nothing')).toMatchObject({
      status: 404,
      body: { error: { code: 'not_found' } },
    });
    expect(await admin.call('PUT', '/api/v1/keys')).toMatchObject({
      status: 405,
      body: { error: { code: 'method_not_allowed' } },
    });
    expect(await admin.call('POST', '/api/v1/keys', { user: '', extra: 1 })).toMatchObject({
      status: 400,
      body: { error: { code: 'invalid_request', details: [{ path: 'user' }, { path: '' }] } },
    });
    expect(await admin.call('GET', '/api/v1/keys?limit=0')).toMatchObject({ status: 400 });
    expect(await admin.call('GET', '/api/v1/resources/modle')).toMatchObject({
      status: 404,
      body: { error: { message: 'modle is no kind; did you mean Model?' } },
    });
  });

  it.each([
    ['no JSON', '{', 'application/json', 400, 'invalid_request'],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'application/json', 400, 'invalid_request'],
    ['another type', '{}', 'text/plain', 415, 'unsupported_media_type'],
    ['too much', Buffer.alloc(LARGEST_BODY_BYTES + 1, 0x20), 'application/json', 413, 'too_large'],
  ])('are refused with %s', async (_, body, type, status, code) => {
    const headers = { authorization: `Bearer ${admin.token}`, 'content-type': type };
    const response = await fetch(`${admin.url}/api/v1/keys`, { method: 'POST', headers, body });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code } });
  });

  it('never show a cause when they fail inside', async () => {
    await admin.connection.database.execute(sql`drop table virtual_keys`);
    const { status, body } = await admin.call('GET', '/api/v1/keys');
    expect(status).toBe(500);
    expect(body).toEqual({
      error: { code: 'internal_error', message: 'The control plane failed to do this; its log says why.' },
    });
    expect(admin.log.join('')).toContain('virtual_keys');
  });

  it('are answered on a Unix socket that only this user may open', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'limen-admin-'));
    const path = join(folder, 'admin.sock');
    // Left by a process that was killed.
    writeFileSync(path, '');
    const socketServer = serverWithout(admin.status, () => Promise.reject(new Error('not used')));
    try {
      await socketServer.listen(path);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(await overSocket(path, '/')).toContain('"name":"Limen"');
      const another = serverWithout(admin.status, () => Promise.reject(new Error('not used')));
      await expect(another.listen(path)).rejects.toThrow(/Another process serves/);
    } finally {
      await socketServer.close();
      rmSync(folder, { recursive: true });
    }
  });

  it('over the socket come from where Envoy saw them, whatever a client writes before that', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'limen-admin-'));
    const path = join(folder, 'admin.sock');
    const socketServer = serverWithout(admin.status, () => Promise.reject(new Error('not used')));
    const ask = (forwarded: string | undefined) =>
      overSocket(path, '/api/v1/status', {
        authorization: 'Bearer wrong',
        ...(forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }),
      });
    try {
      await socketServer.listen(path);
      for (let count = 0; count < 20; count += 1) await ask(`203.0.113.${count}, 192.0.2.7`);
      expect(await ask('198.51.100.1, 192.0.2.7')).toContain('too_many_requests');
      expect(await ask('192.0.2.7, 192.0.2.8')).toContain('unauthorized');
      expect(await ask(undefined)).toContain('unauthorized');
    } finally {
      await socketServer.close();
      rmSync(folder, { recursive: true });
    }
  });

  it('say that the database is away, and not where it would be', async () => {
    const cause = Object.assign(new Error('connect ENOENT /run/.s.PGSQL.5432'), { code: 'ENOENT' });
    const away = serverWithout(admin.status, () =>
      Promise.reject(new Error('Failed query: select 1', { cause })),
    );
    const port = await away.listen(0);
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/keys`, {
      headers: { authorization: 'Bearer the-token' },
    });
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      error: { code: 'unavailable', message: 'The database cannot be reached at this moment; try again.' },
    });
    await away.close();
  });

  it('work again when the database is back', async () => {
    await server.crash();
    await expect
      .poll(async () => (await admin.call('GET', '/api/v1/keys')).status, { timeout: 40_000 })
      .toBe(200);
  }, 90_000);
});

/** A server whose every service fails the same way. */
function serverWithout(status: StatusSource, fail: () => Promise<never>) {
  return createAdminServer({
    token: 'the-token',
    authentication: { snapshot: () => undefined, now: Date.now },
    rights: createRights({ snapshot: () => undefined, user: () => undefined }),
    status,
    inForce: () => undefined,
    keys: {
      create: fail,
      list: fail,
      show: fail,
      update: fail,
      rotate: fail,
      revoke: fail,
      remove: fail,
      restore: fail,
    },
    users: { list: fail, show: fail, edit: fail },
    userRecords: { records: fail },
    revocations: { list: fail, create: fail, remove: fail },
    events: { list: fail, record: fail, purge: fail },
    limits: { usage: fail, reset: fail, drift: fail },
    crossApp: {
      settings: () => undefined,
      access: {
        exchange: fail,
        metadata: () => undefined,
        keySet: () => undefined,
        statistics: () => ({ since: 0, clients: [] }),
        refusedUnseen: () => undefined,
      },
    },
    identityLogs: { isSecret: () => false, take: () => 'no room' },
    resources: { list: fail, apply: fail, remove: fail },
    logger: createLogger('admin', 'silent'),
  });
}

function overSocket(
  socketPath: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, headers }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end();
  });
}

describe('keys', () => {
  it('are shown once, stored as a hash, and told at once', async () => {
    const { status, body } = await admin.call('POST', '/api/v1/keys', {
      user: 'ada',
      team: 'core',
      name: 'laptop',
      models: ['demo*', 'gpt-9'],
      expiresAt: '2099-01-01T00:00:00+01:00',
    });
    expect(status).toBe(201);
    const created = JSON.parse(JSON.stringify(body));
    expect(created).toMatchObject({
      user: 'ada',
      team: 'core',
      name: 'laptop',
      models: ['demo*', 'gpt-9'],
      expiresAt: '2098-12-31T23:00:00.000Z',
      status: 'active',
      source: 'database',
      warnings: ['No model at present is gpt-9.'],
    });
    expect(created.key).toMatch(/^tw-[\w-]{43}$/);
    expect(created.hint).toBe(`tw-…${created.key.slice(-4)}`);
    const hash = createHash('sha256').update(created.key).digest('hex');
    expect(admin.events).toEqual([{ type: 'key-changed', id: created.id }]);
    const dump = await admin.connection.database.execute(sql`select * from virtual_keys`);
    expect(JSON.stringify(dump.rows)).toContain(hash);
    expect(JSON.stringify(dump.rows)).not.toContain(created.key.slice(3, -4));
    const list = await admin.call('GET', '/api/v1/keys');
    expect(list.body).toMatchObject({ keys: [{ id: created.id, status: 'active' }] });
    expect(JSON.stringify(list.body)).not.toContain(hash);
    expect(JSON.stringify(list.body)).not.toContain(created.key);
  });

  it('are revoked, which is told at once', async () => {
    const created = JSON.parse(
      JSON.stringify((await admin.call('POST', '/api/v1/keys', { user: 'ada' })).body),
    );
    const revoked = await admin.call('POST', `/api/v1/keys/${created.id}/revoke`);
    expect(revoked).toMatchObject({
      status: 200,
      body: { id: created.id, status: 'revoked', revokedAt: expect.any(String) },
    });
    expect(admin.events.at(-1)).toEqual({ type: 'key-changed', id: created.id });
    expect(await admin.call('DELETE', '/api/v1/keys/key_nothing')).toMatchObject({ status: 404 });
  });

  it('that the configuration declares are listed, and revoked there', async () => {
    admin.setFile(FILE);
    await apply(provider('other'));
    expect((await admin.call('GET', '/api/v1/keys')).body).toMatchObject({
      keys: [{ id: 'config/ci', user: 'ci', source: 'file' }],
    });
    expect(await admin.call('DELETE', '/api/v1/keys/config%2Fci')).toMatchObject({
      status: 409,
      body: { error: { code: 'read_only' } },
    });
  });

  it('come page by page', async () => {
    for (let count = 0; count < 5; count += 1)
      await admin.call('POST', '/api/v1/keys', { user: `user-${count}` });
    const users: string[] = [];
    let next: string | undefined = '';
    do {
      const path: string = `/api/v1/keys?limit=2${next === '' ? '' : `&after=${next}`}`;
      const page = JSON.parse(JSON.stringify((await admin.call('GET', path)).body));
      users.push(...page.keys.map(({ user }: { user: string }) => user));
      next = page.next;
    } while (next !== undefined);
    expect(users.sort()).toEqual(['user-0', 'user-1', 'user-2', 'user-3', 'user-4']);
  });

  it('cannot end before they begin', async () => {
    expect(
      await admin.call('POST', '/api/v1/keys', { user: 'ada', expiresAt: '2001-01-01T00:00:00Z' }),
    ).toMatchObject({ status: 400 });
    expect(admin.events).toEqual([]);
  });
});

describe('resources', () => {
  it('are created, changed and deleted, with what differs', async () => {
    const first = await apply(
      provider('openai', { type: 'openai', credential: { value: 'sk-secret' } }),
      model('fast', 'openai'),
    );
    expect(first).toMatchObject({
      status: 200,
      body: { revision: 1, changes: [{ action: 'created' }, { action: 'created' }] },
    });
    expect(admin.events).toEqual([{ type: 'resources-changed', revision: 1 }]);
    const again = await apply(
      provider('openai', { type: 'openai', credential: { value: 'sk-secret' } }),
      model('fast', 'openai', { aliases: ['quick'] }),
    );
    expect(again.body).toMatchObject({
      revision: 2,
      changes: [
        { name: 'openai', action: 'unchanged', fields: [] },
        { name: 'fast', action: 'changed', fields: [{ path: 'spec.aliases[0]', after: 'quick' }] },
      ],
    });
    const removed = await admin.call('DELETE', '/api/v1/resources/Model/fast');
    expect(removed.body).toMatchObject({
      revision: 3,
      changes: [{ kind: 'Model', name: 'fast', action: 'deleted' }],
    });
    expect(await admin.call('GET', '/api/v1/resources/Model/fast')).toMatchObject({ status: 404 });
    expect(
      (await apply(provider('openai', { type: 'openai', credential: { value: 'sk-secret' } }))).body,
    ).toMatchObject({ revision: 3 });
    expect(admin.events).toHaveLength(3);
  });

  it('never show a secret, and store it sealed', async () => {
    const created = await apply(
      provider('openai', { type: 'openai', credential: { value: 'sk-very-secret' } }),
    );
    const changed = await apply(
      provider('openai', { type: 'openai', credential: { value: 'sk-still-secret' } }),
    );
    expect(changed.body).toMatchObject({
      changes: [{ fields: [{ path: 'spec.credential.value', before: '(hidden)', after: '(hidden)' }] }],
    });
    const shown = await admin.call('GET', '/api/v1/resources/provider/openai');
    expect(shown.body).toMatchObject({
      spec: { credential: { value: '(hidden)' } },
      origin: { source: 'database' },
      editable: true,
    });
    const stored = await admin.connection.database.execute(sql`select spec from resources`);
    const everything = JSON.stringify([created.body, changed.body, shown.body, stored.rows, admin.log]);
    expect(everything).not.toMatch(/very-secret|still-secret/);
    expect(JSON.stringify(stored.rows)).toContain('"sealed":"v1:');
    // What was shown can be sent back: the secret stays.
    const kept = await apply(
      provider('openai', { type: 'openai', credential: { value: '(hidden)' }, connectTimeoutSeconds: 9 }),
    );
    expect(kept.body).toMatchObject({
      changes: [{ fields: [{ path: 'spec.connectTimeoutSeconds', before: 5, after: 9 }] }],
    });
    // It stays for the place that it was given for, and is never sent to another.
    const elsewhere = { type: 'openai', baseUrl: 'https://elsewhere.example.com/v1' };
    const redirected = await apply(provider('openai', { ...elsewhere, credential: { value: '(hidden)' } }));
    expect(redirected).toMatchObject({ status: 422 });
    expect(JSON.stringify(redirected.body)).toContain('not sent elsewhere');
    const hidden = await apply(provider('new', { type: 'openai', credential: { value: '(hidden)' } }));
    expect(hidden).toMatchObject({
      status: 422,
      body: { error: { details: [{ resource: 'Provider/new' }] } },
    });
  });

  it('never show a part of an access key, and keep each part that was shown as hidden', async () => {
    const bedrock = (accessKeyId: string, secretAccessKey: string, more: object = {}) =>
      provider('aws', {
        type: 'bedrock',
        region: 'us-east-1',
        credential: {
          accessKeyId: { value: accessKeyId },
          secretAccessKey: { value: secretAccessKey },
          sessionToken: { env: 'AWS_SESSION_TOKEN' },
        },
        ...more,
      });
    const created = await apply(bedrock('AKIA-very-secret', 'very-secret'));
    const changed = await apply(bedrock('AKIA-very-secret', 'still-secret'));
    const path = 'spec.credential.secretAccessKey.value';
    expect(changed.body).toMatchObject({
      changes: [{ fields: [{ path, before: '(hidden)', after: '(hidden)' }] }],
    });
    const shown = await admin.call('GET', '/api/v1/resources/provider/aws');
    expect(shown.body).toMatchObject({
      spec: {
        credential: {
          accessKeyId: { value: '(hidden)' },
          secretAccessKey: { value: '(hidden)' },
          sessionToken: { env: 'AWS_SESSION_TOKEN' },
        },
      },
    });
    const sentBack = await apply(bedrock('(hidden)', '(hidden)', { connectTimeoutSeconds: 9 }));
    expect(sentBack.body).toMatchObject({
      changes: [{ fields: [{ path: 'spec.connectTimeoutSeconds', before: 5, after: 9 }] }],
    });
    const replaced = await apply(provider('aws', { type: 'openai', credential: { value: 'very-secret' } }));
    const back = await apply(bedrock('(hidden)', 'very-secret'));
    expect(back.status).toBe(422);
    const stored = await admin.connection.database.execute(sql`select spec from resources`);
    const everything = JSON.stringify([
      created,
      changed,
      shown,
      sentBack,
      replaced,
      back,
      stored.rows,
      admin.log,
    ]);
    expect(everything).not.toMatch(/very-secret|still-secret/);
  });

  it('change nothing in a dry run', async () => {
    const body = { resources: [provider('openai')], dryRun: true };
    expect((await admin.call('PUT', '/api/v1/resources', body)).body).toMatchObject({
      dryRun: true,
      changes: [{ action: 'created' }],
    });
    expect(admin.events).toEqual([]);
    expect((await admin.call('GET', '/api/v1/resources')).body).toMatchObject({
      resources: [{ origin: { source: 'built-in' } }, {}, {}, {}],
    });
    await apply(provider('openai'));
    expect(await admin.call('DELETE', '/api/v1/resources/provider/openai?dryRun=true')).toMatchObject({
      status: 200,
    });
    expect(await admin.call('GET', '/api/v1/resources/provider/openai')).toMatchObject({ status: 200 });
  });

  it('are refused with everything that is wrong, all or none', async () => {
    const refused = await apply(
      provider('good'),
      provider('bad', { type: 'opnai' }),
      { kind: 'Modle' },
      model('twice', 'good'),
      model('twice', 'good'),
    );
    expect(refused).toMatchObject({
      status: 422,
      body: {
        error: {
          code: 'invalid_configuration',
          details: [
            {
              index: 1,
              resource: 'Provider/bad',
              path: 'spec.type',
              hint: expect.stringContaining('openai'),
            },
            { index: 2, path: 'kind', hint: expect.stringContaining('Model') },
            { index: 4, resource: 'Model/twice' },
          ],
        },
      },
    });
    expect(await apply(provider('good'), model('fast', 'nowhere'))).toMatchObject({
      status: 422,
      body: { error: { details: [{ index: 1, path: 'spec.targets[0].provider', value: '"nowhere"' }] } },
    });
    expect((await admin.connection.database.execute(sql`select * from resources`)).rows).toEqual([]);
  });

  it('that others refer to cannot be deleted', async () => {
    await apply(provider('openai'), model('fast', 'openai'));
    expect(await admin.call('DELETE', '/api/v1/resources/provider/openai')).toMatchObject({
      status: 422,
      body: { error: { details: [{ resource: 'Model/fast', path: 'spec.targets[0].provider' }] } },
    });
  });

  it('that the file declares are read-only, named with file and line', async () => {
    admin.setFile(FILE);
    expect(await apply(provider('openai'))).toMatchObject({
      status: 409,
      body: {
        error: {
          code: 'read_only',
          message: 'Provider/openai is declared at limen.yaml:1: change it there.',
        },
      },
    });
    expect(await admin.call('DELETE', '/api/v1/resources/provider/openai')).toMatchObject({ status: 409 });
    expect(await admin.call('GET', '/api/v1/resources/provider/openai')).toMatchObject({
      body: {
        spec: { credential: { value: '(hidden)' } },
        origin: { source: 'file', file: 'limen.yaml', line: 1 },
        editable: false,
      },
    });
    expect(await apply(model('fast', 'openai'))).toMatchObject({ status: 200 });
    expect(await apply(model('ci', 'openai', { aliases: ['fast'] }))).toMatchObject({ status: 422 });
  });

  it('keep virtual keys as hashes alone', async () => {
    const key = {
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'ApiKey',
      metadata: { name: 'ci' },
      spec: { user: 'ci', secret: { value: 'tw-0123456789abcdef' } },
    };
    expect(await apply(provider('openai'), key)).toMatchObject({ status: 200 });
    const { body } = await admin.call('GET', '/api/v1/resources/apikeys/ci');
    expect(body).toMatchObject({
      spec: { secret: { sha256: createHash('sha256').update('tw-0123456789abcdef').digest('hex') } },
    });
    const stored = await admin.connection.database.execute(sql`select spec from resources`);
    expect(JSON.stringify(stored.rows)).not.toContain('0123456789abcdef"');
  });

  it('survive many changes at the same time, each whole', async () => {
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, index) => apply(provider(`p${index}`), model(`m${index}`, `p${index}`))),
    );
    const statuses = results.map(({ status }) => status);
    expect(statuses.every((status) => status === 200 || status === 409)).toBe(true);
    const done = statuses.filter((status) => status === 200).length;
    expect(done).toBeGreaterThan(0);
    const { body } = await admin.call('GET', '/api/v1/resources/models');
    expect(JSON.parse(JSON.stringify(body)).resources).toHaveLength(done);
  });

  it('take names with slashes', async () => {
    await apply(provider('router'), model('meta/llama-3:70b', 'router'));
    expect(await admin.call('GET', '/api/v1/resources/model/meta%2Fllama-3%3A70b')).toMatchObject({
      status: 200,
    });
    expect(await admin.call('DELETE', '/api/v1/resources/model/meta/llama-3:70b')).toMatchObject({
      status: 200,
    });
  });
});

describe('key rotation', () => {
  it('seals again what the old key sealed, and leaves what nobody can open', async () => {
    const [old, fresh, lost] = [randomBytes(32), randomBytes(32), randomBytes(32)].map((key) =>
      key.toString('hex'),
    );
    const store = createResourceStore(admin.connection.database);
    const put = (name: string, key: string | undefined) => {
      const sealed = sealSpec(
        createVault(key ?? '', 'a test'),
        { kind: 'Provider', name },
        {
          type: 'openai',
          credential: { value: `secret of ${name}` },
        },
      );
      return { action: 'put' as const, kind: 'Provider', name, spec: sealed };
    };
    await store.change([put('one', old), put('two', fresh), put('three', lost)], 'test', 0);
    const rotated = createVault(`${fresh},${old}`, 'a test');
    expect(await resealStoredResources(store, rotated)).toBe(1);
    expect(await resealStoredResources(store, rotated)).toBe(0);
    const { resources, warnings } = openStoredResources(
      await store.list(),
      createVault(fresh ?? '', 'a test'),
    );
    expect(resources.map(({ resource }) => resource.metadata.name)).toEqual(['one', 'two']);
    expect(warnings.map(formatIssue)).toEqual([
      'Provider/three spec: cannot be opened with the present encryption key: set it again, or bring the old key back',
    ]);
  });
});

describe('status', () => {
  it('says how everything is', async () => {
    expect(await admin.call('GET', '/api/v1/status')).toMatchObject({
      status: 200,
      body: {
        version: '0.0.0-test',
        node: process.version,
        startedAt: '2026-01-01T00:00:00.000Z',
        snapshot: { version: '0123456789abcdef' },
        stores: [{ name: 'postgres', healthy: true, version: expect.stringMatching(/^\d+/) }],
      },
    });
  });
});

describe('diffFields', () => {
  it('names each field that differs', () => {
    expect(diffFields({ a: 1, b: [1, 2], c: { d: 1 } }, { a: 2, b: [1], c: { d: 1, e: 2 } })).toEqual([
      { path: 'a', before: 1, after: 2 },
      { path: 'b[1]', before: 2 },
      { path: 'c.e', after: 2 },
    ]);
  });

  it('hides secrets also in what is new as a whole', () => {
    const spec = { type: 'openai', credential: { value: 'sk-1' } };
    expect(diffFields(undefined, { spec })).toEqual([
      { path: '', after: { spec: { ...spec, credential: { value: '(hidden)' } } } },
    ]);
  });

  it('shows where a secret comes from, but not the secret', () => {
    expect(diffFields({ credential: { env: 'A' } }, { credential: { value: 'sk-1' } })).toEqual([
      { path: 'credential.env', before: 'A' },
      { path: 'credential.value', after: '(hidden)' },
    ]);
    expect(diffFields({ credential: 'sk-1' }, {})).toEqual([{ path: 'credential', before: '(hidden)' }]);
  });
});
