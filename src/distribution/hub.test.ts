import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { entryName, type DirectoryEntry, type Revocation } from '../core/access.ts';
import { DirectoryContent, type DirectoryTable } from './directory-table.ts';
import { Follower } from './follower.ts';
import { DistributionHub } from './hub.ts';
import { encodeMessage, ENTRIES_PER_MESSAGE, type ToControl } from './messages.ts';
import { SnapshotStore, SNAPSHOTS_KEPT } from './store.ts';
import {
  asEntries,
  entryNumber,
  hashOf,
  keyNumber,
  keysUpTo,
  nameNumber,
  snapshotNamed,
  userNumber,
} from './testing/samples.ts';

function newHub(epoch = 'epoch-1'): DistributionHub {
  return new DistributionHub({ epoch, now: () => 1234 });
}

function revocation(id: string, kind: Revocation['kind'], value: string, before: number): DirectoryEntry {
  return { type: 'revocation', revocation: { id, kind, value, before, until: 10_000 } };
}

/** The entry of the same name; of revocations, whose look-up sums up several, the given one. */
function foundIn(directory: DirectoryTable, entry: DirectoryEntry): unknown {
  if (entry.type === 'key') return { type: 'key', key: directory.key(entry.key.hash) };
  return entry.type === 'user' ? { type: 'user', user: directory.user(entry.user.id) } : entry;
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

test('a worker that is gone is told of once, and one that never said its name never', () => {
  const gone: string[] = [];
  const listener = { onWorkerGone: (worker: string) => void gone.push(worker) };
  const hub = new DistributionHub({ epoch: 'epoch-1', now: () => 1234, listener });
  const worker = new LocalWorker(hub, 'processor-0');
  hub.open(() => true).close();
  expect(gone).toEqual([]);
  worker.close();
  worker.close();
  expect(gone).toEqual(['processor-0']);
});

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

describe('directory', () => {
  test('nothing is sent before the table is complete; an empty table is an answer, too', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishDirectory({ upsert: [entryNumber(1)], remove: [] });
    worker.deliver();
    expect(worker.delivered).toEqual(['welcome']);
    expect(worker.store.directory.position).toBeUndefined();
    hub.publishDirectory({ upsert: [entryNumber(2)], remove: [nameNumber(1)] });
    hub.directoryComplete();
    worker.deliver();
    expect(worker.store.directory.key(hashOf(1))).toBeUndefined();
    expect(worker.store.directory.key(hashOf(2))).toEqual(keyNumber(2));

    const empty = newHub('epoch-2');
    const other = new LocalWorker(empty, 'other');
    empty.directoryComplete();
    other.deliver();
    expect(other.store.directory).toMatchObject({ size: 0, position: { epoch: 'epoch-2', sequence: 1 } });
  });

  test('changes are in force in order; what is unchanged is not sent', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishDirectory({ upsert: asEntries(keysUpTo(3)), remove: [], reset: true });
    worker.deliver();
    const revoked = hub.publishDirectory({
      upsert: [entryNumber(0)],
      remove: [nameNumber(1), nameNumber(77)],
    });
    await expect(hub.awaitAcknowledged('directory', revoked, 0)).resolves.toMatchObject({ timedOut: ['w'] });
    expect(worker.store.directory.key(hashOf(1))).toBeDefined();
    worker.deliver();
    await expect(hub.awaitAcknowledged('directory', revoked, 0)).resolves.toMatchObject({
      acknowledged: ['w'],
    });
    expect(worker.store.directory.key(hashOf(1))).toBeUndefined();
    expect(worker.store.directory.size).toBe(2);
    hub.publishDirectory({ upsert: [entryNumber(0)], remove: [nameNumber(1)] });
    expect(worker.waiting).toBe(0);
    hub.publishDirectory({ upsert: [entryNumber(0, { user: 'other' })], remove: [] });
    worker.deliver();
    expect(worker.store.directory.key(hashOf(0))?.user).toBe('other');
    expect(worker.delivered).toEqual(['welcome', 'directory-table', 'directory-change', 'directory-change']);
    expect(hub.status()).toMatchObject([{ directoryUpToDate: true }]);
  });

  test('a reset is told as what differs', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishDirectory({ upsert: asEntries(keysUpTo(3)), remove: [], reset: true });
    worker.deliver();
    hub.publishDirectory({ upsert: [entryNumber(1), entryNumber(9)], remove: [], reset: true });
    worker.deliver();
    expect(worker.store.directory.size).toBe(2);
    expect(worker.delivered).toEqual(['welcome', 'directory-table', 'directory-change', 'directory-change']);
  });

  test('a large table comes in parts and replaces the old one at once', () => {
    const hub = newHub();
    const store = new SnapshotStore();
    const earlier = newHub('an earlier control plane');
    earlier.publishDirectory({ upsert: [entryNumber(-1)], remove: [], reset: true });
    const before = new LocalWorker(earlier, 'w', store);
    before.deliver();
    before.close();

    const count = 3 * ENTRIES_PER_MESSAGE + 1;
    hub.publishDirectory({ upsert: asEntries(keysUpTo(count)), remove: [], reset: true });
    const worker = new LocalWorker(hub, 'w', store);
    worker.deliver(4);
    expect(worker.delivered).toEqual(['welcome', 'directory-table', 'directory-table', 'directory-table']);
    expect(store.directory.size).toBe(1);
    // Revoked while the table is on its way.
    const revoked = hub.publishDirectory({ upsert: [], remove: [nameNumber(0), nameNumber(count - 1)] });
    worker.deliver();
    expect(store.directory.size).toBe(count - 2);
    expect(store.directory.position).toEqual({ epoch: 'epoch-1', sequence: revoked });
  });

  test('a worker that reconnects gets the changes it missed, or the table where they are forgotten', () => {
    const hub = newHub();
    const store = new SnapshotStore();
    hub.publishDirectory({ upsert: asEntries(keysUpTo(10)), remove: [], reset: true });
    const first = new LocalWorker(hub, 'w', store);
    first.deliver();
    first.close();
    hub.publishDirectory({ upsert: [], remove: [nameNumber(3)] });
    hub.publishDirectory({ upsert: [entryNumber(11)], remove: [] });
    const second = new LocalWorker(hub, 'w', store);
    second.deliver();
    second.close();
    expect(second.delivered).toEqual(['welcome', 'directory-change', 'directory-change']);
    expect(store.directory.size).toBe(10);

    hub.publishDirectory({ upsert: asEntries(keysUpTo(30_000)), remove: [] });
    const third = new LocalWorker(hub, 'w', store);
    third.deliver();
    expect(third.delivered[1]).toBe('directory-table');
    expect(store.directory.size).toBe(30_000);
  });

  test('a worker that fell out of step says so and gets the table', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishDirectory({ upsert: asEntries(keysUpTo(3)), remove: [], reset: true });
    worker.deliver();
    hub.publishDirectory({ upsert: [], remove: [nameNumber(0)] });
    worker.lose();
    hub.publishDirectory({ upsert: [], remove: [nameNumber(1)] });
    const last = hub.publishDirectory({ upsert: [], remove: [nameNumber(2)] });
    worker.deliver();
    expect(worker.delivered).toEqual([
      'welcome',
      'directory-table',
      'directory-change',
      'directory-change',
      'directory-table',
    ]);
    expect(worker.store.directory.size).toBe(0);
    await expect(hub.awaitAcknowledged('directory', last, 0)).resolves.toMatchObject({ acknowledged: ['w'] });
  });

  test('a table that is refused is not sent in a circle, and again with the next change', async () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    const bad = JSON.parse('{"id":"x","hash":"no hash","user":"u"}');
    const first = hub.publishDirectory({ upsert: [{ type: 'key', key: bad }], remove: [], reset: true });
    worker.deliver();
    expect(worker.delivered).toEqual(['welcome', 'directory-table']);
    await expect(hub.awaitAcknowledged('directory', first, 0)).resolves.toMatchObject({
      nacked: [{ worker: 'w', message: expect.stringContaining('expected an entry of the directory') }],
    });
    const mended = hub.publishDirectory({ upsert: [entryNumber(1)], remove: ['key/no hash'] });
    worker.deliver();
    expect(worker.store.directory.size).toBe(1);
    await expect(hub.awaitAcknowledged('directory', mended, 0)).resolves.toMatchObject({
      acknowledged: ['w'],
    });
  });

  test('what refuses is told before what allows', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    hub.publishDirectory({ upsert: [entryNumber(0)], remove: [], reset: true });
    worker.deliver();
    const { generation } = worker.store.directory;
    // More than one message holds of new keys, in front of a revocation and of a key that is gone.
    hub.publishDirectory({
      upsert: [
        ...asEntries(keysUpTo(ENTRIES_PER_MESSAGE + 10)).slice(1),
        { type: 'user', user: { id: 'corp:ada', groups: [], roles: [], disabled: true } },
        revocation('r', 'subject', 'corp:bob', 1000),
      ],
      remove: [nameNumber(0)],
    });
    worker.deliver(2);
    const { directory } = worker.store;
    expect(directory.key(hashOf(0))).toBeUndefined();
    expect(directory.revocation('subject', 'corp:bob')?.before).toBe(1000);
    expect(directory.user('corp:ada')?.disabled).toBe(true);
    expect(directory.key(hashOf(ENTRIES_PER_MESSAGE + 9))).toBeUndefined();
    worker.deliver();
    expect(directory.key(hashOf(ENTRIES_PER_MESSAGE + 9))).toBeDefined();
    expect(directory.generation).toBeGreaterThan(generation);
  });

  test('the generation changes with everything but keys; what is unchanged stays the same object', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    const issuerKeys = {
      provider: 'corp',
      issuer: 'https://corp.example',
      keys: [{ kty: 'OKP', kid: '1' }],
      fetchedAt: 1,
    };
    hub.publishDirectory({
      upsert: [userNumber(1), { type: 'issuer-keys', issuerKeys }],
      remove: [],
      reset: true,
    });
    worker.deliver();
    const { directory } = worker.store;
    const { generation } = directory;
    const known = directory.issuerKeys('corp');
    expect(known).toEqual(issuerKeys);
    hub.publishDirectory({ upsert: [entryNumber(1)], remove: [] });
    hub.publishDirectory({ upsert: [], remove: [nameNumber(1)] });
    worker.deliver();
    expect(directory.generation).toBe(generation);
    hub.publishDirectory({ upsert: [revocation('r', 'jti', 'x', 5)], remove: [] });
    worker.deliver();
    expect(directory.generation).toBe(generation + 1);
    hub.publishDirectory({ upsert: [], remove: ['user/corp:user-1'] });
    worker.deliver();
    expect(directory.generation).toBe(generation + 2);
    expect(directory.user('corp:user-1')).toBeUndefined();
    expect(directory.issuerKeys('corp')).toBe(known);
  });

  test('thousands of revocations are purged among many without holding up requests', () => {
    const content = new DirectoryContent();
    const many = Array.from({ length: 50_000 }, (_, number) => `r-${number}`);
    for (const id of many) content.put(revocation(id, 'jti', `token of ${id}`, 1));
    const started = process.cpuUsage();
    for (const id of many.slice(0, 5000)) content.remove(`revocation/${id}`);
    // Some milliseconds; a look at all the others for each takes many seconds.
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(1000);
    expect(content.size).toBe(45_000);
    expect(content.revocation('jti', 'token of r-4999')).toBeUndefined();
    expect(content.revocation('jti', 'token of r-5000')).toBeDefined();
  });

  test('of several revocations under one name all count, each until it is taken back', () => {
    const hub = newHub();
    const worker = new LocalWorker(hub, 'w');
    const { directory } = worker.store;
    const publish = (upsert: DirectoryEntry[], remove: string[] = []) => {
      hub.publishDirectory({ upsert, remove });
      worker.deliver();
    };
    hub.directoryComplete();
    publish([revocation('a', 'subject', 'ada', 100), revocation('b', 'subject', 'ada', 200)]);
    expect(directory.revocation('subject', 'ada')?.before).toBe(200);
    expect(directory.revocation('jti', 'ada')).toBeUndefined();
    publish([revocation('a', 'subject', 'ada', 50)]);
    expect(directory.revocation('subject', 'ada')?.before).toBe(200);
    publish([], ['revocation/b']);
    expect(directory.revocation('subject', 'ada')?.before).toBe(50);
    publish([revocation('a', 'subject', 'bob', 50)]);
    expect(directory.revocation('subject', 'ada')).toBeUndefined();
    expect(directory.revocation('subject', 'bob')?.before).toBe(50);
    publish([], ['revocation/a']);
    expect(directory.revocation('subject', 'bob')).toBeUndefined();
  });

  test('whatever is published, lost or cut off on its way: in the end the worker has what is published', () => {
    const entry = fc.oneof(
      fc
        .record({ number: fc.nat(5), user: fc.constantFrom('ada', 'bob') })
        .map(({ number, user }): DirectoryEntry => ({ type: 'key', key: keyNumber(number, { user }) })),
      fc.nat(5).map((number) => userNumber(number)),
      fc
        .record({
          id: fc.constantFrom('r', 's', 't'),
          value: fc.constantFrom('ada', 'bob'),
          before: fc.nat(9),
        })
        .map(({ id, value, before }) => revocation(id, 'subject', value, before)),
    );
    const step = fc.oneof(
      fc.record({
        do: fc.constant('publish' as const),
        upsert: fc.array(entry, { maxLength: 4 }),
        remove: fc.array(entry.map(entryName), { maxLength: 3 }),
        reset: fc.boolean(),
      }),
      fc.record({ do: fc.constantFrom('deliver' as const, 'lose' as const, 'reconnect' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const hub = newHub();
        const store = new SnapshotStore();
        let worker = new LocalWorker(hub, 'w', store);
        const truth = new Map<string, DirectoryEntry>();
        hub.directoryComplete();
        for (const each of steps) {
          if (each.do === 'publish') {
            if (each.reset) truth.clear();
            else for (const name of each.remove) truth.delete(name);
            for (const one of each.upsert) truth.set(entryName(one), one);
            hub.publishDirectory(each);
          } else if (each.do === 'deliver') worker.deliver(1);
          else if (each.do === 'lose') worker.lose();
          else {
            worker.close();
            worker = new LocalWorker(hub, 'w', store);
          }
        }
        // A message that was lost without an end of the stream is noticed with the next one.
        const last = entryNumber(99);
        truth.set(entryName(last), last);
        worker.close();
        worker = new LocalWorker(hub, 'w', store);
        hub.publishDirectory({ upsert: [last], remove: [] });
        worker.deliver();
        const { directory } = store;
        expect(directory.size).toBe(truth.size);
        for (const one of truth.values()) expect(foundIn(directory, one)).toEqual(one);
        for (const value of ['ada', 'bob']) {
          const befores = [...truth.values()].flatMap((one) =>
            one.type === 'revocation' && one.revocation.value === value ? [one.revocation.before] : [],
          );
          expect(directory.revocation('subject', value)?.before).toBe(
            befores.length === 0 ? undefined : Math.max(...befores),
          );
        }
      }),
      { numRuns: 300 },
    );
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
