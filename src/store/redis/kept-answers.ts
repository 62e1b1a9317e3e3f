import { type KeptAnswers, MAX_KEPT_BYTES } from '../../core/ledger.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { APPEND } from './scripts.ts';

/** Who is told what happens, for metrics. */
export interface KeptAnswersObserver {
  answersKept(count: number): void;
  /** Too large, too many at once, or Redis was away: the next equal request asks its provider again. */
  answersNotKept(count: number): void;
}

export interface RedisKeptAnswersOptions {
  readonly redis: RedisClient;
  readonly observer: KeptAnswersObserver;
  /** Limit domain; `default` unless said otherwise. */
  readonly domain?: string;
}

/** What may wait for Redis in one worker. */
const MOST_QUEUED_BYTES = 16 * 1_048_576;
/** Values of one pipeline. */
const BATCH = 64;
const BATCH_WAIT_MS = 10;

interface Waiting {
  readonly key: string;
  readonly value: Buffer;
  readonly ttlMs: number;
  readonly after: string | undefined;
}

/** Writes answers behind the requests' back; `Ledger.admit` reads them. Nothing is tried twice. */
export class RedisKeptAnswers implements KeptAnswers {
  readonly #redis: RedisClient;
  readonly #observer: KeptAnswersObserver;
  readonly #keyOf: (key: string) => string;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #sending: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor({ redis, observer, domain = 'default' }: RedisKeptAnswersOptions) {
    this.#redis = redis;
    this.#observer = observer;
    this.#keyOf = ledgerKeys(domain).kept;
  }

  put(key: string, value: Buffer, ttlSeconds: number, after?: string): void {
    const ttlMs = Math.round(ttlSeconds * 1000);
    const fits = value.length <= MAX_KEPT_BYTES && this.#queuedBytes + value.length <= MOST_QUEUED_BYTES;
    if (!fits || ttlMs < 1) {
      this.#observer.answersNotKept(1);
      return;
    }
    const afterKey = after === undefined ? undefined : this.#keyOf(after);
    this.#queue.push({ key: this.#keyOf(key), value, ttlMs, after: afterKey });
    this.#queuedBytes += value.length;
    this.#timer ??= setTimeout(() => void this.flush(), BATCH_WAIT_MS);
  }

  /** Sends what waits; resolves when it was taken or given up. Never rejects. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  async #send(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, BATCH);
      const taken = await this.#write(batch);
      for (const { value } of batch) this.#queuedBytes -= value.length;
      if (taken > 0) this.#observer.answersKept(taken);
      if (taken < batch.length) this.#observer.answersNotKept(batch.length - taken);
    }
  }

  /** Returns how many were taken. */
  async #write(batch: readonly Waiting[]): Promise<number> {
    const pipeline = this.#redis.pipeline();
    for (const { key, value, ttlMs, after } of batch) {
      if (after === undefined) pipeline.set(key, value, 'PX', ttlMs);
      else pipeline.eval(APPEND, 2, key, after, value, ttlMs);
    }
    try {
      const replies = await pipeline.exec();
      return (replies ?? []).filter(([error, reply]) => error === null && reply !== 0).length;
    } catch {
      return 0;
    }
  }
}
