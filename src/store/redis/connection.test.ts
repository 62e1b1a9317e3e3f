import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';

const logger = createLogger('test', 'silent');
let server: TestRedis;

beforeAll(async () => {
  server = await TestRedis.start();
});
afterAll(() => server.stop());

describe('connectRedis', () => {
  it('sends the commands of one turn in one write, and answers each', async () => {
    const redis = connectRedis({ url: server.url, logger, commandTimeoutMs: 10_000 });
    await redisReady(redis, 10_000);
    const { stream } = redis;
    const sizes: number[] = [];
    const answers: Promise<unknown>[] = [];
    for (let index = 0; index < 5; index += 1) {
      answers.push(redis.echo(`text ${index}`));
      sizes.push(stream.writableLength);
    }
    // Nothing has left: all of it waits for the end of the turn.
    expect(sizes).toEqual(sizes.map((_, index) => (index + 1) * (sizes[0] ?? 0)));
    await nextTurn();
    await nextTurn();
    expect(stream.writableCorked).toBe(0);
    expect(await Promise.all(answers)).toEqual(['text 0', 'text 1', 'text 2', 'text 3', 'text 4']);
    redis.disconnect();
  });

  it('fails what waits to be sent when the connection goes', async () => {
    const redis = connectRedis({ url: server.url, logger, commandTimeoutMs: 10_000 });
    await redisReady(redis, 10_000);
    const asked = redis.ping();
    redis.stream.destroy();
    await expect(asked).rejects.toThrow('max retries');
    redis.disconnect();
  });
});
