import { createHash } from 'node:crypto';
import type { UserRecord } from '../../../src/core/access.ts';
import type { EnvoyCapabilities } from '../../../src/core/capabilities.ts';
import { LimenError } from '../../../src/core/errors.ts';
import type { Admission, FailedAttempt, Intent, Ledger } from '../../../src/core/ledger.ts';
import type { Snapshot, VirtualKey } from '../../../src/core/snapshot.ts';
import type { VerifiedToken } from '../../../src/core/verified-token.ts';
import { loadProcessorProtocol } from '../../../src/envoy-protocol/codecs.ts';
import type { AccessLogEntry } from '../../../src/ledger/access-log-entry.ts';
import { FrontPipeline } from '../../../src/pipeline/front.ts';
import { readAccessLogEntry } from '../../../src/processor/access-log.ts';
import { ProcessorServer } from '../../../src/processor/server.ts';
import { TryLog } from '../../../src/processor/try-log.ts';
import { createReasoningCarriers } from '../../../src/vault/reasoning-carrier.ts';
import { KeptInMemory } from './kept-in-memory.ts';

/** A virtual key of a test, in clear. */
export interface TestKey extends Omit<VirtualKey, 'hash'> {
  readonly key: string;
}

/** What a worker decides by. JSON, so that it can go to another process. */
export interface WorkerState {
  readonly snapshot: Snapshot | undefined;
  readonly keys: readonly TestKey[];
  readonly users?: readonly UserRecord[] | undefined;
  /** Tokens that are taken for verified, by their text. */
  readonly tokens?: Readonly<Record<string, VerifiedToken>> | undefined;
  /** What the ledger answers to every request, beside what it finds; absent: that no rule applies. */
  readonly admission?: ScriptedAdmission | undefined;
}

/** What a test has the limiter say. JSON. */
export type ScriptedAdmission = Partial<Pick<Admission, 'limits' | 'outputTokens' | 'holds' | 'storeAway'>>;

/** What a worker holds at the moment. */
export interface WorkerLoad {
  /** Open ext_proc exchanges. */
  readonly open: number;
  /** Bytes of request bodies. */
  readonly bytesInFlight: number;
  /** Resident memory of the process in bytes. */
  readonly memoryBytes: number;
  /** What of it is in use rather than garbage, as far as that can be told; in a process of its own. */
  readonly heldBytes: number;
}

/** What a worker tells its test. JSON, but for the raw bytes, which are base64. */
export type WorkerReport =
  | { readonly kind: 'entry'; readonly entry: AccessLogEntry }
  | { readonly kind: 'access log'; readonly base64: string }
  | { readonly kind: 'admit'; readonly intent: Intent }
  | { readonly kind: 'attempts'; readonly attempts: readonly FailedAttempt[] }
  | { readonly kind: 'answer'; readonly status: number; readonly code: string | undefined }
  | { readonly kind: 'fault'; readonly leg: string; readonly message: string };

export interface WorkerOptions {
  readonly socketPath: string;
  readonly capabilities: EnvoyCapabilities;
  readonly maxMessageBytes: number;
  readonly report: (report: WorkerReport) => void;
}

const REASONING_KEY = '0123456789abcdef'.repeat(4);

/** How many snapshots a worker keeps for requests that pinned an earlier one. */
const KEPT_SNAPSHOTS = 4;

/** The processor as `limen processor` runs it, with a ledger that only notes what it is told. */
export class TestWorker {
  readonly #server: ProcessorServer;
  readonly #snapshots: Snapshot[] = [];
  #keys = new Map<string, VirtualKey>();
  #users = new Map<string, UserRecord>();
  #tokens = new Map<string, VerifiedToken>();
  #admission: ScriptedAdmission | undefined;

  private constructor(options: WorkerOptions) {
    const { report } = options;
    const protocol = loadProcessorProtocol();
    const kept = new KeptInMemory();
    let admitted = 0;
    const ledger: Ledger = {
      admit: (request) => {
        report({ kind: 'admit', intent: request.intent });
        admitted += 1;
        const intentId = `intent-${String(admitted)}`;
        const nothing = { intentId, open: new Map(), limits: [], holds: [], storeAway: false };
        return Promise.resolve({ ...nothing, ...kept.admit(request), ...this.#admission });
      },
      recordAttempts: (attempts) => report({ kind: 'attempts', attempts }),
      settle: () => undefined,
      renew: () => undefined,
    };
    const reasoningCarrierFor = createReasoningCarriers(REASONING_KEY, 'the test');
    const front = new FrontPipeline({
      snapshot: () => this.#snapshots[0],
      directory: {
        key: (hash) => this.#keys.get(hash),
        user: (id) => this.#users.get(id),
        issuerKeys: () => undefined,
        revocation: () => undefined,
        generation: 0,
      },
      // A test's token is known by its text alone: three parts with dots between.
      tokens: {
        verify: (token) => {
          const verified = this.#tokens.get(token);
          if (verified === undefined) throw new LimenError('invalid_token', 'This token is not valid here.');
          return Promise.resolve(verified);
        },
      },
      reports: { keyUsed: () => undefined, userSeen: () => undefined },
      ledger,
      capabilities: options.capabilities,
      priceOf: () => undefined,
      reasoningCarrierFor,
      now: Date.now,
      elapsed: () => performance.now(),
      random: Math.random,
    });
    const messages = protocol.streamAccessLogsMessage;
    const tries = new TryLog(Date.now);
    this.#server = new ProcessorServer({
      protocol: {
        ...protocol,
        streamAccessLogsMessage: {
          ...messages,
          decode: (bytes) => {
            report({ kind: 'access log', base64: Buffer.from(bytes).toString('base64') });
            return messages.decode(bytes);
          },
        },
      },
      front,
      reasoningCarrierFor,
      keptAnswers: kept,
      onTooLarge: () => undefined,
      maxMessageBytes: options.maxMessageBytes,
      serving: () => this.#snapshots.length > 0,
      onAccessLog: (message) => {
        for (const raw of message.httpLogs?.logEntry ?? []) {
          const failed = tries.read(raw);
          if (failed.length > 0) ledger.recordAttempts(failed);
          const entry = readAccessLogEntry(raw, protocol);
          if (entry !== undefined) report({ kind: 'entry', entry });
        }
      },
      onAnswer: ({ status, error }) => report({ kind: 'answer', status, code: error?.code }),
      onFault: (leg, error) => report({ kind: 'fault', leg, message: String(error) }),
    });
  }

  static async start(options: WorkerOptions): Promise<TestWorker> {
    const worker = new TestWorker(options);
    await worker.#server.listen(options.socketPath);
    return worker;
  }

  apply(state: WorkerState): void {
    if (state.snapshot !== undefined) this.#snapshots.unshift(state.snapshot);
    this.#snapshots.splice(KEPT_SNAPSHOTS);
    this.#admission = state.admission;
    this.#users = new Map((state.users ?? []).map((user) => [user.id, user]));
    this.#tokens = new Map(Object.entries(state.tokens ?? {}));
    this.#keys = new Map(
      state.keys.map(({ key, ...rest }) => {
        const hash = createHash('sha256').update(key).digest('hex');
        return [hash, { ...rest, hash }];
      }),
    );
  }

  load(): WorkerLoad {
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    return {
      heldBytes: heapUsed + external,
      open: this.#server.open,
      bytesInFlight: this.#server.bytesInFlight.bytes,
      memoryBytes: process.memoryUsage.rss(),
    };
  }

  async stop(): Promise<void> {
    await this.#server.drain(0);
  }
}
