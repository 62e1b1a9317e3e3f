import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../test/support/redis.ts';
import type { OpenIntent } from '../core/ledger.ts';
import { connectRedis, redisReady } from '../store/redis/connection.ts';
import { RedisIntentBook } from '../store/redis/intent-book.ts';
import { ledgerKeys } from '../store/redis/ledger-keys.ts';
import { sampleIntent } from '../store/redis/testing/samples.ts';
import { createLogger } from '../telemetry/logger.ts';
import { Reconciler } from './reconciler.ts';

let server: TestRedis;
let redis: Redis;
let domains = 0;

beforeAll(async () => {
  server = await TestRedis.start();
  redis = connectRedis({ url: server.url, logger: createLogger('test', 'silent'), commandTimeoutMs: 5000 });
  await redisReady(redis, 10_000);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

/** Where every request has lapsed a moment after it was admitted. */
function installation() {
  domains += 1;
  const domain = `reconciler-${domains}`;
  const keys = ledgerKeys(domain);
  const lines: string[] = [];
  const logger = createLogger('test', 'warn', { write: (line) => void lines.push(line) });
  const recover = vi.fn<(lapsed: readonly OpenIntent[]) => Promise<number>>(() => Promise.resolve(0));
  const unsettled = vi.fn<(count: number) => void>();
  const reconciler = new Reconciler({
    book: new RedisIntentBook(redis, domain),
    recover,
    logger,
    observer: { unsettled, backlog: () => undefined },
    leaseMs: 1,
    everyMs: 50,
  });
  return {
    keys,
    lines,
    recover,
    unsettled,
    reconciler,
    /** As an admission writes them. */
    opened: async (count: number, json: (requestId: string) => string): Promise<void> => {
      const adding = redis.pipeline();
      for (let index = 0; index < count; index += 1) {
        const requestId = `r${index}`;
        adding.xadd(keys.intents, '*', 'request', requestId, 'intent', json(requestId));
      }
      await adding.exec();
      await delay(5);
    },
  };
}

const readable = (requestId: string): string => JSON.stringify(sampleIntent(requestId));

describe('Reconciler', () => {
  it('closes what cannot be read without a row, and all that comes behind it', async () => {
    const { keys, lines, unsettled, reconciler, opened } = installation();
    await opened(250, () => '{"requestId":');
    await redis.xadd(keys.intents, '*', 'of', 'another version');
    await opened(3, readable);
    expect(await reconciler.reconcile()).toBe(254);
    expect(await redis.xlen(keys.intents)).toBe(0);
    expect(await redis.xlen(keys.rows)).toBe(3);
    expect(unsettled).toHaveBeenCalledExactlyOnceWith(254);
    expect(lines.filter((line) => line.includes('"intents":251'))).toHaveLength(1);
  });

  it('looks once in a round for what is known of all that lapsed', async () => {
    const { keys, recover, reconciler, opened } = installation();
    await opened(450, readable);
    expect(await reconciler.reconcile()).toBe(450);
    expect(recover.mock.calls.map(([lapsed]) => lapsed.length)).toEqual([450]);
    expect(await redis.xlen(keys.rows)).toBe(450);
  });

  it('stops behind those that it has looked for, however many there are', { timeout: 60_000 }, async () => {
    const { keys, recover, reconciler, opened } = installation();
    await opened(5001, readable);
    recover.mockImplementationOnce(() => {
      void reconciler.stop();
      return Promise.resolve(0);
    });
    expect(await reconciler.reconcile()).toBe(5000);
    expect(await redis.xlen(keys.intents)).toBe(1);
  });

  it('tells once a minute that the store is away', async () => {
    const { keys, lines, reconciler } = installation();
    await redis.set(keys.intents, 'no stream');
    reconciler.start();
    await delay(500);
    await reconciler.stop();
    expect(lines).toHaveLength(1);
  });
});
