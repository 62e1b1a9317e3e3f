import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateDrizzleJson, generateMigration } from 'drizzle-kit/api';
import { sql } from 'drizzle-orm';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startPostgres, type TestPostgres } from '../../../test/support/postgres.ts';
import type { StoreChange, StoredKey } from '../../core/configuration-store.ts';
import { followChanges } from './change-feed.ts';
import { openPostgres, type PostgresConnection } from './database.ts';
import { createKnownTeamStore } from './repositories/known-teams.ts';
import { createResourceStore } from './repositories/resources.ts';
import { createVirtualKeyStore } from './repositories/virtual-keys.ts';
import * as schema from './schema/index.ts';

let server: TestPostgres;
let url: string;
let connection: PostgresConnection;

beforeAll(async () => {
  server = await startPostgres();
  return () => server.stop();
});

beforeEach(async () => {
  url = await server.createDatabase();
  connection = await openPostgres(url, () => undefined);
  return () => connection.close();
});

const spec = { type: 'openai', credential: { sealed: 'v1:…' } };

function put(name: string, value: unknown = spec) {
  return { action: 'put', kind: 'Provider', name, spec: value } as const;
}

let count = 0;

function key(more: Partial<StoredKey> = {}): StoredKey {
  count += 1;
  return {
    id: `key-${count}`,
    hash: String(count).padStart(64, '0'),
    prefix: 'tw-',
    hint: 'abcd',
    user: 'ada',
    createdAt: 1_700_000_000_000 + count,
    ...more,
  };
}

describe('migrations', () => {
  it('are safe with several starters at once, and do nothing when done', async () => {
    const fresh = await server.createDatabase();
    const connections = await Promise.all(
      Array.from({ length: 5 }, () => openPostgres(fresh, () => undefined)),
    );
    const applied = await connections[0]?.database.execute(
      sql`select count(*)::int as count from drizzle.__drizzle_migrations`,
    );
    const files = readdirSync(join(import.meta.dirname, 'migrations')).filter((name) =>
      name.endsWith('.sql'),
    );
    expect(applied?.rows).toEqual([{ count: files.length }]);
    await Promise.all(connections.map((one) => one.close()));
  });

  it('are what the schema says', async () => {
    const meta = join(import.meta.dirname, 'migrations/meta');
    const last = readdirSync(meta)
      .filter((name) => name.endsWith('_snapshot.json'))
      .sort()
      .at(-1);
    const recorded = JSON.parse(readFileSync(join(meta, last ?? ''), 'utf8'));
    const current = generateDrizzleJson({ ...schema }, recorded.id, undefined, 'snake_case');
    expect(await generateMigration(recorded, current)).toEqual([]);
  });
});

describe('resources', () => {
  it('are stored, changed, deleted and made again', async () => {
    const store = createResourceStore(connection.database);
    expect(await store.list()).toEqual([]);
    expect(await store.revision()).toBe(0);
    expect(await store.change([put('b'), put('a')], 'ada', 0)).toBe(1);
    expect(
      (await store.list()).map(({ name, generation, spec: stored }) => [name, generation, stored]),
    ).toEqual([
      ['a', 1, spec],
      ['b', 1, spec],
    ]);
    expect(
      await store.change(
        [put('a', { type: 'anthropic' }), { action: 'delete', kind: 'Provider', name: 'b' }],
        'ada',
        1,
      ),
    ).toBe(2);
    expect((await store.list()).map(({ name, generation }) => [name, generation])).toEqual([['a', 2]]);
    expect(await store.change([{ ...put('b'), labels: { tier: 'one' } }], 'bob', 2)).toBe(3);
    expect(await store.list()).toEqual([
      expect.objectContaining({ name: 'a', spec: { type: 'anthropic' } }),
      expect.objectContaining({ name: 'b', generation: 3, labels: { tier: 'one' } }),
    ]);
    expect(await store.revision()).toBe(3);
  });

  it('are not changed on the ground of something outdated', async () => {
    const store = createResourceStore(connection.database);
    const results = await Promise.all(
      ['a', 'b', 'c', 'd'].map((name) => store.change([put(name)], 'ada', 0)),
    );
    expect(results.filter((revision) => revision === 1)).toHaveLength(1);
    expect(results.filter((revision) => revision === undefined)).toHaveLength(3);
    expect(await store.list()).toHaveLength(1);
    expect(await store.revision()).toBe(1);
  });

  it('leave a record of who changed what', async () => {
    const store = createResourceStore(connection.database);
    await store.change([put('a'), put('b')], 'ada', 0);
    const { rows } = await connection.database.execute(
      sql`select revision::int, position, actor, action, entity, entity_id from changes`,
    );
    expect(rows).toEqual([
      { revision: 1, position: 0, actor: 'ada', action: 'put', entity: 'resource', entity_id: 'Provider/a' },
      { revision: 1, position: 1, actor: 'ada', action: 'put', entity: 'resource', entity_id: 'Provider/b' },
    ]);
  });
});

