import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

const module = resolve(import.meta.dirname, '../../scripts/bootstrap/lock.mjs');
/** Reads, waits and writes: two at once would lose a count. */
const COUNT = `
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const { withLock } = await import(process.argv[1]);
const [, , lock, counter] = process.argv;
await withLock(lock, () => {}, async () => {
  const count = Number(readFileSync(counter, 'utf8'));
  await sleep(50);
  writeFileSync(counter, String(count + 1));
});`;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-lock-'));
  writeFileSync(join(folder, 'counter'), '0');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function countTogether(processes: number): Promise<string> {
  const args = ['--input-type=module', '-e', COUNT, module, join(folder, 'lock'), join(folder, 'counter')];
  const children = Array.from({ length: processes }, () =>
    spawn(process.execPath, args, { stdio: 'inherit' }),
  );
  await Promise.all(children.map((child) => once(child, 'exit')));
  return readFileSync(join(folder, 'counter'), 'utf8');
}

it('lets one set-up work at a time', async () => {
  expect(await countTogether(4)).toBe('4');
});

it('takes over the lock of a dead process, also with several waiting for it', async () => {
  const dead = spawn('true');
  await once(dead, 'exit');
  writeFileSync(join(folder, 'lock'), String(dead.pid));
  expect(await countTogether(4)).toBe('4');
});

it('takes over a lock that nobody has touched for long, whoever has its number now', async () => {
  writeFileSync(join(folder, 'lock'), String(process.pid));
  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(join(folder, 'lock'), longAgo, longAgo);
  expect(await countTogether(1)).toBe('1');
});
