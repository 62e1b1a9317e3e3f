import type { ChargedAttempt, LedgerSettlement, OpenIntent, RecoveryBook } from '../core/ledger.ts';
import type { Logger } from '../telemetry/logger.ts';
import { readIntent } from './records.ts';
import type { WitnessRing } from './witness-ring.ts';

/** Ends of requests that messages of the access log tell of. */
export interface WitnessedEnds {
  readonly settlements: readonly LedgerSettlement[];
  /** Failed tries of these requests. */
  readonly attempts: readonly ChargedAttempt[];
}

export interface RecoveryOptions {
  readonly ring: Pick<WitnessRing, 'find'>;
  readonly book: RecoveryBook;
  /** Reads the ends of the requests with these intents out of messages in the order in which they came. Never throws. */
  readonly read: (messages: readonly Buffer[], intentIds: ReadonlySet<string>) => WitnessedEnds;
  readonly onRecovered: (requests: number) => void;
  readonly logger: Logger;
}

/** By then the living workers have settled what Envoy told them at the same time: 0.2 s of Envoy's buffer, 50 ms of theirs. */
const SETTLED_WITHIN_MS = 1000;
const ROUND_MS = 1000;
/** Envoy goes on to send entries to a worker that is gone, for as long as a health check takes (1 s) and a flush. */
const ROUNDS_AFTER_LOSS = 4;
const INTENTS_AT_ONCE = 5000;
const SETTLEMENTS_AT_ONCE = 200;

/**
 * Settles requests whose end Envoy told a worker that died with it. Envoy tells the control plane the same, which
 * keeps it unread until then. Whoever comes first settles a request; the store sees to it that the other does nothing.
 */
export class Recovery {
  readonly #options: RecoveryOptions;
  #rounds = 0;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** A worker is gone, in whatever way: a little later everything that was left open is looked for, a few times. */
  workerGone(): void {
    this.#rounds = ROUNDS_AFTER_LOSS;
    this.#next();
  }

  #next(): void {
    if (this.#timer !== undefined || this.#rounds === 0 || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#round = this.#run().finally(() => {
        this.#timer = undefined;
        this.#next();
      });
    }, ROUND_MS);
  }

  /** A round that failed is made up for: the store will be back. */
  async #run(): Promise<void> {
    try {
      await this.recoverOpen();
      this.#rounds -= 1;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.logger.warn({ reason }, 'what a worker left open cannot be looked for yet');
    }
  }

  /** Looks for the ends of all open requests; returns how many were settled. Rejects where the store is away. */
  async recoverOpen(): Promise<number> {
    let recovered = 0;
    for (let after = ''; ;) {
      const intents = await this.#options.book.open(after, INTENTS_AT_ONCE);
      recovered += await this.recover(intents, SETTLED_WITHIN_MS);
      after = intents.at(-1)?.intentId ?? '';
      if (intents.length < INTENTS_AT_ONCE || this.#stopped) return recovered;
    }
  }

  /**
   * Looks for the ends of these requests; returns how many were settled. Rejects where the store is away.
   *
   * @param forMs what came later is left to the workers
   */
  async recover(intents: readonly OpenIntent[], forMs = 0): Promise<number> {
    if (intents.length === 0) return 0;
    const { ring, book, read, onRecovered, logger } = this.#options;
    const intentIds = new Set(intents.map(({ intentId }) => intentId));
    const requestIds = intents.flatMap(({ json }) => readIntent(json)?.requestId ?? []);
    const messages = await ring.find(new Set([...intentIds, ...requestIds]), forMs);
    const { settlements, attempts } = read(
      messages.map(({ bytes }) => bytes),
      intentIds,
    );
    let recovered = 0;
    for (let from = 0; from < settlements.length; from += SETTLEMENTS_AT_ONCE) {
      const some = settlements.slice(from, from + SETTLEMENTS_AT_ONCE);
      const ids = new Set(some.map(({ intentId }) => intentId));
      recovered += await book.settle(
        attempts.filter(({ intentId }) => ids.has(intentId)),
        some,
      );
    }
    if (recovered > 0) {
      onRecovered(recovered);
      logger.warn({ requests: recovered }, 'requests settled that a worker had left open');
    }
    return recovered;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
  }
}
