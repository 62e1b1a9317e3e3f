import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, request, type IncomingMessage } from 'node:http';
import { connect as connectHttp2, createSecureServer, type Http2SecureServer } from 'node:http2';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { VerifiedToken } from '../../src/core/verified-token.ts';
import { CertificateAuthority } from '../support/certificates.ts';
import {
  CLIENT_KEY,
  startDataPlane,
  type BackendInput,
  type DataPlane,
  type DataPlaneOptions,
} from '../support/data-plane.ts';
import { RemoteWorker } from '../support/data-plane/remote-worker.ts';
import { eventually, removeFolder, temporaryFolder } from '../support/running-envoy.ts';
import { portOf, Service } from '../support/upstream/service.ts';

const MEGABYTE = 1_048_576;
const UPLOAD_IDLE_SECONDS = 2;
/** Nobody listens at the first of several. */
const ADDRESSES = { unresolved: [], several: ['127.0.0.3', '::1', '127.0.0.1'] };
const KEYS: DataPlaneOptions['keys'] = [
  { key: CLIENT_KEY, id: 'key-1', user: 'ada', team: 'physics', tenant: 'north' },
  { key: 'tw-nameless', id: 'key-3', user: 'bob' },
  { key: 'tw-models-only', id: 'key-2', user: 'bob', surfaces: ['model'] },
];
const USERS: DataPlaneOptions['users'] = [
  { id: 'ada', email: 'ada@example.com', name: 'Ada', groups: ['staff', 'maths & more'], roles: [] },
];
const TOKENS: Readonly<Record<string, VerifiedToken>> = {
  'a.plain.token': token({}),
  'a.scoped.token': token({ scopes: ['calendar.write', 'calendar.read'] }),
  'a.pro.token': token({ features: ['plan:pro'] }),
  'a.roleless.token': token({ roles: [] }),
  'a.narrow.token': token({ roles: ['narrow'] }),
  'slow.token.x': token({}),
};

const OTHERS = [
  { kind: 'Role', name: 'narrow', spec: { permissions: ['backends:use'], backends: ['pl*', 'calendar'] } },
];

function token(more: Partial<VerifiedToken>): VerifiedToken {
  const who = { provider: 'house', user: 'house:alice', groups: [], roles: ['developer'], tenant: 'south' };
  return { ...who, scopes: [], features: [], expiresAt: Date.now() + 3_600_000, ...more };
}

