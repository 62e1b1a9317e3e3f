import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { Directory, IssuerKeys, Revocation, UserRecord } from '../../../src/core/access.ts';
import type { EnvoyCapabilities } from '../../../src/core/capabilities.ts';
import type { Admission, FailedAttempt, Intent, Ledger } from '../../../src/core/ledger.ts';
import type { Snapshot, VirtualKey } from '../../../src/core/snapshot.ts';
import type { VerifiedToken } from '../../../src/core/verified-token.ts';
import { loadProcessorProtocol } from '../../../src/envoy-protocol/codecs.ts';
import { abandonedEntry, type AccessLogEntry } from '../../../src/ledger/access-log-entry.ts';
import { createAccessLogHandler } from '../../../src/ledger/access-log.ts';
import { OutputEstimator } from '../../../src/ledger/estimator.ts';
import { FrontPipeline } from '../../../src/pipeline/front.ts';
import { readAccessLogEntry } from '../../../src/processor/access-log.ts';
import { ProcessorServer } from '../../../src/processor/server.ts';
import { TryLog } from '../../../src/processor/try-log.ts';
import { createTokenVerifier } from '../../../src/tokens/verifier.ts';
import { createReasoningCarriers } from '../../../src/vault/reasoning-carrier.ts';
import { KeptInMemory } from './kept-in-memory.ts';

/** How long the key of an issuer is waited for. */
const SLOW_TOKEN_MS = 800;

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
  /** With which all other tokens are verified; a change reaches requests that wait for a key. */
  readonly issuerKeys?: readonly IssuerKeys[] | undefined;
  readonly revocations?: readonly Revocation[] | undefined;
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
  #issuerKeys = new Map<string, IssuerKeys>();
  #revocations: readonly Revocation[] = [];
  #generation = 0;
  #admission: ScriptedAdmission | undefined;

  private constructor(options: WorkerOptions, real: Ledger | undefined) {
    const { report } = options;
    const protocol = loadProcessorProtocol();
    const kept = new KeptInMemory();
    let admitted = 0;
    const ledger: Ledger = {
      admit: (request) => {
        report({ kind: 'admit', intent: request.intent });
        if (real !== undefined) return real.admit(request);
        admitted += 1;
        const intentId = `intent-${String(admitted)}`;
        const nothing = { intentId, open: new Map(), limits: [], holds: [], storeAway: false };
        return Promise.resolve({ ...nothing, ...kept.admit(request), ...this.#admission });
      },
      recordAttempts: (attempts) => {
        report({ kind: 'attempts', attempts });
        real?.recordAttempts(attempts);
      },
      settle: (settlement) => real?.settle(settlement),
      renew: (intentIds) => real?.renew(intentIds),
    };
    const observer = { requestSettled: () => undefined, requestUnidentified: () => undefined };
    const onEntry = createAccessLogHandler({ ledger, observer, estimator: new OutputEstimator() });
    const reasoningCarrierFor = createReasoningCarriers(REASONING_KEY, 'the test');
    const generation = (): number => this.#generation;
    const directory: Directory = {
      key: (hash) => this.#keys.get(hash),
      user: (id) => this.#users.get(id),
      issuerKeys: (provider) => this.#issuerKeys.get(provider),
      revocation: (kind, value) => this.#revocations.find((one) => one.kind === kind && one.value === value),
      get generation() {
        return generation();
      },
    };
    const verifier = createTokenVerifier({
      directory,
      reports: { keyMissing: () => undefined },
      now: Date.now,
    });
    const front = new FrontPipeline({
      snapshot: () => this.#snapshots[0],
      directory,
      // A test's own token is known by its text alone: three parts with dots between.
      tokens: {
        verify: (token, snapshot) => {
          const verified = this.#tokens.get(token);
          if (verified === undefined) return verifier.verify(token, snapshot);
          // One that begins so waits for the key of its issuer.
          return token.startsWith('slow.') ? setTimeout(SLOW_TOKEN_MS, verified) : Promise.resolve(verified);
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
          if (entry === undefined) continue;
          onEntry(entry);
          report({ kind: 'entry', entry });
        }
      },
      onAnswer: ({ status, error }) => report({ kind: 'answer', status, code: error?.code }),
      onAbandoned: (context) => {
        const entry = abandonedEntry(context, Date.now());
        onEntry(entry);
        report({ kind: 'entry', entry });
      },
      onFault: (leg, error) => report({ kind: 'fault', leg, message: String(error) }),
    });
  }

  /** @param ledger in the place of the one that only notes what it is told */
  static async start(options: WorkerOptions, ledger?: Ledger): Promise<TestWorker> {
    const worker = new TestWorker(options, ledger);
    await worker.#server.listen(options.socketPath);
    return worker;
  }

  apply(state: WorkerState): void {
    if (state.snapshot !== undefined) this.#snapshots.unshift(state.snapshot);
    this.#snapshots.splice(KEPT_SNAPSHOTS);
    this.#admission = state.admission;
    this.#users = new Map((state.users ?? []).map((user) => [user.id, user]));
    this.#issuerKeys = new Map((state.issuerKeys ?? []).map((keys) => [keys.provider, keys]));
    this.#revocations = state.revocations ?? [];
    this.#generation += 1;
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
