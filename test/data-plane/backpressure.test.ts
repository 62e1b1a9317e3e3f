import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FormatName } from '../../src/formats/hub.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import { type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

const MIB = 1_048_576;
const TOTAL_BYTES = 192 * MIB;
/**
 * What may be on its way to a client that does not read: Envoy's buffers from the provider, to
 * and from the worker and towards the client, each as large as the largest request body and a mebibyte, and the sockets' own.
 */
const HELD_BYTES = 144 * MIB;
const SAMPLE_MS = 100;
const STILL_SAMPLES = 10;
const TEXT = 'x'.repeat(16_000);

function chatEvent(text: string): string {
  return `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { content: text }, finish_reason: null }] })}\n\n`;
}

function messagesEvent(text: string): string {
  return `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })}\n\n`;
}

interface Case {
  readonly title: string;
  readonly format: FormatName;
  readonly model: string;
  readonly includeUsage?: boolean;
  readonly opening: readonly string[];
  readonly event: (text: string) => string;
  readonly closing: readonly string[];
  /** Growth of the worker: nothing but noise, garbage of the bytes that pass, garbage of their conversion. */
  readonly workerBytes: number;
}

const CHAT_CLOSING = [
  'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
  'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}\n\n',
  'data: [DONE]\n\n',
];
const MESSAGES_OPENING = [
  'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":1}}}\n\n',
  'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
];
const MESSAGES_CLOSING = [
  'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
  'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":6}}\n\n',
  'event: message_stop\ndata: {"type":"message_stop"}\n\n',
];

const CASES: readonly Case[] = [
  {
    title: 'native',
    format: 'chat',
    model: 'gpt',
    includeUsage: true,
    opening: [],
    event: chatEvent,
    closing: CHAT_CLOSING,
    workerBytes: 16 * MIB,
  },
  {
    title: 'strip',
    format: 'chat',
    model: 'gpt',
    opening: [],
    event: chatEvent,
    closing: CHAT_CLOSING,
    workerBytes: 160 * MIB,
  },
  {
    title: 'converted',
    format: 'chat',
    model: 'claude',
    opening: MESSAGES_OPENING,
    event: messagesEvent,
    closing: MESSAGES_CLOSING,
    workerBytes: 320 * MIB,
  },
];

describe('a client that reads slowly', () => {
  let plane: DataPlane;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    upstream = await startUpstream();
    plane = await startDataPlane({
      workerProcesses: true,
      providers: {
        open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${upstream.url}/v1`, credential: 'sk-anth' },
      },
      models: { gpt: { targets: [{ provider: 'open' }] }, claude: { targets: [{ provider: 'anth' }] } },
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

  async function memory(): Promise<{ envoy: number; worker: number }> {
    const [load] = await plane.loads();
    const { allocated } = JSON.parse((await plane.envoy.admin('/memory')).body) as { allocated: string };
    return { envoy: Number(allocated), worker: load?.memoryBytes ?? 0 };
  }

  test.each(CASES)(
    '$title',
    async ({ workerBytes, format, model, includeUsage, opening, event, closing }) => {
      let written = 0;
      upstream.always(async ({ request: sent, respond }) => {
        await sent.received;
        respond.head(200, { 'content-type': 'text/event-stream' });
        for (const piece of opening) await respond.write(piece);
        const piece = event(TEXT);
        while (written < TOTAL_BYTES && !respond.over.aborted) {
          await respond.write(piece);
          written += piece.length;
        }
        for (const last of closing) await respond.write(last);
        respond.end();
      });
      const before = await memory();
      const open = await plane.open({
        ...request(format, { model, stream: true, ...(includeUsage === undefined ? {} : { includeUsage }) }),
        // Otherwise Envoy closes when it has written all, and waits a second for what was not yet read.
        headers: { connection: 'keep-alive' },
      });
      open.response.pause();
      const peak = { envoy: 0, worker: 0 };
      let earlier = -1;
      for (let still = 0; still < STILL_SAMPLES;) {
        await sleep(SAMPLE_MS);
        const now = await memory();
        peak.envoy = Math.max(peak.envoy, now.envoy - before.envoy);
        peak.worker = Math.max(peak.worker, now.worker - before.worker);
        still = written === earlier ? still + 1 : 0;
        earlier = written;
      }
      expect(written).toBeLessThan(HELD_BYTES);
      expect(peak.envoy).toBeLessThan(HELD_BYTES);
      expect(peak.worker).toBeLessThan(workerBytes);
      const result = await open.finish();
      expect(result.complete).toBe(true);
      expect(result.body.length).toBeGreaterThan(TOTAL_BYTES);
      expect((await plane.rowOf(result)).usage).toMatchObject({ input: 5, output: 6 });
    },
  );

  // With small windows towards the workers Envoy 1.40 dies of these: the provider's stream ends long before its
  // conversion does.
  test.each([8, 32, 96])(
    'a converted answer of %i MiB that comes faster than it is converted',
    async (mib) => {
      upstream.always(async ({ request: sent, respond }) => {
        await sent.received;
        respond.head(200, { 'content-type': 'text/event-stream' });
        const piece = messagesEvent(TEXT);
        const pieces = Array.from({ length: Math.ceil((mib * MIB) / piece.length) }, () => piece);
        for (const one of [...MESSAGES_OPENING, ...pieces, ...MESSAGES_CLOSING]) await respond.write(one);
        respond.end();
      });
      const result = await plane.call(request('chat', { model: 'claude', stream: true }));
      expect(plane.envoy.log).not.toContain('Segmentation fault');
      expect(result.complete).toBe(true);
      expect(result.body.length).toBeGreaterThan(mib * MIB);
    },
  );
});
