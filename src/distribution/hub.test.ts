import { describe, expect, test } from 'vitest';
import { Follower } from './follower.ts';
import { DistributionHub } from './hub.ts';
import { encodeMessage, KEYS_PER_MESSAGE, type ToControl } from './messages.ts';
import { SnapshotStore, SNAPSHOTS_KEPT } from './store.ts';
import { hashOf, keyNumber, keysUpTo, snapshotNamed } from './testing/samples.ts';

function newHub(epoch = 'epoch-1'): DistributionHub {
  return new DistributionHub({ epoch, now: () => 1234 });
}

/** A worker without a network: messages wait until `deliver`, answers go back at once. */
class LocalWorker {
  readonly store: SnapshotStore;
  readonly delivered: string[] = [];
  readonly #inbox: Buffer[] = [];
  readonly #follower: Follower;
  readonly #stream: ReturnType<DistributionHub['open']>;
  writable = true;

  constructor(hub: DistributionHub, name: string, store = new SnapshotStore()) {
    this.store = store;
    this.#follower = new Follower(name, store);
    this.#stream = hub.open((bytes) => {
      this.#inbox.push(bytes);
      return this.writable;
    });
    this.#stream.handle(encodeMessage(this.#follower.hello()));
  }

  get waiting(): number {
    return this.#inbox.length;
  }

  /** Puts at most `limit` messages in force and answers them. */
  deliver(limit = Number.POSITIVE_INFINITY): void {
    for (let count = 0; count < limit; count++) {
      const bytes = this.#inbox.shift();
      if (bytes === undefined) return;
      this.delivered.push(JSON.parse(bytes.toString('utf8')).type);
      this.answer(this.#follower.handle(bytes));
    }
  }

  answer(message: ToControl | undefined): void {
    if (message !== undefined) this.#stream.handle(encodeMessage(message));
  }

  /** Loses the latest message on its way. */
  lose(): void {
    this.#inbox.shift();
  }

  resume(): void {
    this.writable = true;
    this.#stream.resume();
  }

  close(): void {
    this.#stream.close();
  }
}

describe('snapshots', () => {
  test('reach a worker that is there and one that comes later; the last few are kept, in order', () => {
    const hub = newHub();
    const early = new LocalWorker(hub, 'early');
    for (const version of ['1', '2', '3', '4', '5', '6']) hub.publishSnapshot(snapshotNamed(version));
    early.deliver();
    const late = new LocalWorker(hub, 'late');
    late.deliver();
    for (const { store } of [early, late]) {
      expect(store.current?.version).toBe('6');
      expect(store.versions).toEqual(['3', '4', '5', '6']);
      expect(store.versions).toHaveLength(SNAPSHOTS_KEPT);
      expect(store.get('4')?.version).toBe('4');
      expect(store.get('1')).toBeUndefined();
    }
  });

  test('a worker that reconnects gets only what it lacks', () => {
    const hub = newHub();
    const store = new SnapshotStore();
    for (const version of ['1', '2']) hub.publishSnapshot(snapshotNamed(version));
    const before = new LocalWorker(hub, 'w', store);
    before.deliver();
    before.close();
    hub.publishSnapshot(snapshotNamed('3'));
    const again = new LocalWorker(hub, 'w', store);
    again.deliver();
    expect(again.delivered).toEqual(['welcome', 'snapshot']);
    expect(store.versions).toEqual(['1', '2', '3']);
  });

  test('going back to an older one sends its name alone', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishSnapshot(snapshotNamed('good'));
    hub.publishSnapshot(snapshotNamed('bad'));
    worker.deliver();
    hub.publishSnapshot(snapshotNamed('good'));
    await expect(hub.awaitAcknowledged('snapshot', 'good', 0)).resolves.toMatchObject({ timedOut: ['w'] });
    worker.deliver();
    expect(worker.delivered).toEqual(['welcome', 'snapshot', 'snapshot', 'current']);
    expect(worker.store.current?.version).toBe('good');
    await expect(hub.awaitAcknowledged('snapshot', 'good', 0)).resolves.toMatchObject({
      acknowledged: ['w'],
    });
  });

  test('going back to one that the worker has dropped sends it whole', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    const versions = Array.from({ length: SNAPSHOTS_KEPT + 1 }, (_, index) => String(index));
    for (const version of [...versions, '0']) {
      hub.publishSnapshot(snapshotNamed(version));
      worker.deliver();
    }
    expect(worker.store.current?.version).toBe('0');
    expect(worker.delivered.at(-1)).toBe('snapshot');
    await expect(hub.awaitAcknowledged('snapshot', '0', 0)).resolves.toMatchObject({ acknowledged: ['w'] });
  });

  test('one that is refused leaves the last good one and is reported', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishSnapshot(snapshotNamed('good'));
    // A control plane of a later version may send what this worker does not understand.
    hub.publishSnapshot(JSON.parse('{"version":"strange","providers":7}'));
    worker.deliver();
    expect(worker.store.current?.version).toBe('good');
    const report = await hub.awaitAcknowledged('snapshot', 'strange', 0);
    expect(report).toEqual({
      acknowledged: [],
      nacked: [{ worker: 'w', message: 'bad message: snapshot: expected a snapshot' }],
      timedOut: [],
    });
    expect(hub.status()).toMatchObject([
      { worker: 'w', connectedAt: 1234, snapshot: 'good', lastRefusal: { at: 1234 } },
    ]);
    hub.publishSnapshot(snapshotNamed('next'));
    worker.deliver();
    expect(worker.store.current?.version).toBe('next');
  });

  test('are waited for until all have answered, one has left, or time is up', async () => {
    const hub = newHub();
    const workers = ['quick', 'slow', 'leaving'].map((name) => new LocalWorker(hub, name));
    hub.publishSnapshot(snapshotNamed('1'));
    await expect(hub.awaitAcknowledged('snapshot', '1', 1)).resolves.toMatchObject({
      timedOut: ['quick', 'slow', 'leaving'],
    });
    const answered = hub.awaitAcknowledged('snapshot', '1', 60_000);
    workers[0]?.deliver();
    workers[1]?.deliver();
    workers[2]?.close();
    await expect(answered).resolves.toEqual({ acknowledged: ['quick', 'slow'], nacked: [], timedOut: [] });
  });

  test('a worker that does not answer is sent only a few messages, and then what is current', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    worker.deliver();
    for (let version = 0; version < 100; version++) hub.publishSnapshot(snapshotNamed(String(version)));
    expect(worker.waiting).toBeLessThan(5);
    worker.deliver();
    expect(worker.store.versions).toEqual(['96', '97', '98', '99']);
  });

  test('nothing is sent while the transport is full', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    worker.writable = false;
    hub.publishSnapshot(snapshotNamed('1'));
    hub.publishSnapshot(snapshotNamed('2'));
    expect(worker.waiting).toBe(2);
    worker.resume();
    expect(worker.waiting).toBe(3);
  });
});

