import { describe, expect, it } from 'vitest';
import type { Principal } from '../core/principal.ts';
import type { SnapshotBackend } from '../core/snapshot.ts';
import {
  backendAddress,
  credentialQuery,
  findBackendRoute,
  foreignCookies,
  withoutCredential,
} from './backend.ts';

const BACKEND: SnapshotBackend = {
  name: 'calendar',
  scheme: 'https',
  host: 'calendar.example',
  port: 443,
  basePath: '/base',
  serverName: 'calendar.example',
  connectTimeoutSeconds: 5,
  timeoutSeconds: 0,
  routes: [],
  identityHeaders: false,
  identityQuery: {},
  webSocket: false,
  stripPrefix: true,
  cookies: false,
};
const ADA: Principal = {
  user: 'house:ada',
  keyId: 'k',
  kind: 'key',
  groups: ['a,b', 'ü'],
  roles: [],
  scopes: [],
  features: [],
  surfaces: ['backend'],
};

describe('the route of a request', () => {
  const backend = {
    ...BACKEND,
    routes: [
      { pathPrefix: '/admin/users', methods: ['GET'] },
      { pathPrefix: '/admin', methods: ['DELETE'], access: { roles: ['admin'] } },
      { pathPrefix: '/admin', methods: [], access: { roles: ['root'] } },
      { pathPrefix: '', methods: ['GET', 'POST'] },
    ],
  };
  const find = (rest: string, method = 'GET') => findBackendRoute(backend, { rest, query: '' }, method);

  it.each([
    ['/x', 'GET', 3],
    ['', 'POST', 3],
    ['/admin', 'DELETE', 1],
    ['/admin', 'GET', 2],
    ['/ADMIN/%55sers/7', 'GET', 0],
  ])('%s %s is number %i', (rest, method, index) => {
    expect(find(rest, method)).toBe(backend.routes[index]);
  });

  it('is none of a shorter prefix where the longest has another method', () => {
    expect(() => find('/admin/users', 'DELETE')).toThrow('no route for this method at /admin/users');
    expect(() => find('/x', 'PUT')).toThrow('no route for this method at /');
  });

  it('is refused where nothing fits, and not asked for where there are none', () => {
    const narrow = { ...BACKEND, routes: [{ pathPrefix: '/public', methods: [] }] };
    expect(() => findBackendRoute(narrow, { rest: '/other', query: '' }, 'GET')).toThrow(
      'no route for this path',
    );
    expect(findBackendRoute(BACKEND, { rest: '/other', query: '' }, 'GET')).toBeUndefined();
    expect(() => findBackendRoute(BACKEND, { rest: '/..;/x', query: '' }, 'GET')).toThrow('dot segments');
  });
});

describe('the address of a request', () => {
  it.each([
    [{}, '', '', '/base'],
    [{}, '/', 'a=1', '/base/?a=1'],
    [{ basePath: '' }, '', '', '/'],
    [{ basePath: '' }, '/x', '', '/x'],
    [{ stripPrefix: false }, '/x', '', '/base/backends/calendar/x'],
    [{}, '/x', '&a=1&&b', '/base/x?a=1&b'],
  ])('of %j at %s?%s is %s', (more, rest, query, address) => {
    expect(backendAddress({ ...BACKEND, ...more }, { rest, query }, ADA)).toBe(address);
  });

  it('says who asks in the place of what the client says', () => {
    const backend = { ...BACKEND, identityQuery: { u: 'user', g: 'groups', t: 'tenant' } } as const;
    const query = 'u=1&U=1&%75=1&u[]=1&u%5Ba%5D=1&+u=1&x;u=1&t=1&ux=2&a=u';
    expect(backendAddress(backend, { rest: '/x', query }, ADA)).toBe(
      '/base/x?ux=2&a=u&u=house%3Aada&g=a%252Cb%2C%C3%BC',
    );
  });

  it.each(['user.id=root', 'user+id=root', 'user%20id=root', 'User_ID[]=root', 'user_id%00x=root'])(
    'takes out what a server may read as the same parameter, also where nothing is known: %s',
    (query) => {
      const backend = { ...BACKEND, identityQuery: { user_id: 'email' } } as const;
      expect(backendAddress(backend, { rest: '/x', query }, ADA)).toBe('/base/x');
    },
  );

  it('makes one group of one, and ends a list before it is too long', () => {
    const backend = { ...BACKEND, identityQuery: { g: 'groups' } } as const;
    const groups = (names: readonly string[]) =>
      new URLSearchParams(
        backendAddress(backend, { rest: '', query: '' }, { ...ADA, groups: names }).split('?')[1],
      ).get('g');
    expect(groups(['staff,admins', '100%2C', '\ud800'])).toBe('staff%2Cadmins,100%252C,\ufffd');
    const many = Array.from({ length: 500 }, (_, index) => `group-${String(index)}-${'x'.repeat(20)}`);
    expect(groups(many)?.length).toBeLessThanOrEqual(4096);
    expect(many).toContain(groups(many)?.split(',').at(-1));
  });
});

describe('credentials in a query', () => {
  it('are taken out, whatever they are called', () => {
    expect(withoutCredential('a=1&key=tw-k&token=%74w-k&x=+tw-k&b=tw-k2', 'tw-k')).toBe('a=1&b=tw-k2');
  });

  it('are looked for only where no header has one', () => {
    const header = (name: string) => (name === 'x-api-key' ? 'k' : undefined);
    expect(credentialQuery(header, 'key=theirs')).toBe('');
    expect(credentialQuery(() => undefined, 'key=ours')).toBe('key=ours');
  });
});

describe('cookies', () => {
  it('are the service’s own', () => {
    expect(
      foreignCookies('a=1; limen_session=2;limen.csrf=3; __Host-Limen=4; __Secure-limen=5; b="x y"'),
    ).toBe('a=1; b="x y"');
    expect(foreignCookies('limen_session=2')).toBeUndefined();
    expect(foreignCookies('')).toBeUndefined();
  });
});
