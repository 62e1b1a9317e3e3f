import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import {
  gatewayResource,
  modelResource,
  providerResource,
  startGateway,
  type TestGateway,
} from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { limen } from '../support/system/command.ts';
import { exchange } from '../support/system/exchange.ts';
import { METRICS_TOKEN } from '../support/system.ts';
import { answer, delayed, openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

/** A provider that keeps failing is left alone, shown so, and probed by one request alone. */

const FAILURES = 3;
/** Long enough for a command line to tell of it meanwhile. */
const OPEN_SECONDS = 10;

let upstream: ScriptedUpstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream();
  gateway = await startGateway({
    env: { LIMEN_METRICS_TOKEN: METRICS_TOKEN },
    config: [
      gatewayResource({
        circuitBreaker: { failures: FAILURES, openSeconds: OPEN_SECONDS },
        retries: { attempts: 1 },
      }),
      providerResource('shaky', {
        type: 'openai-compatible',
        baseUrl: `${upstream.url}/v1`,
        credential: 'sk-shaky',
      }),
      modelResource('only', [{ provider: 'shaky' }]),
    ],
  });
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

async function circuitMetric(state: string): Promise<boolean> {
  const { body } = await exchange({
    url: gateway.url,
    method: 'GET',
    path: '/metrics',
    headers: { authorization: `Bearer ${METRICS_TOKEN}` },
  });
  return body.includes(`limen_provider_circuit{provider="shaky",state="${state}"} 1`);
}

const refusalSchema = z.object({ error: z.object({ code: z.string() }) });

it('opens after failures in a row, is shown, and lets one probe through', async () => {
  upstream.always(openai.error(500));
  for (let count = 0; count < FAILURES; count += 1) expect((await ask()).status).toBe(500);
  // What became of a request reaches the circuit with the access log, a moment after its answer.
  const refused = await eventually(async () => {
    const outcome = await ask();
    return outcome.status === 503 ? outcome : undefined;
  });
  expect(refusalSchema.parse(JSON.parse(refused.body)).error.code).toBe('upstream_unavailable');
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
  await eventually(async () => ((await circuitMetric('open')) ? true : undefined));
  expect(await circuitMetric('closed')).toBe(false);
  const shown = await limen(['get', 'providers'], { env: gateway.environment, cwd: gateway.dataFolder });
  expect(shown.stdout).toMatch(/shaky.*open for \d+ s/);

  // Slow enough that all of the burst are there while the probe is under way.
  upstream.reset();
  upstream.always(delayed(3000, answer(200, { 'content-type': 'application/json' }, '{"choices":[]}')));
  const probed = await eventually(async () => {
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask()));
    return outcomes.some(({ status }) => status === 200) ? outcomes : undefined;
  });
  const statuses = probed.map(({ status }) => status).sort((left, right) => left - right);
  expect(statuses).toEqual([200, ...Array.from({ length: 19 }, () => 503)]);
  expect(upstream.requests).toHaveLength(1);

  await eventually(async () => ((await circuitMetric('closed')) ? true : undefined));
  const after = await eventually(async () => {
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => ask()));
    return outcomes.every(({ status }) => status === 200) ? outcomes : undefined;
  });
  expect(after).toHaveLength(5);
});
