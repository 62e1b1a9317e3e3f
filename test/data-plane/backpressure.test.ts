import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FormatName } from '../../src/formats/hub.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import { type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

const MIB = 1_048_576;
const TOTAL_BYTES = 64 * MIB;
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
  { title: 'native', format: 'chat', model: 'gpt', includeUsage: true, opening: [], event: chatEvent, closing: CHAT_CLOSING },
  { title: 'strip', format: 'chat', model: 'gpt', opening: [], event: chatEvent, closing: CHAT_CLOSING },
  { title: 'converted', format: 'chat', model: 'claude', opening: MESSAGES_OPENING, event: messagesEvent, closing: MESSAGES_CLOSING },
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

  test.each(CASES)('$title', async ({ title, format, model, includeUsage, opening, event, closing }) => {
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
    const open = await plane.open(
      request(format, { model, stream: true, ...(includeUsage === undefined ? {} : { includeUsage }) }),
    );
    open.response.pause();
    let last = -1;
    let stable = 0;
    const peak = { envoy: 0, worker: 0 };
    while (stable < 10) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = await memory();
      peak.envoy = Math.max(peak.envoy, now.envoy - before.envoy);
      peak.worker = Math.max(peak.worker, now.worker - before.worker);
      stable = written === last ? stable + 1 : 0;
      last = written;
    }
    console.log(title, { written: written / MIB, envoy: peak.envoy / MIB, worker: peak.worker / MIB });
    const result = await open.finish();
    expect(result.complete).toBe(true);
    console.log(title, result.body.length / MIB, (await memory()).worker / MIB, before.worker / MIB);
    expect((await plane.rowOf(result)).usage).toMatchObject({ input: 5, output: 6 });
  });
});
