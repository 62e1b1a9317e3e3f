import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane, type GatewayInput } from '../support/data-plane.ts';
import type { ClientAnswer } from '../support/data-plane/client.ts';
import { PATHS, request, requestBody } from '../support/data-plane/requests.ts';
import { eventually, freePort, get } from '../support/running-envoy.ts';
import {
  anthropic,
  type Dialect,
  openai,
  resetBeforeHeaders,
  type Script,
  silent,
  startUpstream,
  type ScriptedUpstream,
} from '../support/upstream/index.ts';

const KIB = 1024;
const MIB = 1_048_576;
const FORMATS = ['chat', 'messages'] as const;
const DIALECTS: Readonly<Record<(typeof FORMATS)[number], Dialect>> = { chat: openai, messages: anthropic };

/** The port that a server listens on. */
function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
  return address.port;
}

/** An error in the shape of the API that was called. */
function expectError(answer: ClientAnswer, format: ClientFormatName, status: number, code: ErrorCode): void {
  expect([answer.status, answer.text]).toEqual([status, expect.stringContaining(`"${code}"`)]);
  expect(answer.headers['content-type']).toBe('application/json');
  const requestId = answer.headers['x-request-id'];
  expect(answer.json()).toMatchObject(
    format === 'chat'
      ? { error: { code, request_id: requestId } }
      : { type: 'error', error: { details: { error_code: code } }, request_id: requestId },
  );
}

/** A request of exactly `bytes` bytes. */
function bodyOf(format: ClientFormatName, model: string, bytes: number): Buffer {
  const empty = Buffer.byteLength(requestBody(format, { model, content: '' }));
  return Buffer.from(requestBody(format, { model, content: 'x'.repeat(bytes - empty) }));
}

/** Two upstreams that speak both APIs, and models for each way of a request. */
interface Setting {
  readonly plane: DataPlane;
  readonly first: ScriptedUpstream;
  readonly second: ScriptedUpstream;
}

async function start(
  gateway: GatewayInput,
  more: Partial<Parameters<typeof startDataPlane>[0]> = {},
): Promise<Setting> {
  const [first, second] = await Promise.all([startUpstream(), startUpstream()]);
  const two = (one: string, other: string) => ({
    targets: [
      { provider: one, model: 'm' },
      { provider: other, model: 'm', priority: 1 },
    ],
  });
  const plane = await startDataPlane({
    gateway,
    providers: {
      'open-1': { type: 'openai', baseUrl: `${first.url}/v1`, credential: 'sk-open' },
      'open-2': { type: 'openai', baseUrl: `${second.url}/v1`, credential: 'sk-open' },
      'anth-1': { type: 'anthropic', baseUrl: `${first.url}/v1`, credential: 'sk-anth' },
      'anth-2': { type: 'anthropic', baseUrl: `${second.url}/v1`, credential: 'sk-anth' },
    },
    models: {
      chat: two('open-1', 'open-2'),
      messages: two('anth-1', 'anth-2'),
      mixed: two('open-1', 'anth-2'),
    },
    ...more,
  });
  return { plane, first, second };
}

async function stop({ plane, first, second }: Setting): Promise<void> {
  await plane.stop();
  await Promise.all([first.close(), second.close()]);
}

/** A body that a client sends piece by piece, as the test says. */
class Upload implements AsyncIterable<Buffer | string> {
  #pieces: (Buffer | string)[] = [];
  #wake = (): void => undefined;
  #ended = false;

