import { describe, expect, it } from 'vitest';
import { backendSchema } from '../config/resources/backend.ts';
import { buildSnapshot } from './build.ts';
import { compileBackend } from './backend.ts';

function compile(spec: object) {
  return compileBackend(resource(spec));
}

function resource(spec: object) {
  return backendSchema.parse({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Backend',
    metadata: { name: 'calendar' },
    spec,
  });
}

describe('a Backend in the snapshot', () => {
  it('has every default filled in', () => {
    expect(compile({ url: 'https://calendar.example' })).toEqual({
      name: 'calendar',
      scheme: 'https',
      host: 'calendar.example',
      port: 443,
      basePath: '',
      serverName: 'calendar.example',
      caFile: undefined,
      credential: undefined,
      connectTimeoutSeconds: 5,
      timeoutSeconds: 0,
      access: undefined,
      routes: [],
      identityHeaders: false,
      identityQuery: {},
      webSocket: false,
      stripPrefix: true,
      cookies: false,
    });
  });

  it.each([
    ['http://10.0.0.7:8080/api/', { scheme: 'http', host: '10.0.0.7', port: 8080, basePath: '/api' }],
    ['http://calendar/', { scheme: 'http', host: 'calendar', port: 80, basePath: '' }],
    ['https://[2001:db8::1]/x/y', { host: '2001:db8::1', serverName: '2001:db8::1', basePath: '/x/y' }],
  ])('is where %s says', (url, where) => {
    expect(compile({ url })).toMatchObject(where);
  });

  it.each([
    [{}, { header: 'authorization', prefix: 'Bearer ' }],
    [{ prefix: 'Basic ' }, { header: 'authorization', prefix: 'Basic ' }],
    [{ name: 'x-api-token' }, { header: 'x-api-token', prefix: '' }],
    [
      { name: 'x-api-token', prefix: 'Token ' },
      { header: 'x-api-token', prefix: 'Token ' },
    ],
  ])('sends its credential as %j says', (credentialHeader, credential) => {
    const spec = { url: 'https://calendar.example', credential: { env: 'CALENDAR_KEY' }, credentialHeader };
    expect(compile(spec).credential).toEqual(credential);
  });

  it('has its routes in the order in which they decide', () => {
    const routes = ['/', '/Admin/', '/admin/users', '/events'].map((pathPrefix) => ({ pathPrefix }));
    const { routes: compiled } = compile({
      url: 'https://calendar.example',
      routes: [...routes, { pathPrefix: '/events', methods: ['POST'] }],
    });
    expect(compiled.map(({ pathPrefix, methods }) => [pathPrefix, ...methods])).toEqual([
      ['/admin/users'],
      ['/events'],
      ['/events', 'POST'],
      ['/admin'],
      [''],
    ]);
  });

  it('stands in the snapshot by name, and its credential by that of its cluster, in no snapshot', () => {
    const backend = resource({ url: 'https://calendar.example', credential: { value: 'sk-secret' } });
    const { snapshot, credentials } = buildSnapshot([backend]);
    expect(Object.keys(snapshot.backends)).toEqual(['calendar']);
    expect(credentials).toEqual({ 'backend/calendar': { kind: 'text', source: { value: 'sk-secret' } } });
    expect(JSON.stringify(snapshot)).not.toContain('sk-secret');
  });
});
