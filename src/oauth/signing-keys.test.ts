import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import type { JsonWebKey } from '../core/json-web-key.ts';
import { createVault } from '../vault/vault.ts';
import { RETIRED_MS, SIGNING_MS, SigningKeys } from './signing-keys.ts';

const vault = createVault(randomBytes(32).toString('hex'), 'a test');
let folder: string;
let time: number;
let published: (readonly JsonWebKey[])[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-keys-'));
  time = Date.UTC(2026, 0, 1);
  published = [];
  return () => rmSync(folder, { recursive: true });
});

function signingKeys(): SigningKeys {
  return new SigningKeys({
    path: join(folder, 'keys.json'),
    vault,
    publish: (keys) => Promise.resolve(void published.push(keys)),
    now: () => time,
  });
}

function kidOf(token: string): unknown {
  const header: unknown = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString());
  return Reflect.get(Object(header), 'kid');
}

it('are kept over a restart, sealed', async () => {
  const first = signingKeys();
  await first.refresh();
  const second = signingKeys();
  await second.refresh();
  expect(second.publicKeys).toEqual(first.publicKeys);
  const text = readFileSync(join(folder, 'keys.json'), 'utf8');
  expect(text).not.toContain(first.publicKeys[0]?.x);
  expect(JSON.stringify(published)).not.toContain('"d"');
});

it('are renewed each month; the old one verifies until its tokens have ended', async () => {
  const keys = signingKeys();
  await keys.refresh();
  const old = kidOf(await keys.sign({}));
  time += SIGNING_MS + 1000;
  await keys.refresh();
  const fresh = kidOf(await keys.sign({}));
  expect(fresh).not.toBe(old);
  expect(published.at(-1)?.map(({ kid }) => kid)).toEqual([fresh, old]);
  time += RETIRED_MS;
  await keys.refresh();
  expect(published.at(-1)?.map(({ kid }) => kid)).toEqual([fresh]);
});

it('are not replaced where they cannot be opened', async () => {
  await signingKeys().refresh();
  const stranger = new SigningKeys({
    path: join(folder, 'keys.json'),
    vault: createVault(randomBytes(32).toString('hex'), 'a test'),
    publish: () => Promise.resolve(),
    now: () => time,
  });
  await expect(stranger.refresh()).rejects.toThrow('could not be opened');
  await expect(async () => stranger.sign({})).rejects.toThrow('no key to sign with');
});