  send(piece: Buffer | string): void {
    this.#pieces.push(piece);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer | string> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) yield piece;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('limits.requestBody, with %s', (_, capabilities) => {
  const LIMIT = 64 * KIB;
  let setting: Setting;

  beforeAll(async () => {
    setting = await start({ limits: { requestBody: LIMIT } }, { capabilities });
  });
  afterAll(async () => await stop(setting));
  beforeEach(() => {
    setting.first.reset();
    setting.second.reset();
    setting.plane.forget();
  });
  afterEach(async () => {
    await setting.plane.idle();
    expect(setting.plane.faults).toEqual([]);
  });

  const ways = FORMATS.flatMap((format) => FORMATS.map((model) => [format, model] as const));

  test.each(ways)('%s for providers of %s: what is just as large goes through', async (format, model) => {
    const { plane, first } = setting;
    first.always(DIALECTS[model].answer({ text: ['fine'] }));
    const body = bodyOf(format, model, LIMIT);
    expect(body.length).toBe(LIMIT);
    for (const sent of [body, [body.subarray(0, 1000), body.subarray(1000)]]) {
      const answer = await plane.call({ path: PATHS[format], body: sent });
      expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('fine')]);
    }
    expect(first.requests).toHaveLength(2);
  });

  test.each(ways)(
    '%s for providers of %s: one byte more gets 413, nothing is sent',
    async (format, model) => {
      const { plane, first, second } = setting;
      const body = bodyOf(format, model, LIMIT + 1);
      for (const sent of [body, [body.subarray(0, LIMIT), body.subarray(LIMIT)]]) {
        expectError(await plane.call({ path: PATHS[format], body: sent }), format, 413, 'request_too_large');
      }
      expect([...first.requests, ...second.requests]).toEqual([]);
      expect(plane.intents).toEqual([]);
    },
  );

  const groups = capabilities.priorityGroups
    ? (['chat', 'messages', 'mixed'] as const)
    : (['chat', 'messages'] as const);

  test.each(FORMATS.flatMap((format) => groups.map((model) => [format, model] as const)))(
    '%s for %s: what is just as large is tried again whole',
    async (format, model) => {
      const { plane, first, second } = setting;
      const firstDialect = DIALECTS[model === 'mixed' ? 'chat' : model];
      const secondDialect = DIALECTS[model === 'mixed' ? 'messages' : model];
      const other = capabilities.priorityGroups ? second : first;
      first.next(resetBeforeHeaders(), firstDialect.error(500));
      other.always(secondDialect.answer({ text: ['fine'] }));
      if (capabilities.priorityGroups) second.next(secondDialect.error(500));
      const body = bodyOf(format, model, LIMIT);
      const answer = await plane.call({ path: PATHS[format], body });
      expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('fine')]);
      const sent = [...first.requests, ...second.requests];
      expect(sent).toHaveLength(3);
      for (const one of sent) {
        expect(one.headers('content-length')).toEqual([String(one.body.length)]);
        expect(one.body.toString().match(/x{1000,}/)?.[0]?.length).toBe(
          body.toString().match(/x{1000,}/)?.[0]?.length,
        );
      }
      expect(await plane.rowOf(answer)).toMatchObject({ attempts: 3, errorCode: '' });
    },
  );

  test('every buffer of Envoy for requests follows from the number, also when it changes', async () => {
    const { plane, first } = setting;
    // Listeners that were replaced drain with the limit that they had. Those of clusters are for answers.
    const buffers = async (): Promise<Set<number>> => {
      const dump: {
        configs: { dynamic_listeners?: { draining_state?: unknown }[]; dynamic_active_clusters?: unknown }[];
      } = JSON.parse(await plane.configDump());
      for (const config of dump.configs) {
        delete config.dynamic_active_clusters;
        for (const listener of config.dynamic_listeners ?? []) delete listener.draining_state;
      }
      const found = JSON.stringify(dump).matchAll(
        /"(?:per_connection_buffer_limit_bytes|request_body_buffer_limit)":"?(\d+)/g,
      );
      return new Set([...found].map((match) => Number(match[1])));
    };
    // The listener's is never smaller than the largest converted answer needs.
    expect(Math.min(...(await buffers()))).toBe(LIMIT + MIB);
    const larger = 40 * MIB;
    await plane.publish({ gateway: { limits: { requestBody: larger } } });
    expect(await buffers()).toEqual(new Set([larger + MIB]));
    first.always(openai.answer({ text: ['fine'] }));
    const answer = await eventually(async () => {
      const one = await plane.call({ body: bodyOf('chat', 'chat', larger) });
      return one.status === 200 ? one : undefined;
    });
    expect(answer.text).toContain('fine');
    expectError(
      await plane.call({ body: bodyOf('chat', 'chat', larger + 1) }),
      'chat',
      413,
      'request_too_large',
    );
    await plane.publish({ gateway: { limits: { requestBody: LIMIT } } });
  });
});

