import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import { eventually } from '../support/running-envoy.ts';
import {
  anthropic,
  openai,
  type ScriptedUpstream,
  startUpstream,
  type Dialect,
} from '../support/upstream/index.ts';

let plane: DataPlane;
let upstream: ScriptedUpstream;

beforeEach(async () => {
  upstream = await startUpstream();
  plane = await startDataPlane({
    workers: 2,
    workerProcesses: true,
    providers: {
      open: { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' },
      anth: { type: 'anthropic', baseUrl: `${upstream.url}/v1`, credential: 'sk-anth' },
    },
    models: { gpt: { targets: [{ provider: 'open' }] }, claude: { targets: [{ provider: 'anth' }] } },
  });
});
afterEach(async () => {
  await plane.stop();
  await upstream.close();
});

/** An upstream that stops after its first words until the test lets it go on. */
function halting(dialect: Dialect): () => void {
  const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
  upstream.always(async (exchange) => {
    await dialect.answer({ text: ['first ', 'second ', 'last'] })({
      request: exchange.request,
      respond: {
        ...exchange.respond,
        write: async (bytes) => {
          if (bytes.toString().includes('second ')) await released;
          await exchange.respond.write(bytes);
        },
      },
    });
  });
  return () => release(undefined);
}

async function begin(fields: { model: string; includeUsage?: boolean }) {
  const open = await plane.open(request('chat', { ...fields, stream: true }));
  let seen = '';
  await new Promise<void>((resolve) => {
    open.response.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes('first ')) resolve();
    });
  });
  return { ...open, seen: () => seen };
}

test('a native stream holds no worker: with every worker killed it goes on to its end', async () => {
  const release = halting(openai);
  const stream = await begin({ model: 'gpt', includeUsage: true });
  await plane.idle();
  await Promise.all(plane.workers.map(async (worker) => await worker.stop()));
  release();
  const rest = await stream.finish();
  expect(rest.complete).toBe(true);
  expect(stream.seen()).toContain('second ');
  expect(stream.seen().endsWith('data: [DONE]\n\n')).toBe(true);
  expect(stream.seen()).toContain('"total_tokens":18');
});

test.each([
  ['strip', 'gpt', openai],
  ['converted', 'claude', anthropic],
] as const)(
  'a stream that its worker changes breaks with it, at once and visibly (%s)',
  async (_mode, model, dialect) => {
    const release = halting(dialect);
    const stream = await begin({ model });
    await Promise.all(plane.workers.map(async (worker) => await worker.stop()));
    const rest = await stream.finish();
    expect(rest.complete).toBe(false);
    expect(stream.seen()).not.toContain('[DONE]');
    expect((await upstream.only().closed).by).toBe('peer');
    release();
  },
);

test('with one worker killed, requests are served by the other and make rows', async () => {
  upstream.always(openai.answer({ text: ['fine'] }));
  await plane.workers[0]?.stop();
  await eventually(async () => {
    const { body } = await plane.envoy.admin('/clusters');
    const [dead, alive] = [0, 1].map(
      (index) => new RegExp(`worker-${String(index)}\\.sock::health_flags::(\\S+)`).exec(body)?.[1],
    );
    return dead !== 'healthy' && alive === 'healthy' ? true : undefined;
  });
  // Envoy may have given the dead one the first ends that it logged: in the gateway the control plane has them as well.
  const row = await eventually(async () => {
    await plane.call(request('chat', { model: 'gpt' }));
    return plane.rows.at(-1);
  });
  expect(row).toMatchObject({ status: 200, usageSource: 'provider' });
  // From here on nothing fails any more: Envoy has taken the dead one out, and waits for no other news to act on it.
  expect(await plane.configDump()).toMatch(/"update_merge_window":\s*"0s"/);
  const statuses = await Promise.all(
    Array.from({ length: 20 }, async () => (await plane.call(request('chat', { model: 'gpt' }))).status),
  );
  expect(new Set(statuses)).toEqual(new Set([200]));
});

test('a request that was being read when its worker died gets an answer', async () => {
  upstream.always(openai.answer({ text: ['fine'] }));
  const socket = connect(plane.port, '127.0.0.1');
  await once(socket, 'connect');
  const body = request('chat', { model: 'gpt' }).body;
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer tw-data-plane-0123456789abcdef\r\n` +
      `content-length: ${body.length}\r\n\r\n${body.slice(0, 10)}`,
  );
  await eventually(async () =>
    (await plane.loads()).some(({ bytesInFlight }) => bytesInFlight > 0) ? true : undefined,
  );
  await Promise.all(plane.workers.map(async (worker) => await worker.stop()));
  socket.setEncoding('utf8');
  let answered = '';
  socket.on('data', (text: string) => (answered += text));
  await eventually(() => (answered.includes('}') ? true : undefined));
  expect(answered).toMatch(/^HTTP\/1.1 503 /);
  expect(answered).toContain('"unavailable"');
  expect(upstream.requests).toEqual([]);
  socket.destroy();
});
