import { request } from 'node:http';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
import { startPostgres } from '../../test/support/postgres.ts';
import { PERMISSIONS, type Permission } from '../core/access.ts';
import { openApiDocument } from './openapi.ts';
import { bySpecificity, defineRoute, findRoute } from './router.ts';

const documentSchema = z.looseObject({
  openapi: z.string(),
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.looseObject({
        operationId: z.string(),
        security: z.array(z.unknown()),
        'x-limen-permission': z.array(z.string()).optional(),
      }),
    ),
  ),
});

const ROLES = PERMISSIONS.map(
  (permission) => `apiVersion: limen.dev/v1alpha1
kind: Role
metadata: {name: only-${permission.replace(':', '-')}}
spec: {permissions: ['${permission}']}
`,
).join('---\n');

let admin: TestAdmin;
let document: z.infer<typeof documentSchema>;
const keys = new Map<Permission | 'none', string>();

beforeAll(async () => {
  const postgres = await startPostgres();
  admin = await startAdmin(await postgres.createDatabase());
  await admin.configure(ROLES);
  for (const permission of PERMISSIONS) {
    const id = permission.replace(':', '-');
    admin.directory.setUser({ id, groups: [], roles: [`only-${id}`] });
    keys.set(permission, admin.directory.addKey({ user: id, surfaces: ['admin'] }));
  }
  keys.set('none', admin.directory.addKey({ user: 'nobody', surfaces: ['admin'], permissions: [] }));
  document = documentSchema.parse(await (await fetch(`${admin.url}/api/v1/openapi.json`)).json());
  return () => postgres.stop();
});

afterAll(() => admin.close());

interface Operation {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  /** Any one of them; undefined for public routes. */
  readonly permissions: readonly string[] | undefined;
}

function operations(): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path: path.replace(/\{\w+\}/g, 'none'),
      permissions: operation.security.length === 0 ? undefined : (operation['x-limen-permission'] ?? []),
    })),
  );
}

/** Routes that anybody may call; a new one belongs here only after thought. */
const PUBLIC = [
  'GET /',
  'GET /.well-known/oauth-authorization-server',
  'GET /.well-known/oauth-authorization-server/{issuer}',
  'GET /api/v1/openapi.json',
  'GET /health/ready',
  'GET /metrics',
  'GET /oauth/jwks.json',
  'POST /oauth/token',
];
/** Routes that no credential of a caller opens, but a secret of their own. */
const OF_OWN_SECRET = ['POST /webhooks/identity-providers/{name}/logs'];
/** Routes that any good credential may call: about the caller alone. */
const AUTHENTICATED = [
  'DELETE /api/v1/sessions/current',
  'GET /api/v1/sessions/current',
  'GET /api/v1/whoami',
  'POST /api/v1/sessions',
];

async function call(operation: Operation, credential: string | undefined) {
  const hasBody = operation.method !== 'GET' && operation.method !== 'DELETE';
  const response = await fetch(`${admin.url}${operation.path}`, {
    method: operation.method,
    headers: {
      ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
      ...(hasBody ? { 'content-type': 'application/json' } : {}),
    },
    ...(hasBody ? { body: '{}' } : {}),
  });
  return { status: response.status, text: await response.text() };
}

