import { describe, expect, it, vi } from 'vitest';
import type { DirectoryEntry } from '../core/access.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createLogger } from '../telemetry/logger.ts';
import { DirectorySources, type DirectoryChange } from './directory-sources.ts';
import { StoredDirectory, type StoredDirectoryOptions } from './stored-directory.ts';

const logger: Logger = createLogger('test', 'silent');

function key(id: string, hash: string, user = 'ada'): DirectoryEntry {
  return { type: 'key', key: { id, hash, user } };
}

function setUp() {
  const changes: DirectoryChange[] = [];
  const sources = new DirectorySources((change) => {
    changes.push(change);
    return Promise.resolve();
  });
  return { sources, changes };
}

describe('DirectorySources', () => {
  it('tells only what changed', async () => {
    const { sources, changes } = setUp();
    await sources.set('keys', [key('1', 'a'), key('2', 'b')]);
    await sources.set('keys', [key('1', 'a'), key('2', 'b')]);
    await sources.set('keys', [key('2', 'b', 'bob')]);
    expect(changes).toEqual([
      { upsert: [key('1', 'a'), key('2', 'b')], remove: [] },
      { upsert: [key('2', 'b', 'bob')], remove: ['key/a'] },
    ]);
  });

  it('lets the configuration win over the database, and gives the stored key back when it goes', async () => {
    const { sources, changes } = setUp();
    await sources.set('keys', [key('stored', 'a')]);
    await sources.set('declared keys', [key('config/declared', 'a')]);
    await sources.set('declared keys', []);
    await sources.set('declared keys', [key('config/declared', 'a')]);
    await sources.change('keys', ['stored'], []);
    await sources.set('declared keys', []);
    expect(changes).toEqual([
      { upsert: [key('stored', 'a')], remove: [] },
      { upsert: [key('config/declared', 'a')], remove: [] },
      { upsert: [key('stored', 'a')], remove: [] },
      { upsert: [key('config/declared', 'a')], remove: [] },
      { upsert: [key('config/declared', 'a')], remove: [] },
      { upsert: [], remove: ['key/a'] },
    ]);
  });

  it('knows both secrets of a key that is rotated by its id', async () => {
    const { sources, changes } = setUp();
    await sources.change('keys', ['1'], [key('1', 'a')]);
    await sources.change('keys', ['1'], [key('1', 'b'), key('1', 'a')]);
    await sources.change('keys', ['1'], [key('1', 'b')]);
    await sources.change('keys', ['1'], []);
    expect(changes.slice(2)).toEqual([
      { upsert: [key('1', 'b')], remove: ['key/a'] },
      { upsert: [], remove: ['key/b'] },
    ]);
  });
});

describe('StoredDirectory', () => {
  function stored(keys: StoredDirectoryOptions['keys']) {
    const { sources, changes } = setUp();
    const directory = new StoredDirectory({
      keys,
      users: { records: () => Promise.resolve([]) },
      revocations: { listActive: () => Promise.resolve([]) },
      directory: sources,
      logger,
      now: Date.now,
    });
    return { directory, changes };
  }

  it('reads what changed while it was reading together, by id', async () => {
    const reading = Promise.withResolvers<void>();
    const asked: (readonly string[] | undefined)[] = [];
    const { directory } = stored({
      listActive: async (_now, ids) => {
        asked.push(ids);
        if (asked.length === 2) await reading.promise;
        return [];
      },
    });
    await directory.start();
    const first = directory.onChange({ entity: 'virtual_key', id: 'a' });
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    const others = ['b', 'c', 'd'].map((id) => directory.onChange({ entity: 'virtual_key', id }));
    reading.resolve();
    await Promise.all([first, ...others]);
    expect(asked).toEqual([undefined, ['a'], ['b', 'c', 'd']]);
    void directory.onChange({ entity: 'virtual_key', id: 'e' });
    await directory.onChange({ entity: 'unknown' });
    expect(asked.at(-1)).toBeUndefined();
    await directory.close();
  });

  it('reads again what it could not read', async () => {
    vi.useFakeTimers();
    let away = false;
    let active = [{ id: 'a', hash: 'a', user: 'ada' }];
    const { directory, changes } = stored({
      listActive: () => (away ? Promise.reject(new Error('away')) : Promise.resolve(active)),
    });
    await directory.start();
    away = true;
    active = [];
    await directory.onChange({ entity: 'virtual_key', id: 'a' });
    expect(changes).toHaveLength(1);
    away = false;
    await vi.advanceTimersByTimeAsync(2000);
    expect(changes[1]).toEqual({ upsert: [], remove: ['key/a'] });
    await directory.close();
    vi.useRealTimers();
  });
});
