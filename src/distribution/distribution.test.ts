import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Sighting } from '../core/access.ts';
import { DistributionClient } from './client.ts';
import { WorkerReports } from './reports.ts';
import { DistributionServer } from './server.ts';
import { SnapshotStore } from './store.ts';
import {
  asEntries,
  hashOf,
  keyNumber,
  keysUpTo,
  nameNumber,
  snapshotNamed,
  userNumber,
} from './testing/samples.ts';

const PATIENCE = { timeout: 20_000, interval: 5 };
const logger = { info: () => undefined, warn: () => undefined };

let folder: string;
let address: string;
const running: { stop(): void }[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'limen-distribution-'));
  address = `unix:${join(folder, 'control.sock')}`;
});
afterEach(async () => {
  for (const each of running.splice(0)) each.stop();
  await rm(folder, { recursive: true, force: true });
});

async function startServer(where = address): Promise<DistributionServer> {
  const server = await DistributionServer.start({ address: where });
  running.push(server);
  return server;
}

function startWorker(worker: string, where = address) {
  const store = new SnapshotStore();
  const client = new DistributionClient({ address: where, worker, store, logger });
  client.start();
  running.push(client);
  return { store, client };
}

test('two workers have a snapshot and keys; a revocation is in force in both within a second', async () => {
  const server = await startServer();
  const workers = [startWorker('w1'), startWorker('w2')];
  await vi.waitFor(() => expect(server.status()).toHaveLength(2), PATIENCE);
  server.publishSnapshot(snapshotNamed('1'));
  const all = server.publishDirectory({ upsert: asEntries(keysUpTo(100)), remove: [], reset: true });
  expect((await server.awaitAcknowledged('snapshot', '1', 10_000)).timedOut).toEqual([]);
  expect((await server.awaitAcknowledged('directory', all, 10_000)).timedOut).toEqual([]);
  for (const { store, client } of workers) {
    expect(store.current?.version).toBe('1');
    expect(store.directory.key(hashOf(42))).toEqual(keyNumber(42));
    expect(client.state.state).toBe('connected');
  }

  const took: number[] = [];
  for (const number of [42, 43, 44]) {
    const start = performance.now();
    const revoked = server.publishDirectory({ upsert: [], remove: [nameNumber(number)] });
    const report = await server.awaitAcknowledged('directory', revoked, 10_000);
    took.push(performance.now() - start);
    expect(report.acknowledged.toSorted()).toEqual(['w1', 'w2']);
    for (const { store } of workers) expect(store.directory.key(hashOf(number))).toBeUndefined();
  }
  // The fastest, because the machine may be busy with something else.
  expect(Math.min(...took)).toBeLessThan(1000);
});

test('a worker starts before the control plane, outlives it and follows the next one', async () => {
  const { store, client } = startWorker('w');
  expect(client.state.state).toBe('stale');
  const first = await startServer();
  first.publishSnapshot(snapshotNamed('1'));
  first.publishDirectory({ upsert: asEntries(keysUpTo(3)), remove: [], reset: true });
  await vi.waitFor(() => expect(store.directory.size).toBe(3), PATIENCE);
  expect(client.state.state).toBe('connected');

  first.stop();
  await vi.waitFor(() => expect(client.state.state).toBe('stale'), PATIENCE);
  expect(client.state.since).toBeGreaterThan(Date.now() - 60_000);
  expect(store.current?.version).toBe('1');
  expect(store.directory.size).toBe(3);

  const second = await startServer();
  await vi.waitFor(() => expect(second.status()).toHaveLength(1), PATIENCE);
  await vi.waitFor(() => expect(client.state.state).toBe('connected'), PATIENCE);
  // It has published nothing yet: the worker keeps what it has.
  expect(store.current?.version).toBe('1');
  expect(store.directory.size).toBe(3);
  second.publishSnapshot(snapshotNamed('2'));
  second.publishDirectory({ upsert: asEntries(keysUpTo(2)), remove: [], reset: true });
  await vi.waitFor(() => expect(store.directory.size).toBe(2), PATIENCE);
  await vi.waitFor(() => expect(store.versions).toEqual(['1', '2']), PATIENCE);
});

