import { randomBytes } from 'node:crypto';
import { beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { parseResources } from '../config/load/load.ts';
import { DirectorySources } from '../control/directory-sources.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { DirectoryTable } from '../distribution/directory-table.ts';
import { buildSnapshot } from '../snapshot/build.ts';
import { openPostgres, type PostgresConnection } from '../store/postgres/database.ts';
import { createEventStore } from '../store/postgres/repositories/events.ts';
import { createSigningKeyStore } from '../store/postgres/repositories/signing-keys.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createVault } from '../vault/vault.ts';
import { createCrossApp, type RunningCrossApp } from './cross-app.ts';

const vault = createVault(randomBytes(32).toString('hex'), 'a test');

let postgres: TestPostgres;
let connection: PostgresConnection;
let directory: DirectoryTable;
let crossApp: RunningCrossApp;
let log: string[];

beforeAll(async () => {
  postgres = await startPostgres();
  return () => postgres.stop();
});
beforeEach(async () => {
  connection = await openPostgres(await postgres.createDatabase(), () => undefined);
  directory = new DirectoryTable();
  log = [];
  let sequence = 0;
  const sources = new DirectorySources(({ upsert, remove }) => {
    sequence += 1;
    directory.change(upsert, remove, { epoch: '', sequence });
    return Promise.resolve();
  });
  crossApp = createCrossApp({
    signingKeys: createSigningKeyStore(connection.database, 'cross-app-access'),
    vault,
    resources: () => [],
    snapshot: () => undefined,
    directory,
    sources,
    keyMissing: () => undefined,
    once: { claim: () => Promise.resolve(true) },
    events: createEventStore(connection.database),
    logger: createLogger('test', 'error', { write: (line) => void log.push(line) }),
    now: Date.now,
  });
  return async () => {
    crossApp.close();
    vi.useRealTimers();
    await connection.close();
  };
});

/** A configuration with these identity providers, whose assertions are exchanged or not. */
function snapshotOf(names: readonly string[], enabled = true): Snapshot {
  const clients = names.map((identityProvider) => ({ id: identityProvider, identityProvider }));
  const access = { publicUrl: 'https://gateway.example.com' };
  const resources = [
    { kind: 'Gateway', name: 'default', spec: { access, crossAppAccess: { enabled, clients } } },
    ...names.map((name) => ({
      kind: 'IdentityProvider',
      name,
      spec: { issuer: `https://${name}.example.com`, audiences: ['limen'] },
    })),
  ];
  const text = resources
    .map(({ kind, name, spec }) =>
      JSON.stringify({ apiVersion: 'limen.dev/v1alpha1', kind, metadata: { name }, spec }),
    )
    .join('\n---\n');
  const parsed = parseResources([{ file: 'limen.yaml', text }]);
  return buildSnapshot(parsed.resources.map(({ resource }) => resource)).snapshot;
}

function kids(provider: string): readonly (string | undefined)[] | undefined {
  return directory.issuerKeys(`${provider}/cross-app`)?.keys.map(({ kid }) => kid);
}

it('gives workers the keys of every identity provider, and takes them back', async () => {
  await crossApp.onSnapshot(snapshotOf(['corp', 'partner']));
  expect(kids('corp')).toEqual([expect.any(String)]);
  expect(kids('partner')).toEqual(kids('corp'));
  await crossApp.onSnapshot(snapshotOf(['corp']));
  expect(kids('corp')).toEqual([expect.any(String)]);
  expect(kids('partner')).toBeUndefined();
  await crossApp.onSnapshot(snapshotOf(['corp'], false));
  expect(kids('corp')).toBeUndefined();
});

it('gives them those of a new identity provider while the database is away', async () => {
  await crossApp.onSnapshot(snapshotOf(['corp']));
  const own = kids('corp');
  await connection.close();
  await crossApp.onSnapshot(snapshotOf(['corp', 'partner']));
  expect(kids('partner')).toEqual(own);
  expect(log).toEqual([]);
  connection = await openPostgres(await postgres.createDatabase(), () => undefined);
});

it('reads them afresh where it was switched off in between', async () => {
  await crossApp.onSnapshot(snapshotOf(['corp']));
  const before = kids('corp');
  await crossApp.onSnapshot(snapshotOf(['corp'], false));
  await connection.database.execute('delete from signing_keys');
  await crossApp.onSnapshot(snapshotOf(['corp']));
  expect(kids('corp')).toEqual([expect.any(String)]);
  expect(kids('corp')).not.toEqual(before);
});

it('tries again where the keys cannot be had, and never fails a configuration for it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const { database } = connection;
  await database.execute("insert into signing_keys values ('cross-app-access', 'v1:00000000:x', now())");
  await crossApp.onSnapshot(snapshotOf(['corp']));
  expect(kids('corp')).toBeUndefined();
  expect(log.join('')).toContain('bring the old key back');
  await database.execute('delete from signing_keys');
  await vi.advanceTimersByTimeAsync(30_000);
  vi.useRealTimers();
  await expect.poll(() => kids('corp')).toEqual([expect.any(String)]);
});
