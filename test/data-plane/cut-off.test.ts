import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { LimitHold, LimitOutcome } from '../../src/core/limits.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import {
  anthropic,
  gemini,
  openai,
  openaiResponses,
  type Answer,
  type Dialect,
  type ScriptedUpstream,
  startUpstream,
} from '../support/upstream/index.ts';

/** A budget has room for so many tokens of output; the provider has no end of them. */
const ROOM = 40;
const ENDLESS: Answer = {
  text: Array.from({ length: 2000 }, (_, index) => ` word${String(index)}`),
  usage: { input: 9, output: 6000 },
};
/** The scripted Gemini tells with its first chunk what there will be in the end. */
const endlessOf = (dialect: Dialect): Answer =>
  dialect === gemini ? { ...ENDLESS, usage: { input: 9, output: 0 } } : ENDLESS;

const CUT: LimitOutcome = {
  outcome: 'cut',
  used: 4_990_000_000,
  held: 0,
  reserved: 10_000_000,
  resetMs: 60_000,
};
const HOLD: LimitHold = {
  rule: 'month',
  subject: 'ann',
  counter: 'month/usd/month/ann',
  unit: 'usd',
  limit: 5_000_000_000,
  reserved: 10_000_000,
  alerts: [],
};

interface Way {
  readonly title: string;
  readonly format: ClientFormatName;
  readonly model: string;
  readonly dialect: Dialect;
  /** What the client's stream ends with. */
  readonly ending: RegExp;
}

const CHAT_END = /"finish_reason":"length"\}\]\}\n\ndata: \[DONE\]\n\n$/;
const MESSAGES_END =
  /event: content_block_stop\n.*\n\nevent: message_delta\n.*"stop_reason":"max_tokens".*\n\nevent: message_stop\n.*\n\n$/;
const RESPONSES_END =
  /event: response.output_item.done\n.*"status":"incomplete".*\n\nevent: response.incomplete\n.*"incomplete_details":\{"reason":"max_output_tokens"\}.*\n\n$/;
const GEMINI_END = /"finishReason":"MAX_TOKENS".*"usageMetadata":\{.*\}.*\r?\n\r?\n$/;

const WAYS: readonly Way[] = [
  { title: 'chat', format: 'chat', model: 'gpt', dialect: openai, ending: CHAT_END },
  { title: 'messages', format: 'messages', model: 'claude', dialect: anthropic, ending: MESSAGES_END },
  { title: 'responses', format: 'responses', model: 'gpt', dialect: openaiResponses, ending: RESPONSES_END },
  { title: 'gemini', format: 'gemini', model: 'flash', dialect: gemini, ending: GEMINI_END },
  { title: 'chat from Anthropic', format: 'chat', model: 'claude', dialect: anthropic, ending: CHAT_END },
  {
    title: 'messages from Gemini',
    format: 'messages',
    model: 'flash',
    dialect: gemini,
    ending: MESSAGES_END,
  },
];

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('a stream that a budget ends, with %s', (_, capabilities) => {
  let plane: DataPlane;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    upstream = await startUpstream();
    const price = { input: 1, output: 2 };
    plane = await startDataPlane({
      capabilities,
      providers: {
        open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${upstream.url}/v1`, credential: 'sk-anth' },
        goog: { type: 'gemini', baseUrl: `${upstream.url}/v1beta`, credential: 'sk-goog' },
      },
      models: {
        gpt: { targets: [{ provider: 'open' }], price, cache: { ttlSeconds: 60, scope: 'everybody' } },
        claude: { targets: [{ provider: 'anth' }], price },
        flash: { targets: [{ provider: 'goog' }], price },
      },
      others: [
        {
          kind: 'LimitPolicy',
          name: 'month',
          spec: { per: 'user', usd: 5, period: 'month', onShortfall: 'cutOff' },
        },
      ],
      admission: { limits: [CUT], outputTokens: ROOM, holds: [HOLD] },
    });
  });
  afterAll(async () => {
    await plane.stop();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.reset();
    plane.forget();
  });
  afterEach(async () => {
    await plane.idle();
    expect(plane.faults).toEqual([]);
  });

  test.each(WAYS)(
    '$title: a proper end, and the provider is left',
    async ({ format, model, dialect, ending }) => {
      upstream.next(dialect.answer(endlessOf(dialect), { paceMs: 2 }));
      const answer = await plane.call(request(format, { model, stream: true, includeUsage: false }));
      expect([answer.status, answer.complete]).toEqual([200, true]);
      expect(answer.text).toMatch(ending);
      expect(answer.text).not.toContain('word40');
      const [asked] = upstream.requests;
      expect((await asked?.closed)?.by).toBe('peer');

      const row = await plane.rowOf(answer);
      expect(row).toMatchObject({ status: 200, errorCode: '', usageSource: 'counted', stream: true });
      expect([row.usage.output, row.cutOffTokens]).toEqual([ROOM, ROOM]);
      expect(row.trace).toContainEqual([
        'cutOff',
        'month',
        'ann',
        'cut',
        `ended after ${String(ROOM)} tokens of output`,
      ]);
      const cost = row.usage.input * 1000 + row.usage.output * 2000;
      expect(row.charges).toEqual([{ rule: 'month', subject: 'ann', unit: 'usd', amount: cost }]);
    },
  );

  test('what was cut off is not kept for equal requests', async () => {
    const asked = request('chat', { model: 'gpt', stream: true, content: 'Keep this.' });
    upstream.always(openai.answer(ENDLESS));
    const first = await plane.call(asked);
    const second = await plane.call(asked);
    expect([first.text.includes('"length"'), second.text.includes('"length"')]).toEqual([true, true]);
    expect(second.headers['x-limen-cache']).toBe('miss');
    expect(upstream.requests).toHaveLength(2);
  });

  test('an answer that ends by itself has its own end and its provider’s usage', async () => {
    upstream.next(anthropic.answer({ text: ['Short', ' and whole.'], usage: { input: 9, output: 6 } }));
    const answer = await plane.call(request('messages', { model: 'claude', stream: true }));
    expect(answer.text).toContain('"stop_reason":"end_turn"');
    const row = await plane.rowOf(answer);
    expect(row).toMatchObject({ usageSource: 'provider', usage: { output: 6 } });
    expect(row.cutOffTokens).toBeUndefined();
  });
});
