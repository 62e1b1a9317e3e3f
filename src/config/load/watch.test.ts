import { mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadConfig, type LoadResult } from './load.ts';
import { watchConfig, type ConfigWatcher } from './watch.ts';

function provider(name: string): string {
  return `apiVersion: limen.dev/v1alpha1\nkind: Provider\nmetadata: {name: ${name}}\nspec: {type: openai}\n`;
}

let folder: string;
let watcher: ConfigWatcher | undefined;
let seen: LoadResult[];
let failures: unknown[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'limen-watch-'));
  seen = [];
  failures = [];
});
afterEach(async () => {
  await watcher?.close();
  watcher = undefined;
  await rm(folder, { recursive: true, force: true });
  expect(failures).toEqual([]);
});

/** Watches by events alone: the poll is too slow to be what these tests see. */
async function start(path: string, options = { pollMs: 600_000 }): Promise<void> {
  const { fingerprint } = await loadConfig(path);
  watcher = watchConfig(
    path,
    (result) => {
      seen.push(result);
    },
    (error) => failures.push(error),
    { ...options, fingerprint },
  );
  await watcher.check();
}

function names(): string[] {
  return seen.at(-1)?.resources.map(({ resource }) => resource.metadata.name) ?? [];
}

async function eventually(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 10_000, interval: 5 });
}

describe('watchConfig', () => {
  it('sees a write in place, fast, and each content once', async () => {
    const file = join(folder, 'limen.yaml');
    await writeFile(file, provider('one'));
    await start(file);
    const took: number[] = [];
    for (const name of ['two', 'three', 'four', 'five', 'six']) {
      const before = performance.now();
      await writeFile(file, provider(name));
      await eventually(() => expect(names()).toEqual([name]));
      took.push(performance.now() - before);
    }
    await writeFile(file, provider('six'));
    await watcher?.check();
    expect(seen).toHaveLength(5);
    // The fastest, because the machine may be busy with something else.
    expect(Math.min(...took)).toBeLessThan(300);
  });

  it('sees an editor that renames a new file over the old one', async () => {
    const file = join(folder, 'limen.yaml');
    await writeFile(file, provider('one'));
    await start(file);
    for (const name of ['two', 'three']) {
      await writeFile(`${file}~`, provider(name));
      await rename(`${file}~`, file);
      await eventually(() => expect(names()).toEqual([name]));
    }
  });

  it.each([['the folder'], ['a file in it']])('sees the swap of a ConfigMap, watching %s', async (what) => {
    await mkdir(join(folder, '..1'));
    await writeFile(join(folder, '..1', 'limen.yaml'), provider('one'));
    await symlink('..1', join(folder, '..data'));
    await symlink('..data/limen.yaml', join(folder, 'limen.yaml'));
    await start(what === 'the folder' ? folder : join(folder, 'limen.yaml'));
    for (const [version, name] of [
      ['..2', 'two'],
      ['..3', 'three'],
    ] as const) {
      await mkdir(join(folder, version));
      await writeFile(join(folder, version, 'limen.yaml'), provider(name));
      await symlink(version, join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
      await eventually(() => expect(names()).toEqual([name]));
    }
  });

  it('sees files come and go in a folder', async () => {
    await writeFile(join(folder, 'a.yaml'), provider('one'));
    await start(folder);
    await writeFile(join(folder, 'b.yaml'), provider('two'));
    await eventually(() => expect(names()).toEqual(['one', 'two']));
    await rm(join(folder, 'a.yaml'));
    await eventually(() => expect(names()).toEqual(['two']));
  });

  it('takes a file that is written in two halves as one', async () => {
    const file = join(folder, 'limen.yaml');
    await writeFile(file, provider('one'));
    await start(file);
    const text = provider('two');
    const handle = await open(file, 'w');
    await handle.write(text.slice(0, 60));
    // Shorter than a change is given to settle.
    await delay(10);
    await handle.write(text.slice(60));
    await handle.close();
    await eventually(() => expect(names()).toEqual(['two']));
    expect(seen.flatMap(({ issues }) => issues)).toEqual([]);
  });

  it('reports a bad file, and the good one after it', async () => {
    const file = join(folder, 'limen.yaml');
    await writeFile(file, provider('one'));
    await start(file);
    await writeFile(file, 'kind: [');
    await eventually(() => expect(seen.at(-1)?.issues.length).toBeGreaterThan(0));
    await writeFile(file, provider('one'));
    await eventually(() => expect(names()).toEqual(['one']));
  });

  it('finds by polling what no event tells of, and a file that appears late', async () => {
    const file = join(folder, 'later', 'limen.yaml');
    await start(file, { pollMs: 20 });
    await mkdir(join(folder, 'later'));
    await writeFile(file, provider('one'));
    await eventually(() => expect(names()).toEqual(['one']));
    await rm(join(folder, 'later'), { recursive: true });
    await eventually(() => expect(seen.at(-1)?.issues[0]?.message).toBe('cannot be read (ENOENT)'));
  });

  it('goes on after a callback that throws', async () => {
    const file = join(folder, 'limen.yaml');
    await writeFile(file, provider('one'));
    const errors: unknown[] = [];
    watcher = watchConfig(
      file,
      (result) => {
        seen.push(result);
        if (seen.length === 1) throw new Error('first');
      },
      (error) => errors.push(error),
      { pollMs: 600_000 },
    );
    await eventually(() => expect(errors).toHaveLength(1));
    await writeFile(file, provider('two'));
    await eventually(() => expect(names()).toEqual(['two']));
  });
});
