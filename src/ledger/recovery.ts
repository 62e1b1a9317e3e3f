import { batchesOf } from '../core/batches.ts';
import { messageOf } from '../core/errors.ts';
import type { ChargedAttempt, LedgerSettlement, OpenIntent, RecoveryBook } from '../core/ledger.ts';
import type { Logger } from '../telemetry/logger.ts';
import { onceAMinute } from '../telemetry/once-a-minute.ts';
import { inTurns } from './in-turns.ts';
import { readIntent } from './records.ts';
import type { WitnessRing } from './witness-ring.ts';

/** What messages of the access log tell of requests. */
export interface Witnessed {
  /** Of those that have ended. */
  readonly settlements: readonly LedgerSettlement[];
  /** Their failed tries, and those of requests that go on: whatever is known to the end. */
  readonly attempts: readonly ChargedAttempt[];
}

export interface RecoveryOptions {
  readonly ring: Pick<WitnessRing, 'find'>;
  readonly book: RecoveryBook;
  /** Reads what is told of the requests with these intents in messages, which come in their order. Never rejects. */
  readonly read: (messages: readonly Buffer[], intentIds: ReadonlySet<string>) => Promise<Witnessed>;
  /** Envoy tells of an open request several times within it. */
  readonly leaseMs: number;
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
/** So often requests are looked for that go on, and of whose failed tries nobody may know. */
const WATCH_EVERY_ROUNDS = 5;
const MOST_WATCHED = 10_000;

interface Look {
  /** Requests that were settled. */
  readonly recovered: number;
  /** Requests that had a failed try, of which nothing more can be said yet. */
  readonly tried: readonly OpenIntent[];
}

/**
 * Settles requests whose end Envoy told a worker that died with it. Envoy tells the control plane the same, which
 * keeps it unread until then. Whoever comes first settles a request; the store sees to it that the other does nothing.
 */
export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #mayLog = onceAMinute();
  #rounds = 0;
  #watchRounds = 0;
  #watched: readonly OpenIntent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** A worker is gone, in whatever way: a little later everything that was left open is looked for, a few times. */
  workerGone(): void {
    this.#rounds = ROUNDS_AFTER_LOSS;
    this.#watchRounds = Math.ceil(this.#options.leaseMs / ROUND_MS) + WATCH_EVERY_ROUNDS;
    this.#next();
  }

  #next(): void {
    const watches = this.#watchRounds > 0 && this.#watched.length > 0;
    if (this.#timer !== undefined || this.#stopped || (this.#rounds === 0 && !watches)) return;
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
      if (this.#rounds > 0) {
        await this.recoverOpen();
        this.#rounds -= 1;
        return;
      }
      this.#watchRounds -= 1;
      if (this.#watchRounds % WATCH_EVERY_ROUNDS > 0) return;
      this.#watch((await this.#look(this.#watched, SETTLED_WITHIN_MS)).tried);
    } catch (error) {
      if (!this.#mayLog()) return;
      const reason = messageOf(error);
      this.#options.logger.warn({ reason }, 'what a worker left open cannot be looked for yet');
    }
  }

  /**
   * Looks for what is known of all open requests; returns how many were settled. Rejects where the store, or a part of it,
   * is away.
   */
  async recoverOpen(): Promise<number> {
    let recovered = 0;
    const earlier = this.#watched;
    const found: OpenIntent[] = [];
    for (let after = ''; ;) {
      const intents = await this.#options.book.open(after, INTENTS_AT_ONCE);
      if (intents.length === 0) break;
      const look = await this.#look(intents, SETTLED_WITHIN_MS);
      recovered += look.recovered;
      found.push(...look.tried);
      this.#watch([...found, ...earlier]);
      after = intents.at(-1)?.intentId ?? '';
      if (this.#stopped) break;
    }
    // They may be open no longer, settled by one who did not know of their failed tries.
    const { tried } = await this.#look(earlier, SETTLED_WITHIN_MS);
    this.#watch([...found, ...tried]);
    return recovered;
  }

  #watch(intents: readonly OpenIntent[]): void {
    const each = new Map(intents.map((intent) => [intent.intentId, intent]));
    this.#watched = [...each.values()].slice(0, MOST_WATCHED);
  }

  /** Looks for the ends of these requests; returns how many were settled. Rejects where the store is away. */
  async recover(intents: readonly OpenIntent[]): Promise<number> {
    return (await this.#look(intents, 0)).recovered;
  }

  /** @param forMs what came later than that ago is left to the workers */
  async #look(intents: readonly OpenIntent[], forMs: number): Promise<Look> {
    if (intents.length === 0) return { recovered: 0, tried: [] };
    const { ring, read, onRecovered, logger } = this.#options;
    const intentIds = new Set(intents.map(({ intentId }) => intentId));
    const requestIds = new Map<string, string>();
    for await (const { intentId, json } of inTurns(intents)) {
      requestIds.set(intentId, readIntent(json)?.requestId ?? '');
    }
    const messages = await ring.find(new Set([...intentIds, ...requestIds.values()]), forMs);
    const { settlements, attempts } = await read(
      messages.map(({ bytes }) => bytes),
      intentIds,
    );
    const recovered = await this.#settle(settlements, attempts);
    if (recovered > 0) {
      onRecovered(recovered);
      logger.warn({ requests: recovered }, 'requests settled that a worker had left open');
    }
    const known = new Set([...settlements, ...attempts].map(({ intentId }) => intentId));
    const named = new Set(messages.flatMap(({ names }) => names));
    const tried = intents.filter(
      ({ intentId }) => !known.has(intentId) && named.has(requestIds.get(intentId) ?? ''),
    );
    return { recovered, tried };
  }

  async #settle(
    settlements: readonly LedgerSettlement[],
    attempts: readonly ChargedAttempt[],
  ): Promise<number> {
    const { book } = this.#options;
    const ended = new Set(settlements.map(({ intentId }) => intentId));
    // Of a request that goes on a worker tells the others, which cost nothing.
    const others = attempts.filter(({ intentId, charges }) => !ended.has(intentId) && charges !== undefined);
    if (others.length > 0) await book.settle(others, []);
    let recovered = 0;
    for (const some of batchesOf(settlements, SETTLEMENTS_AT_ONCE)) {
      const ids = new Set(some.map(({ intentId }) => intentId));
      const theirs = attempts.filter(({ intentId }) => ids.has(intentId));
      recovered += await book.settle(theirs, some);
    }
    return recovered;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
  }
}
