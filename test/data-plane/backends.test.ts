import { once } from 'node:events';
import { request } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { VerifiedToken } from '../../src/core/verified-token.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { eventually } from '../support/running-envoy.ts';
import { Service } from '../support/upstream/service.ts';

const MEGABYTE = 1_048_576;

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
      backends: { plain: { url: `${service.url}/base` }, socket: { url: service.url, webSocket: true } },
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

  test('GET passes', async () => {
    const result = await plane.call({ method: 'GET', path: '/backends/plain/items?a=1&a=2' });
    expect(result.status).toBe(200);
    expect(result.text).toBe('ok');
    expect(service.only()).toMatchObject({ method: 'GET', url: '/base/items?a=1&a=2' });
    expect(await plane.rowOf(result)).toMatchObject({
      format: 'backend',
      provider: 'plain',
      modelAsked: '/backends/plain',
      user: 'ann',
      status: 200,
      errorCode: '',
      usageSource: 'none',
    });
  });

  test('POST', async () => {
    service.handler = (incoming, response) => void incoming.pipe(response);
    const result = await plane.call({ path: '/backends/plain/items', body: '{"a":1}' });
    expect(result.text).toBe('{"a":1}');
  });

  test('large', async () => {
    service.handler = async (incoming, response) => {
      let bytes = 0;
      for await (const chunk of incoming) bytes += (chunk as Buffer).length;
      response.end(String(bytes));
    };
    const piece = Buffer.alloc(MEGABYTE, 'x');
    const result = await plane.call({ path: '/backends/plain/up', body: Array.from({ length: 200 }, () => piece) });
    expect(result.text).toBe(String(200 * MEGABYTE));
  });

  test('websocket', async () => {
    const outgoing = request({
      port: plane.port,
      path: '/backends/socket/ws',
      headers: {
        authorization: `Bearer ${CLIENT_KEY}`,
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-version': '13',
      },
    });
    outgoing.end();
    const [response, socket] = await once(outgoing, 'upgrade');
    expect(response.statusCode).toBe(101);
    socket.write('hello');
    const [echo] = await once(socket, 'data');
    expect(String(echo)).toBe('hello');
    socket.destroy();
    const [row] = await plane.settled();
    expect(row).toMatchObject({ provider: 'socket', status: 101, errorCode: '' });
  });
});
