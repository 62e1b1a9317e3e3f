import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { processEnvironment, readSettings, type Settings } from '../config/env.ts';
import { findPostgres, findRedisServer } from './binaries.ts';
import type { ChildDefinition } from './child.ts';
import { makePrivateFolder } from './data-folder.ts';
import { endpointsOf } from './endpoints.ts';
import { PidFiles } from './pid-files.ts';
import { postgresChild } from './postgres.ts';
import { redisChild } from './redis.ts';
import { Supervisor } from './supervisor.ts';

const root = resolve(import.meta.dirname, '../..');
const plain = { PATH: processEnvironment()['PATH'], LANG: 'C' };

let folder: string;
let running: Supervisor | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-stores-'));
});

afterEach(async () => {
  await running?.stop(0);
  running = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function settingsFor(data: string): Settings {
  const settings = readSettings({}, { data });
  for (const path of [settings.data, settings.run]) makePrivateFolder(path);
  return settings;
}

async function startOnly(settings: Settings, child: ChildDefinition): Promise<Supervisor> {
  running = new Supervisor({
    children: [child],
    pidFiles: new PidFiles(join(settings.data, 'pids')),
    logs: settings.data,
    events: { onState: () => undefined, onLine: () => undefined },
  });
  await running.start();
  return running;
}

async function query(settings: Settings, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: endpointsOf(settings, '').postgresUrl });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

describe('the embedded Redis', () => {
  it('keeps acknowledged writes over a stop and a kill', async () => {
    const settings = settingsFor(join(folder, 'data'));
    const child = redisChild(findRedisServer(root, plain), settings, plain);
    const supervisor = await startOnly(settings, child);
    const client = new Redis(endpointsOf(settings, '').redisUrl);
    await client.set('kept', 'yes');
    process.kill(supervisor.child('redis').pid ?? 0, 'SIGKILL');
    await expect.poll(() => supervisor.child('redis').restarts).toBe(1);
    expect(await client.get('kept')).toBe('yes');
    client.disconnect();
    await supervisor.stop(0);

    await startOnly(settings, child);
    const again = new Redis(endpointsOf(settings, '').redisUrl);
    expect(await again.get('kept')).toBe('yes');
    expect(await again.config('GET', 'port')).toEqual(['port', '0']);
    again.disconnect();
  });

  it('refuses data that a newer server wrote', async () => {
    const settings = settingsFor(join(folder, 'data'));
    mkdirSync(join(settings.data, 'redis/appendonlydir'), { recursive: true });
    const older = join(folder, 'redis-server');
    writeFileSync(older, '#!/bin/sh\necho "Redis server v=6.2.14 sha=0"\n', { mode: 0o755 });
    await expect(startOnly(settings, redisChild(older, settings, plain))).rejects.toThrow(
      /written by Redis 7 or newer/,
    );
  });
});

describe('the embedded Postgres', () => {
  it('starts in an empty folder, and again over what a killed one left', async () => {
    chmodSync(folder, 0o755);
    const settings = settingsFor(join(folder, 'data'));
    const child = postgresChild(findPostgres(), settings, plain);
    const first = await startOnly(settings, child);
    await query(settings, 'CREATE TABLE kept (value text)');
    await query(settings, `INSERT INTO kept VALUES ('ümläut')`);
    process.kill(first.child('postgres').pid ?? 0, 'SIGKILL');
    await expect
      .poll(() => first.child('postgres').state === 'ready' && first.child('postgres').restarts, {
        timeout: 15_000,
      })
      .toBeGreaterThan(0);
    expect(await query(settings, 'SELECT value FROM kept')).toEqual([{ value: 'ümläut' }]);
    await first.stop(0);

    // A number that is alive, but is no Postgres: as after a restart of a container.
    writeFileSync(
      join(settings.data, 'postgres/postmaster.pid'),
      `${process.pid}\n${join(settings.data, 'postgres')}\n`,
    );
    const second = await startOnly(settings, child);
    expect(await query(settings, 'SELECT current_user AS name')).toEqual([{ name: 'limen' }]);
    expect(await query(settings, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '' }]);
    expect(second.child('postgres').restarts).toBe(0);
  }, 60_000);

  it('starts where only this user may go, as in the home folder of root', async () => {
    chmodSync(folder, 0o700);
    const settings = settingsFor(join(folder, 'data'));
    await startOnly(settings, postgresChild(findPostgres(), settings, plain));
    expect(await query(settings, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  }, 60_000);

  it('is closed to other users of the machine', async () => {
    const settings = settingsFor(join(folder, 'data'));
    await startOnly(settings, postgresChild(findPostgres(), settings, plain));
    expect(statSync(join(settings.run, 'postgres')).mode & 0o777).toBe(0o700);
    expect(statSync(join(settings.data, 'postgres')).mode & 0o777).toBe(0o700);
  }, 60_000);
});
