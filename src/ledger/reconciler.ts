import { batchesOf } from '../core/batches.ts';
import type { GatewayLogRow, IntentBook, IntentClosing, OpenIntent } from '../core/ledger.ts';
import { makeUsage, priceUsd } from '../core/usage.ts';
import type { Logger } from '../telemetry/logger.ts';
import { inTurns } from './in-turns.ts';
import { readIntent, type SettleIntent } from './records.ts';
import { Rounds } from './rounds.ts';

/** Who is told what happens, for metrics. */
export interface ReconcilerObserver {
  /** Requests closed without word from Envoy. */
  unsettled(count: number): void;
  /** What waits in the store, seen in each round. */
  backlog(intents: number, rows: number): void;
}

export interface ReconcilerOptions {
  readonly book: IntentBook;
  readonly logger: Logger;
  readonly observer: ReconcilerObserver;
  /** Settles those of them whose end is known after all, and returns how many. */
  readonly recover: (lapsed: readonly OpenIntent[]) => Promise<number>;
  /** How long a request may go without a sign of life. Envoy gives one every 15 s. */
  readonly leaseMs: number;
  /** Time between two rounds. */
  readonly everyMs?: number;
}

/** Each time the ends of so many are looked for, all that Envoy has told is looked through. */
const LOOKED_FOR_AT_ONCE = 5000;
const CLOSED_AT_ONCE = 200;

/**
 * The row of a request that nobody settled: the worker died with its end, or Envoy did. Its input is charged as
 * estimated, since the upstream was most likely asked; its output, of which nothing is known, is not. A late
 * access log replaces the row with its own, of revision 2.
 */
export function unsettledRow(intent: SettleIntent): GatewayLogRow {
  const { inputEstimate, price, ...known } = intent;
  const usage = makeUsage({ input: inputEstimate });
  return {
    ...known,
    revision: 1,
    provider: '',
    providerModel: '',
    attempts: 0,
    status: 0,
    errorCode: 'unsettled',
    usage,
    usageSource: 'estimated',
    costUsd: price === undefined ? 0 : priceUsd(usage, price),
    cache: '',
    timeToFirstTokenMs: 0,
    durationMs: 0,
    limenMicros: 0,
    responseBytes: 0,
    trace: [],
  };
}

/** Closes the intents that were left open and of whose end nobody knows. Every control plane runs one; one at a time has the role. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #everyMs: number;
  readonly #rounds: Rounds;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#everyMs = options.everyMs ?? 10_000;
    this.#rounds = new Rounds({
      everyMs: this.#everyMs,
      round: () => this.reconcile(),
      logger: options.logger,
      failure: 'open requests could not be looked at',
    });
  }

  start(): void {
    this.#rounds.start();
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  /** One round; returns how many requests were closed. Rejects where the store is away. */
  async reconcile(): Promise<number> {
    const { book, recover, leaseMs, observer, logger } = this.#options;
    const { intents, rows } = await book.backlog();
    observer.backlog(intents, rows);
    // The role outlives one missed round, so that it does not wander between healthy instances.
    if (!(await book.lead(this.#everyMs * 3))) return 0;
    let closed = 0;
    for (;;) {
      const lapsed = await book.lapsed(leaseMs, LOOKED_FOR_AT_ONCE);
      if (lapsed.length === 0) break;
      // Those are open no longer, and the book closes no others.
      const recovered = await recover(lapsed);
      const now = await this.#close(lapsed);
      closed += now;
      // A round that did nothing would find the same again.
      if (now + recovered === 0 || this.#rounds.stopped) break;
    }
    if (closed > 0) {
      observer.unsettled(closed);
      logger.warn({ requests: closed }, 'requests closed that Envoy never reported');
    }
    return closed;
  }

  /** Returns how many were still open, and lapsed. */
  async #close(lapsed: readonly OpenIntent[]): Promise<number> {
    const { book, leaseMs, logger } = this.#options;
    const closings: IntentClosing[] = [];
    for await (const { intentId, json } of inTurns(lapsed)) {
      const intent = readIntent(json);
      closings.push({ intentId, row: intent === undefined ? undefined : unsettledRow(intent) });
    }
    const unreadable = closings.filter(({ row }) => row === undefined);
    if (unreadable.length > 0) {
      const [{ intentId } = {}] = unreadable;
      logger.error(
        { intents: unreadable.length, intentId },
        'open intents that cannot be read: closed without a row',
      );
    }
    let closed = 0;
    for (const some of batchesOf(closings, CLOSED_AT_ONCE)) closed += await book.close(some, leaseMs);
    return closed;
  }
}
