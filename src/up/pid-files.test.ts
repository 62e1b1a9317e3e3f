import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PidFiles, sweepPidFiles } from './pid-files.ts';
import { startWatchdog } from './watchdog.ts';

let folder: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-pids-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A process that is its own group's leader, as the supervisor's children are, and has begun to run its code. */
async function longRunning(
  code = '',
): Promise<{ child: ChildProcess; pid: number; ended: Promise<unknown[]> }> {
  const child = spawn(process.execPath, ['-e', `${code}; setInterval(() => {}, 1000); console.log('up')`], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  await once(child.stdout, 'data');
  return { child, pid: child.pid ?? 0, ended: once(child, 'exit') };
}

describe('sweepPidFiles', () => {
  it('ends what was left behind, each with its own signal', async () => {
    const pidFiles = new PidFiles(folder);
    const polite = await longRunning(`process.on('SIGINT', () => process.exit(7))`);
    const plain = await longRunning();
    pidFiles.add('postgres', polite.pid, 'SIGINT');
    pidFiles.add('redis', plain.pid, 'SIGTERM');
    expect((await sweepPidFiles(folder)).sort()).toEqual(['postgres', 'redis']);
    expect(await polite.ended).toEqual([7, null]);
    expect(await plain.ended).toEqual([null, 'SIGTERM']);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('kills what does not go, also a stopped process', async () => {
    const pidFiles = new PidFiles(folder);
    const stopped = await longRunning();
    stopped.child.kill('SIGSTOP');
    pidFiles.add('processor-0', stopped.pid, 'SIGTERM');
    await sweepPidFiles(folder, 100);
    expect(await stopped.ended).toEqual([null, 'SIGKILL']);
  });

  it('leaves a process alone that only has the same number', async () => {
    const stranger = await longRunning();
    writeFileSync(join(new PidFiles(folder).folder, 'redis.pid'), `${stranger.pid}\nTERM\n12345\n`);
    expect(await sweepPidFiles(folder)).toEqual([]);
    expect(stranger.child.exitCode ?? stranger.child.signalCode).toBeNull();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('startWatchdog', () => {
  it('ends the children when its supervisor is gone', async () => {
    const pidFiles = new PidFiles(folder);
    const polite = await longRunning(`process.on('SIGINT', () => process.exit(7))`);
    const plain = await longRunning();
    pidFiles.add('postgres', polite.pid, 'SIGINT');
    pidFiles.add('redis', plain.pid, 'SIGTERM');
    // Letting go closes its pipe, just as the kernel does for a killed supervisor.
    startWatchdog(pidFiles.folder)();
    expect(await polite.ended).toEqual([7, null]);
    expect(await plain.ended).toEqual([null, 'SIGTERM']);
  });

  it('leaves the children of the next start alone, however long its own take to go', async () => {
    const killed = new PidFiles(folder);
    // It ignores its signal, so the watchdog waits its five seconds before it kills.
    const stubborn = await longRunning(`process.on('SIGTERM', () => {})`);
    killed.add('envoy', stubborn.pid, 'SIGTERM');
    startWatchdog(killed.folder)();
    const next = new PidFiles(folder);
    const own = await longRunning();
    next.add('envoy', own.pid, 'SIGTERM');
    expect(await stubborn.ended).toEqual([null, 'SIGKILL']);
    await expect.poll(() => existsSync(killed.folder)).toBe(false);
    expect(own.child.exitCode ?? own.child.signalCode).toBeNull();
    expect(readdirSync(next.folder)).toEqual(['envoy.pid']);
  });
});
