import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEnvoy } from '../../src/up/binaries.ts';
import { pickFreePort } from '../../src/up/ports.ts';

const ROOT = join(import.meta.dirname, '../..');

/** The Envoy to test with: LIMEN_ENVOY, else the one that the set-up fetched. */
export function envoyBinary(): string {
  return findEnvoy(ROOT, process.env['LIMEN_ENVOY'], process.env);
}

/** A folder for sockets and files of one test; short, because a socket's path has about 100 characters at most. */
export async function temporaryFolder(): Promise<string> {
  return await mkdtemp(join(tmpdir(), 'limen-'));
}

/** A TCP port that was free a moment ago, on all interfaces. */
export function freePort(): Promise<number> {
  return pickFreePort('0.0.0.0');
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** One GET on a connection of its own, over TCP (`port`) or a Unix socket. */
export async function get(
  target: { readonly port: number } | { readonly socketPath: string },
  path: string,
): Promise<HttpAnswer> {
  return await new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', ...target, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
      response.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

/**
 * Asks again and again until the answer is there.
 *
 * @param probe undefined or an exception means: not yet
 * @param timeoutMs when to give up, with the last exception
 */
export async function eventually<Result>(
  probe: () => Promise<Result | undefined> | Result | undefined,
  timeoutMs = 30_000,
): Promise<Result> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const result = await probe();
      if (result !== undefined) return result;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Characters of its log that are shown of an Envoy that crashed. */
const LAST_WORDS = 8_000;

/** A real Envoy that a test started. */
export class RunningEnvoy {
  readonly #child: ChildProcess;
  readonly #adminSocket: string;
  readonly #output: () => string;
  #stopped = false;

  private constructor(child: ChildProcess, adminSocket: string, output: () => string) {
    this.#child = child;
    this.#adminSocket = adminSocket;
    this.#output = output;
  }

  /** Starts Envoy with this bootstrap (protobuf JSON); its admin listens on `adminSocket`, which the bootstrap names. */
  static async start(folder: string, bootstrap: object, adminSocket: string): Promise<RunningEnvoy> {
    const file = join(folder, 'bootstrap.json');
    await writeFile(file, JSON.stringify(bootstrap));
    const child = spawn(
      envoyBinary(),
      ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'warn'],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let output = '';
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
    const envoy = new RunningEnvoy(child, adminSocket, () => output);
    child.once('exit', (code, signal) => {
      if (!envoy.#stopped)
        process.stderr.write(`Envoy ended by itself (${code ?? signal}): ${output.slice(-LAST_WORDS)}\n`);
    });
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`Envoy stopped: ${output}`);
      return (await envoy.admin('/server_info')).status === 200 ? true : undefined;
    });
    return envoy;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What Envoy logged, warnings and errors. */
  get log(): string {
    return this.#output();
  }

  async admin(path: string): Promise<HttpAnswer> {
    return await get({ socketPath: this.#adminSocket }, path);
  }

  /** A counter or gauge by its name; 0 where Envoy has none of that name. */
  async stat(name: string): Promise<number> {
    const { body } = await this.admin(`/stats?filter=^${name.replaceAll('.', '\\.')}$`);
    return Number(body.split(': ')[1] ?? 0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

/** Removes a test's folder. */
export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
