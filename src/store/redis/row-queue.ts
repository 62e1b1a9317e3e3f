import { batchesOf } from '../../core/batches.ts';
import type { QueuedRow, RowQueue } from '../../core/ledger.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { ACKNOWLEDGE } from './scripts.ts';

const GROUP = 'writer';
/**
 * All readers share one name. Redis gives each new row to one of them, whatever its name, and what a dead one
 * took is told by its idle time.
 */
const CONSUMER = 'writer';
/** Lua takes a bounded number of arguments at once. */
const MOST_IDS = 1000;

/** The rows stream as the control plane reads it. Needs a connection of its own: `read` blocks it. */
export class RedisRowQueue implements RowQueue {
  readonly #redis: RedisClient;
  readonly #stream: string;

  /**
   * @param redis its command timeout must be longer than any `waitMs`
   * @param domain limit domain; `default` unless said otherwise
   */
  constructor(redis: RedisClient, domain = 'default') {
    this.#redis = redis;
    this.#stream = ledgerKeys(domain).rows;
  }

  async read(limit: number, waitMs: number): Promise<readonly QueuedRow[]> {
    return this.#withGroup(async () => {
      // BLOCK 0 would wait for ever.
      const block = waitMs >= 1 ? ['BLOCK', String(Math.floor(waitMs))] : [];
      const args = ['GROUP', GROUP, CONSUMER, 'COUNT', String(limit), ...block, 'STREAMS', this.#stream, '>'];
      const reply: unknown = await this.#redis.call('XREADGROUP', args);
      const [stream] = list(reply);
      return rowsOf(list(stream)[1]);
    });
  }

  async reclaim(idleMs: number, limit: number): Promise<readonly QueuedRow[]> {
    return this.#withGroup(async () => {
      const args = [this.#stream, GROUP, CONSUMER, String(idleMs), '0-0', 'COUNT', String(limit)];
      const reply: unknown = await this.#redis.call('XAUTOCLAIM', args);
      return rowsOf(list(reply)[1]);
    });
  }

  async acknowledge(ids: readonly string[]): Promise<void> {
    for (const some of batchesOf(ids, MOST_IDS)) {
      await ACKNOWLEDGE.run(this.#redis, [this.#stream], [GROUP, ...some]);
    }
  }

  /** The group is made when it is missed: at the first start, and after a Redis that lost its data. */
  async #withGroup<Result>(action: () => Promise<Result>): Promise<Result> {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOGROUP')) throw error;
      await this.#createGroup();
      return action();
    }
  }

  async #createGroup(): Promise<void> {
    try {
      await this.#redis.xgroup('CREATE', this.#stream, GROUP, '0', 'MKSTREAM');
    } catch (error) {
      // Another control plane was faster.
      if (!(error instanceof Error) || !error.message.startsWith('BUSYGROUP')) throw error;
    }
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Entries as `[id, [kind, json]]`, with `overrun` and the names of rules (JSON) behind that where there are any. One that was deleted while it was pending comes as nil and is left out. */
function rowsOf(entries: unknown): QueuedRow[] {
  return list(entries).flatMap((entry) => {
    const [id, fields] = list(entry);
    const [kind, json, , overrun] = list(fields);
    if (typeof id !== 'string' || typeof json !== 'string') return [];
    const row = { id, kind: kind === 'attempt' ? ('attempt' as const) : ('row' as const), json };
    if (typeof overrun !== 'string') return [row];
    const rules: unknown = JSON.parse(overrun);
    return [{ ...row, overrun: list(rules).map(String) }];
  });
}
