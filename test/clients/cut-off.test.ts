import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  gatewayResource,
  modelResource,
  providerResource,
  startGateway,
  type TestGateway,
} from '../support/gateway.ts';
import { anthropic, openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';
import { anthropicTypescript } from './anthropic-typescript.ts';
import type { ClientDriver } from './driver.ts';
import { googleTypescript } from './google-typescript.ts';
import { openaiResponsesTypescript } from './openai-responses-typescript.ts';
import { openaiTypescript } from './openai-typescript.ts';
import { pythonDriver } from './python.ts';

/** A stream that a real budget ends in the middle, through the running gateway, as every official client sees it. */

const drivers: readonly ClientDriver[] = [
  openaiTypescript,
  openaiResponsesTypescript,
  anthropicTypescript,
  googleTypescript,
  pythonDriver('openai'),
  pythonDriver('anthropic'),
];

/** How each client calls an answer that ran into its limit of output. */
const CUT: Readonly<Record<ClientDriver['kind'], string>> = {
  openai: 'length',
  'openai-responses': 'max_output_tokens',
  anthropic: 'max_tokens',
  gemini: 'MAX_TOKENS',
};

const BUDGET = 3000;
const TEXT = Array.from({ length: 6000 }, (_, index) => ` word${String(index)}`);

const dialects = [openai, anthropic];
/** Each has a budget of its own. */
const WAYS = drivers.flatMap((driver, index) =>
  dialects.map((dialect) => ({
    title: `${driver.name} from ${dialect.kind}`,
    driver,
    dialect,
    model: `${dialect.kind}-${String(index)}`,
  })),
);

let upstream: ScriptedUpstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream();
  gateway = await startGateway({
    config: [
      gatewayResource({ retries: { attempts: 1 } }),
      ...dialects.map(({ kind }) =>
        providerResource(kind, {
          type: kind,
          baseUrl: `${upstream.url}/v1`,
          credential: `sk-${kind}`,
          ...(kind === 'openai' ? { apis: ['chat'] } : {}),
        }),
      ),
      ...WAYS.map(({ model, dialect }) => modelResource(model, [{ provider: dialect.kind }])),
      ...WAYS.map(({ model }) => ({
        apiVersion: 'limen.dev/v1alpha1',
        kind: 'LimitPolicy',
        metadata: { name: `of-${model}` },
        spec: {
          per: 'user',
          match: { models: [model] },
          tokens: BUDGET,
          period: 'day',
          onShortfall: 'cutOff',
        },
      })),
    ],
  });
});

afterAll(async () => {
  await Promise.all(drivers.map((driver) => driver.close()));
  await gateway.stop();
  await upstream.close();
});

describe('a stream that a budget ends', () => {
  test.each(WAYS)('$title', async ({ driver, dialect, model }) => {
    upstream.next(dialect.answer({ text: TEXT, usage: { input: 9, output: 18_000 } }, { paceMs: 0 }));
    const { turns, error } = await driver.converse(
      { url: gateway.url, key: gateway.key },
      {
        model,
        prompt: 'Tell me more.',
        stream: true,
        includeUsage: true,
        maxOutputTokens: 8000,
        maxRetries: 0,
      },
    );
    expect(error).toBeNull();
    const [turn] = turns;
    expect(turn?.finish).toBe(CUT[driver.kind]);
    expect(turn?.text).toMatch(/^ ?word0 word1 word2 /);
    expect(turn?.text).not.toContain('word5999');
  });
});
