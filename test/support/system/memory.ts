import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const KIB = 1024;
const MIB = KIB * KIB;

/** Resident memory of a process in bytes. @throws where it is gone */
export function residentBytes(pid: number): number {
  if (process.platform === 'linux') {
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    if (!match) throw new Error(`process ${pid} has no memory any more`);
    return Number(match[1]) * KIB;
  }
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) * KIB;
}

export interface MemorySample {
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
  readonly bytes: number;
}

/** Samples the memory of processes until it is stopped. */
export class MemoryWatch {
  readonly samples: Readonly<Record<string, MemorySample[]>>;
  readonly #timer: NodeJS.Timeout;

  constructor(pids: Readonly<Record<string, number>>, everyMs = 250) {
    this.samples = Object.fromEntries(Object.keys(pids).map((name) => [name, []]));
    this.#timer = setInterval(() => {
      const at = performance.now();
      for (const [name, pid] of Object.entries(pids)) {
        this.samples[name]?.push({ at, bytes: residentBytes(pid) });
      }
    }, everyMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/**
 * Growth in MiB a minute, by least squares over the low points of each ten seconds: between two collections of
 * garbage a heap only rises, which is no growth.
 */
export function growthPerMinute(samples: readonly MemorySample[], from: number, windowMs = 10_000): number {
  const lows = new Map<number, MemorySample>();
  for (const sample of samples) {
    if (sample.at < from) continue;
    const window = Math.floor((sample.at - from) / windowMs);
    const low = lows.get(window);
    if (low === undefined || sample.bytes < low.bytes) lows.set(window, sample);
  }
  const points = [...lows.values()];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const at = mean(points.map((point) => point.at));
  const bytes = mean(points.map((point) => point.bytes));
  const spread = points.reduce((sum, point) => sum + (point.at - at) ** 2, 0);
  const slope = points.reduce((sum, point) => sum + (point.at - at) * (point.bytes - bytes), 0) / spread;
  return (slope * 60_000) / MIB;
}
