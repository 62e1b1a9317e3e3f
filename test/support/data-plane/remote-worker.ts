import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { WorkerLoad, WorkerOptions, WorkerReport, WorkerState } from './worker.ts';

/** What is asked of a worker process. */
export type WorkerCommand =
  | { readonly kind: 'start'; readonly options: Omit<WorkerOptions, 'report'> }
  | { readonly kind: 'apply'; readonly state: WorkerState }
  | { readonly kind: 'load' };

/** What it answers. */
export type WorkerMessage =
  | WorkerReport
  | { readonly kind: 'started' }
  | { readonly kind: 'applied' }
  | { readonly kind: 'load'; readonly load: WorkerLoad };

/** A worker that a test can kill, and whose memory is its own. */
export class RemoteWorker {
  readonly #child: ChildProcess;
  readonly #report: (report: WorkerReport) => void;
  #waiting: { readonly kind: string; readonly resolve: (message: WorkerMessage) => void }[] = [];

  private constructor(report: (report: WorkerReport) => void) {
    this.#report = report;
    this.#child = fork(join(import.meta.dirname, 'worker-process.ts'), {
      execArgv: ['--expose-gc'],
    });
    this.#child.on('message', (message: WorkerMessage) => this.#onMessage(message));
  }

  static async start({ report, ...options }: WorkerOptions): Promise<RemoteWorker> {
    const worker = new RemoteWorker(report);
    await worker.#ask({ kind: 'start', options }, 'started');
    return worker;
  }

  async apply(state: WorkerState): Promise<void> {
    await this.#ask({ kind: 'apply', state }, 'applied');
  }

  async load(): Promise<WorkerLoad> {
    const answer = await this.#ask({ kind: 'load' }, 'load');
    if (answer.kind !== 'load') throw new Error(`expected the load, got ${answer.kind}`);
    return answer.load;
  }

  /** Stops the process where it stands, or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(signal);
  }

  /** Ends the process as a crash would. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }

  async #ask(command: WorkerCommand, kind: WorkerMessage['kind']): Promise<WorkerMessage> {
    return await new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the worker process ended'));
      this.#child.once('exit', onExit);
      this.#waiting.push({
        kind,
        resolve: (message) => {
          this.#child.off('exit', onExit);
          resolve(message);
        },
      });
      this.#child.send(command);
    });
  }

  #onMessage(message: WorkerMessage): void {
    if (message.kind !== 'started' && message.kind !== 'applied' && message.kind !== 'load') {
      this.#report(message);
      return;
    }
    const index = this.#waiting.findIndex(({ kind }) => kind === message.kind);
    const [waiting] = index === -1 ? [] : this.#waiting.splice(index, 1);
    waiting?.resolve(message);
  }
}
