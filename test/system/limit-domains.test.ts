import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { domainOf } from '../../src/core/domains.ts';
import {
  gatewayResource,
  modelResource,
  providerResource,
  startGateway,
  type TestGateway,
} from '../support/gateway.ts';
import { TestRedisCluster } from '../support/redis-cluster.ts';
import { eventually } from '../support/running-envoy.ts';
import { exchange, type Outcome } from '../support/system/exchange.ts';
import { openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

/** Two limit domains on a Redis Cluster of three nodes: a tenant in each, and a limit for both together. */

const DOMAINS = ['one', 'two'];
const ROOM = 40;
const OWN_ROOM = 30;

let upstream: ScriptedUpstream;
let cluster: TestRedisCluster;
let gateway: TestGateway;
const keys: Record<string, string> = {};

/** A tenant of each domain, whose name begins so. */
const tenantsOf = (name: string): readonly string[] =>
  DOMAINS.map(
    (domain) =>
      Array.from({ length: 50 }, (_, index) => `${name}-${index}`).find(
        (tenant) => domainOf(DOMAINS, tenant) === domain,
      ) ?? '',
  );
const [first = '', second = ''] = tenantsOf('tenant');

const policy = (name: string, spec: object) => ({
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'LimitPolicy',
  metadata: { name },
  spec,
});

beforeAll(async () => {
  [upstream, cluster] = await Promise.all([startUpstream(), TestRedisCluster.start()]);
  upstream.always(openai.answer({ text: ['Hello.'], usage: { input: 3, output: 2 } }));
  gateway = await startGateway({
    env: {
      LIMEN_REDIS_URL: cluster.url,
      LIMEN_LIMIT_DOMAINS: DOMAINS.join(','),
      LIMEN_WORKERS: '2',
    },
    config: [
      gatewayResource({}),
      providerResource('chat', { type: 'openai-compatible', baseUrl: `${upstream.url}/v1` }),
      modelResource('only', [{ provider: 'chat' }]),
      // What Redis is too late for is not let through uncounted.
      policy('all', {
        per: 'everybody',
        requests: ROOM,
        window: '1h',
        match: { users: ['ada', 'bob'] },
        onStoreAway: 'refuse',
      }),
      policy('own', { per: 'tenant', requests: OWN_ROOM, window: '1h', onStoreAway: 'refuse' }),
    ],
  });
  keys[first] = await gateway.createKey({ user: 'ada', tenant: first });
  keys[second] = await gateway.createKey({ user: 'bob', tenant: second });
  // Each worker connects to a node when it first needs it; a request that waits too long for that is not counted.
  for (const other of tenantsOf('other')) {
    keys[other] = await gateway.createKey({ user: 'alice', tenant: other });
    await Promise.all(Array.from({ length: 10 }, () => ask(other)));
  }
});

afterAll(async () => {
  await gateway.stop();
  await Promise.all([upstream.close(), cluster.stop()]);
});

function ask(tenant: string): Promise<Outcome> {
  return exchange({
    url: gateway.url,
    path: '/v1/chat/completions',
    headers: { authorization: `Bearer ${keys[tenant] ?? ''}` },
    body: JSON.stringify({ model: 'only', messages: [{ role: 'user', content: 'Hello' }] }),
  });
}

/** Asks until nothing has been served for some rounds of the keeper of shares; returns how many were. */
async function served(tenants: readonly string[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let idle = 0; idle < 4;) {
    const outcomes = await Promise.all(
      tenants
        .flatMap((tenant) => [tenant, tenant, tenant])
        .map(async (tenant) => ({ tenant, ...(await ask(tenant)) })),
    );
    const good = outcomes.filter(({ status }) => status === 200);
    for (const { tenant } of good) counts[tenant] = (counts[tenant] ?? 0) + 1;
    // A 503 says nothing of the limits.
    const isOver = outcomes.every(({ status }) => status === 429);
    idle = isOver ? idle + 1 : 0;
    if (good.length === 0) await delay(1500);
  }
  return counts;
}

it('gives one tenant all that it may have, and the others what is left of the limit of all', async () => {
  await eventually(async () => ((await ask(first)).status === 200 ? true : undefined));
  expect(await served([first])).toEqual({ [first]: OWN_ROOM - 1 });
  expect(await served([second, first])).toEqual({ [second]: ROOM - OWN_ROOM });
  const refused = await ask(second);
  expect(refused.status).toBe(429);
  expect(refused.body).toContain(`${String(ROOM)} of ${String(ROOM)} requests in 1h`);
});

it('shows the sum, writes a row of every request, and leaves nothing open', async () => {
  const usage = await gateway.admin('GET', '/limits/usage?rule=all');
  expect(JSON.stringify(usage)).toContain(`"used":${String(ROOM)}`);
  const rows = await eventually(async () => {
    const all = await gateway.query(
      `SELECT tenant, count() AS requests FROM gateway_log WHERE status = 200 AND user != 'alice' GROUP BY tenant ORDER BY tenant`,
    );
    const sum = all.reduce((total, { requests }) => total + Number(requests), 0);
    return sum === ROOM ? all : undefined;
  }, 30_000);
  const expected = [
    { tenant: first, requests: OWN_ROOM },
    { tenant: second, requests: ROOM - OWN_ROOM },
  ].sort((one, other) => (one.tenant < other.tenant ? -1 : 1));
  expect(rows.map(({ tenant, requests }) => ({ tenant, requests: Number(requests) }))).toEqual(expected);
  const nodes = await cluster.keys();
  for (const domain of DOMAINS) {
    expect(nodes.filter((names) => names.some((name) => name.startsWith(`{limen:${domain}}`)))).toHaveLength(
      1,
    );
  }
});
