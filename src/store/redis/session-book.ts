import type { OnceBook, SessionBook } from '../../core/sessions.ts';
import type { RedisClient } from './connection.ts';

/** One key a session, that Redis forgets by itself. */
export class RedisSessionBook implements SessionBook {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  async put(name: string, value: string, ttlMs: number): Promise<void> {
    await this.#redis.set(keyOf('session', name), value, 'PX', whole(ttlMs));
  }

  async get(name: string): Promise<string | undefined> {
    return (await this.#redis.get(keyOf('session', name))) ?? undefined;
  }

  async extend(name: string, value: string, ttlMs: number): Promise<void> {
    await this.#redis.set(keyOf('session', name), value, 'PX', whole(ttlMs), 'XX');
  }

  async remove(name: string): Promise<void> {
    await this.#redis.del(keyOf('session', name));
  }
}

/** Names that were used; one key each. */
export class RedisOnceBook implements OnceBook {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  async claim(name: string, ttlMs: number): Promise<boolean> {
    return (await this.#redis.set(keyOf('once', name), '1', 'PX', whole(ttlMs), 'NX')) === 'OK';
  }
}

function keyOf(kind: string, name: string): string {
  return `limen:${kind}:${name}`;
}

function whole(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds));
}
