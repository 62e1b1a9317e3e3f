import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { failedRequests, httpRequest, type LoadProblem, type LoadResult, runLoad } from './load/load.ts';

/** Something to be measured, that can be started. */
export interface Variant {
  readonly name: string;
  readonly start: () => Promise<RunningVariant>;
}

export interface RunningVariant {
  /** `http://host:port` */
  readonly url: string;
  /** Sent with each request: the credential. */
  readonly headers: Readonly<Record<string, string>>;
  /** Name of the model to ask for. */
  readonly model: string;
  /** Processes that are measured, by the role under which their cost is told. */
  readonly pids: Readonly<Record<string, readonly number[]>>;
  readonly stop: () => Promise<void>;
}

/** One kind of load. */
export interface Workload {
  readonly name: string;
  readonly path: '/v1/chat/completions' | '/v1/messages';
  readonly connections: number;
  /** Characters of the prompt. */
  readonly promptBytes: number;
  /** Chunks of a streamed answer; 0 asks for a whole one. */
  readonly chunks: number;
}

/** One workload over one variant, once. */
export interface Sample {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly firstByteP50Ms: number;
  readonly firstByteP99Ms: number;
  /** CPU microseconds (user and system) a request, by role. */
  readonly cpuMicros: Readonly<Record<string, number>>;
  readonly cpuMicrosTotal: number;
  /** Resident memory in MiB right after the load, by role. */
  readonly rssMib: Readonly<Record<string, number>>;
  readonly rssMibTotal: number;
}

export interface MeasureOptions {
  readonly rounds: number;
  /** Of load in each sample. */
  readonly secondsPerSample: number;
  /** Before the first round, for each variant and workload: caches, pools and compiled code fill. */
  readonly warmupSeconds: number;
  readonly onProgress?: (text: string) => void;
}

/** Samples of one workload and one variant, one a round. */
export interface Series {
  readonly workload: string;
  readonly variant: string;
  readonly samples: readonly Sample[];
}

const MICROS_PER_SECOND = 1_000_000;

function ticksPerSecond(): number {
  return Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
}

/** CPU time that a process has used, all its threads together, in microseconds (proc(5), /proc/pid/stat). */
export function cpuMicros(pid: number, ticks: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command's name may hold blanks and brackets: the fields count from the last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * MICROS_PER_SECOND) / ticks;
}

/** Resident memory of a process in MiB. */
export function residentMib(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kibibytes ?? 0) / 1024;
}

function byRole(variant: RunningVariant, measure: (pid: number) => number): Record<string, number> {
  const sum = (pids: readonly number[]) => pids.reduce((total, pid) => total + measure(pid), 0);
  return Object.fromEntries(Object.entries(variant.pids).map(([role, pids]) => [role, sum(pids)]));
}

const total = (values: Readonly<Record<string, number>>) =>
  Object.values(values).reduce((sum, value) => sum + value, 0);

function requestBytes(variant: RunningVariant, workload: Workload): Buffer {
  return httpRequest({
    path: workload.path,
    host: new URL(variant.url).host,
    headers: { 'content-type': 'application/json', ...variant.headers },
    body: JSON.stringify({
      model: variant.model,
      // The bench's upstream sends as many chunks as it may generate tokens.
      max_tokens: Math.max(1, workload.chunks),
      ...(workload.chunks > 0 ? { stream: true } : {}),
      messages: [{ role: 'user', content: 'x'.repeat(workload.promptBytes) }],
    }),
  });
}

/** @throws where any request failed: a figure with failures in it is none */
async function load(variant: RunningVariant, workload: Workload, seconds: number): Promise<LoadResult> {
  const bytes = requestBytes(variant, workload);
  const problems: LoadProblem[] = [];
  const endMarker = workload.path === '/v1/messages' ? 'message_stop' : '[DONE]';
  const result = await runLoad({
    url: variant.url,
    connections: workload.connections,
    durationMs: seconds * 1000,
    request: () => bytes,
    ...(workload.chunks > 0 ? { endMarker } : {}),
    onProblem: (problem) => {
      if (problems.length < 3) problems.push(problem);
    },
  });
  if (failedRequests(result) > 0 || result.completed === 0) {
    throw new Error(
      `${workload.name}: ${failedRequests(result)} of ${result.started} requests failed: ${JSON.stringify(problems)}`,
    );
  }
  return result;
}

async function sample(
  variant: RunningVariant,
  workload: Workload,
  seconds: number,
  ticks: number,
): Promise<Sample> {
  const before = byRole(variant, (pid) => cpuMicros(pid, ticks));
  const result = await load(variant, workload, seconds);
  const after = byRole(variant, (pid) => cpuMicros(pid, ticks));
  const cpu = Object.fromEntries(
    Object.entries(after).map(([role, value]) => [role, (value - (before[role] ?? 0)) / result.completed]),
  );
  const rss = byRole(variant, residentMib);
  return {
    requestsPerSecond: result.completedPerSecond,
    p50Ms: result.latencyMs.p50,
    p99Ms: result.latencyMs.p99,
    firstByteP50Ms: result.firstByteMs.p50,
    firstByteP99Ms: result.firstByteMs.p99,
    cpuMicros: cpu,
    cpuMicrosTotal: total(cpu),
    rssMib: rss,
    rssMibTotal: total(rss),
  };
}

/**
 * Measures every workload over every variant in interleaved rounds, so that what else the machine does falls on
 * all alike. All variants run all the time; only one is under load. Each round begins with another variant.
 */
export async function measure(
  variants: readonly Variant[],
  workloads: readonly Workload[],
  options: MeasureOptions,
): Promise<Series[]> {
  const say = options.onProgress ?? (() => undefined);
  const ticks = ticksPerSecond();
  const running: { readonly name: string; readonly variant: RunningVariant }[] = [];
  const samples = new Map<string, Sample[]>();
  try {
    for (const { name, start } of variants) {
      say(`starting ${name}`);
      running.push({ name, variant: await start() });
    }
    for (const workload of workloads) {
      for (const { variant } of running) await load(variant, workload, options.warmupSeconds);
      for (let round = 0; round < options.rounds; round += 1) {
        say(`${workload.name}: round ${round + 1} of ${options.rounds}`);
        const first = round % running.length;
        for (const { name, variant } of [...running.slice(first), ...running.slice(0, first)]) {
          const key = `${workload.name}\n${name}`;
          const taken = await sample(variant, workload, options.secondsPerSample, ticks);
          samples.set(key, [...(samples.get(key) ?? []), taken]);
        }
      }
    }
  } finally {
    for (const { variant } of running) await variant.stop();
  }
  return workloads.flatMap((workload) =>
    variants.map(({ name }) => ({
      workload: workload.name,
      variant: name,
      samples: samples.get(`${workload.name}\n${name}`) ?? [],
    })),
  );
}
