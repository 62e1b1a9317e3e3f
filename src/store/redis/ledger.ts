import type {
  Admission,
  AdmitRequest,
  ChargedAttempt,
  FailedAttempt,
  Ledger,
  LedgerSettlement,
} from '../../core/ledger.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys, STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import { ADMIT } from './ledger-scripts.ts';
import { encodeChecks, holdsOf, ONLY_DOMAIN, readVerdicts, type DomainPlace } from './limit-codec.ts';
import { LEASE_MS, RedisOutbox, type OutboxObserver } from './outbox.ts';
import { answeredWithin } from './patience.ts';
import { attemptItem, rowItem, withdrawnItem, type CircuitSettings } from './settlement-items.ts';

/**
 * Why an intent was not written: no answer, an error at once, too many open ones, Redis known to be silent, out of
 * memory, a replica (after a failover), or still reading its data.
 */
export type AdmitFailure = 'timeout' | 'away' | 'full' | 'skipped' | 'oom' | 'readonly' | 'loading';

/** Who is told what happens, for metrics. */
export interface LedgerObserver extends OutboxObserver {
  admitFailed(reason: AdmitFailure): void;
  tryFailed(attempt: FailedAttempt): void;
}

export interface RedisLedgerOptions {
  readonly redis: RedisClient;
  readonly logger: Logger;
  readonly observer: LedgerObserver;
  /** Of the snapshot in force. */
  readonly circuitBreaker: () => CircuitSettings;
  /** Limit domain; `default` unless said otherwise. */
  readonly domain?: string;
  /** Which of how many domains it is; the only one unless said otherwise. */
  readonly place?: DomainPlace;
  /** How long an admitted or renewed request counts as alive. */
  readonly leaseMs?: number;
  /** Milliseconds for which an admission waits for Redis; 250 unless said otherwise. */
  readonly patienceMs?: number;
  /** Rows held while Redis is away; beyond, the oldest are dropped. About 1 KiB each. */
  readonly maxQueuedRows?: number;
  readonly maxOpenIntents?: number;
  readonly maxWaitingRows?: number;
}

/** How long a request waits for its admission. */
const PATIENCE_MS = 250;
/**
 * After this many timeouts in a row no intent waits for Redis until it answers again. Those that were asked before the
 * last one was counted count with it: a stall of the machine is one, however many requests waited in it …
 */
const TIMEOUTS_UNTIL_SKIPPED = 3;
/** … but for one each so often, which finds out. */
const ASK_AGAIN_MS = 1000;
/** A probe that told nothing for so long counts as lost, and the next request tries. */
const PROBE_LEASE_MS = 30_000;

const NOTHING_OPEN: ReadonlyMap<string, number> = new Map();

/** The ledger of one worker: intents written at once, rows in batches. */
export class RedisLedger implements Ledger {
  readonly #redis: RedisClient;
  readonly #observer: LedgerObserver;
  readonly #circuitBreaker: () => CircuitSettings;
  readonly #keys: LedgerKeys;
  readonly #place: DomainPlace;
  readonly #maxOpenIntents: number;
  readonly #leaseMs: number;
  readonly #patienceMs: number;
  readonly #outbox: RedisOutbox;

  #timeouts = 0;
  #lastTimeoutAt = Number.NEGATIVE_INFINITY;
  #askAgainAt = 0;

  constructor(options: RedisLedgerOptions) {
    this.#redis = options.redis;
    this.#observer = options.observer;
    this.#circuitBreaker = options.circuitBreaker;
    this.#keys = ledgerKeys(options.domain ?? 'default');
    this.#place = options.place ?? ONLY_DOMAIN;
    this.#maxOpenIntents = options.maxOpenIntents ?? STREAM_LIMITS.intents;
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#outbox = new RedisOutbox({ ...options, keys: this.#keys, leaseMs: this.#leaseMs });
  }

  /** Rows that have not reached Redis. */
  get queued(): number {
    return this.#outbox.queued;
  }

