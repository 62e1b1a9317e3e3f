import { randomUUID } from 'node:crypto';
import type { IntentBook, IntentClosing, OpenIntent } from '../../core/ledger.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys, STREAM_LIMITS, type LedgerKeys } from './ledger-keys.ts';
import { CLOSE } from './ledger-scripts.ts';
import { HOLD, LAPSED } from './scripts.ts';

/** Intents looked at in one call; long streams with a live lease are looked at and passed over. */
const PAGE = 500;

/** The control plane's view of the intents in Redis. */
export class RedisIntentBook implements IntentBook {
  readonly #redis: RedisClient;
  readonly #keys: LedgerKeys;
  readonly #name = randomUUID();

  /** @param domain limit domain; `default` unless said otherwise */
  constructor(redis: RedisClient, domain = 'default') {
    this.#redis = redis;
    this.#keys = ledgerKeys(domain);
  }

  async lapsed(leaseMs: number, limit: number): Promise<readonly OpenIntent[]> {
    const { intents, leases } = this.#keys;
    const found: OpenIntent[] = [];
    let from = '-';
    while (from !== '' && found.length < limit) {
      const reply = texts(await LAPSED.run(this.#redis, [intents, leases], [leaseMs, from, PAGE]));
      from = reply[0] ?? '';
      for (let index = 1; index + 1 < reply.length; index += 2) {
        found.push({ intentId: reply[index] ?? '', json: reply[index + 1] ?? '' });
      }
    }
    return found.slice(0, limit);
  }

  async close(closings: readonly IntentClosing[], leaseMs: number): Promise<number> {
    const { rows, intents, leases, reservations, counters } = this.#keys;
    const args = closings.flatMap(({ intentId, row }) => [
      row === undefined ? '' : JSON.stringify(row),
      intentId,
    ]);
    const limits = [leaseMs, STREAM_LIMITS.rows];
    const keys = [rows, intents, leases, reservations, counters];
    return Number(await CLOSE.run(this.#redis, keys, [...limits, ...args]));
  }

  async backlog(): Promise<{ readonly intents: number; readonly rows: number }> {
    const { intents, rows } = this.#keys;
    const [openIntents, waitingRows] = await Promise.all([this.#redis.xlen(intents), this.#redis.xlen(rows)]);
    return { intents: openIntents, rows: waitingRows };
  }

  async lead(holdMs: number): Promise<boolean> {
    return (await HOLD.run(this.#redis, [this.#keys.leader], [this.#name, holdMs])) === 1;
  }
}

function texts(reply: unknown): readonly string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}
