import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { tellable } from '../core/errors.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import { openPostgres, type PostgresConnection } from '../store/postgres/database.ts';
import { createSigningKeyStore } from '../store/postgres/repositories/signing-keys.ts';
import { createVault, type Vault } from '../vault/vault.ts';
import { AHEAD_MS, RETIRED_MS, SIGNING_MS, SigningKeys } from './signing-keys.ts';

const HOUR_MS = 3_600_000;
const encryptionKey = () => randomBytes(32).toString('hex');
const oldKey = encryptionKey();
const vault = createVault(oldKey, 'a test');

let postgres: TestPostgres;
let url: string;
let time: number;

beforeAll(async () => {
  postgres = await startPostgres();
  return () => postgres.stop();
});
beforeEach(async () => {
  url = await postgres.createDatabase();
  time = Date.UTC(2026, 0, 1);
});

/** What one control plane has: connection, keys, and what it told its workers last. */
interface ControlPlane {
  readonly connection: PostgresConnection;
  readonly keys: SigningKeys;
  published: readonly JsonWebKey[];
  /** What telling its workers waits for. */
  told: Promise<void>;
}

async function controlPlane(itsVault: Vault = vault): Promise<ControlPlane> {
  const connection = await openPostgres(url, () => undefined);
  const own: ControlPlane = {
    connection,
    published: [],
    told: Promise.resolve(),
    keys: new SigningKeys({
      store: createSigningKeyStore(connection.database, 'cross-app-access'),
      vault: itsVault,
      publish: (keys) => {
        own.published = keys;
        return own.told;
      },
      now: () => time,
    }),
  };
  return own;
}

/** So many control planes on one database, ended after the work. */
async function withControlPlanes(
  vaults: readonly Vault[],
  work: (...all: ControlPlane[]) => Promise<void>,
): Promise<void> {
  const all = await Promise.all(vaults.map((one) => controlPlane(one)));
  try {
    await work(...all);
  } finally {
    await Promise.all(all.map(({ connection }) => connection.close()));
  }
}

async function signedBy({ keys }: ControlPlane): Promise<string | undefined> {
  return decodeProtectedHeader(await keys.sign({})).kid;
}

function kids({ published }: ControlPlane): readonly (string | undefined)[] {
  return published.map(({ kid }) => kid);
}

async function storedText({ connection }: ControlPlane): Promise<string> {
  const { rows } = await connection.database.execute('select sealed from signing_keys');
  return z.tuple([z.object({ sealed: z.string() })]).parse(rows)[0].sealed;
}

it('are one key for control planes that start at once, sealed', async () => {
  await withControlPlanes([vault, vault, vault, vault], async (...all) => {
    await Promise.all(all.map(({ keys }) => keys.refresh()));
    const signing = await Promise.all(all.map((one) => signedBy(one)));
    expect(new Set(signing).size).toBe(1);
    for (const { published } of all)
      expect(published).toEqual([expect.objectContaining({ kid: signing[0] })]);
    const [first] = all;
    expect(JSON.stringify(all.map(({ published }) => published))).not.toContain('"d"');
    expect(first && (await storedText(first))).toMatch(/^v1:[0-9a-f]{8}:[\w-]+$/);
  });
});

it('sign what the workers of every control plane verify', async () => {
  await withControlPlanes([vault, vault], async (first, second) => {
    await first?.keys.refresh();
    await second?.keys.refresh();
    const verifies = createLocalJWKSet(
      z.object({ keys: z.array(z.looseObject({ kty: z.string() })) }).parse({ keys: second?.published }),
    );
    const token = (await first?.keys.sign({ sub: 'ada' })) ?? '';
    await expect(jwtVerify(token, verifies)).resolves.toMatchObject({ payload: { sub: 'ada' } });
  });
});

it('are renewed by one of those that would, published a day before they sign, and a day after', async () => {
  await withControlPlanes([vault, vault], async (...all) => {
    const refresh = () => Promise.all(all.map(({ keys }) => keys.refresh()));
    const signing = () => Promise.all(all.map((one) => signedBy(one)));
    await refresh();
    const [old] = await signing();
    time += SIGNING_MS - AHEAD_MS;
    await refresh();
    const published = all.map((one) => kids(one));
    expect(published[0]).toEqual(published[1]);
    expect(published[0]).toEqual([expect.any(String), old]);
    time += AHEAD_MS - 1;
    await refresh();
    expect(await signing()).toEqual([old, old]);
    time += 1;
    const fresh = published[0]?.[0];
    expect(await signing()).toEqual([fresh, fresh]);
    time += RETIRED_MS - 1;
    await refresh();
    expect(all.map((one) => kids(one))).toEqual([
      [fresh, old],
      [fresh, old],
    ]);
    time += 1;
    await refresh();
    expect(all.map((one) => kids(one))).toEqual([[fresh], [fresh]]);
  });
});