describe('limits.bytesInFlightPerWorker', () => {
  let setting: Setting;

  beforeAll(async () => {
    setting = await start({ limits: { bytesInFlightPerWorker: MIB }, timeouts: { uploadIdleSeconds: 60 } });
  });
  afterAll(async () => await stop(setting));
  beforeEach(() => {
    setting.first.reset();
    setting.plane.forget();
  });

  async function held(bytes: number): Promise<void> {
    await eventually(async () => {
      const [load] = await setting.plane.loads();
      return load !== undefined && load.bytesInFlight >= bytes ? true : undefined;
    });
  }

  test.each(FORMATS)('beyond it %s gets 503 with retry-after; what is held goes on', async (format) => {
    const { plane, first } = setting;
    first.always(DIALECTS[format].answer({ text: ['fine'] }));
    const body = bodyOf(format, format, 700 * KIB);
    const upload = new Upload();
    const slow = plane.call({ path: PATHS[format], body: upload });
    upload.send(body.subarray(0, 600 * KIB));
    await held(600 * KIB);
    for (const sent of [body, [body]]) {
      const refused = await plane.call({ path: PATHS[format], body: sent });
      expectError(refused, format, 503, 'unavailable');
      expect(refused.headers['retry-after']).toBe('1');
    }
    expect(first.requests).toEqual([]);
    // There is room for small ones still.
    expect((await plane.call(request(format, { model: format }))).status).toBe(200);
    upload.send(body.subarray(600 * KIB));
    upload.end();
    expect((await slow).status).toBe(200);
    await plane.idle();
    expect((await plane.call({ path: PATHS[format], body })).status).toBe(200);
    await plane.idle();
  });

  test('a client that leaves in mid-request gives back what it held', async () => {
    const { plane, first } = setting;
    const socket = connectTcp(plane.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${CLIENT_KEY}\r\n` +
        `content-type: application/json\r\ncontent-length: ${String(900 * KIB)}\r\n\r\n${'x'.repeat(800 * KIB)}`,
    );
    await held(800 * KIB);
    socket.resetAndDestroy();
    await plane.idle();
    expect(first.requests).toEqual([]);
    expect(plane.intents).toEqual([]);
  });

  test('what is held ends with the request, not with the answer', async () => {
    const { plane, first } = setting;
    first.always(openai.endless('more ', { paceMs: 20 }));
    const body = requestBody('chat', { model: 'chat', stream: true, content: 'x'.repeat(900 * KIB) });
    const open = await plane.open({ body });
    expect(open.response.statusCode).toBe(200);
    await eventually(async () => ((await plane.loads())[0]?.bytesInFlight === 0 ? true : undefined));
    const more = await plane.open({ body });
    expect(more.response.statusCode).toBe(200);
    open.leave();
    more.leave();
    await plane.idle();
  });
});

describe('the overload manager', () => {
  const CONNECTIONS = 12;
  const HEAP_BYTES = 160 * MIB;
  let setting: Setting;
  let consolePort: number;

  beforeAll(async () => {
    consolePort = await freePort();
    setting = await start(
      { timeouts: { perTrySeconds: 120 }, retries: { attempts: 1 } },
      { bootstrap: { maxDownstreamConnections: CONNECTIONS, maxHeapBytes: HEAP_BYTES, consolePort } },
    );
  });
  afterAll(async () => await stop(setting));
  beforeEach(() => setting.first.reset());

  test('is on, with both bounds', async () => {
    const dump = await setting.plane.configDump();
    expect(dump).toContain('envoy.resource_monitors.fixed_heap');
    expect(dump).toContain(`"max_heap_size_bytes": "${String(HEAP_BYTES)}"`);
    expect(dump).toContain(`"max_active_downstream_connections": "${String(CONNECTIONS)}"`);
    expect(dump).toContain('envoy.overload_actions.stop_accepting_requests');
  });

  test('a connection too many is closed at once; the others and the admin go on', async () => {
    const { plane, first } = setting;
    first.always(openai.answer({ text: ['fine'] }));
    const open: Socket[] = [];
    const connected = async (): Promise<boolean> => {
      const socket = connectTcp(plane.port, '127.0.0.1');
      socket.on('error', () => undefined);
      open.push(socket);
      await once(socket, 'connect');
      socket.write('GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n');
      return await new Promise((resolve) => {
        socket.once('data', () => resolve(true));
        socket.once('close', () => resolve(false));
      });
    };
    const answered: boolean[] = [];
    for (let index = 0; index < CONNECTIONS + 3; index += 1) answered.push(await connected());
    expect(answered.slice(0, CONNECTIONS)).not.toContain(false);
    expect(answered.slice(CONNECTIONS)).not.toContain(true);
    await expect(plane.call(request('chat', { model: 'chat' }))).rejects.toThrow();
    expect((await get({ port: consolePort }, '/health/live')).status).toBe(200);
    const [held] = open;
    held?.write('GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n');
    const [bytes] = held === undefined ? [] : await once(held, 'data');
    expect(String(bytes)).toContain('200 OK');
    for (const socket of open) socket.destroy();
    const answer = await eventually(async () => await plane.call(request('chat', { model: 'chat' })));
    expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('fine')]);
  });

  test('short of memory, new requests get 503 in their format, the admin goes on, and it ends', async () => {
    const { plane, first } = setting;
    first.always(silent());
    const body = bodyOf('chat', 'chat', 31 * MIB);
    const active = 'overload.envoy.overload_actions.stop_accepting_requests.active';
    const calls: Socket[] = [];
    const head =
      `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${CLIENT_KEY}\r\n` +
      `content-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n`;
    // Envoy keeps each body for another try while the provider is silent.
    for (let index = 0; index < 8 && (await plane.envoy.stat(active)) === 0; index += 1) {
      const socket = connectTcp(plane.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(head);
      socket.write(body);
      calls.push(socket);
      await eventually(async () =>
        (await plane.envoy.stat(active)) === 1 || first.requests.length > index ? true : undefined,
      );
    }
    await eventually(async () => ((await plane.envoy.stat(active)) === 1 ? true : undefined));
    for (const format of FORMATS) {
      const refused = await plane.call(request(format, { model: format }));
      expect([refused.status, refused.headers['content-type']]).toEqual([503, 'application/json']);
      // Envoy refuses before it gives the request an id, and without a flag that tells why.
      const message = expect.stringContaining('Try again shortly.');
      expect(refused.json()).toMatchObject(
        format === 'chat'
          ? { error: { code: 'unavailable', message } }
          : { type: 'error', error: { message, details: { error_code: 'unavailable' } } },
      );
    }
    expect((await get({ port: consolePort }, '/health/live')).status).toBe(200);
    for (const socket of calls) socket.destroy();
    first.reset();
    first.always(openai.answer({ text: ['fine'] }));
    await eventually(async () => {
      const { status } = await plane.call(request('chat', { model: 'chat' }));
      return status === 200 ? true : undefined;
    });
    await plane.idle();
  });
});

/** A stream of its provider's API that says one word, then `next` decides. */
function opened(
  model: 'chat' | 'messages',
  next: (respond: Parameters<Script>[0]['respond']) => Promise<void> | void,
): Script {
  const first =
    model === 'chat'
      ? `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { role: 'assistant', content: 'word' }, finish_reason: null }] })}\n\n`
      : [
          'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":1}}}\n\n',
          'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
          'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}\n\n',
        ].join('');
  return async ({ request: sent, respond }) => {
    await sent.received;
    respond.head(200, { 'content-type': 'text/event-stream' });
    await respond.write(first);
    await next(respond);
  };
}

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('timeouts, with %s', (_, capabilities) => {
  let setting: Setting;
  /** Takes connections and never says anything, so that a TLS handshake with it never ends. */
  let mute: ReturnType<typeof createServer>;
  const muteSockets: Socket[] = [];

  beforeAll(async () => {
    mute = createServer((socket) => {
      muteSockets.push(socket);
      socket.on('error', () => undefined);
      socket.resume();
    }).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const baseUrl = `https://127.0.0.1:${String(portOf(mute))}/v1`;
    const [first, second] = await Promise.all([startUpstream(), startUpstream()]);
    const plane = await startDataPlane({
      capabilities,
      gateway: { retries: { attempts: 1 } },
      providers: {
        open: { type: 'openai', baseUrl: `${first.url}/v1`, credential: 'sk-open' },
        anth: { type: 'anthropic', baseUrl: `${first.url}/v1`, credential: 'sk-anth' },
        other: { type: 'openai', baseUrl: `${second.url}/v1`, credential: 'sk-other' },
        mute: { type: 'openai', baseUrl, credential: 'sk-mute', connectTimeoutSeconds: 0.3 },
      },
      models: {
        chat: { targets: [{ provider: 'open' }] },
        messages: { targets: [{ provider: 'anth' }] },
        mute: { targets: [{ provider: 'mute' }] },
        'mute-then-other': { targets: [{ provider: 'mute' }, { provider: 'other', priority: 1 }] },
        patient: { perTryTimeoutSeconds: 30, targets: [{ provider: 'open' }] },
      },
    });
    setting = { plane, first, second };
  });
  afterAll(async () => {
    await stop(setting);
    for (const socket of muteSockets) socket.destroy();
    mute.close();
  });
  beforeEach(() => {
    setting.first.reset();
    setting.second.reset();
    setting.plane.forget();
  });
  afterEach(async () => {
    await setting.plane.idle();
    expect(setting.plane.faults).toEqual([]);
  });

  async function use(timeouts: NonNullable<GatewayInput>['timeouts'], attempts = 1): Promise<void> {
    const result = await setting.plane.publish({
      gateway: { retries: { attempts }, ...(timeouts === undefined ? {} : { timeouts }) },
    });
    expect(result.state).toBe('in force');
  }

  /** An answer whose head is there in time. A 504 is right where the machine stalls for longer than that may take. */
  async function begun(script: Script, call: Parameters<DataPlane['call']>[0]): Promise<ClientAnswer> {
    const { plane, first } = setting;
    return await eventually(async () => {
      first.reset();
      first.always(script);
      const answer = await plane.call(call);
      return answer.status === 504 ? undefined : answer;
    });
  }

  const ways = (capabilities.priorityGroups ? FORMATS : (['chat'] as const)).flatMap((format) =>
    FORMATS.map((model) => [format, model] as const),
  );

  test('connect: a provider that takes no connection is given up, and another is tried', async () => {
    const { plane, second } = setting;
    await use(undefined);
    for (const format of FORMATS) {
      const answer = await plane.call(request(format, { model: 'mute' }));
      expectError(answer, format, 503, 'upstream_unavailable');
      const row = await plane.rowOf(answer);
      expect(row).toMatchObject({ errorCode: 'upstream_unavailable', attempts: 1, usageSource: 'none' });
      expect(row.durationMs).toBeGreaterThanOrEqual(290);
    }
    if (!capabilities.priorityGroups) return;
    await use(undefined, 2);
    second.always(openai.answer({ text: ['fine'] }));
    const answer = await plane.call(request('chat', { model: 'mute-then-other' }));
    expect(answer.status).toBe(200);
    expect(await plane.rowOf(answer)).toMatchObject({ attempts: 2, errorCode: '' });
    second.expectNotSent('sk-mute');
  });

  test.each(ways)(
    'per try: %s from a silent provider of %s gets 504; a stream outlives it',
    async (format, model) => {
      const { plane, first } = setting;
      await use({ perTrySeconds: 0.4 });
      first.next(silent());
      const answer = await plane.call(request(format, { model }));
      expectError(answer, format, 504, 'upstream_timeout');
      expect(await plane.rowOf(answer)).toMatchObject({ errorCode: 'upstream_timeout', attempts: 1 });
      let started = 0;
      const words = DIALECTS[model].answer({ text: Array.from({ length: 12 }, () => 'x') }, { paceMs: 60 });
      const stream = await begun(
        (exchange) => {
          started = performance.now();
          return words(exchange);
        },
        request(format, { model, stream: true }),
      );
      expect([stream.status, stream.complete]).toEqual([200, true]);
      expect(performance.now() - started).toBeGreaterThan(400);
      expect(await plane.rowOf(stream)).toMatchObject({ errorCode: '', usageSource: 'provider' });
    },
  );

  test("per try: a model's own stands over the gateway's", async () => {
    const { plane, first } = setting;
    await use({ perTrySeconds: 0.3 });
    first.always(async ({ request: sent, respond }) => {
      await sent.received;
      await new Promise((resolve) => setTimeout(resolve, 900));
      await openai.answer({ text: ['late'] })({ request: sent, respond });
    });
    expect((await plane.call(request('chat', { model: 'chat' }))).status).toBe(504);
    expect((await plane.call(request('chat', { model: 'patient' }))).status).toBe(200);
  });

  test.each(ways)('whole: an answer to %s of %s that comes in drips is broken off', async (format, model) => {
    const { plane, first } = setting;
    await use({ requestSeconds: 0.8 });
    const drips: Script = async ({ request: sent, respond }) => {
      await sent.received;
      respond.head(200, { 'content-type': 'application/json' });
      while (!respond.over.aborted) {
        await respond.write(' ');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    first.always(drips);
    const wanted = request(format, { model });
    const answer = format === model ? await begun(drips, wanted) : await plane.call(wanted);
    if (format === model) expect([answer.status, answer.complete]).toEqual([200, false]);
    // A conversion holds the head back until the answer is whole, so there is still room for an error.
    else expectError(answer, format, 504, 'upstream_timeout');
    expect((await first.only().closed).by).toBe('peer');
    expect(await plane.rowOf(answer)).toMatchObject({ errorCode: 'upstream_timeout' });
  });

  test.each(ways)('whole: a stream to %s of %s has none', async (format, model) => {
    const { plane, first } = setting;
    await use({ requestSeconds: 0.4, streamIdleSeconds: 5 });
    first.always(DIALECTS[model].answer({ text: Array.from({ length: 15 }, () => 'x') }, { paceMs: 60 }));
    const started = performance.now();
    const stream = await plane.call(request(format, { model, stream: true }));
    expect(performance.now() - started).toBeGreaterThan(800);
    expect([stream.status, stream.complete]).toEqual([200, true]);
    expect(await plane.rowOf(stream)).toMatchObject({ errorCode: '', usageSource: 'provider' });
  });

  test.each([
    ...ways.map(([format, model]) => [format, model, false] as const),
    ['chat', 'chat', true] as const,
  ])('stream idle: %s from %s (usage asked for: %s) ends', async (format, model, includeUsage) => {
    const { plane, first } = setting;
    await use({ streamIdleSeconds: 1 });
    let stalledAt = 0;
    const answer = await begun(
      opened(model, () => void (stalledAt = performance.now())),
      request(format, { model, stream: true, ...(includeUsage ? { includeUsage } : {}) }),
    );
    expect(performance.now() - stalledAt).toBeGreaterThan(900);
    // What was said is the client's; the end must not look like one. Where a worker reads along, it says why.
    const native = format === model && includeUsage === (format === 'chat') && capabilities.nativeUsage;
    expect([answer.status, answer.complete]).toEqual([200, !native]);
    expect(answer.text).toContain('word');
    if (!native) {
      const last = answer.text.trimEnd().split('\n\n').at(-1);
      expect(last).toMatch(format === 'chat' ? /^data: \{"error"/ : /^event: error\ndata: /);
      expect(last).toContain('upstream_timeout');
    }
    expect(answer.text).not.toMatch(/\[DONE\]|message_stop/);
    expect((await first.only().closed).by).toBe('peer');
    const row = await plane.rowOf(answer);
    expect(row).toMatchObject({ status: 200, errorCode: 'upstream_timeout' });
    expect(row.usageSource).not.toBe('none');
  });

  test.each(ways)(
    'stream idle: silence before the first byte of %s from %s is a 504',
    async (format, model) => {
      const { plane, first } = setting;
      await use({ streamIdleSeconds: 0.6 });
      first.always(silent());
      const answer = await plane.call(request(format, { model, stream: true }));
      expectError(answer, format, 504, 'upstream_timeout');
      expect((await first.only().closed).by).toBe('peer');
      expect(await plane.rowOf(answer)).toMatchObject({ status: 504, errorCode: 'upstream_timeout' });
    },
  );

  test.each(FORMATS)('upload: a slow %s lives, one that stops gets 408', async (format) => {
    const { plane, first } = setting;
    await use({ uploadIdleSeconds: 1 });
    first.always(DIALECTS[format].answer({ text: ['fine'] }));
    const body = requestBody(format, { model: format });
    async function* drips(): AsyncGenerator<string> {
      for (const letter of body) {
        yield letter;
        await new Promise((resolve) => setTimeout(resolve, 1600 / body.length));
      }
    }
    // Once more where the machine stalls for longer than a client may be silent.
    const slow = await eventually(async () => {
      const answer = await plane.call({ path: PATHS[format], body: drips() });
      return answer.status === 408 ? undefined : answer;
    });
    expect([slow.status, slow.text]).toEqual([200, expect.stringContaining('fine')]);
    first.reset();
    const upload = new Upload();
    upload.send(body.slice(0, 20));
    const stopped = await plane.call({ path: PATHS[format], body: upload });
    upload.end();
    expectError(stopped, format, 408, 'request_timeout');
    const socket = connectTcp(plane.port, '127.0.0.1');
    socket.on('error', () => undefined);
    const bytes: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => bytes.push(chunk));
    socket.write(
      `POST ${PATHS[format]} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${CLIENT_KEY}\r\ncontent-length: 9\r\n\r\n`,
    );
    await once(socket, 'close');
    expect(Buffer.concat(bytes).toString()).toMatch(/^HTTP\/1.1 408 [^]*request_timeout/);
    expect(first.requests).toEqual([]);
    await use(undefined);
  });
});

