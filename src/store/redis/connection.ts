import { setTimeout as delay } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { clusterOf, type ClusterAddress } from '../../core/cluster-address.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { onceAMinute } from '../../telemetry/once-a-minute.ts';

/**
 * How long a command may take before its caller goes on without it. No request waits so long (RedisLedger), and a stall of
 * this process must not be taken for one of Redis.
 */
const COMMAND_TIMEOUT_MS = 1000;

const LONGEST_RECONNECT_DELAY_MS = 1000;
const READY_POLL_MS = 5;
/** Who has which slots is asked so often, and whenever a node says that it has one no longer. */
const SLOTS_REFRESH_MS = 5000;

/** A server, or the masters of a Redis Cluster: commands with keys go to whom these belong. */
export type RedisClient = Redis | Cluster;

export interface RedisConnectionOptions {
  /** `redis://…`, `rediss://…`, `redis+cluster://HOST:PORT,HOST:PORT`, `rediss+cluster://…`, or the path of a Unix socket. */
  readonly url: string;
  readonly logger: Logger;
  /** Whose it is, as CLIENT LIST shows it; no blanks. */
  readonly name?: string;
  /** Milliseconds until a command counts as failed; 1000 unless said otherwise. */
  readonly commandTimeoutMs?: number;
}

/**
 * Commands of one turn of the event loop leave in one write: with many requests at once, a write each is an eighth of all
 * that a worker does. (The connections of a cluster are made by its client, and have a write each.)
 */
class GatheringRedis extends Redis {
  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    const { stream } = this;
    if (stream !== undefined && stream.writableCorked === 0) {
      stream.cork();
      setImmediate(() => stream.uncork());
    }
    return super.sendCommand(...args);
  }
}

/**
 * A connection whose commands fail at once while the server is away (nothing is queued for later, nothing is
 * sent twice) and reconnects on its own, within a second of the server's return.
 */
export function connectRedis(options: RedisConnectionOptions): Redis {
  const redis = new GatheringRedis(options.url, { ...commonOptions(options), retryStrategy: reconnectDelay });
  logOutages(redis, options.logger);
  return redis;
}

/** The same to a server or to a cluster, by the address. */
export function connectRedisOrCluster(options: RedisConnectionOptions): RedisClient {
  const address = clusterOf(options.url);
  if (address === undefined) return connectRedis(options);
  const cluster = connectCluster(address, options);
  logOutages(cluster, options.logger);
  return cluster;
}

function commonOptions({ commandTimeoutMs = COMMAND_TIMEOUT_MS, name = 'limen' }: RedisConnectionOptions) {
  return {
    commandTimeout: commandTimeoutMs,
    connectTimeout: 2000,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // After a failover this server may be a replica: whoever its name leads to now is asked instead.
    reconnectOnError: (error: Error) => /\bREADONLY\b/.test(error.message),
    // The replies of streams are maps in version 3 and lists in version 2.
    protocol: 2 as const,
    connectionName: name,
  };
}

function reconnectDelay(times: number): number {
  return Math.min(50 * 2 ** Math.min(times, 10), LONGEST_RECONNECT_DELAY_MS);
}

/** Masters alone are asked. A command is sent again only where a node has refused it as another one's. */
function connectCluster(address: ClusterAddress, options: RedisConnectionOptions): Cluster {
  const { hosts, login, tls } = address;
  const { enableOfflineQueue, ...redisOptions } = commonOptions(options);
  const cluster = new Cluster([...hosts], {
    redisOptions: { ...redisOptions, ...login, ...(tls ? { tls: {} } : {}) },
    enableOfflineQueue,
    clusterRetryStrategy: reconnectDelay,
    // What was on its way when a node's connection closed may have been done: it is not sent again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    slotsRefreshTimeout: 2000,
    // Names that a certificate is for must reach TLS as they are.
    ...(tls ? { dnsLookup: (host, callback) => callback(null, host) } : {}),
  });
  // Connected to before its first command, which would else wait for that, or fail with it.
  cluster.on('+node', (node: Redis) => void node.connect().catch(() => undefined));
  return cluster;
}

/** One line when the server goes, one a minute while it is gone, one when it is back. */
function logOutages(redis: RedisClient, logger: Logger): void {
  let mayLog = onceAMinute();
  let away = false;
  redis.on('error', (error: Error) => {
    away = true;
    if (mayLog()) logger.warn({ reason: error.message }, 'Redis is away');
  });
  redis.on('ready', () => {
    if (away) logger.info('Redis is back');
    away = false;
    mayLog = onceAMinute();
  });
}

/** Resolves once commands can be sent, to each master of a cluster, or rejects after `withinMs`. */
export async function redisReady(redis: RedisClient, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const nodes = redis instanceof Cluster ? redis.nodes('master') : [];
    if (redis.status === 'ready' && nodes.every(({ status }) => status === 'ready')) return;
    if (performance.now() > deadline) throw new Error(`Redis did not answer within ${withinMs} ms`);
    await delay(READY_POLL_MS);
  }
}