it('sign with nothing that any worker does not know, also of a control plane without the database for most of each day', async () => {
  await withControlPlanes([vault, vault], async (...all) => {
    for (const { keys } of all) await keys.refresh();
    const seen = new Set<string | undefined>();
    const unknown: string[] = [];
    for (let hour = 0; hour < 24 * 62; hour += 1) {
      for (const [index, { keys }] of all.entries()) {
        // The first makes a new key at the beginning of a day, of which the second hears in its last hours.
        if (index === 0 || hour % 24 >= 22) await keys.refresh();
        // Each at its own time within the hour.
        time += HOUR_MS / 2;
        const signing = await Promise.all(all.map((other) => signedBy(other)));
        for (const kid of signing) seen.add(kid);
        if (!all.every((other) => signing.every((kid) => kids(other).includes(kid))))
          unknown.push(`in hour ${String(hour)}`);
      }
    }
    expect(unknown).toEqual([]);
    expect(seen.size).toBe(3);
  });
});

it('go on with the old one where nobody renewed it for months', async () => {
  await withControlPlanes([vault, vault], async (first, second) => {
    if (first === undefined || second === undefined) throw new Error('There are two.');
    await first.keys.refresh();
    const old = await signedBy(first);
    time += 10 * SIGNING_MS;
    await second.keys.refresh();
    expect(await signedBy(second)).toBe(old);
    expect(kids(second)).toEqual([expect.any(String), old]);
    time += AHEAD_MS;
    expect(await signedBy(second)).toBe(kids(second)[0]);
  });
});

it('sign with none that the workers have not been told of', async () => {
  const one = await controlPlane();
  const telling = Promise.withResolvers<void>();
  one.told = telling.promise;
  const refreshed = one.keys.refresh();
  await expect.poll(() => kids(one)).toHaveLength(1);
  await expect(one.keys.sign({})).rejects.toThrow('no key to sign with');
  expect(one.keys.publicKeys).toEqual([]);
  telling.reject(new Error('no worker answers'));
  await expect(refreshed).rejects.toThrow('no worker answers');
  await expect(one.keys.sign({})).rejects.toThrow('no key to sign with');
  one.told = Promise.resolve();
  await one.keys.refresh();
  expect(kids(one)).toEqual([await signedBy(one)]);
  await one.connection.close();
});

it('stay, and are published, while the database is away', async () => {
  const one = await controlPlane();
  await one.keys.refresh();
  const token = await one.keys.sign({});
  const before = one.published;
  await one.connection.close();
  one.published = [];
  await expect(one.keys.refresh()).rejects.toThrow();
  expect(one.published).toEqual(before);
  expect(decodeProtectedHeader(await one.keys.sign({})).kid).toBe(decodeProtectedHeader(token).kid);
});

it('stand in no error, not even sealed', async () => {
  const one = await controlPlane();
  const store = createSigningKeyStore(one.connection.database, 'cross-app-access');
  await one.connection.close();
  const failed = store.replace('v1:before', 'v1:after').catch((error: unknown) => inspect(tellable(error)));
  expect(await failed).toMatch(/^Error: (?![^]*v1:)/);
});

it('are told and never replaced where they cannot be opened', async () => {
  await withControlPlanes([vault, createVault(encryptionKey(), 'a test')], async (first, stranger) => {
    if (first === undefined || stranger === undefined) throw new Error('There are two.');
    await first.keys.refresh();
    const sealed = await storedText(first);
    time += 2 * SIGNING_MS;
    await expect(stranger.keys.refresh()).rejects.toThrow('cannot be opened with the present encryption key');
    await expect(stranger.keys.sign({})).rejects.toThrow('no key to sign with');
    expect(stranger.published).toEqual([]);
    expect(await storedText(first)).toBe(sealed);
  });
});

it('are sealed again with a new encryption key, after which the old one may go', async () => {
  const newKey = encryptionKey();
  const rotated = createVault(`${newKey},${oldKey}`, 'a test');
  await withControlPlanes([vault, rotated, createVault(newKey, 'a test')], async (first, second, third) => {
    if (first === undefined || second === undefined || third === undefined)
      throw new Error('There are three.');
    await first.keys.refresh();
    await second.keys.refresh();
    await third.keys.refresh();
    expect(third.published).toEqual(first.published);
    const sealed = await storedText(third);
    await second.keys.refresh();
    expect(await storedText(third)).toBe(sealed);
  });
});
