import grpc from '@grpc/grpc-js';
import type { Logger } from '../telemetry/logger.ts';
import { Follower } from './follower.ts';
import { encodeMessage, SUBSCRIBE_PATH, type ToControl } from './messages.ts';
import type { WorkerReports } from './reports.ts';
import type { SnapshotStore } from './store.ts';

export interface DistributionClientOptions {
  /** Where the control plane listens: `unix:/path/to/socket`, or `host:port`. */
  readonly address: string;
  /** Name of this worker, unique in the installation. */
  readonly worker: string;
  /** Filled and kept up to date. */
  readonly store: SnapshotStore;
  /** Told to the control plane while it is there. */
  readonly reports?: WorkerReports;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

/** Whether the control plane is there. `stale`: the worker goes on with what it has. */
export interface DistributionState {
  readonly state: 'connected' | 'stale';
  /** Unix time in milliseconds. */
  readonly since: number;
}

/** Longest pause between two attempts; the first ones come sooner, each with jitter. */
const LONGEST_PAUSE_MS = 1000;
const FIRST_PAUSE_MS = 50;
const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  // A message of the directory is some MiB at most, a snapshot of 2,000 models and routes some MiB.
  'grpc.max_receive_message_length': 256 * 1024 * 1024,
  // A control plane that vanished behind a network is noticed within about this time.
  'grpc.keepalive_time_ms': 5000,
  'grpc.keepalive_timeout_ms': 2000,
  // Every attempt connects afresh: pauses are made here, and a shared connection would add its own.
  'grpc.use_local_subchannel_pool': 1,
};

/**
 * A worker's end of the stream that brings snapshots and the directory. It comes back by itself when the control plane
 * was away, says what it has and gets what it lacks; it never drops anything because nobody is there.
 */
export class DistributionClient {
  readonly #options: DistributionClientOptions;
  #state: DistributionState = { state: 'stale', since: Date.now() };
  #failures = 0;
  #pause: NodeJS.Timeout | undefined;
  #client: grpc.Client | undefined;
  #stopped = false;

  constructor(options: DistributionClientOptions) {
    this.#options = options;
  }

  get state(): DistributionState {
    return this.#state;
  }

  /** Connects, and stays connected until `stop`. */
  start(): void {
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#pause);
    this.#options.reports?.flush();
    this.#client?.close();
    this.#client = undefined;
    this.#enter('stale');
  }

  #connect(): void {
    const { address, worker, store, reports, logger } = this.#options;
    const client = new grpc.Client(address, grpc.credentials.createInsecure(), CHANNEL_OPTIONS);
    this.#client = client;
    const follower = new Follower(worker, store);
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(SUBSCRIBE_PATH, raw, raw);
    let over = false;
    const lost = (error: Error | undefined): void => {
      if (over) return;
      over = true;
      reports?.detach();
      client.close();
      if (!this.#stopped) this.#retry(error);
    };
    call.on('data', (bytes: Buffer) => {
      if (over) return;
      this.#failures = 0;
      if (this.#enter('connected')) reports?.attach((message) => write(call, message));
      const answer = follower.handle(bytes);
      if (answer === undefined) return;
      if (answer.type === 'refuse') {
        logger.warn({ receipt: answer.receipt, reason: answer.message }, 'cannot put this in force');
      }
      // At most a few answers are on their way, because the control plane waits for them.
      write(call, answer);
    });
    call.on('drain', () => reports?.resume());
    call.on('error', (error) => lost(error));
    call.on('end', () => lost(undefined));
    write(call, follower.hello());
  }

  #retry(error: Error | undefined): void {
    const since = this.#state.state;
    this.#enter('stale');
    if (since === 'connected') {
      this.#options.logger.warn({ reason: error?.message ?? 'ended' }, 'the control plane is away');
    }
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#pause = setTimeout(() => this.#connect(), longest * (0.5 + Math.random() / 2));
  }

  /** @returns whether it was in the other state */
  #enter(state: DistributionState['state']): boolean {
    if (this.#state.state === state) return false;
    this.#state = { state, since: Date.now() };
    if (state === 'connected') this.#options.logger.info('connected to the control plane');
    return true;
  }
}

const raw = (bytes: Buffer): Buffer => bytes;

function write(call: grpc.ClientDuplexStream<Buffer, Buffer>, message: ToControl): boolean {
  return call.write(encodeMessage(message));
}