function backendsAt(url: string): Record<string, BackendInput> {
  return {
    plain: { url: `${url}/base` },
    root: { url },
    keyed: { url, credential: 'sk-service' },
    basic: { url, credential: 'c2VjcmV0', credentialHeader: { prefix: 'Basic ' } },
    named: { url, credential: 'sk-named', credentialHeader: { name: 'x-service-key' } },
    socket: { url, webSocket: true },
    told: { url, identityHeaders: true, identityQuery: { who: 'user', groups: 'groups', org: 'tenant' } },
    prefixed: { url: `${url}/base`, stripPrefix: false, cookies: true },
    calendar: {
      url,
      routes: [
        { pathPrefix: '/', methods: ['GET'] },
        { pathPrefix: '/events', methods: ['GET'] },
        { pathPrefix: '/events', methods: ['POST'], access: { scopes: ['calendar.write'] } },
        { pathPrefix: '/admin', access: { roles: ['admin'] } },
        { pathPrefix: '/reports', access: { features: ['plan:pro', 'plan:team'] } },
      ],
    },
    narrow: { url, routes: [{ pathPrefix: '/public' }] },
    hurried: { url, timeoutSeconds: 0.3 },
    nowhere: { url: 'http://127.0.0.1:9' },
    unresolved: { url },
    several: { url },
  };
}

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('other services with %s', (_, capabilities) => {
  let plane: DataPlane;
  let service: Service;

  beforeAll(async () => {
    service = await Service.start();
    plane = await startDataPlane({
      capabilities,
      providers: {},
      models: {},
      keys: KEYS,
      users: USERS,
      tokens: TOKENS,
      gateway: { timeouts: { uploadIdleSeconds: UPLOAD_IDLE_SECONDS } },
      backends: backendsAt(service.url),
      backendAddresses: ADDRESSES,
      others: OTHERS,
    });
  });
  afterAll(async () => {
    await plane.stop();
    await service.close();
  });
  beforeEach(() => {
    service.reset();
    plane.forget();
  });
  afterEach(() => {
    expect(plane.faults).toEqual([]);
  });

  const get = (path: string, more: Parameters<DataPlane['call']>[0] = {}) =>
    plane.call({ method: 'GET', path, ...more });

  test('a request goes below the base path, its query as it is, and is a row', async () => {
    const result = await get('/backends/plain/items/%C3%A4?a=1&a=2&key=theirs&b');
    expect(result).toMatchObject({ status: 200, text: 'ok' });
    const { method, url, headers } = service.only();
    expect({ method, url }).toEqual({ method: 'GET', url: '/base/items/%C3%A4?a=1&a=2&key=theirs&b' });
    expect(headers.host).toBe(service.url.slice('http://'.length));
    expect(headers['x-client-request-id']).toBe(result.headers['x-request-id']);
    expect(await plane.rowOf(result)).toMatchObject({
      format: 'backend',
      provider: 'plain',
      providerModel: '',
      model: '',
      modelAsked: '/backends/plain',
      user: 'ada',
      status: 200,
      errorCode: '',
      attempts: 1,
      usageSource: 'none',
      costUsd: 0,
      responseBytes: 2,
    });
    expect(plane.intents).toHaveLength(1);
  });

  test('the name alone is the root', async () => {
    await get('/backends/plain');
    await get('/backends/root?x');
    expect(service.requests.map(({ url }) => url)).toEqual(['/base', '/?x']);
  });

  test.each([
    '/health/live',
    '/health/ready',
    '/metrics',
    '/oauth/token',
    '/oauth/jwks.json',
    '/.well-known/oauth-authorization-server',
    '/.well-known/oauth-protected-resource',
    '/v1/models',
    '/backends/root/x',
  ])('a path of the gateway’s own is the service’s, below its name: %s', async (path) => {
    const result = await get(`/backends/root${path}`);
    expect(result).toMatchObject({ status: 200, text: 'ok' });
    expect(service.only().url).toBe(path);
  });

  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'])('%s passes', async (method) => {
    const result = await plane.call({ method, path: '/backends/plain/x' });
    expect(result.status).toBe(200);
    expect(service.only().method).toBe(method);
  });

  test('nothing of the client’s credentials, of the gateway or about the caller reaches it', async () => {
    await get('/backends/plain/x', {
      headers: {
        'x-api-key': CLIENT_KEY,
        'x-goog-api-key': CLIENT_KEY,
        'api-key': CLIENT_KEY,
        'proxy-authorization': 'Basic eA==',
        cookie: 'limen_session=1; theirs=2',
        'x-user-id': 'root',
        'X-User-Admin': 'true',
        x_user_id: 'root',
        'x-organization': 'other',
        'x-gateway-validated': 'true',
        'x-limen-cluster': 'backend/keyed',
        'x-envoy-upstream-rq-timeout-ms': '1',
        'x-forwarded-for': '10.0.0.1',
        'x-their-own': 'stays',
      },
    });
    const { headers, rawHeaders } = service.only();
    expect(rawHeaders.join('\n')).not.toContain(CLIENT_KEY);
    expect(Object.keys(headers).sort((left, right) => (left < right ? -1 : 1))).toEqual([
      'host',
      'x-client-request-id',
      'x-their-own',
    ]);
  });

  test('a key in the query is taken where no header has one, and goes no further', async () => {
    const result = await get(`/backends/plain/x?a=1&key=${CLIENT_KEY}&b=2`, { key: undefined });
    expect(result.status).toBe(200);
    await get(`/backends/plain/x?token=${CLIENT_KEY}&b=2`);
    expect(service.requests.map(({ url }) => url)).toEqual(['/base/x?a=1&b=2', '/base/x?b=2']);
  });

  test.each([
    ['keyed', 'authorization', 'Bearer sk-service'],
    ['basic', 'authorization', 'Basic c2VjcmV0'],
    ['named', 'x-service-key', 'sk-named'],
  ])('%s gets its own credential from Envoy', async (name, header, value) => {
    const result = await get(`/backends/${name}/x`, {
      headers: { 'x-service-key': 'the client’s'.slice(0, 3) },
    });
    expect(result.status).toBe(200);
    expect(service.only().headers[header]).toBe(value);
    expect(await plane.configDump()).not.toContain(value);
  });

  test('a body passes both ways as it comes, chunked, in any size, and no worker sees it', async () => {
    const seen: number[] = [];
    const piece = Buffer.alloc(MEGABYTE, 'x');
    const pieces = 200;
    service.handler = async (incoming, response) => {
      for await (const chunk of incoming) {
        if (!response.write(chunk)) await once(response, 'drain');
      }
      response.end();
    };
    async function* upload() {
      for (let index = 0; index < pieces; index += 1) {
        yield piece;
        if (index % 50 === 49) {
          const [load] = await plane.loads();
          seen.push((load?.open ?? 0) + (load?.bytesInFlight ?? 0));
        }
      }
    }
    const result = await plane.call({ path: '/backends/plain/echo', body: upload() });
    expect(result).toMatchObject({ status: 200, complete: true });
    expect(result.body.length).toBe(pieces * MEGABYTE);
    // The exchange was over before the body was.
    expect(seen).toEqual([0, 0, 0, 0]);
    expect((await plane.rowOf(result)).responseBytes).toBe(pieces * MEGABYTE);
  });

  test('over HTTP/2 as well, both ways at once', async () => {
    service.handler = (incoming, response) => void incoming.pipe(response);
    const session = connectHttp2(plane.url);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/backends/plain/echo',
      authorization: `Bearer ${CLIENT_KEY}`,
    });
    stream.write('first');
    const [head] = await once(stream, 'response');
    const [first] = await once(stream, 'data');
    let rest = 0;
    stream.on('data', (chunk: Buffer) => (rest += chunk.length));
    stream.end(Buffer.alloc(20 * MEGABYTE));
    await once(stream, 'end');
    session.close();
    expect(head).toMatchObject({ ':status': 200 });
    expect(String(first)).toBe('first');
    expect(rest).toBe(20 * MEGABYTE);
  });

  test('a request with trailers arrives whole', async () => {
    service.handler = (incoming, response) => void incoming.pipe(response);
    const result = await plane.call({
      path: '/backends/plain/echo',
      body: ['one', 'two'],
      trailers: { 'x-checksum': '1' },
    });
    expect(result).toMatchObject({ status: 200, text: 'onetwo' });
  });

  test('events of a stream come as they are sent', async () => {
    const second = Promise.withResolvers<void>();
    service.handler = async (incoming, response) => {
      incoming.resume();
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: one\n\n');
      await second.promise;
      response.end('data: two\n\n');
    };
    const open = await plane.open({ method: 'GET', path: '/backends/plain/events' });
    const [first] = await once(open.response, 'data');
    expect(String(first)).toBe('data: one\n\n');
    second.resolve();
    expect((await open.finish()).text).toBe('data: two\n\n');
  });

  test('a service may think for longer than a client may be silent before the decision', async () => {
    service.handler = async (incoming, response) => {
      incoming.resume();
      await sleep(UPLOAD_IDLE_SECONDS * 1000 + 500);
      response.end('late');
    };
    expect(await get('/backends/plain/x')).toMatchObject({ status: 200, text: 'late' });
  });

  test('a compressed answer stays compressed', async () => {
    const body = gzipSync('hello');
    service.handler = (incoming, response) => {
      incoming.resume();
      response.writeHead(200, { 'content-encoding': 'gzip', etag: '"1"' });
      response.end(body);
    };
    const result = await get('/backends/plain/x', { headers: { 'accept-encoding': 'gzip' } });
    expect(service.only().headers['accept-encoding']).toBe('gzip');
    expect(result.headers).toMatchObject({ 'content-encoding': 'gzip', etag: '"1"' });
    expect(result.body.equals(body)).toBe(true);
  });

  test('its answer is the client’s, without what is the gateway’s to say', async () => {
    service.handler = (incoming, response) => {
      incoming.resume();
      response.writeHead(404, {
        'set-cookie': 'a=1',
        'clear-site-data': '"*"',
        'www-authenticate': 'Basic',
        'strict-transport-security': 'max-age=1',
        'access-control-allow-origin': '*',
        'x-limen-dropped': 'x',
        'x-request-id': 'theirs',
        'x-theirs': 'stays',
      });
      response.end('{"missing":true}');
    };
    const result = await get('/backends/plain/x');
    expect(result).toMatchObject({ status: 404, text: '{"missing":true}' });
    expect(result.headers['x-theirs']).toBe('stays');
    for (const name of [
      'set-cookie',
      'clear-site-data',
      'www-authenticate',
      'strict-transport-security',
      'x-limen-dropped',
    ]) {
      expect(result.headers[name]).toBeUndefined();
    }
    expect(result.headers['x-request-id']).not.toBe('theirs');
    expect(await plane.rowOf(result)).toMatchObject({ status: 404, provider: 'plain' });
  });

  test('cookies pass where they are asked for, but never the gateway’s own', async () => {
    service.handler = (incoming, response) => {
      incoming.resume();
      response.writeHead(200, { 'set-cookie': 'a=1' });
      response.end();
    };
    const result = await get('/backends/prefixed/x', {
      headers: { cookie: 'a=1; limen_session=2; __Host-limen-session=3; b=4' },
    });
    expect(service.only()).toMatchObject({
      url: '/base/backends/prefixed/x',
      headers: { cookie: 'a=1; b=4' },
    });
    expect(result.headers['set-cookie']).toEqual(['a=1']);
  });

  test('WebSockets pass both ways', async () => {
    const { response, socket } = await upgrade(plane.port, '/backends/socket/ws?room=1');
    expect(response.statusCode).toBe(101);
    expect(service.only().url).toBe('/ws?room=1');
    expect(service.only().headers.authorization).toBeUndefined();
    socket.write('hello');
    const [echo] = await once(socket, 'data');
    expect(String(echo)).toBe('hello');
    service.sockets[0]?.destroy();
    await once(socket, 'close');
    expect(await plane.rowOf(response)).toMatchObject({
      provider: 'socket',
      format: 'backend',
      status: 101,
      errorCode: '',
    });
  });

  test.each([
    ['a backend that takes none', '/backends/plain/ws', `Bearer ${CLIENT_KEY}`, 403],
    ['a wrong key', '/backends/socket/ws', 'Bearer tw-wrong', 401],
    ['a path of models', '/v1/responses', `Bearer ${CLIENT_KEY}`, 403],
  ])('WebSockets are refused: %s', async (_what, path, authorization, status) => {
    const { response } = await upgrade(plane.port, path, authorization);
    expect(response.statusCode).toBe(status);
    expect(service.requests).toEqual([]);
  });

  test('nobody gets in without a credential, or with one that is not for this', async () => {
    const missing = await get('/backends/plain/x', { key: undefined });
    expect(missing.status).toBe(401);
    expect(missing.headers['www-authenticate']).toContain('resource_metadata=');
    expect(missing.json()).toMatchObject({ error: { code: 'missing_api_key' } });
    const surface = await get('/backends/plain/x', { key: 'tw-models-only' });
    expect(surface).toMatchObject({ status: 403 });
    expect(surface.text).toContain('the surface backend is missing');
    const roleless = await get('/backends/plain/x', { key: 'a.roleless.token' });
    expect(roleless).toMatchObject({ status: 403 });
    expect(roleless.text).toContain('backends:use');
    const unknown = await get('/backends/__proto__/x');
    expect(unknown).toMatchObject({ status: 404 });
    expect(service.requests).toEqual([]);
    expect(await plane.rowOf(roleless)).toMatchObject({
      modelAsked: '/backends/plain',
      provider: '',
      status: 403,
      errorCode: 'not_allowed',
      user: 'house:alice',
    });
  });

  test('a role may be for some backends alone', async () => {
    expect(await get('/backends/plain/x', { key: 'a.narrow.token' })).toMatchObject({ status: 200 });
    const refused = await get('/backends/root/x', { key: 'a.narrow.token' });
    expect(refused.status).toBe(403);
    expect(refused.text).toContain('a role whose list of backends has the backend \\"root\\" is missing');
    expect(service.only().url).toBe('/base/x');
  });

  test('a scope that is missing is named, and one that is there lets in', async () => {
    const refused = await plane.call({ path: '/backends/calendar/events/7', key: 'a.plain.token' });
    expect(refused.status).toBe(403);
    expect(refused.json()).toMatchObject({ error: { code: 'insufficient_scope' } });
    expect(refused.text).toContain('calendar.write');
    expect(refused.headers['www-authenticate']).toMatch(
      /^Bearer error="insufficient_scope", scope="calendar\.write"/,
    );
    expect(service.requests).toEqual([]);
    const allowed = await plane.call({ path: '/backends/calendar/events/7', key: 'a.scoped.token' });
    expect(allowed.status).toBe(200);
    const row = await plane.rowOf(allowed);
    expect(row.modelAsked).toBe('/backends/calendar/events');
    expect(row.trace.map(([checkpoint, rule, , outcome]) => [checkpoint, rule, outcome])).toContainEqual([
      'authorize',
      'role/developer',
      'allowed',
    ]);
  });

  test('a feature from claims is a condition', async () => {
    const refused = await get('/backends/calendar/reports', { key: 'a.plain.token' });
    expect(refused.status).toBe(403);
    expect(refused.text).toContain('plan:pro');
    expect(await get('/backends/calendar/reports', { key: 'a.pro.token' })).toMatchObject({ status: 200 });
  });

  test.each([
    ['/backends/calendar/admin', 'a role'],
    ['/backends/calendar/ADMIN/x', 'capitals'],
    ['/backends/calendar/%61dmin', 'an escape'],
    ['/backends/calendar/admin;a=b/x', 'a parameter of the path'],
    ['/backends/calendar/;a/admin', 'an empty segment'],
    ['/backends/calendar//admin', 'two slashes'],
    ['/backends/calendar/events/../admin', 'dots'],
    ['/backends/calendar/events/%2e%2e/admin', 'escaped dots'],
    ['/backends/calendar/x/..;/admin', 'dots with a parameter'],
    ['/backends/calendar/%2fadmin', 'an escaped slash'],
    ['/backends/calendar/x%5c..%5cadmin', 'escaped backslashes'],
    ['/backends/calendar/admin%00', 'a NUL'],
    ['/backends/calendar/x%zz', 'an escape that is none'],
    ['/backends/calendar/%2561dmin', 'an escape within an escape'],
    ['/backends/calendar/events/%252e%252e/admin', 'dots within two escapes'],
    ['/backends/calendar/x%252f..%252fadmin', 'slashes within two escapes'],
  ])('a protected path has no other way in: %s (%s)', async (path) => {
    const result = await get(path);
    expect([400, 403]).toContain(result.status);
    expect(service.requests).toEqual([]);
  });

  test('what is admitted when its client has left is settled at once', async () => {
    await eventually(async () => {
      // What is open below is to be this request's alone.
      await plane.idle();
      plane.forget();
      service.reset();
      const outgoing = request(`${plane.url}/backends/plain/x`, {
        headers: { authorization: 'Bearer slow.token.x' },
      });
      outgoing.on('error', () => undefined);
      outgoing.end();
      await eventually(async () => ((await plane.loads())[0]?.open === 0 ? undefined : true));
      // Where the machine stalls for longer than the token takes, the client did not leave before it was admitted.
      const isEarly = plane.intents.length === 0;
      outgoing.destroy();
      await plane.idle();
      return isEarly ? true : undefined;
    });
    await eventually(() => (plane.intents.length === 1 ? true : undefined));
    const [intent] = plane.intents;
    expect(await plane.rowOfRequest(intent?.requestId ?? '')).toMatchObject({
      modelAsked: '/backends/plain',
      user: 'house:alice',
      errorCode: 'client_disconnected',
      provider: '',
      attempts: 0,
      costUsd: 0,
    });
    expect(service.requests).toEqual([]);
  });

  test('no service is made to say what it was sent, its credential among it', async () => {
    const { status } = await plane.call({ method: 'TRACE', path: '/backends/keyed/x' });
    expect(status).toBe(405);
    expect(service.requests).toEqual([]);
  });

  test('no header has a service take the request for another one', async () => {
    const result = await plane.call({
      method: 'POST',
      path: '/backends/calendar/events',
      key: 'a.scoped.token',
      headers: {
        'x-http-method-override': 'DELETE',
        'x-http-method': 'DELETE',
        'x-method-override': 'DELETE',
        'x-original-url': '/admin',
        'x-rewrite-url': '/admin',
        forwarded: 'for=10.0.0.1',
        'x-real-ip': '10.0.0.1',
      },
    });
    expect(result.status).toBe(200);
    const { headers } = service.only();
    expect(
      Object.keys(headers).filter((name) => /override|method|original|rewrite|forwarded|real/.test(name)),
    ).toEqual([]);
  });

  test.each([
    ['GET', '/backends/narrow/private'],
    ['GET', '/backends/narrow/publicly'],
    ['GET', '/backends/narrow'],
    ['POST', '/backends/calendar/x'],
    ['DELETE', '/backends/calendar/events/7'],
  ])('what no route names is refused: %s %s', async (method, path) => {
    const result = await plane.call({ method, path });
    expect(result).toMatchObject({ status: 403 });
    expect(result.json()).toMatchObject({ error: { code: 'not_allowed' } });
    expect(service.requests).toEqual([]);
    const { trace } = await plane.rowOf(result);
    expect(trace.at(-1)?.slice(0, 4)).toEqual([
      'authorize',
      `Backend/${path.split('/')[2]}`,
      path.split('/', 3).join('/'),
      'refused',
    ]);
  });

  test.each([
    '/backends/plain/../../secret',
    '/backends/plain/%2e%2e/secret',
    '/backends/plain/..;/secret',
    '/backends/plain/..%2fsecret',
  ])('no path leads out of the base path: %s', async (path) => {
    const result = await get(path);
    expect([400, 404]).toContain(result.status);
    expect(service.requests).toEqual([]);
  });

  test('it is told who asks, and by nobody else', async () => {
    await get('/backends/told/x?a=1&who=root&WHO=root&who%5B%5D=root&b=1;who=root&%77ho=root&c=2', {
      headers: { 'x-user-id': 'root' },
    });
    const { url, headers } = service.only();
    expect(url).toBe('/x?a=1&c=2&who=ada&groups=staff%2Cmaths%20%26%20more&org=north');
    expect(headers).toMatchObject({
      'x-user-id': 'ada',
      'x-user-email': 'ada@example.com',
      'x-user-name': 'Ada',
      'x-organization': 'north',
      'x-gateway-validated': 'true',
    });
    service.reset();
    // What is not known is not said: neither by the gateway nor by the client.
    await get('/backends/told/x?org=mine', {
      key: 'tw-nameless',
      headers: { 'x-organization': 'mine', 'x-user-email': 'mine' },
    });
    await get('/backends/plain/x');
    const [nameless, untold] = service.requests;
    expect(nameless?.url).toBe('/x?who=bob&groups=');
    expect(nameless?.headers['x-user-id']).toBe('bob');
    expect(nameless?.headers['x-organization']).toBeUndefined();
    expect(nameless?.headers['x-user-email']).toBeUndefined();
    expect(untold?.headers['x-user-id']).toBeUndefined();
  });

  test('an address that nobody answers at gives way to the next', async () => {
    const result = await get('/backends/several/x');
    expect(result).toMatchObject({ status: 200, text: 'ok' });
    expect(await plane.rowOf(result)).toMatchObject({ attempts: 1 });
  });

  test('Envoy’s own answers have the shape of the others', async () => {
    const refused = await get('/backends/nowhere/x');
    expect(refused.status).toBe(503);
    expect(refused.json()).toMatchObject({
      error: { code: 'upstream_unavailable', message: 'The service could not be reached.' },
    });
    expect(await plane.rowOf(refused)).toMatchObject({
      provider: 'nowhere',
      errorCode: 'upstream_unavailable',
    });
    const unresolved = await get('/backends/unresolved/x');
    expect(unresolved.status).toBe(503);
    expect(unresolved.json()).toMatchObject({
      error: { code: 'unavailable', message: 'The service is not available right now. Try again shortly.' },
    });
    service.handler = () => undefined;
    const late = await get('/backends/hurried/x');
    expect(late.status).toBe(504);
    expect(late.json()).toMatchObject({ error: { code: 'upstream_timeout' } });
    expect(await plane.rowOf(late)).toMatchObject({ provider: 'hurried', errorCode: 'upstream_timeout' });
  });

  test('a rule on requests refuses, and names itself', async () => {
    const rule = { per: 'backend', requests: 7, window: '1m', match: { backends: ['plain'] } };
    const outcome = { used: 7, held: 0, reserved: 0, resetMs: 12_000 };
    const others = [...OTHERS, { kind: 'LimitPolicy', name: 'calls', spec: rule }];
    await plane.publish({ others, admission: { limits: [{ ...outcome, outcome: 'refused' }] } });
    const refused = await get('/backends/plain/x');
    const elsewhere = await get('/backends/root/x');
    await plane.publish({ others, admission: { limits: [{ ...outcome, used: 4, outcome: 'allowed' }] } });
    const allowed = await get('/backends/plain/x');
    await plane.publish({ others: OTHERS, admission: undefined });
    expect(refused.status).toBe(429);
    expect(refused.json()).toMatchObject({ error: { code: 'rate_limited' } });
    expect(refused.headers['retry-after']).toBe('12');
    expect(await plane.rowOf(refused)).toMatchObject({
      status: 429,
      errorCode: 'rate_limited',
      provider: '',
    });
    expect(elsewhere.status).toBe(200);
    expect(allowed.status).toBe(200);
    expect(allowed.headers).toMatchObject({ 'x-ratelimit-limit-requests': '7' });
    const { trace } = await plane.rowOf(allowed);
    expect(trace.map(([checkpoint, name, , result]) => [checkpoint, name, result])).toContainEqual([
      'limit',
      'calls',
      'allowed',
    ]);
    expect(service.requests.map(({ url }) => url)).toEqual(['/x', '/base/x']);
  });

  test('other addresses are followed, and open requests go on', async () => {
    const { port } = new URL(service.url);
    const other = createServer((_incoming, response) => response.end('the other one'));
    other.listen(Number(port), '127.0.0.2');
    await once(other, 'listening');
    const release = Promise.withResolvers<void>();
    service.handler = async (incoming, response) => {
      incoming.resume();
      response.write('first');
      await release.promise;
      response.end('last');
    };
    const open = await plane.open({ method: 'GET', path: '/backends/root/slow' });
    await plane.publish({ backendAddresses: { ...ADDRESSES, root: ['127.0.0.2'] } });
    const answer = await eventually(async () => {
      const { text } = await get('/backends/root/x');
      return text === 'the other one' ? text : undefined;
    });
    release.resolve();
    const before = await open.finish();
    await plane.publish({ backendAddresses: ADDRESSES });
    other.closeAllConnections();
    other.close();
    expect(answer).toBe('the other one');
    expect(before).toMatchObject({ text: 'firstlast', complete: true });
  });

  test('without a worker nothing passes, and what is open goes on', async () => {
    const { socket } = await upgrade(plane.port, '/backends/socket/ws');
    service.reset();
    await plane.workers[0]?.stop();
    socket.write('still there');
    const [echo] = await once(socket, 'data');
    socket.destroy();
    expect(String(echo)).toBe('still there');
    const result = await get('/backends/plain/x');
    expect(result.status).toBe(503);
    expect(result.json()).toMatchObject({ error: { code: 'unavailable' } });
    const { response } = await upgrade(plane.port, '/backends/socket/ws');
    expect(response.statusCode).toBe(503);
    expect(service.requests).toEqual([]);
  });
});