describe('every route', () => {
  it('is closed to strangers, but for those that are meant to be open', async () => {
    const open: string[] = [];
    for (const operation of operations()) {
      const { status, text } = await call(operation, undefined);
      if (status !== 401 || text.includes('metrics token')) open.push(operation.name);
      // Before the address is closed for a while.
      admin.clockOffset += 61_000;
    }
    expect(open.sort(byName)).toEqual(PUBLIC);
    expect(
      operations()
        .filter(({ permissions }) => permissions === undefined)
        .map(({ name }) => name)
        .sort(byName),
    ).toEqual([...PUBLIC, ...OF_OWN_SECRET]);
  });

  it('is closed to who has no permission at all', async () => {
    const key = keys.get('none');
    const open: string[] = [];
    for (const operation of operations().filter(({ permissions }) => permissions !== undefined)) {
      const { status } = await call(operation, key);
      if (status !== 403) open.push(operation.name);
    }
    expect(open.sort(byName)).toEqual(AUTHENTICATED);
  });

  it('is open to who has one of its permissions, and closed to every other permission', async () => {
    const wrong: string[] = [];
    for (const operation of operations().filter(({ permissions }) => permissions !== undefined)) {
      const wanted = operation.permissions ?? [];
      if (wanted.includes('authenticated')) continue;
      const message = `This needs the permission ${wanted.join(' or ')}.`;
      for (const permission of PERMISSIONS) {
        const { status, text } = await call(operation, keys.get(permission));
        const isRefused = status === 403 && text.includes(message);
        const isMeant = wanted.some((one) => isIncluded(one, permission));
        // Who gets in may be refused there for what it asks, in other words.
        const isInside = status !== 401 && !isRefused;
        if (isMeant ? !isInside : !isRefused) wrong.push(`${operation.name} with ${permission}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

/** Whether who has `given` has `wanted`. */
function isIncluded(wanted: string, given: string): boolean {
  return (
    wanted === given ||
    (wanted.endsWith(':read') && given === wanted.replace(/:read$/, ':write')) ||
    (wanted === 'own-keys:write' && given === 'keys:write')
  );
}

function byName(left: string, right: string): number {
  return left < right ? -1 : 1;
}

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    const result = await validator.validate(structuredClone(document));
    expect(result).toMatchObject({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('names each operation once, and no schema is left out', () => {
    const names = Object.values(document.paths).flatMap((methods) =>
      Object.values(methods).map(({ operationId }) => operationId),
    );
    expect(new Set(names).size).toBe(names.length);
    const text = JSON.stringify(document);
    const named = new Set([...text.matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name]) => name));
    const { schemas } = z
      .object({ components: z.object({ schemas: z.record(z.string(), z.unknown()) }) })
      .parse(document).components;
    expect([...named].filter((name) => !Object.hasOwn(schemas, name ?? ''))).toEqual([]);
    expect(text).not.toContain('$defs');
  });

  it('takes no two schemas for one name', () => {
    // As input `a` may be left out, as output it is always there.
    const named = z.object({ a: z.string().default('') }).meta({ id: 'TestTwice' });
    const twice = defineRoute({
      method: 'PUT',
      path: '/a',
      permission: 'public',
      summary: '',
      tag: 'test',
      body: named,
      response: named,
      handle: ({ body }) => body,
    });
    expect(() => openApiDocument([twice], '1')).toThrow('Two schemas of the admin API are named TestTwice.');
  });
});

describe('routes', () => {
  const route = (path: string) =>
    defineRoute({
      method: 'GET',
      path,
      permission: 'public',
      summary: path,
      tag: 'test',
      response: z.string(),
      handle: () => '',
    });

  it('are found most specific first, in whatever order they are declared', () => {
    const routes = bySpecificity(['/a/*rest', '/a/:id', '/a/b', '/a/:id/c'].map(route));
    const found = ['/a/b', '/a/x', '/a/x/c', '/a/x/y'].map(
      (path) => findRoute(routes, 'GET', path).route.path,
    );
    expect(found).toEqual(['/a/b', '/a/:id', '/a/:id/c', '/a/*rest']);
  });

  it('cut off what their response does not name', async () => {
    const secret = { id: 'key_1', hash: 'a secret' };
    const cut = defineRoute({
      method: 'GET',
      path: '/a',
      permission: 'public',
      summary: '',
      tag: 'test',
      response: z.object({ id: z.string() }),
      handle: () => secret,
    });
    const reply = await cut.answer({
      params: {},
      query: new URLSearchParams(),
      readBody: () => Promise.resolve(undefined),
      caller: { actor: 'nobody', permissions: new Set(), managedTeams: [] },
      asking: { method: 'GET', headers: {}, address: undefined },
    });
    expect(reply.body).toEqual({ id: 'key_1' });
  });

  it('take no parameter twice', async () => {
    const { status, body } = await admin.call('GET', '/api/v1/keys?limit=1&limit=2');
    expect(status).toBe(400);
    expect(JSON.stringify(body)).toContain('given twice');
  });

  it('take no member twice in a body', async () => {
    for (const body of ['{"user":"ada","user":"bob"}', '{"user":"ada","labels":{"a":"1","\\u0061":"2"}}']) {
      const response = await fetch(`${admin.url}/api/v1/keys`, {
        method: 'POST',
        headers: { authorization: `Bearer ${admin.token}`, 'content-type': 'application/json' },
        body,
      });
      expect(response.status).toBe(400);
      expect(await response.text()).toContain('stands twice');
    }
  });

  it.each([
    ['//', 200],
    ['//evil.example/api/v1/status', 404],
    ['/api/v1/../../api/v1/status', 404],
    ['/api/v1/nothing/..%2fstatus', 404],
    ['/api/v1/keys/%2e%2e', 404],
    ['/api\\v1\\status', 404],
    ['http://other.example/api/v1/status', 404],
    ['/api/v1/status#x', 404],
    ['/api/v1/constructor', 404],
    ['/api/v1/keys/%zz', 400],
  ])('take %s for what it is', async (path, status) => {
    const answer = await raw('GET', path);
    expect(answer.status).toBe(status);
    expect(answer.text).not.toContain('internal_error');
  });

  it('say which methods there are', async () => {
    for (const method of ['OPTIONS', 'PUT', 'TRACE']) {
      const answer = await raw(method, '/api/v1/keys');
      expect({ status: answer.status, allow: answer.allow }).toEqual({ status: 405, allow: 'GET, POST' });
    }
    const head = await raw('HEAD', '/api/v1/status');
    expect({ status: head.status, text: head.text }).toEqual({ status: 200, text: '' });
  });

  it('give a user no role that is nowhere', async () => {
    const { status, body } = await admin.call('PATCH', '/api/v1/users/bob', { roles: ['viewr'] });
    expect(status).toBe(400);
    expect(JSON.stringify(body)).toContain('did you mean viewer?');
    expect((await admin.call('PATCH', '/api/v1/users/bob', { roles: ['constructor'] })).status).toBe(400);
    expect((await admin.call('PATCH', '/api/v1/users/bob', { roles: ['viewer'] })).status).toBe(200);
  });
});

/** A request whose path nobody puts in order on its way. */
function raw(method: string, path: string) {
  return new Promise<{ status: number | undefined; text: string; allow: string | undefined }>(
    (resolve, reject) => {
      const sent = request(
        { port: new URL(admin.url).port, method, path, headers: { authorization: `Bearer ${admin.token}` } },
        (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => (text += chunk.toString()));
          response.on('end', () =>
            resolve({ status: response.statusCode, text, allow: response.headers.allow }),
          );
        },
      );
      sent.on('error', reject);
      sent.end();
    },
  );
}
