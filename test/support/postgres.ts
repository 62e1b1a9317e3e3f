import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { processEnvironment, readSettings } from '../../src/config/env.ts';
import { findPostgres } from '../../src/up/binaries.ts';
import { makePrivateFolder } from '../../src/up/data-folder.ts';
import { endpointsOf } from '../../src/up/endpoints.ts';
import { PidFiles } from '../../src/up/pid-files.ts';
import { postgresChild } from '../../src/up/postgres.ts';
import { Supervisor } from '../../src/up/supervisor.ts';

/** A real Postgres of a test's own, on a Unix socket in a temporary folder. */
export interface TestPostgres {
  /** A new empty database each time. */
  createDatabase(): Promise<string>;
  /** Kills the server the hard way; resolves once its supervisor has it running again. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

async function withClient(connectionString: string, work: (client: pg.Client) => Promise<unknown>) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await work(client);
  await client.end();
}

/** Starts the embedded Postgres as `npm start` does. Takes about a second. */
export async function startPostgres(): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'limen-postgres-'));
  chmodSync(folder, 0o755);
  const settings = readSettings({}, { data: join(folder, 'data') });
  for (const path of [settings.data, settings.run]) makePrivateFolder(path);
  const environment = { PATH: processEnvironment()['PATH'], LANG: 'C' };
  const supervisor = new Supervisor({
    children: [postgresChild(findPostgres(), settings, environment)],
    pidFiles: new PidFiles(join(settings.data, 'pids')),
    logs: settings.data,
    events: { onState: () => undefined, onLine: () => undefined },
  });
  await supervisor.start();
  const url = new URL(endpointsOf(settings, '').postgresUrl);
  // What a killed server has written is the kernel's: the tables of a test need not outlive that.
  await withClient(url.href, async (client) => {
    await client.query('alter system set fsync = off');
    await client.query('select pg_reload_conf()');
  });
  let count = 0;
  return {
    async createDatabase() {
      count += 1;
      await withClient(url.href, (client) => client.query(`create database test_${count}`));
      const own = new URL(url);
      own.pathname = `/test_${count}`;
      return own.href;
    },
    async crash() {
      const child = () => supervisor.child('postgres');
      const before = child().restarts;
      process.kill(child().pid ?? 0, 'SIGKILL');
      const deadline = Date.now() + 30_000;
      while (child().restarts === before || child().state !== 'ready') {
        if (Date.now() > deadline) throw new Error('Postgres did not come back.');
        await setTimeout(20);
      }
    },
    async stop() {
      await supervisor.stop(0);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
