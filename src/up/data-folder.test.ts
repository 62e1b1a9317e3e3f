import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDataFolder, makePrivateFolder } from './data-folder.ts';
import { installationKey } from './encryption-key.ts';
import { identify } from './process-identity.ts';

let data: string;

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'limen-data-'));
});

afterEach(() => rmSync(data, { recursive: true, force: true }));

describe('lockDataFolder', () => {
  it('is held by one at a time, with a line that says by whom', () => {
    const unlock = lockDataFolder(data);
    expect(() => lockDataFolder(data)).toThrow(
      `Limen already runs on the data folder ${data} (process ${process.pid}): stop it, or use another folder with LIMEN_DATA (--data).`,
    );
    unlock();
    lockDataFolder(data)();
    expect(readdirSync(data)).toEqual([]);
  });

  it('is taken over from a process that was killed', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    await once(child, 'spawn');
    const pid = child.pid ?? 0;
    writeFileSync(join(data, 'limen.lock'), `${pid}\n${identify(pid)?.startedAt}\n`);
    expect(() => lockDataFolder(data)).toThrow(`(process ${pid})`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    lockDataFolder(data)();
  });

  it('is taken over where another process has the number of the dead one', () => {
    writeFileSync(join(data, 'limen.lock'), `${process.pid}\n12345\n`);
    const unlock = lockDataFolder(data);
    expect(() => lockDataFolder(data)).toThrow('already runs');
    unlock();
  });

  it('gives back only its own lock', () => {
    const unlock = lockDataFolder(data);
    unlock();
    const second = lockDataFolder(data);
    unlock();
    expect(() => lockDataFolder(data)).toThrow('already runs');
    second();
  });
});

describe('makePrivateFolder', () => {
  it('closes the folder to others, also where it is there already', () => {
    const folder = join(data, 'new/deep');
    makePrivateFolder(folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    makePrivateFolder(folder, 0o711);
    expect(statSync(folder).mode & 0o777).toBe(0o711);
  });
});

describe('installationKey', () => {
  it('is made once and stays', () => {
    const key = installationKey(data);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(installationKey(data)).toBe(key);
    expect(statSync(join(data, 'encryption.key')).mode & 0o777).toBe(0o600);
  });

  it('is never replaced where the file is damaged', () => {
    writeFileSync(join(data, 'encryption.key'), 'half');
    expect(() => installationKey(data)).toThrow('does not hold a key');
  });
});
