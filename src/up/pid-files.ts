import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isRunning, type ProcessIdentity } from './process-identity.ts';
import { hasCode } from './start-error.ts';

/** Signals that end a child in good order: SIGINT is Postgres's fast shutdown. */
export type StopSignal = 'SIGTERM' | 'SIGINT';

/**
 * The children that run, one file each, for whoever has to clean up after a supervisor that was killed: its
 * watchdog (a shell, so the format is lines) or the next start. Each start has a folder of its own below that of the
 * installation: the watchdog of one that was killed still looks into its own while the next is already up.
 */
export class PidFiles {
  readonly folder: string;

  /** @param installation folder of all starts' folders */
  constructor(installation: string) {
    mkdirSync(installation, { recursive: true, mode: 0o700 });
    this.folder = mkdtempSync(join(installation, 'start-'));
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

  /** Forgets all of them, after a clean stop. */
  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #path(name: string): string {
    return join(this.folder, `${name}.pid`);
  }
}

/**
 * Ends what earlier supervisors of this installation left behind: its own signal first, SIGKILL after the grace. A
 * number that belongs to another process by now is left alone.
 *
 * @param installation folder of all starts' folders
 * @returns names of the children that still ran
 */
export async function sweepPidFiles(installation: string, graceMs = 5_000): Promise<string[]> {
  mkdirSync(installation, { recursive: true, mode: 0o700 });
  const left = readdirSync(installation, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.pid'))
    .flatMap((file) => {
      const [pid, signal, startedAt] = linesOf(join(installation, file));
      const identity = { pid: Number(pid), startedAt: startedAt ?? '' };
      return isRunning(identity)
        ? [
            {
              name: basename(file, '.pid'),
              identity,
              signal: signal === 'INT' ? 'SIGINT' : 'SIGTERM',
            } as const,
          ]
        : [];
    });
  await Promise.all(left.map(({ identity, signal }) => endProcess(identity, signal, graceMs)));
  for (const start of readdirSync(installation))
    rmSync(join(installation, start), { recursive: true, force: true });
  return left.map(({ name }) => name);
}

/** A watchdog at work may remove the file between the listing and this. */
function linesOf(path: string): readonly string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
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
