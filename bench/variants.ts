import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort, removeFolder, temporaryFolder } from '../test/support/running-envoy.ts';
import { startBenchEnvoy } from './floor/envoy.ts';
import type { RunningVariant, Variant } from './measure.ts';

interface BenchProcess {
  readonly pid: number;
  /** What it printed first. */
  readonly line: string;
  readonly stop: () => Promise<void>;
}

/** Starts one of the bench's own programs and waits for its first line. */
async function startProcess(script: string, ...args: string[]): Promise<BenchProcess> {
  const file = join(import.meta.dirname, script);
  const child: ChildProcess = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', file, ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const { stdout, pid } = child;
  if (!stdout || pid === undefined) throw new Error(`${script} did not start.`);
  const exited = once(child, 'exit');
  const line = await Promise.race([
    once(createInterface({ input: stdout }), 'line').then(([text]) => String(text)),
    exited.then(() => undefined),
  ]);
  if (line === undefined) throw new Error(`${script} ended before it was ready.`);
  return {
    pid,
    line,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The upstream that all variants share, in a process of its own. */
export async function startSharedUpstream(
  paceMs: number,
): Promise<{ port: number; stop: () => Promise<void> }> {
  const { line, stop } = await startProcess('upstream.ts', '--pace-ms', String(paceMs));
  return { port: Number(line), stop };
}

async function startEnvoyVariant(upstreamPort: number, workers: number): Promise<RunningVariant> {
  const folder = await temporaryFolder();
  const sockets = Array.from({ length: workers }, (_, index) => join(folder, `floor-${index}.sock`));
  const processors = await Promise.all(
    sockets.map((socket) => startProcess('floor/ext-proc.ts', '--socket', socket)),
  );
  const listenPort = await freePort();
  const envoy = await startBenchEnvoy(folder, {
    listenPort,
    upstreamPort,
    adminSocket: join(folder, 'admin.sock'),
    processorSockets: sockets,
  });
  return {
    url: `http://127.0.0.1:${listenPort}`,
    headers: { authorization: 'Bearer bench' },
    model: 'bench',
    pids: {
      envoy: [envoy.pid],
      ...(workers > 0 ? { processor: processors.map(({ pid }) => pid) } : {}),
    },
    stop: async () => {
      await envoy.stop();
      await Promise.all(processors.map(({ stop }) => stop()));
      await removeFolder(folder);
    },
  };
}

/** Envoy alone: what the bytes cost to move. */
export function plainEnvoy(upstreamPort: number): Variant {
  return { name: 'plain Envoy', start: () => startEnvoyVariant(upstreamPort, 0) };
}

/** Envoy with an ext_proc that does nothing: what this design costs at least. */
export function floor(upstreamPort: number, workers: number): Variant {
  return { name: 'floor', start: () => startEnvoyVariant(upstreamPort, workers) };
}
