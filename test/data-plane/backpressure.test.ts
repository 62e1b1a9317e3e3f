import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import { type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

const MIB = 1_048_576;
const memorySchema = z.object({ allocated: z.string() });
/** Envoy's buffer towards the client, a mebibyte more than the largest request, that from the provider, and a third more. */
const NATIVE_HELD_BYTES = 46 * MIB;
/** The same, and the windows to and from the worker. */
const PROCESSED_HELD_BYTES = 52 * MIB;
/** What the kernel may hold besides of a connection to the provider and of one to the client. */
const SOCKETS_BYTES = 2 * (largestOf('tcp_rmem') + largestOf('tcp_wmem'));
/** What a worker holds of a stream, whatever its length. */
const WORKER_HELD_BYTES = 16 * MIB;
const SAMPLE_MS = 100;
const STILL_SAMPLES = 10;
/** Looks until what the worker no longer needs must be gone. */
const SWEEP_SAMPLES = 40;
/** By then Envoy holds all that it holds of an answer. */
const LATE_MS = 700;
const TEXT = 'x'.repeat(16_000);

/** Bytes to which Linux lets a buffer of a socket grow by itself. */
function largestOf(setting: 'tcp_rmem' | 'tcp_wmem'): number {
  return Number(readFileSync(`/proc/sys/net/ipv4/${setting}`, 'utf8').trim().split(/\s+/).at(-1));
}

function chatEvent(text: string): string {
  return `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { content: text }, finish_reason: null }] })}\n\n`;
}

function messagesEvent(text: string): string {
  return `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })}\n\n`;
}

interface Case {
  readonly title: string;
  readonly format: ClientFormatName;
  readonly model: string;
  readonly includeUsage?: boolean;
  readonly opening: readonly string[];
  readonly event: (text: string) => string;
  readonly closing: readonly string[];
  readonly totalBytes: number;
  /** What Envoy may hold while the client reads nothing. */
  readonly heldBytes: number;
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
    totalBytes: 192 * MIB,
    heldBytes: NATIVE_HELD_BYTES,
    workerBytes: 16 * MIB,
  },
  {
    title: 'strip',
    format: 'chat',
    model: 'gpt',
    opening: [],
    event: chatEvent,
    closing: CHAT_CLOSING,
    totalBytes: 200 * MIB,
    heldBytes: PROCESSED_HELD_BYTES,
    workerBytes: 192 * MIB,
  },
  {
    title: 'converted',
    format: 'chat',
    model: 'claude',
    opening: MESSAGES_OPENING,
    event: messagesEvent,
    closing: MESSAGES_CLOSING,
    totalBytes: 200 * MIB,
    heldBytes: PROCESSED_HELD_BYTES,
    workerBytes: 192 * MIB,
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

  async function memory(): Promise<{ envoy: number; worker: number; held: number }> {
    const [load] = await plane.loads();
    const { allocated } = memorySchema.parse(JSON.parse((await plane.envoy.admin('/memory')).body));
    return { envoy: Number(allocated), worker: load?.memoryBytes ?? 0, held: load?.heldBytes ?? 0 };
  }

  test.each(CASES)(
    '$title',
    async ({ totalBytes, heldBytes, workerBytes, format, model, includeUsage, opening, event, closing }) => {
      let written = 0;
      upstream.always(async ({ request: sent, respond }) => {
        await sent.received;
        respond.head(200, { 'content-type': 'text/event-stream' });
        for (const piece of opening) await respond.write(piece);
        const piece = event(TEXT);
        while (written < totalBytes && !respond.over.aborted) {
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
      // While bytes pass, much of it is garbage that is not swept yet.
      let held = Number.POSITIVE_INFINITY;
      let earlier = -1;
      for (let still = 0; still < STILL_SAMPLES;) {
        await sleep(SAMPLE_MS);
        const now = await memory();
        peak.envoy = Math.max(peak.envoy, now.envoy - before.envoy);
        peak.worker = Math.max(peak.worker, now.worker - before.worker);
        held = now.held - before.held;
        still = written === earlier ? still + 1 : 0;
        earlier = written;
      }
      // What is held stays; garbage goes, late where the machine is busy.
      for (let more = 0; more < SWEEP_SAMPLES && held >= WORKER_HELD_BYTES; more += 1) {
        await sleep(SAMPLE_MS);
        held = (await memory()).held - before.held;
      }
      expect(written).toBeLessThan(heldBytes + SOCKETS_BYTES);
      expect(peak.envoy).toBeLessThan(heldBytes);
      expect(peak.worker).toBeLessThan(workerBytes);
      expect(held).toBeLessThan(WORKER_HELD_BYTES);
      const result = await open.finish();
      expect(result.complete).toBe(true);
      expect(result.body.length).toBeGreaterThan(totalBytes);
      expect((await plane.rowOf(result)).usage).toMatchObject({ input: 5, output: 6 });
    },
  );

  /** Sends an answer of the given size as fast as it is taken. */
  function converting(mib: number): void {
    upstream.always(async ({ request: sent, respond }) => {
      await sent.received;
      respond.head(200, { 'content-type': 'text/event-stream' });
      const piece = messagesEvent(TEXT);
      const pieces = Array.from({ length: Math.ceil((mib * MIB) / piece.length) }, () => piece);
      for (const one of [...MESSAGES_OPENING, ...pieces, ...MESSAGES_CLOSING]) {
        if (respond.over.aborted) return;
        await respond.write(one);
      }
      respond.end();
    });
  }

  // Envoy 1.40 dies where a buffer beside an upstream filter that converts answers runs full, and empties after the
  // provider has ended: so answers are converted behind the router.
  describe.each([
    ['the usual bounds', {}],
    ['small requests alone', { limits: { requestBody: 65_536 } }],
  ])('large converted answers, with %s', (_, gateway) => {
    beforeAll(async () => {
      expect(await plane.publish({ gateway })).toMatchObject({ state: 'in force' });
    });
    afterEach(async () => {
      expect(plane.envoy.log).not.toContain('Segmentation fault');
      await plane.idle();
    });

    test.each([8, 40])('%i MiB pass, read at once or late', async (mib) => {
      converting(mib);
      const wanted = request('chat', { model: 'claude', stream: true });
      const atOnce = await plane.call(wanted);
      expect([atOnce.complete, atOnce.body.length > mib * MIB]).toEqual([true, true]);
      const late = await plane.open({ ...wanted, headers: { connection: 'keep-alive' } });
      late.response.pause();
      await sleep(LATE_MS);
      const result = await late.finish();
      expect([result.complete, result.body.length]).toEqual([true, atOnce.body.length]);
    });

    test('40 MiB pass to a client of HTTP/2 that reads late', async () => {
      converting(40);
      const session = connect(plane.url);
      const stream = session.request({
        ':method': 'POST',
        ':path': '/v1/chat/completions',
        'x-api-key': CLIENT_KEY,
      });
      stream.end(request('chat', { model: 'claude', stream: true }).body);
      await upstream.waitForRequest();
      await sleep(LATE_MS);
      let bytes = 0;
      for await (const chunk of stream) bytes += Buffer.from(chunk).length;
      expect(stream.rstCode).toBe(0);
      expect(bytes).toBeGreaterThan(40 * MIB);
      session.close();
    });

    test('a client that leaves in the middle leaves nothing behind', async () => {
      converting(200);
      const late = await plane.open(request('chat', { model: 'claude', stream: true }));
      late.response.on('error', () => undefined);
      late.response.pause();
      await sleep(LATE_MS);
      late.leave();
      expect((await upstream.only().closed).by).toBe('peer');
    });
  });
});
