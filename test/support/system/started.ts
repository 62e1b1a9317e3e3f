import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings } from '../../../src/config/env.ts';
import { identify, isRunning, type ProcessIdentity } from '../../../src/up/process-identity.ts';
import { readUpState } from '../../../src/up/up-state.ts';
import { eventually, freePort } from '../running-envoy.ts';

const ROOT = join(import.meta.dirname, '../../..');
const READY_WITHIN_MS = 90_000;

/** A place for an installation: data folder, working folder and two ports of its own. */
export class Installation {
  readonly folder = mkdtempSync(join(tmpdir(), 'limen-life-'));
  readonly env: NodeJS.ProcessEnv;
  readonly gatewayPort: number;
  readonly consolePort: number;

  private constructor(gatewayPort: number, consolePort: number) {
    this.gatewayPort = gatewayPort;
    this.consolePort = consolePort;
    const { PATH, HOME, TMPDIR, LIMEN_ENVOY } = process.env;
    this.env = {
      PATH,
      HOME,
      TMPDIR,
      ...(LIMEN_ENVOY ? { LIMEN_ENVOY } : {}),
      LIMEN_DATA: join(this.folder, 'data'),
      LIMEN_GATEWAY_PORT: String(gatewayPort),
      LIMEN_CONSOLE_PORT: String(consolePort),
      LIMEN_DRAIN_SECONDS: '1',
    };
  }

  static async make(): Promise<Installation> {
    return new Installation(await freePort(), await freePort());
  }

  get url(): string {
    return `http://127.0.0.1:${this.gatewayPort}`;
  }

  get consoleUrl(): string {
    return `http://127.0.0.1:${this.consolePort}`;
  }

  /** Does what `npm start` does. */
  start(env: Readonly<Record<string, string>> = {}): Started {
    return new Started(this, env);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

/** One run of `npm start`. */
export class Started {
  readonly #installation: Installation;
  readonly #child: ChildProcess;
  #output = '';

  constructor(installation: Installation, env: Readonly<Record<string, string>>) {
    this.#installation = installation;
    this.#child = spawn(process.execPath, [join(ROOT, 'scripts/start.mjs')], {
      cwd: installation.folder,
      env: { ...installation.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const keep = (chunk: Buffer) => {
      this.#output += chunk.toString('utf8');
    };
    this.#child.stdout?.on('data', keep);
    this.#child.stderr?.on('data', keep);
  }

  /** Everything that it has printed. */
  get output(): string {
    return this.#output;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resolves when it says that it is ready. */
  async ready(): Promise<void> {
    await eventually(() => {
      if (this.ended) throw new Error(this.#output);
      return this.#output.includes('Ctrl-C stops everything') ? true : undefined;
    }, READY_WITHIN_MS).catch((error: unknown) => {
      throw new Error(`npm start is not ready:\n${this.#output}`, { cause: error });
    });
  }

  /** Sends a signal to the process that npm would have started. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for its end. @returns exit status, null where a signal ended it */
  async exit(): Promise<number | null> {
    if (!this.ended) await once(this.#child, 'exit');
    return this.#child.exitCode;
  }

  /** The supervisor and every child that runs. */
  processes(): { readonly supervisor: ProcessIdentity; readonly children: readonly ProcessIdentity[] } {
    const state = readUpState(readSettings({ LIMEN_DATA: this.#installation.env['LIMEN_DATA'] }));
    if (!state) throw new Error('It does not run.');
    const children = state.children.flatMap(({ pid }) => {
      const identity = pid === undefined ? undefined : identify(pid);
      return identity === undefined ? [] : [identity];
    });
    return { supervisor: { pid: state.pid, startedAt: state.startedAt }, children };
  }
}

/** Resolves once none of these processes runs any more. */
export async function allGone(processes: readonly ProcessIdentity[], withinMs: number): Promise<void> {
  await eventually(() => (processes.some(isRunning) ? undefined : true), withinMs);
}
