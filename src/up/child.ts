import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Environment } from '../config/env.ts';
import { signalGroup, type PidFiles, type StopSignal } from './pid-files.ts';
import type { LogFile } from './log-file.ts';
import type { Probe } from './probes.ts';
import { StartError } from './start-error.ts';

/** How a child is run. `uid` and `gid` only where this process is root. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Environment;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** One process that the supervisor keeps running. */
export interface ChildDefinition {
  readonly name: string;
  /** Children that must be ready before this one starts, and that stop after it. */
  readonly needs: readonly string[];
  /** More children that stop after this one, without having to be ready before it starts. */
  readonly stopsBefore?: readonly string[];
  /** Called before every start: makes folders and files, says what to run. */
  launch(): Promise<Launch> | Launch;
  /** How it shows that it is ready: a probe, or a message `{ type: 'ready' }` over IPC. */
  readonly ready: Probe | 'message';
  /** At the first start, how long until it must be ready. */
  readonly readyWithinMs: number;
  readonly stopSignal: StopSignal;
  /** From the stop signal to SIGKILL. */
  readonly graceMs: number;
  /** Before the stop signal: lets work in flight finish; bounded by the supervisor's drain time. */
  drain?(signal: AbortSignal): Promise<void>;
  /** Text for the terminal if a line of output matters to the operator. */
  important?(line: string): string | undefined;
}

/** Where a child is in its life. */
export type ChildState = 'waiting' | 'starting' | 'ready' | 'crashed' | 'stopping' | 'stopped';

/** What the supervisor hears of a child. */
export interface ChildEvents {
  onState(child: Child): void;
  onLine(child: Child, text: string): void;
}

const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;
/** A child that ran this long has recovered: its next crash starts the backoff anew. */
const HEALTHY_AFTER_MS = 10_000;
const PROBE_INTERVAL_MS = 20;
/** A child that takes long is asked less and less often: for Postgres each question is a process of its own. */
const PROBE_INTERVAL_GROWTH = 1.1;
const LONGEST_PROBE_INTERVAL_MS = 250;
const KEPT_LINES = 12;
const LAST_WORDS_MS = 200;

const readyMessage = z.object({ type: z.literal('ready') });

/** A supervised process: started, probed, restarted when it dies, stopped in good order. */
export class Child {
  readonly definition: ChildDefinition;
  state: ChildState = 'waiting';
  restarts = 0;
  /** From the start of the process to its first readiness, in milliseconds. */
  readyAfterMs: number | undefined;
  /** Why the last run ended, for people. */
  lastExit: string | undefined;
  /** Why it cannot be started at all, as far as `launch` can tell: no further try will help. */
  refusal: StartError | undefined;
  readonly #events: ChildEvents;
  readonly #pidFiles: PidFiles;
  readonly #log: LogFile;
  readonly #stop = new AbortController();
  readonly #lastLines: string[] = [];
  #process: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #loop: Promise<void> | undefined;
  #signalSent = false;
  #wake = new AbortController();

  constructor(definition: ChildDefinition, pidFiles: PidFiles, log: LogFile, events: ChildEvents) {
    this.definition = definition;
    this.#pidFiles = pidFiles;
    this.#log = log;
    this.#events = events;
  }

  get name(): string {
    return this.definition.name;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The last lines of its output, newest last. */
  get lastLines(): readonly string[] {
    return this.#lastLines;
  }

  /** Starts the process and keeps it running until `stop`. */
  start(): void {
    this.#loop ??= this.#keepRunning();
  }

  /**
   * Ends the process: drains it, sends its stop signal, and SIGKILL after the grace.
   *
   * @param drainSignal aborts the drain when its time is up
   */
  async stop(drainSignal: AbortSignal): Promise<void> {
    if (this.state === 'stopped') return;
    const wasReady = this.state === 'ready';
    this.#stop.abort();
    if (this.#loop) {
      this.#setState('stopping');
      if (wasReady && this.definition.drain) await this.definition.drain(drainSignal).catch(() => undefined);
      await this.#end();
      await this.#loop;
    }
    this.#setState('stopped');
    this.#log.close();
  }

  /** Ends the process and lets it be started again at once, as in a rolling restart. */
  async restart(): Promise<void> {
    await this.#end();
    this.#wake.abort();
  }

  async #end(): Promise<void> {
    const pid = this.#process?.pid;
    if (pid === undefined) return;
    this.#signalSent = true;
    signalGroup(pid, this.definition.stopSignal);
    const killer = setTimeout(() => signalGroup(pid, 'SIGKILL'), this.definition.graceMs);
    await this.#ended;
    clearTimeout(killer);
  }

