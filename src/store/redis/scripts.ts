import { createHash } from 'node:crypto';
import { MAX_KEPT_BYTES } from '../../core/ledger.ts';
import type { RedisClient } from './connection.ts';

/**
 * A Lua script that is sent by its hash, and in full only where the server does not know it (a fresh or restarted
 * server, another node after a failover).
 */
export class RedisScript {
  readonly #source: string;
  readonly #hash: string;

  constructor(source: string) {
    this.#source = source;
    this.#hash = createHash('sha1').update(source).digest('hex');
  }

  /** Runs the script. `keys` must share one hash tag, so that a cluster can run it. */
  async run(
    redis: RedisClient,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    try {
      return await redis.evalsha(this.#hash, keys.length, ...keys, ...args);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      return redis.eval(this.#source, keys.length, ...keys, ...args);
    }
  }

  /** The same with every text of the reply as the bytes that it is. */
  async runBinary(
    redis: RedisClient,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
  ): Promise<unknown> {
    try {
      return await redis.callBuffer('EVALSHA', [this.#hash, keys.length, ...keys, ...args]);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      return redis.callBuffer('EVAL', [this.#source, keys.length, ...keys, ...args]);
    }
  }
}

/**
 * Puts a text behind another one, in a place of its own. KEYS: where, the other text, which goes away. ARGV: text, ms.
 * Returns 1 where it was done: the other text was there, and both together are not too large.
 */
export const APPEND = `
local before = redis.call('GET', KEYS[2])
redis.call('DEL', KEYS[2])
if not before or #before + #ARGV[1] > ${MAX_KEPT_BYTES} then return 0 end
redis.call('SET', KEYS[1], before .. ARGV[1], 'PX', ARGV[2])
return 1`;

function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}

/** Milliseconds of the server's clock, the only one that leases, intents and circuits are judged by. */
export const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/**
 * One page of the intents that nobody keeps alive. KEYS: intents, leases. ARGV: lease in ms, first id, page size.
 * Returns the id to go on from (empty: that was all), then id and JSON in turn.
 */
export const LAPSED = new RedisScript(`${NOW}
local page = redis.call('XRANGE', KEYS[1], ARGV[2], string.format('%d', now - ARGV[1]), 'COUNT', ARGV[3])
local found = { '' }
for _, entry in ipairs(page) do
  local lease = redis.call('ZSCORE', KEYS[2], entry[1])
  if not lease or tonumber(lease) <= now then
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2][4] or ''
  end
end
if #page == tonumber(ARGV[3]) then found[1] = '(' .. page[#page][1] end
return found`);

/** Removes rows that the database has. KEYS: rows. ARGV: group, then ids. Returns how many. */
export const ACKNOWLEDGE = new RedisScript(`
local removed = 0
for index = 2, #ARGV do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[index])
  removed = removed + redis.call('XDEL', KEYS[1], ARGV[index])
end
return removed`);

/** Takes a lock or keeps one's own. KEYS: lock. ARGV: holder, ms. Returns 1 where the holder has it. */
export const HOLD = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`);