test('works over TCP', async () => {
  const server = await startServer('127.0.0.1:0');
  server.publishSnapshot(snapshotNamed('1'));
  const { store } = startWorker('w', `127.0.0.1:${server.port}`);
  await vi.waitFor(() => expect(store.current?.version).toBe('1'), PATIENCE);
});

test('50,000 keys and 15,000 users are in force within seconds, and cost bounded memory', async () => {
  const [keyCount, userCount] = [50_000, 15_000];
  const server = await startServer();
  const entries = [
    ...asEntries(keysUpTo(keyCount)),
    ...Array.from({ length: userCount }, (_, number) => userNumber(number)),
  ];
  const sequence = server.publishDirectory({ upsert: entries, remove: [], reset: true });
  const before = process.memoryUsage().heapUsed;
  const start = process.cpuUsage();
  const { store } = startWorker('w');
  await vi.waitFor(() => expect(store.directory.size).toBe(entries.length), { timeout: 60_000, interval: 5 });
  expect((await server.awaitAcknowledged('directory', sequence, 60_000)).acknowledged).toEqual(['w']);
  // Of both ends: what else the machine does is not theirs.
  const milliseconds = process.cpuUsage(start).user / 1000;
  const mebibytes = (process.memoryUsage().heapUsed - before) / 2 ** 20;
  process.stdout.write(
    `${keyCount} keys, ${userCount} users: ${milliseconds.toFixed(0)} ms, heap + ${mebibytes.toFixed(0)} MiB in both ends\n`,
  );
  expect(store.directory.user('corp:user-14999')?.groups).toContain('group-49');
  expect(milliseconds).toBeLessThan(10_000);
  expect(mebibytes).toBeLessThan(260);
}, 120_000);

test('what a worker saw reaches the control plane, also what it saw while that was away', async () => {
  const seen: Sighting[] = [];
  const wanted: unknown[] = [];
  const listen = () =>
    DistributionServer.start({
      address,
      listener: {
        onSighting: (sighting) => seen.push(sighting),
        onKeyRequests: (requests) => wanted.push(...requests),
      },
    });
  const reports = new WorkerReports({ gatherMs: 20 });
  const client = new DistributionClient({
    address,
    worker: 'w',
    store: new SnapshotStore(),
    reports,
    logger,
  });
  client.start();
  running.push(client);
  reports.keyUsed('key-1', 1000);
  reports.keyUsed('key-1', 2000);
  reports.userSeen({ id: 'corp:ada', provider: 'corp', groups: ['staff'], seenAt: 3000 });
  reports.keyMissing('corp', 'kid-1');
  const first = await listen();
  await vi.waitFor(() => expect(wanted).toEqual([{ provider: 'corp', kid: 'kid-1' }]), PATIENCE);
  await vi.waitFor(() => expect(seen).toHaveLength(1), PATIENCE);
  expect(seen[0]).toMatchObject({
    keys: { 'key-1': 2000 },
    users: [{ id: 'corp:ada', provider: 'corp', groups: ['staff'], seenAt: 3000 }],
  });

  first.stop();
  await vi.waitFor(() => expect(client.state.state).toBe('stale'), PATIENCE);
  reports.keyUsed('key-2', 4000);
  // It may have been lost on its way.
  reports.userSeen({ id: 'corp:ada', provider: 'corp', groups: ['staff'], seenAt: 4000 });
  running.push(await listen());
  await vi.waitFor(() => expect(seen).toHaveLength(2), PATIENCE);
  expect(seen[1]).toMatchObject({ keys: { 'key-2': 4000 }, users: [{ id: 'corp:ada', seenAt: 4000 }] });
});
