import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { startGateway, type ResourceObject, type TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { Service } from '../support/upstream/service.ts';

/** Another HTTP service behind the whole gateway: addresses, credential, limits and rows as an operator has them. */

const ROOM = 3;

let service: Service;
let gateway: TestGateway;

function resource(kind: string, name: string, spec: object): ResourceObject {
  return { apiVersion: 'limen.dev/v1alpha1', kind, metadata: { name }, spec };
}

beforeAll(async () => {
  service = await Service.start();
  const { port } = new URL(service.url);
  gateway = await startGateway({
    env: { LIMEN_ALLOWED_FETCH_RANGES: '127.0.0.1/32,::1/128', SERVICE_KEY: 'sk-service' },
    config: [
      resource('Backend', 'calendar', {
        url: `http://127.0.0.1:${port}/base`,
        credential: { env: 'SERVICE_KEY' },
        routes: [{ pathPrefix: '/events' }],
      }),
      resource('Backend', 'named', { url: `http://localhost:${port}`, webSocket: true }),
      resource('Backend', 'forbidden', { url: `http://127.0.0.2:${port}` }),
      resource('LimitPolicy', 'calls', {
        per: 'user',
        requests: ROOM,
        window: '1h',
        match: { backends: ['calendar'] },
      }),
    ],
  });
});
afterAll(async () => {
  await gateway.stop();
  await service.close();
});
beforeEach(() => {
  service.reset();
});

function ask(path: string, key = gateway.key): Promise<Response> {
  return fetch(`${gateway.url}/backends/${path}`, { headers: { authorization: `Bearer ${key}` } });
}

it('is reached by name, at addresses that the control plane has found', async () => {
  const response = await ask('named/x?a=1');
  expect([response.status, await response.text()]).toEqual([200, 'ok']);
  expect(service.only().url).toBe('/x?a=1');
});

it('is not reached at an address that no range allows, and the operator is told', async () => {
  const response = await ask('forbidden/x');
  expect(response.status).toBe(503);
  expect(service.requests).toEqual([]);
  const status = await gateway.admin('GET', '/status');
  expect(JSON.stringify(status)).toContain('Backend/forbidden');
  expect(JSON.stringify(status)).toContain('LIMEN_ALLOWED_FETCH_RANGES');
});

it('is counted by rules on requests, and every request is a row', async () => {
  const statuses: number[] = [];
  for (let index = 0; index <= ROOM; index += 1) {
    const response = await ask(`calendar/events/${String(index)}?token=secret`);
    statuses.push(response.status);
    await response.text();
  }
  expect(statuses).toEqual([...Array.from({ length: ROOM }, () => 200), 429]);
  expect(service.requests.map(({ url }) => url)).toEqual(
    Array.from({ length: ROOM }, (_, index) => `/base/events/${String(index)}?token=secret`),
  );
  expect(service.requests.every(({ headers }) => headers.authorization === 'Bearer sk-service')).toBe(true);
  // What another service is asked for is no part of this rule.
  expect((await ask('named/x')).status).toBe(200);
  const rows = await eventually(async () => {
    const all = await gateway.rows();
    const own = all.filter((row) => row['model_asked'] === '/backends/calendar/events');
    return own.length > ROOM ? own : undefined;
  }, 20_000);
  expect(rows.map(({ format, status, provider }) => [format, status, provider])).toEqual([
    ...Array.from({ length: ROOM }, () => ['backend', 200, 'calendar']),
    ['backend', 429, ''],
  ]);
  expect(JSON.stringify(rows)).not.toContain('token=secret');
});

it('comes and goes with its resource, while the gateway runs', async () => {
  const { port } = new URL(service.url);
  const added = resource('Backend', 'added', { url: `http://127.0.0.1:${port}` });
  expect((await ask('added/x')).status).toBe(404);
  await gateway.admin('PUT', '/resources', { resources: [added] });
  const status = await eventually(
    async () => ((await ask('added/x')).status === 200 ? 200 : undefined),
    10_000,
  );
  expect(status).toBe(200);
  await gateway.admin('DELETE', '/resources/Backend/added');
  const gone = await eventually(
    async () => ((await ask('added/x')).status === 404 ? 404 : undefined),
    10_000,
  );
  expect(gone).toBe(404);
});
