import { afterAll, beforeAll } from 'vitest';
import { anthropic, openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';
import { anthropicTypescript } from './anthropic-typescript.ts';
import { openaiTypescript } from './openai-typescript.ts';
import { pythonDriver } from './python.ts';
import { describeScenarios } from './scenarios.ts';

/**
 * The same scenarios without a gateway: they prove that the official clients take the scripted upstreams for the
 * providers, so that a failure through the gateway is the gateway's.
 */

const KEY = 'sk-direct-0123456789';
const MODEL = 'some-model';
const drivers = [openaiTypescript, anthropicTypescript, pythonDriver('openai'), pythonDriver('anthropic')];
let upstream: ScriptedUpstream;

beforeAll(async () => {
  upstream = await startUpstream();
});

afterAll(async () => {
  await Promise.all(drivers.map((driver) => driver.close()));
  await upstream.close();
});

for (const driver of drivers) {
  describeScenarios({
    driver,
    dialect: driver.kind === 'openai' ? openai : anthropic,
    model: MODEL,
    upstreamModel: MODEL,
    // What both clients send of themselves; Anthropic takes it as well as x-api-key.
    upstreamCredential: ['authorization', `Bearer ${KEY}`],
    upstream: () => upstream,
    target: () => ({ url: upstream.url, key: KEY }),
    throughGateway: false,
  });
}
