import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isRunning, type ProcessIdentity } from './process-identity.ts';

/** Signals that end a child in good order: SIGINT is Postgres's fast shutdown. */
export type StopSignal = 'SIGTERM' | 'SIGINT';

/**
 * The children that run, one file each, for whoever has to clean up after a supervisor that was killed: its
 * watchdog (a shell, so the format is lines) or the next start.
 */
export class PidFiles {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Notes a running child. Lines: process number, signal that ends it, start of the process. */
  add(name: string, pid: number, signal: StopSignal): void {
    const startedAt = identify(pid)?.startedAt ?? '';
    const path = this.#path(name);
    writeFileSync(`${path}.new`, `${pid}\n${signal.slice(3)}\n${startedAt}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  remove(name: string): void {
    rmSync(this.#path(name), { force: true });
  }

  /**
   * Ends what an earlier supervisor left behind: its own signal first, SIGKILL after the grace. A number that
   * belongs to another process by now is left alone.
   *
   * @returns names of the children that still ran
   */
  async sweep(graceMs = 5_000): Promise<string[]> {
    const left = readdirSync(this.folder)
      .filter((file) => file.endsWith('.pid'))
      .flatMap((file) => {
        const [pid, signal, startedAt] = readFileSync(join(this.folder, file), 'utf8').split('\n');
        const identity = { pid: Number(pid), startedAt: startedAt ?? '' };
        const name = file.slice(0, -'.pid'.length);
        return isRunning(identity)
          ? [{ name, identity, signal: signal === 'INT' ? 'SIGINT' : 'SIGTERM' } as const]
          : [];
      });
    await Promise.all(left.map(({ identity, signal }) => endProcess(identity, signal, graceMs)));
    for (const file of readdirSync(this.folder)) rmSync(join(this.folder, file), { force: true });
    return left.map(({ name }) => name);
  }

  #path(name: string): string {
    return join(this.folder, `${name}.pid`);
  }
}

async function endProcess(identity: ProcessIdentity, signal: StopSignal, graceMs: number): Promise<void> {
  const deadline = Date.now() + graceMs;
  signalGroup(identity.pid, signal);
  while (isRunning(identity)) {
    if (Date.now() > deadline) signalGroup(identity.pid, 'SIGKILL');
    await sleep(20);
  }
}

/** Sends a signal to a child that leads its own process group, and to what it started; gone already is fine. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, signal);
      return;
    } catch {
      // No such group (any more): try the process itself, then leave it.
    }
  }
}