  async #keepRunning(): Promise<void> {
    let backoff = FIRST_BACKOFF_MS;
    while (!this.#stop.signal.aborted) {
      const startedAt = Date.now();
      this.#setState('starting');
      try {
        this.#signalSent = false;
        await this.#runOnce(startedAt);
      } catch (error) {
        this.lastExit = error instanceof Error ? error.message : String(error);
        if (error instanceof StartError) this.refusal = error;
      }
      this.#pidFiles.remove(this.name);
      this.#process = undefined;
      if (this.#stop.signal.aborted) return;
      const asked = this.#signalSent;
      if (asked || Date.now() - startedAt > HEALTHY_AFTER_MS) backoff = FIRST_BACKOFF_MS;
      this.restarts += 1;
      if (!asked) this.#setState('crashed');
      this.#wake = new AbortController();
      const until = AbortSignal.any([this.#stop.signal, this.#wake.signal]);
      await sleep(asked ? 0 : backoff, undefined, { signal: until }).catch(() => undefined);
      backoff = Math.min(backoff * 2, LONGEST_BACKOFF_MS);
    }
  }

  /** One life of the process, from spawn to exit. */
  async #runOnce(startedAt: number): Promise<void> {
    const { command, args, env, cwd, uid, gid } = await this.definition.launch();
    if (this.#stop.signal.aborted) return;
    const child = spawn(command, args, {
      // A session of its own: Ctrl-C in the terminal reaches only the supervisor, which knows the right order.
      detached: true,
      stdio:
        this.definition.ready === 'message' ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
      env,
      ...(cwd === undefined ? {} : { cwd }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    this.#process = child;
    this.#lastLines.length = 0;
    if (child.pid !== undefined) this.#pidFiles.add(this.name, child.pid, this.definition.stopSignal);
    for (const stream of [child.stdout, child.stderr]) if (stream) this.#follow(stream);
    const lost = new AbortController();
    this.#ended = new Promise((resolve) => {
      child.once('error', (error) => {
        this.lastExit = error.message;
        if (child.pid === undefined) resolve();
      });
      child.once('exit', (code, signal) => {
        this.lastExit = signal ? `ended by ${signal}` : `exit status ${code}`;
        // Its last words may still be in the pipe; but a grandchild that holds the pipe must not hold us up.
        setTimeout(resolve, LAST_WORDS_MS);
      });
      child.once('close', resolve);
    });
    const watching = this.#watchReadiness(child, lost.signal, startedAt);
    await this.#ended;
    lost.abort();
    await watching;
  }

  async #watchReadiness(child: ChildProcess, lost: AbortSignal, startedAt: number): Promise<void> {
    const { ready } = this.definition;
    const becomeReady = () => {
      if (lost.aborted || this.state !== 'starting') return;
      this.readyAfterMs ??= Date.now() - startedAt;
      this.#setState('ready');
    };
    if (ready === 'message') {
      child.on('message', (message) => {
        if (readyMessage.safeParse(message).success) becomeReady();
      });
      return;
    }
    let interval = PROBE_INTERVAL_MS;
    while (!lost.aborted && this.state === 'starting') {
      if (await ready()) return becomeReady();
      await sleep(interval, undefined, { signal: lost }).catch(() => undefined);
      interval = Math.min(interval * PROBE_INTERVAL_GROWTH, LONGEST_PROBE_INTERVAL_MS);
    }
  }

  #follow(stream: Readable): void {
    createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
      this.#lastLines.push(line);
      if (this.#lastLines.length > KEPT_LINES) this.#lastLines.shift();
      if (this.state !== 'stopped') this.#log.write(line);
      const text = this.definition.important?.(line);
      if (text !== undefined) this.#events.onLine(this, text);
    });
  }

  #setState(state: ChildState): void {
    this.state = state;
    this.#events.onState(this);
  }
}
