import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';
import { answeredWithin, TooLateError } from './patience.ts';

/** Waits, without a turn for anything else here, until the server has answered another process. */
function pingElsewhere(url: string): void {
  const code = `const socket = require('node:net').connect(${JSON.stringify(url)});
    socket.once('data', () => socket.destroy()).write('PING\\r\\n');`;
  execFileSync(process.execPath, ['-e', code]);
}

const COMMAND_TIMEOUT_MS = 10_000;

describe('answeredWithin', () => {
  let server: TestRedis;
  let redis: ReturnType<typeof connectRedis>;

  beforeAll(async () => {
    server = await TestRedis.start();
    redis = connectRedis({
      url: server.url,
      logger: createLogger('test', 'silent'),
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
    });
    await redisReady(redis, 10_000);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });

  it('is the answer, or the error', async () => {
    expect(await answeredWithin(1000, redis.ping())).toBe('PONG');
    await expect(answeredWithin(1000, redis.call('NONSENSE'))).rejects.toThrow('unknown command');
  });

  it('takes an answer that came while this process was busy', async () => {
    const answer = answeredWithin(50, redis.ping());
    // Once it is written; then nothing is read for longer than is waited for.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    // Who asks later has been answered: so has this process, which has read nothing all the while.
    const until = performance.now() + 150;
    do pingElsewhere(server.url);
    while (performance.now() < until);
    expect(await answer).toBe('PONG');
  });

  it('begins when the command leaves: at the end of the turn, however long that is', async () => {
    await server.signal('SIGSTOP');
    const answer = answeredWithin(2000, redis.ping());
    for (const until = performance.now() + 2200; performance.now() < until;);
    await delay(100);
    await server.signal('SIGCONT');
    expect(await answer).toBe('PONG');
  });

  it('waits no longer for a server that is silent', async () => {
    await server.signal('SIGSTOP');
    const begun = performance.now();
    await expect(answeredWithin(50, redis.ping())).rejects.toThrow(TooLateError);
    // Nor for the connection's own patience, which ends in another error.
    expect(performance.now() - begun).toBeLessThan(COMMAND_TIMEOUT_MS);
    await server.signal('SIGCONT');
  });
});