describe('a worker that is stuck', () => {
  test('holds no request for good, and lets none through', async () => {
    const service = await Service.start();
    const plane = await startDataPlane({
      providers: {},
      models: {},
      workerProcesses: true,
      backends: backendsAt(service.url),
    });
    const workers = plane.workers.filter((worker) => worker instanceof RemoteWorker);
    for (const worker of workers) worker.signal('SIGSTOP');
    const answer = await plane.call({ method: 'GET', path: '/backends/plain/x' });
    const { response } = await upgrade(plane.port, '/backends/socket/ws');
    for (const worker of workers) worker.signal('SIGCONT');
    await plane.stop();
    await service.close();
    expect(workers).toHaveLength(1);
    expect(answer.status).toBe(503);
    expect(answer.json()).toMatchObject({ error: { code: 'unavailable' } });
    expect(response.statusCode).toBe(503);
    expect(service.requests).toEqual([]);
  });
});

describe('other services over TLS', () => {
  let plane: DataPlane;
  let folder: string;
  let servers: HttpsServer[];
  let http2: Http2SecureServer;

  beforeAll(async () => {
    folder = await temporaryFolder();
    const authority = new CertificateAuthority('the house');
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, authority.certificate);
    const serve = async (names: readonly string[]): Promise<HttpsServer> => {
      const { certificate, key } = authority.issue({ names });
      const server = createHttpsServer({ cert: certificate, key }, (incoming, response) => {
        incoming.resume();
        response.end(`${String(incoming.headers.host)} ${String(sniOf(incoming))}`);
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    };
    servers = [await serve(['service.test']), await serve(['another.test'])];
    const { certificate, key } = authority.issue({ names: ['service.test'] });
    http2 = createSecureServer({ cert: certificate, key }, (incoming, response) => {
      incoming.resume();
      incoming.on('end', () => response.end(JSON.stringify({ ...incoming.headers, ...incoming.trailers })));
    });
    http2.listen(0, '127.0.0.1');
    await once(http2, 'listening');
    const [good, wrong] = servers.map(portOf);
    const at = (port: number | undefined) => `https://service.test:${String(port)}`;
    plane = await startDataPlane({
      providers: {},
      models: {},
      backends: {
        good: { url: at(good), tls: { caFile } },
        wrong: { url: at(wrong), tls: { caFile } },
        untrusted: { url: at(good) },
        http2: { url: at(portOf(http2)), tls: { caFile }, identityHeaders: true },
      },
      backendAddresses: {
        good: ['127.0.0.1'],
        wrong: ['127.0.0.1'],
        untrusted: ['127.0.0.1'],
        http2: ['127.0.0.1'],
      },
    });
  });
  afterAll(async () => {
    await plane.stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    http2.close();
    await removeFolder(folder);
  });

  test('trailers pass over HTTP/2, and say no more of the caller than headers may', async () => {
    const session = connectHttp2(plane.url);
    const stream = session.request(
      { ':method': 'POST', ':path': '/backends/http2/x', authorization: `Bearer ${CLIENT_KEY}` },
      { waitForTrailers: true },
    );
    stream.on('wantTrailers', () =>
      stream.sendTrailers({
        'x-checksum': '1',
        'x-user-id': 'root',
        'x-user-email': 'root@example.com',
        'x-api-key': 'k',
        'x-limen-cluster': 'c',
        'x-forwarded-for': '10.0.0.1',
      }),
    );
    stream.end('body');
    const pieces: Buffer[] = [];
    for await (const piece of stream) pieces.push(Buffer.from(piece));
    session.close();
    const received: unknown = JSON.parse(Buffer.concat(pieces).toString());
    expect(received).toMatchObject({ 'x-checksum': '1', 'x-user-id': expect.not.stringContaining('root') });
    for (const name of ['x-user-email', 'x-api-key', 'x-limen-cluster', 'x-forwarded-for']) {
      expect(received).not.toHaveProperty([name]);
    }
  });

  test('the name is asked for and checked, at the address that the control plane has found', async () => {
    const good = await plane.call({ method: 'GET', path: '/backends/good/x' });
    expect(good.status).toBe(200);
    expect(good.text).toMatch(/^service\.test:\d+ service\.test$/);
  });

  test.each(['wrong', 'untrusted'])('a certificate that is not its own is refused: %s', async (name) => {
    const refused = await plane.call({ method: 'GET', path: `/backends/${name}/x` });
    expect(refused.status).toBe(503);
    expect(refused.json()).toMatchObject({ error: { code: 'upstream_unavailable' } });
  });
});

/** The name that a client asked for in its TLS handshake. */
function sniOf({ socket }: IncomingMessage): unknown {
  return 'servername' in socket ? socket.servername : undefined;
}

interface Upgraded {
  readonly response: IncomingMessage;
  readonly socket: Duplex;
}

/** Asks for a WebSocket; resolves with the answer, whatever it is. */
async function upgrade(
  port: number,
  path: string,
  authorization = `Bearer ${CLIENT_KEY}`,
): Promise<Upgraded> {
  const outgoing = request({
    host: '127.0.0.1',
    port,
    path,
    headers: {
      authorization,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'sec-websocket-version': '13',
    },
  });
  const answered = Promise.withResolvers<Upgraded>();
  outgoing.once('upgrade', (response, socket) => answered.resolve({ response, socket }));
  outgoing.once('response', (response) => {
    response.resume();
    answered.resolve({ response, socket: response.socket });
  });
  outgoing.once('error', answered.reject);
  outgoing.end();
  return await answered.promise;
}