  async admit(request: AdmitRequest): Promise<Admission> {
    if (!this.#mayAsk()) return this.#notAdmitted('skipped');
    const providers = [...new Set(request.providers)];
    const askedAt = performance.now();
    const asked = ADMIT.runBinary(
      this.#redis,
      this.#admitKeys(request),
      this.#admitArguments(request, providers),
    );
    try {
      const reply = await answeredWithin(this.#patienceMs, asked);
      this.#timeouts = 0;
      return this.#admission(reply, request, providers);
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === 'timeout') {
        this.#countTimeout(askedAt);
        void this.#withdraw(asked);
      }
      return this.#notAdmitted(reason);
    }
  }

  /** What was admitted too late is known to nobody: what it reserved would be kept from others until its lease is over. */
  async #withdraw(asked: Promise<unknown>): Promise<void> {
    const intentId = intentIdOf(await asked.catch(() => undefined));
    if (intentId !== '') this.#outbox.push(withdrawnItem(intentId));
  }

  #admitKeys({ wanted, keep }: AdmitRequest): string[] {
    const { intents, circuits, leases, reservations, counters, alerts, kept } = this.#keys;
    return [
      intents,
      circuits,
      leases,
      reservations,
      counters,
      alerts,
      ...(wanted === undefined ? [] : [kept(wanted)]),
      ...(keep === undefined ? [] : [kept(keep.key)]),
    ];
  }

  #admitArguments(
    { intent, keep, limits, outputTokens, foundIsAnswer, insteadOf }: AdmitRequest,
    providers: readonly string[],
  ): (string | number | Buffer)[] {
    return [
      intent.requestId,
      JSON.stringify(intent),
      this.#maxOpenIntents,
      PROBE_LEASE_MS,
      keep === undefined ? '' : Math.round(keep.ttlSeconds * 1000),
      keep?.value ?? '',
      this.#leaseMs,
      encodeChecks(limits, this.#place),
      Math.max(0, Math.ceil(outputTokens)),
      foundIsAnswer ? 1 : 0,
      this.#circuitBreaker().failures > 0 ? 1 : 0,
      insteadOf ?? '',
      ...providers,
    ];
  }

  #admission(reply: unknown, request: AdmitRequest, providers: readonly string[]): Admission {
    const [, found, waits, output, checked]: readonly unknown[] = Array.isArray(reply) ? reply : [];
    const intentId = intentIdOf(reply);
    const verdicts = readVerdicts(checked);
    // A rule that refused has been looked at; where too many are open, none was.
    const full = intentId === '' && verdicts.length === 0;
    if (full) this.#observer.admitFailed('full');
    const cut = intentId !== '' && Number(output) < request.outputTokens;
    return {
      intentId,
      open: openOf(waits, providers),
      limits: verdicts.map(({ outcome }) => outcome),
      holds: holdsOf(request.limits, verdicts, this.#place),
      storeAway: full,
      ...(cut ? { outputTokens: Number(output) } : {}),
      ...(Buffer.isBuffer(found) ? { found } : {}),
    };
  }

  #countTimeout(askedAt: number): void {
    if (askedAt < this.#lastTimeoutAt) return;
    this.#timeouts += 1;
    this.#lastTimeoutAt = performance.now();
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

  settle(settlement: LedgerSettlement): void {
    this.#outbox.push(rowItem(settlement));
  }

  recordAttempts(attempts: readonly ChargedAttempt[]): void {
    for (const attempt of attempts) {
      this.#outbox.push(attemptItem(attempt));
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

/** Of a reply of `admit`; empty where none was written. */
function intentIdOf(reply: unknown): string {
  const [id]: readonly unknown[] = Array.isArray(reply) ? reply : [];
  return Buffer.isBuffer(id) ? id.toString() : '';
}

/** Errors of a script quote those of the commands in it. */
function reasonOf(error: unknown): AdmitFailure {
  const message = error instanceof Error ? error.message : '';
  if (message === 'Command timed out') return 'timeout';
  if (/\bOOM\b/.test(message)) return 'oom';
  if (/\bREADONLY\b/.test(message)) return 'readonly';
  return message.startsWith('LOADING') ? 'loading' : 'away';
}

function openOf(waits: unknown, providers: readonly string[]): ReadonlyMap<string, number> {
  if (!Array.isArray(waits) || waits.length === 0) return NOTHING_OPEN;
  const open = providers.flatMap((provider, index) => {
    const milliseconds = Number(waits[index] ?? 0);
    return milliseconds > 0 ? [[provider, Math.ceil(milliseconds / 1000)] as const] : [];
  });
  return open.length === 0 ? NOTHING_OPEN : new Map(open);
}