describe('known teams', () => {
  it('stay as they were at last, until one is deleted, with a resource of its name or without', async () => {
    const teams = createKnownTeamStore(connection.database);
    const store = createResourceStore(connection.database);
    const team = (name: string, ...members: string[]) => ({
      ...{ name, members, groups: ['staff'] },
      ...(name === 'red' ? { tenant: 'acme', models: ['gpt-*'], defaultRoles: ['viewer'] } : {}),
    });
    await teams.remember([]);
    expect(await teams.list()).toEqual([]);
    await teams.remember([team('red', 'ada'), team('blue')]);
    await teams.remember([team('red', 'ada', 'bob')]);
    expect(await teams.list()).toEqual([team('blue'), team('red', 'ada', 'bob')]);
    expect(await store.revision()).toBe(0);
    await store.change([{ action: 'delete', kind: 'Provider', name: 'red' }], 'ada', 0);
    expect(await teams.list()).toHaveLength(2);
    await store.change([{ action: 'delete', kind: 'Team', name: 'red' }], 'ada', 1);
    expect(await teams.list()).toEqual([team('blue')]);
    await connection.database.execute(sql`update known_teams set team = '{"members": 5}'`);
    expect(await teams.list()).toEqual([
      { name: 'blue', members: [], groups: [], models: [], defaultRoles: [] },
    ]);
  });
});

describe('virtual keys', () => {
  it('are listed newest first, page by page', async () => {
    const store = createVirtualKeyStore(connection.database);
    const keys = [
      key({ name: 'ci', team: 'core', models: ['fast', 'gpt-*'], expiresAt: 1_800_000_000_000 }),
      key(),
      key({ createdAt: 1 }),
    ];
    for (const one of keys) await store.create(one, 'ada');
    const [first, second, third] = keys;
    expect(await store.list({ limit: 2 })).toEqual([second, first]);
    expect(await store.list({ limit: 2, after: first?.id })).toEqual([third]);
    expect(await store.get(first?.id ?? '')).toEqual(first);
    expect(await store.get('nothing')).toBeUndefined();
  });

  it('are revoked once, and then no longer active', async () => {
    const store = createVirtualKeyStore(connection.database);
    const [kept, revoked, expired] = [key(), key(), key({ expiresAt: 1000 })];
    for (const one of [kept, revoked, expired]) await store.create(one, 'ada');
    expect(await store.revoke(revoked.id, 2000, 'ada')).toEqual({ ...revoked, revokedAt: 2000 });
    expect(await store.revoke(revoked.id, 3000, 'ada')).toEqual({ ...revoked, revokedAt: 2000 });
    expect(await store.revoke('nothing', 3000, 'ada')).toBeUndefined();
    expect(await store.listActive(1000)).toEqual([{ id: kept.id, hash: kept.hash, user: 'ada' }]);
    expect((await store.listActive(999)).map(({ id }) => id).sort()).toEqual([kept.id, expired.id].sort());
  });

  it('are unique by their hash', async () => {
    const store = createVirtualKeyStore(connection.database);
    const one = key();
    await store.create(one, 'ada');
    await expect(store.create({ ...key(), hash: one.hash }, 'ada')).rejects.toThrow();
    expect(await createResourceStore(connection.database).revision()).toBe(1);
  });
});

