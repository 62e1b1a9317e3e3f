import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  gatewayResource,
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { limen } from '../support/system/command.ts';
import { exchange } from '../support/system/exchange.ts';
import { openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

/** Limits that nobody has configured, and how a policy takes the place of one, while the gateway runs. */

const ROOM = 100;

let upstream: ScriptedUpstream;
let gateway: TestGateway;

const config = (...more: ResourceObject[]): ResourceObject[] => [
  gatewayResource({}),
  providerResource('chat', { type: 'openai-compatible', baseUrl: `${upstream.url}/v1` }),
  modelResource('only', [{ provider: 'chat' }]),
  ...more,
];

beforeAll(async () => {
  upstream = await startUpstream();
  upstream.always(openai.answer({ text: ['Hello.'], usage: { input: 3, output: 2 } }));
  gateway = await startGateway({ env: { LIMEN_DEFAULT_LIMITS: 'on' }, config: config() });
});
afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

function ask() {
  return exchange({
    url: gateway.url,
    path: '/v1/chat/completions',
    headers: { authorization: `Bearer ${gateway.key}` },
    body: JSON.stringify({ model: 'only', messages: [{ role: 'user', content: 'Hello' }] }),
  });
}

it('lets a user ask 100 times a minute, to the request', async () => {
  // Not all at once: what Redis is too late for, where the machine is busy, goes on uncounted.
  const outcomes: Awaited<ReturnType<typeof ask>>[] = [];
  while (outcomes.length < ROOM + 20) outcomes.push(...(await Promise.all(Array.from({ length: 20 }, ask))));
  expect(outcomes.filter(({ status }) => status === 200)).toHaveLength(ROOM);
  const refused = outcomes.filter(({ status }) => status === 429);
  expect(refused).toHaveLength(20);
  expect(refused[0]?.body).toContain('user:requests/1m (default-user-requests)');
  const listed = await limen(['get', 'LimitPolicy'], { env: gateway.environment, cwd: gateway.dataFolder });
  expect(listed.stdout).toContain('default-address-requests');
});

it('gives way to a policy of the same name', async () => {
  gateway.writeConfig(
    config({
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'LimitPolicy',
      metadata: { name: 'default-user-requests' },
      spec: { per: 'user', requests: 1000, window: '1m' },
    }),
  );
  const outcome = await eventually(async () => {
    const one = await ask();
    return one.status === 200 ? one : undefined;
  });
  expect(outcome.headers['x-ratelimit-limit-requests']).toBe('1000');
});
