import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
import { openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

/** What became of a request and why, asked of the whole installation by its command line. */

let upstream: ScriptedUpstream;
let gateway: TestGateway;

const limitPolicy = (name: string, spec: object) => ({
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'LimitPolicy',
  metadata: { name },
  spec,
});

beforeAll(async () => {
  upstream = await startUpstream();
  const price = { input: 1, output: 2 };
  gateway = await startGateway({
    config: [
      gatewayResource({ retries: { attempts: 1 } }),
      providerResource('first', { type: 'openai-compatible', baseUrl: `${upstream.url}/v1` }),
      modelResource('fast', [{ provider: 'first' }], { price, outputTokens: 1000 }),
      modelResource('dear', [{ provider: 'first' }], { price: { input: 1, output: 1000 } }),
      limitPolicy('of-fast', { per: 'user', match: { models: ['fast'] }, tokens: 100_000, period: 'day' }),
      limitPolicy('of-dear', {
        per: 'user',
        match: { models: ['dear'] },
        usd: 0.2,
        period: 'month',
        onShortfall: 'cutOff',
      }),
    ],
  });
});
afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

async function ask(model: string, more: object = {}, key = gateway.key) {
  const { status, headers, body } = await exchange({
    url: gateway.url,
    path: '/v1/chat/completions',
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }], ...more }),
  });
  return { status, body, id: String(headers['x-request-id']) };
}

const explain = (id: string) => limen(['explain', id], { env: gateway.environment, cwd: gateway.dataFolder });

/** Waits for the row, then returns what the command prints. */
async function explained(id: string): Promise<string> {
  await eventually(async () => {
    const rows = await gateway.query(`SELECT 1 FROM gateway_logs WHERE request_id = '${id}'`);
    return rows.length > 0 ? true : undefined;
  }, 30_000);
  const { stdout, stderr } = await explain(id);
  return stdout + stderr;
}

describe('limen explain', () => {
  it('tells of a request that was served', async () => {
    upstream.next(openai.answer({ text: ['Hello.'], usage: { input: 30, output: 12 } }));
    const { status, id } = await ask('fast');
    expect(status).toBe(200);
    const text = await explained(id);
    expect(text).toContain(`request  ${id}\n`);
    expect(text).toMatch(/^answer +200, from first/m);
    expect(text).toMatch(/^tokens +30 in, 12 out, told by the provider$/m);
    expect(text).toMatch(/^identify +key\/\S+ +tester +allowed/m);
    expect(text).toMatch(/^limit +of-fast +tester +allowed/m);
    expect(text).toMatch(/^settle +of-fast +tester +settled +reserved \d+ tokens, settled 42 tokens$/m);
    const checkpoints = [...text.matchAll(/^(identify|authorize|limit|settle) /gm)].map(([, name]) => name);
    expect(checkpoints).toEqual(['identify', 'authorize', 'limit', 'settle']);
  });

  it('tells of one that was refused, by whom or before anyone was known', async () => {
    const unknown = await ask('fast', {}, 'tw-nobodys-key');
    expect(unknown.status).toBe(401);
    const why = await explained(unknown.id);
    expect(why).toContain('nobody was identified');
    expect(why).toMatch(/^answer +401, invalid_api_key/m);
    expect(why).toMatch(/^identify +- +- +refused +invalid_api_key: /m);

    const missing = await ask('no-such-model');
    expect(missing.status).toBe(404);
    expect(await explained(missing.id)).toMatch(/^answer +404, model_not_found/m);
  });

  it('tells which budget ended a stream, and then which one had no room', async () => {
    const text = Array.from({ length: 3000 }, (_, index) => ` word${String(index)}`);
    upstream.next(openai.answer({ text }, { paceMs: 1 }));
    const cut = await ask('dear', { stream: true, max_tokens: 4000 });
    expect(cut.body).toContain('"finish_reason":"length"');
    const told = await explained(cut.id);
    expect(told).toMatch(/^limit +of-dear +tester +cut/m);
    expect(told).toMatch(/^cutOff +of-dear +tester +cut +ended after \d+ tokens of output$/m);
    expect(told).toMatch(/^settle +of-dear +tester +settled +reserved \$0\.\d+, settled \$0\.\d+$/m);

    const refused = await ask('dear', { stream: true, max_tokens: 4000 });
    expect(refused.status).toBe(402);
    const why = await explained(refused.id);
    expect(why).toMatch(/^answer +402, budget_exhausted/m);
    expect(why).toMatch(/^limit +of-dear +tester +refused/m);
  });

  it('says that it knows nothing of another', async () => {
    const { code, stderr } = await explain('another');
    expect([code, stderr]).toEqual([1, expect.stringContaining('There is no request "another"')]);
  });
});