describe('keys', () => {
  test('nothing is sent before the table is complete; an empty table is an answer, too', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishKeys({ upsert: [keyNumber(1)], remove: [] });
    worker.deliver();
    expect(worker.delivered).toEqual(['welcome']);
    expect(worker.store.keys.position).toBeUndefined();
    hub.publishKeys({ upsert: [keyNumber(2)], remove: [hashOf(1)] });
    hub.keysComplete();
    worker.deliver();
    expect(worker.store.keys.get(hashOf(1))).toBeUndefined();
    expect(worker.store.keys.get(hashOf(2))).toEqual(keyNumber(2));

    const empty = newHub('epoch-2');
    const other = new LocalWorker(empty, 'other');
    empty.keysComplete();
    other.deliver();
    expect(other.store.keys).toMatchObject({ size: 0, position: { epoch: 'epoch-2', sequence: 1 } });
  });

  test('changes are in force in order; what is unchanged is not sent', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishKeys({ upsert: keysUpTo(3), remove: [], reset: true });
    worker.deliver();
    const revoked = hub.publishKeys({ upsert: [keyNumber(0)], remove: [hashOf(1), hashOf(77)] });
    await expect(hub.awaitAcknowledged('keys', revoked, 0)).resolves.toMatchObject({ timedOut: ['w'] });
    expect(worker.store.keys.get(hashOf(1))).toBeDefined();
    worker.deliver();
    await expect(hub.awaitAcknowledged('keys', revoked, 0)).resolves.toMatchObject({ acknowledged: ['w'] });
    expect(worker.store.keys.get(hashOf(1))).toBeUndefined();
    expect(worker.store.keys.size).toBe(2);
    hub.publishKeys({ upsert: [keyNumber(0)], remove: [hashOf(1)] });
    expect(worker.waiting).toBe(0);
    hub.publishKeys({ upsert: [keyNumber(0, { user: 'other' })], remove: [] });
    worker.deliver();
    expect(worker.store.keys.get(hashOf(0))?.user).toBe('other');
    expect(worker.delivered).toEqual(['welcome', 'key-table', 'key-change', 'key-change']);
    expect(hub.status()).toMatchObject([{ keysUpToDate: true }]);
  });

  test('a reset is told as what differs', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishKeys({ upsert: keysUpTo(3), remove: [], reset: true });
    worker.deliver();
    hub.publishKeys({ upsert: [keyNumber(1), keyNumber(9)], remove: [], reset: true });
    worker.deliver();
    expect(worker.store.keys.size).toBe(2);
    expect(worker.delivered).toEqual(['welcome', 'key-table', 'key-change', 'key-change']);
  });

  test('a large table comes in parts and replaces the old one at once', () => {
    const hub = newHub();
    const store = new SnapshotStore();
    const earlier = newHub('an earlier control plane');
    earlier.publishKeys({ upsert: [keyNumber(-1)], remove: [], reset: true });
    const before = new LocalWorker(earlier, 'w', store);
    before.deliver();
    before.close();

    const count = 3 * KEYS_PER_MESSAGE + 1;
    hub.publishKeys({ upsert: keysUpTo(count), remove: [], reset: true });
    const worker = new LocalWorker(hub, 'w', store);
    worker.deliver(4);
    expect(worker.delivered).toEqual(['welcome', 'key-table', 'key-table', 'key-table']);
    expect(store.keys.size).toBe(1);
    // Revoked while the table is on its way.
    const revoked = hub.publishKeys({ upsert: [], remove: [hashOf(0), hashOf(count - 1)] });
    worker.deliver();
    expect(store.keys.size).toBe(count - 2);
    expect(store.keys.position).toEqual({ epoch: 'epoch-1', sequence: revoked });
  });

  test('a worker that reconnects gets the changes it missed, or the table where they are forgotten', () => {
    const hub = newHub();
    const store = new SnapshotStore();
    hub.publishKeys({ upsert: keysUpTo(10), remove: [], reset: true });
    const first = new LocalWorker(hub, 'w', store);
    first.deliver();
    first.close();
    hub.publishKeys({ upsert: [], remove: [hashOf(3)] });
    hub.publishKeys({ upsert: [keyNumber(11)], remove: [] });
    const second = new LocalWorker(hub, 'w', store);
    second.deliver();
    second.close();
    expect(second.delivered).toEqual(['welcome', 'key-change', 'key-change']);
    expect(store.keys.size).toBe(10);

    hub.publishKeys({ upsert: keysUpTo(30_000), remove: [] });
    const third = new LocalWorker(hub, 'w', store);
    third.deliver();
    expect(third.delivered[1]).toBe('key-table');
    expect(store.keys.size).toBe(30_000);
  });

  test('a worker that fell out of step says so and gets the table', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishKeys({ upsert: keysUpTo(3), remove: [], reset: true });
    worker.deliver();
    hub.publishKeys({ upsert: [], remove: [hashOf(0)] });
    worker.lose();
    hub.publishKeys({ upsert: [], remove: [hashOf(1)] });
    const last = hub.publishKeys({ upsert: [], remove: [hashOf(2)] });
    worker.deliver();
    expect(worker.delivered).toEqual(['welcome', 'key-table', 'key-change', 'key-change', 'key-table']);
    expect(worker.store.keys.size).toBe(0);
    await expect(hub.awaitAcknowledged('keys', last, 0)).resolves.toMatchObject({ acknowledged: ['w'] });
  });

  test('a table that is refused is not sent in a circle, and again with the next change', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    const bad = JSON.parse('{"id":"x","hash":"no hash","user":"u"}');
    const first = hub.publishKeys({ upsert: [bad], remove: [], reset: true });
    worker.deliver();
    expect(worker.delivered).toEqual(['welcome', 'key-table']);
    await expect(hub.awaitAcknowledged('keys', first, 0)).resolves.toMatchObject({
      nacked: [{ worker: 'w', message: expect.stringContaining('expected a virtual key') }],
    });
    const mended = hub.publishKeys({ upsert: [keyNumber(1)], remove: ['no hash'] });
    worker.deliver();
    expect(worker.store.keys.size).toBe(1);
    await expect(hub.awaitAcknowledged('keys', mended, 0)).resolves.toMatchObject({ acknowledged: ['w'] });
  });

  test('bytes that are no message are refused by the control plane and by the worker', () => {
    const hub = newHub();
    const stream = hub.open(() => true);
    expect(() => stream.handle(Buffer.from('{"type":"hello"}'))).toThrow(/bad message/);
    expect(() => stream.handle(Buffer.from('not json'))).toThrow(/bad message/);
    const follower = new Follower('w', new SnapshotStore());
    expect(follower.handle(Buffer.from('not json'))).toBeUndefined();
    expect(follower.handle(encodeMessage({ type: 'current', ordinal: 7, version: 'x' }))).toEqual({
      type: 'refuse',
      receipt: { kind: 'snapshot', ordinal: 7 },
      message: 'no snapshot x here',
    });
  });
});
