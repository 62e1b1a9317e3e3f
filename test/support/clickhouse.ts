import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A ClickHouse of its own: the embedded host in a child process, with a data folder and a password of its own. */
export class TestClickHouse {
  readonly folder: string;
  /** What clients connect with; stays the same when the server is started again. */
  url = 'http://limen:correct-horse@127.0.0.1:0/default';
  #child: ChildProcess | undefined;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async start(): Promise<TestClickHouse> {
    const server = new TestClickHouse(mkdtempSync(join(tmpdir(), 'limen-clickhouse-')));
    await server.start();
    return server;
  }

  /** Starts the server again on the data that it left; rejects where it ends before it is ready. */
  async start(): Promise<void> {
    const main = join(import.meta.dirname, 'clickhouse-host.ts');
    const child = fork(main, [join(this.folder, 'data'), this.url], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child = child;
    const ended = once(child, 'exit').then(() => {
      throw new Error(`the ClickHouse host ended with ${child.exitCode ?? child.signalCode}`);
    });
    const [message]: unknown[] = await Promise.race([once(child, 'message'), ended]);
    ended.catch(() => undefined);
    if (typeof message === 'object' && message !== null && 'url' in message) this.url = String(message.url);
  }

  async signal(name: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(name);
    await exited;
  }

  /** Status with which the server ended, null where a signal ended it. */
  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  async stop(): Promise<void> {
    await this.signal('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
