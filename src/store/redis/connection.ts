import { Redis } from 'ioredis';
import type { Logger } from '../../telemetry/logger.ts';

/** How long a command may take before its caller goes on without it. */
export const COMMAND_TIMEOUT_MS = 250;

const LONGEST_RECONNECT_DELAY_MS = 1000;
const LONG_OUTAGE_LOG_INTERVAL_MS = 60_000;

export interface RedisConnectionOptions {
  /** `redis://…`, `rediss://…`, or the path of a Unix socket. */
  readonly url: string;
  readonly logger: Logger;
  /** Whose it is, as CLIENT LIST shows it; no blanks. */
  readonly name?: string;
  /** Milliseconds until a command counts as failed; 250 unless said otherwise. */
  readonly commandTimeoutMs?: number;
}

/**
 * A connection whose commands fail at once while the server is away (nothing is queued for later, nothing is
 * sent twice) and reconnects on its own, within a second of the server's return.
 */
export function connectRedis(options: RedisConnectionOptions): Redis {
  const redis = new Redis(options.url, {
    commandTimeout: options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS,
    connectTimeout: 2000,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // After a failover this server may be a replica: whoever its name leads to now is asked instead.
    reconnectOnError: (error: Error) => /\bREADONLY\b/.test(error.message),
    // The replies of streams are maps in version 3 and lists in version 2.
    protocol: 2,
    connectionName: options.name ?? 'limen',
    retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times, 10), LONGEST_RECONNECT_DELAY_MS),
  });
  logOutages(redis, options.logger);
  return redis;
}

/** One line when the server goes, one a minute while it is gone, one when it is back. */
function logOutages(redis: Redis, logger: Logger): void {
  let lastLogged = Number.NEGATIVE_INFINITY;
  let away = false;
  redis.on('error', (error: Error) => {
    away = true;
    const now = performance.now();
    if (now - lastLogged < LONG_OUTAGE_LOG_INTERVAL_MS) return;
    lastLogged = now;
    logger.warn({ reason: error.message }, 'Redis is away');
  });
  redis.on('ready', () => {
    if (away) logger.info('Redis is back');
    away = false;
    lastLogged = Number.NEGATIVE_INFINITY;
  });
}

/** Resolves once commands can be sent, or rejects after `withinMs`. */
export async function redisReady(redis: Redis, withinMs: number): Promise<void> {
  if (redis.status === 'ready') return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error(`Redis did not answer within ${withinMs} ms`)), withinMs);
  redis.once('ready', resolve);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    redis.off('ready', resolve);
  }
}
