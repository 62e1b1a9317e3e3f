import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LimitHold } from '../../src/core/limits.ts';
import { WitnessServer } from '../../src/control/witness-server.ts';
import { loadProcessorProtocol } from '../../src/envoy-protocol/codecs.ts';
import { OutputEstimator } from '../../src/ledger/estimator.ts';
import { settleFromAccessLog } from '../../src/ledger/settle.ts';
import { WitnessRing } from '../../src/ledger/witness-ring.ts';
import { readWitnessed } from '../../src/processor/witnessed.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import { eventually, removeFolder, temporaryFolder } from '../support/running-envoy.ts';
import { openai, type ScriptedUpstream, silent, startUpstream } from '../support/upstream/index.ts';

/** Some megabytes of entries: more than Envoy holds for one who does not read. */
const REQUESTS = 2000;
const AT_ONCE = 50;

/** Something that the end of a request is charged to: such requests alone are told of twice. */
const HOLD: LimitHold = {
  rule: 'spent',
  subject: 'ada',
  counter: 'spent/usd/day/ada',
  unit: 'usd',
  limit: 1_000_000,
  reserved: 0,
  alerts: [],
};

let folder: string;
let socketPath: string;
let ring: WitnessRing;
let witness: WitnessServer | undefined;
let plane: DataPlane;
let upstreams: readonly [ScriptedUpstream, ScriptedUpstream];

beforeAll(async () => {
  folder = await temporaryFolder();
  socketPath = join(folder, 'witness.sock');
  ring = new WitnessRing({
    maxBytes: 64 * 1024 * 1024,
    maxAgeMs: 600_000,
    now: () => performance.now(),
    onDropped: () => undefined,
  });
  witness = await startWitness();
  upstreams = [await startUpstream(), await startUpstream()];
  const [first, second] = upstreams;
  plane = await startDataPlane({
    witnessSocket: socketPath,
    admission: { holds: [HOLD] },
    providers: {
      first: { type: 'openai', baseUrl: `${first.url}/v1`, credential: 'sk-first' },
      second: { type: 'openai', baseUrl: `${second.url}/v1`, credential: 'sk-second' },
    },
    models: {
      gpt: { targets: [{ provider: 'second' }] },
      impatient: {
        targets: [{ provider: 'first' }, { provider: 'second', priority: 1 }],
        // Of the good try, too: longer than the machine may stall.
        perTryTimeoutSeconds: 2,
      },
    },
  });
});
afterAll(async () => {
  await plane.stop();
  witness?.stop();
  for (const upstream of upstreams) await upstream.close();
  await removeFolder(folder);
});

function startWitness(): Promise<WitnessServer> {
  return WitnessServer.start({ socketPath, onMessage: (bytes) => ring.push(bytes) });
}

/** What a worker was told of a request, and what the witness knows of it. */
async function ofRequest(requestId: string) {
  const estimator = new OutputEstimator();
  const entry = await eventually(() =>
    plane.accessLog.find((one) => one.kind === 'end' && one.context?.includes(requestId)),
  );
  const settled = settleFromAccessLog(entry, { estimator });
  const intentId = settled?.intentId ?? '';
  const options = { protocol: loadProcessorProtocol(), estimator, onUnreadable: () => undefined };
  const witnessed = await eventually(async () => {
    const messages = await ring.find(new Set([intentId, requestId]), 0);
    const ends = await readWitnessed(
      messages.map(({ bytes }) => bytes),
      new Set([intentId]),
      options,
    );
    return ends.settlements.length > 0 ? ends : undefined;
  });
  return { settled, witnessed };
}

describe('the copy of the access log', () => {
  test('tells of a request what its worker is told, with its failed tries', async () => {
    upstreams[0].always(silent());
    upstreams[1].always(openai.answer({ text: ['fine'] }));
    const result = await plane.call(request('chat', { model: 'impatient' }));
    expect(result.status).toBe(200);
    const { settled, witnessed } = await ofRequest(String(result.headers['x-request-id']));
    expect(witnessed.settlements).toEqual([{ ...settled, retryAfterSeconds: 0 }]);
    expect(witnessed.attempts).toMatchObject([{ ordinal: 1, provider: 'first', outcome: 'timeout' }]);
    const { row } = witnessed.settlements[0] ?? {};
    expect(plane.attemptsOf({ requestId: row?.requestId ?? '' })).toHaveLength(1);
  });

  test('has nothing of requests that no worker decided on', async () => {
    const before = ring.bytes;
    expect((await plane.call(request('chat', { model: 'nobody-has-it' }))).status).toBe(404);
    const result = await plane.call(request('chat', { model: 'gpt' }));
    await ofRequest(String(result.headers['x-request-id']));
    expect(ring.bytes).toBeGreaterThan(before);
  });

  test('has nothing of requests that are charged to no rule', async () => {
    await plane.publish({ admission: undefined });
    const free = await plane.call(request('chat', { model: 'gpt' }));
    expect(free.status).toBe(200);
    const { requestId } = await plane.rowOf(free);
    await plane.publish({ admission: { holds: [HOLD] } });
    // What comes later is told of later.
    const charged = await plane.call(request('chat', { model: 'gpt' }));
    await ofRequest(String(charged.headers['x-request-id']));
    expect(await ring.find(new Set([requestId]), 0)).toEqual([]);
  });

  test('is lost alone while nobody takes it, and comes again', async () => {
    upstreams[1].always(openai.answer({ text: ['fine'] }));
    witness?.stop();
    witness = undefined;
    plane.forget();
    const results = await Promise.all(
      Array.from({ length: 50 }, () => plane.call(request('chat', { model: 'gpt' }))),
    );
    expect(results.map(({ status }) => status)).toEqual(results.map(() => 200));
    expect(await plane.settled(50)).toHaveLength(50);
    witness = await startWitness();
    await eventually(async () => {
      const before = ring.bytes;
      await plane.call(request('chat', { model: 'gpt' }));
      return await eventually(() => (ring.bytes > before ? true : undefined), 1000).catch(() => undefined);
    });
    expect(plane.faults).toEqual([]);
  });

  test('holds up nothing while it is taken in and never read', { timeout: 180_000 }, async () => {
    witness?.stop();
    witness = undefined;
    const sockets: Socket[] = [];
    const stuck = createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket));
    await new Promise<void>((resolve) => stuck.listen(socketPath, resolve));
    plane.forget();
    for (let sent = 0; sent < REQUESTS; sent += AT_ONCE) {
      const results = await Promise.all(
        Array.from({ length: AT_ONCE }, () =>
          plane.call(request('chat', { model: 'gpt', content: 'x'.repeat(2000) })),
        ),
      );
      expect(results.map(({ status }) => status)).toEqual(results.map(() => 200));
    }
    expect(await plane.settled(REQUESTS)).toHaveLength(REQUESTS);
    expect(sockets.length).toBeGreaterThan(0);
    // It is bounded: what is more than that is dropped.
    const dropped = /logs_dropped: (\d+)/.exec(await plane.stats('grpc_access_log'))?.[1];
    expect(Number(dropped)).toBeGreaterThan(0);
    for (const socket of sockets) socket.destroy();
    stuck.close();
  });
});
