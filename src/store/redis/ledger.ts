import type { Redis } from 'ioredis';
import { verdictOfAttempt, verdictOfRow, type CircuitVerdict } from '../../core/circuit.ts';
import type { Admission, AdmitRequest, ChargedAttempt, FailedAttempt, Ledger, LedgerSettlement } from '../../core/ledger.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { ledgerKeys, STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import { ADMIT } from './ledger-scripts.ts';
import { RedisOutbox, type CircuitSettings, type OutboxObserver } from './outbox.ts';

/** Why an intent was not written: no answer, an error at once, too many open ones, or Redis known to be silent. */
export type AdmitFailure = 'timeout' | 'away' | 'full' | 'skipped';

/** Who is told what happens, for metrics. */
export interface LedgerObserver extends OutboxObserver {
  admitFailed(reason: AdmitFailure): void;
  tryFailed(attempt: FailedAttempt): void;
}

export interface RedisLedgerOptions {
  readonly redis: Redis;
  readonly logger: Logger;
  readonly observer: LedgerObserver;
  /** Of the snapshot in force. */
  readonly circuitBreaker: () => CircuitSettings;
  /** Limit domain; `default` unless said otherwise. */
  readonly domain?: string;
  /** How long a renewed request counts as alive. */
  readonly leaseMs?: number;
  /** Rows held while Redis is away; beyond, the oldest are dropped. About 1 KiB each. */
  readonly maxQueuedRows?: number;
  readonly maxOpenIntents?: number;
  readonly maxWaitingRows?: number;
}

/** After this many timeouts in a row no intent waits for Redis until it answers again … */
const TIMEOUTS_UNTIL_SKIPPED = 3;
/** … but for one each so often, which finds out. */
const ASK_AGAIN_MS = 1000;
/** A probe that told nothing for so long counts as lost, and the next request tries. */
const PROBE_LEASE_MS = 30_000;

const NOTHING_OPEN: ReadonlyMap<string, number> = new Map();

/** The ledger of one worker: intents written at once, rows in batches. */
export class RedisLedger implements Ledger {
  readonly #redis: Redis;
  readonly #observer: LedgerObserver;
  readonly #circuitBreaker: () => CircuitSettings;
  readonly #keys: LedgerKeys;
  readonly #maxOpenIntents: number;
  readonly #outbox: RedisOutbox;

  #timeouts = 0;
  #askAgainAt = 0;

  constructor(options: RedisLedgerOptions) {
    this.#redis = options.redis;
    this.#observer = options.observer;
    this.#circuitBreaker = options.circuitBreaker;
    this.#keys = ledgerKeys(options.domain ?? 'default');
    this.#maxOpenIntents = options.maxOpenIntents ?? STREAM_LIMITS.intents;
    this.#outbox = new RedisOutbox({ ...options, keys: this.#keys });
  }

  /** Rows that have not reached Redis. */
  get queued(): number {
    return this.#outbox.queued;
  }

  async admit({ intent, providers, wanted, keep }: AdmitRequest): Promise<Admission> {
    if (!this.#mayAsk()) return this.#notAdmitted('skipped');
    const asked = this.#circuitBreaker().failures > 0 ? [...new Set(providers)] : [];
    try {
      const { intents, circuits, kept } = this.#keys;
      const keys = [
        intents,
        circuits,
        ...(wanted === undefined ? [] : [kept(wanted)]),
        ...(keep === undefined ? [] : [kept(keep.key)]),
      ];
      const args = [
        intent.requestId,
        JSON.stringify(intent),
        this.#maxOpenIntents,
        PROBE_LEASE_MS,
        keep === undefined ? '' : Math.round(keep.ttlSeconds * 1000),
        keep?.value ?? '',
        ...asked,
      ];
      const reply = await ADMIT.runBinary(this.#redis, keys, args);
      this.#timeouts = 0;
      return this.#admission(reply, asked);
    } catch (error) {
      const timedOut = error instanceof Error && error.message === 'Command timed out';
      if (timedOut) this.#timeouts += 1;
      return this.#notAdmitted(timedOut ? 'timeout' : 'away');
    }
  }

  #admission(reply: unknown, asked: readonly string[]): Admission {
    const [id, found, ...waits]: readonly unknown[] = Array.isArray(reply) ? reply : [];
    const intentId = Buffer.isBuffer(id) ? id.toString() : '';
    if (intentId === '') this.#observer.admitFailed('full');
    const open = asked.flatMap((provider, index) => {
      const milliseconds = Number(waits[index] ?? 0);
      return milliseconds > 0 ? [[provider, Math.ceil(milliseconds / 1000)] as const] : [];
    });
    return {
      intentId,
      open: open.length === 0 ? NOTHING_OPEN : new Map(open),
      limits: [],
      holds: [],
      storeAway: false,
      ...(Buffer.isBuffer(found) ? { found } : {}),
    };
  }

  /** A stopped Redis answers nothing and refuses nothing: do not make every request wait for it. */
  #mayAsk(): boolean {
    if (this.#timeouts < TIMEOUTS_UNTIL_SKIPPED) return true;
    const now = performance.now();
    if (now < this.#askAgainAt) return false;
    this.#askAgainAt = now + ASK_AGAIN_MS;
    return true;
  }

  #notAdmitted(reason: AdmitFailure): Admission {
    this.#observer.admitFailed(reason);
    return { intentId: '', open: NOTHING_OPEN, limits: [], holds: [], storeAway: true };
  }

  settle({ row, intentId, retryAfterSeconds }: LedgerSettlement): void {
    const { requestId, attempts, provider } = row;
    const lesson = lessonOf(verdictOfRow(row, retryAfterSeconds), requestId, attempts, provider);
    this.#outbox.push({ kind: 'row', json: JSON.stringify(row), intentId, lesson });
  }

  recordAttempts(attempts: readonly ChargedAttempt[]): void {
    for (const { holds: _holds, amounts: _amounts, ...attempt } of attempts) {
      const { requestId, ordinal, provider } = attempt;
      const lesson = lessonOf(verdictOfAttempt(attempt), requestId, ordinal, provider);
      this.#outbox.push({ kind: 'attempt', json: JSON.stringify(attempt), intentId: '', lesson });
      this.#observer.tryFailed(attempt);
    }
  }

  renew(intentIds: readonly string[]): void {
    this.#outbox.renew(intentIds);
  }

  /**
   * Sends what waits, for at most `withinMs`, and stops. Returns the number of rows that could not be sent;
   * their intents stay open, and the reconciler closes them.
   */
  close(withinMs: number): Promise<number> {
    return this.#outbox.close(withinMs);
  }
}

/** As the script takes it: `VERDICT PAUSE REQUEST ORDINAL PROVIDER`, the pause in ms. */
function lessonOf(
  verdict: CircuitVerdict | undefined,
  requestId: string,
  ordinal: number,
  provider: string,
): string {
  const kind = verdict === undefined ? 'none' : verdict.kind === 'success' ? 'success' : 'failure';
  const pauseMs = verdict?.kind === 'pause' ? verdict.seconds * 1000 : 0;
  return `${kind} ${pauseMs} ${requestId} ${ordinal} ${provider}`;
}