describe('followChanges', () => {
  async function follow(pollMs: number, revision = 0) {
    const seen: StoreChange[] = [];
    const errors: unknown[] = [];
    const feed = followChanges({
      url,
      revision,
      pollMs,
      onChange: (change) => {
        seen.push(change);
      },
      onError: (error) => errors.push(error),
    });
    return { feed, seen, errors };
  }

  it('hears of changes at once, in their order, and not of its past', async () => {
    const resources = createResourceStore(connection.database);
    const keys = createVirtualKeyStore(connection.database);
    await resources.change([put('past')], 'ada', 0);
    const { feed, seen } = await follow(600_000, 1);
    // The first change may come before the server listens; then it is told as a full look.
    await resources.change([put('a')], 'ada', 1);
    await vi.waitFor(() => expect(seen.at(-1)?.revision).toBe(2), { timeout: 10_000 });
    const one = key();
    await keys.create(one, 'ada');
    await resources.change([put('b'), put('c')], 'ada', 3);
    await keys.revoke(one.id, 5000, 'ada');
    await vi.waitFor(() => expect(seen.at(-1)?.revision).toBe(5), { timeout: 10_000 });
    expect(seen.filter(({ revision }) => revision > 2)).toEqual([
      { revision: 3, entity: 'virtual_key', id: one.id },
      { revision: 4, entity: 'resource', id: 'Provider/b' },
      { revision: 4, entity: 'resource', id: 'Provider/c' },
      { revision: 5, entity: 'virtual_key', id: one.id },
    ]);
    await feed.close();
  });

  it('tells of very many changes as one of all of their kind', async () => {
    const { feed, seen } = await follow(600_000);
    await createResourceStore(connection.database).change(
      Array.from({ length: 200 }, (_, index) => put(`many-${index}`)),
      'ada',
      0,
    );
    await vi.waitFor(() => expect(seen).toContainEqual({ revision: 1, entity: 'resource' }), {
      timeout: 10_000,
    });
    await feed.close();
  });

  it('finds by its poll what no notification told of', async () => {
    const { feed, seen } = await follow(20);
    await connection.database.execute(sql`insert into revision (id, value) values (1, 7)`);
    await vi.waitFor(() => expect(seen).toEqual([{ revision: 7, entity: 'unknown' }]), { timeout: 10_000 });
    await feed.close();
  });

  it('looks at everything where the database was put back to an earlier state', async () => {
    await connection.database.execute(sql`insert into revision (id, value) values (1, 50)`);
    const { feed, seen } = await follow(20, 50);
    await connection.database.execute(sql`update revision set value = 40`);
    await vi.waitFor(() => expect(seen).toEqual([{ revision: 40, entity: 'unknown' }]), { timeout: 10_000 });
    await createResourceStore(connection.database).change([put('a')], 'ada', 40);
    await vi.waitFor(() => expect(seen.at(-1)?.revision).toBe(41), { timeout: 10_000 });
    await feed.close();
  });

  it('looks at everything after its connection broke, since it may have broken among notifications', async () => {
    await createResourceStore(connection.database).change([put('a')], 'ada', 0);
    const { feed, seen } = await follow(600_000, 1);
    const ended = async () => {
      const { rows } = await connection.database.execute(
        sql`select pg_terminate_backend(pid) as ended from pg_stat_activity
            where application_name = 'limen changes' and datname = current_database() and query like 'select%'`,
      );
      return rows.length;
    };
    await vi.waitFor(async () => expect(await ended()).toBe(1), { timeout: 10_000 });
    await vi.waitFor(() => expect(seen).toEqual([{ revision: 1, entity: 'unknown' }]), { timeout: 10_000 });
    await feed.close();
  });

  it('goes on after Postgres was killed', async () => {
    const resources = createResourceStore(connection.database);
    await resources.change([put('a')], 'ada', 0);
    const { feed, seen, errors } = await follow(100);
    await vi.waitFor(() => expect(seen.at(-1)?.revision).toBe(1), { timeout: 10_000 });
    await server.crash();
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0), { timeout: 10_000 });
    await vi.waitFor(async () => expect(await resources.change([put('b')], 'ada', 1)).toBe(2), {
      timeout: 20_000,
      interval: 100,
    });
    await vi.waitFor(() => expect(seen.at(-1)?.revision).toBe(2), { timeout: 20_000 });
    await feed.close();
  }, 60_000);
});
