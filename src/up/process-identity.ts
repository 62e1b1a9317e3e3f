import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * One process for certain: a process number is given to another process sooner or later, the pair of number and
 * start is not.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in the system's own terms (ticks since boot on Linux, a date on macOS); only compared. */
  readonly startedAt: string;
}

/** What the kernel says about the start of a process; undefined where no such process runs (zombies do not). */
function startOf(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The name in parentheses may hold spaces; state is the first field after it and start time the 20th (proc(5)).
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
    }
    const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return started || undefined;
  } catch {
    return undefined;
  }
}

/** The identity of a running process, undefined where there is none of that number. */
export function identify(pid: number): ProcessIdentity | undefined {
  const startedAt = startOf(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** Whether that very process still runs. */
export function isRunning(identity: ProcessIdentity): boolean {
  return startOf(identity.pid) === identity.startedAt;
}

/** Command line of a process for messages, at most 80 characters; undefined where it cannot be seen. */
export function commandOf(pid: number): string | undefined {
  try {
    const command =
      process.platform === 'linux'
        ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        : execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
    return command.trim().slice(0, 80) || undefined;
  } catch {
    return undefined;
  }
}