describe('request headers', () => {
  let setting: Setting;

  beforeAll(async () => {
    setting = await start({});
  });
  afterAll(async () => await stop(setting));
  beforeEach(() => setting.first.reset());

  test.each(FORMATS)('beyond 60 KiB or a hundred get 431 in JSON (%s)', async (format) => {
    const { plane, first } = setting;
    const call = request(format, { model: format });
    const listed = { method: 'GET', path: '/v1/models', headers: { 'x-big': 'a'.repeat(58 * KIB) } };
    expect((await plane.call(listed)).status).toBe(200);
    const many = Object.fromEntries(Array.from({ length: 120 }, (_, index) => [`x-${String(index)}`, 'a']));
    for (const headers of [{ 'x-big': 'a'.repeat(61 * KIB) }, many]) {
      const answer = await plane.call({ ...call, headers });
      expect(answer.status).toBe(431);
      expect(answer.headers['content-type']).toBe('application/json');
      expect(answer.json()).toMatchObject({ error: { code: 'headers_too_large' } });
    }
    expect(first.requests).toEqual([]);
  });

  test('over HTTP/2 they reset their own stream alone', async () => {
    const { plane, first } = setting;
    first.always(openai.answer({ text: ['fine'] }));
    const session = connectHttp2(plane.url);
    const errors: unknown[] = [];
    session.on('error', (error) => errors.push(error));
    const send = async (
      headers: Readonly<Record<string, string>>,
    ): Promise<{ status: number; text: string }> => {
      const stream = session.request({
        ':method': 'POST',
        ':path': PATHS.chat,
        authorization: `Bearer ${CLIENT_KEY}`,
        'content-type': 'application/json',
        ...headers,
      });
      let status = 0;
      let text = '';
      stream.on('response', (head) => (status = head[':status'] ?? 0));
      stream.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      stream.on('error', () => undefined);
      stream.end(requestBody('chat', { model: 'chat' }));
      await new Promise<void>((resolve) => stream.once('close', resolve));
      return { status, text };
    };
    // Envoy's HTTP/2 codec has no answer for them.
    expect(await send({ 'x-big': 'a'.repeat(61 * KIB) })).toEqual({ status: 0, text: '' });
    expect((await send({})).status).toBe(200);
    expect(errors).toEqual([]);
    expect(first.requests).toHaveLength(1);
    session.destroy();
  });
});
