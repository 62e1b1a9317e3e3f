import { setTimeout as delay } from 'node:timers/promises';
import type { StoreStatus } from '../admin/contract.ts';
import { loadProcessorProtocol } from '../envoy-protocol/codecs.ts';
import type { ChargeLog, CircuitStatus, RequestLog } from '../core/ledger.ts';
import type { LimitBook } from '../core/limits.ts';
import type { OnceBook, SessionBook } from '../core/sessions.ts';
import { OutputEstimator } from '../ledger/estimator.ts';
import { Recovery } from '../ledger/recovery.ts';
import { Reconciler, type ReconcilerObserver } from '../ledger/reconciler.ts';
import { ShareKeeper } from '../ledger/share-keeper.ts';
import { LedgerWriter, type WriterObserver } from '../ledger/writer.ts';
import { WitnessRing } from '../ledger/witness-ring.ts';
import { readWitnessed } from '../processor/witnessed.ts';
import { connectClickHouse } from '../store/clickhouse/client.ts';
import { ClickHouseGatewayLog } from '../store/clickhouse/gateway-log.ts';
import { migrateClickHouse } from '../store/clickhouse/migrations.ts';
import { ClickHouseRequestLog } from '../store/clickhouse/request-log.ts';
import { connectRedisOrCluster } from '../store/redis/connection.ts';
import { RedisRowQueue } from '../store/redis/row-queue.ts';
import type { CircuitSettings } from '../store/redis/settlement-items.ts';
import { RedisOnceBook, RedisSessionBook } from '../store/redis/session-book.ts';
import type { Logger } from '../telemetry/logger.ts';
import { openControlBooks } from './control-books.ts';

/** Who is told what becomes of the copy of the access log, for metrics. */
export interface WitnessObserver {
  /** Requests that a worker had left open, and whose end was known. */
  recovered(requests: number): void;
  /** Bytes of the copy that had to go before their time. */
  witnessDropped(bytes: number): void;
}

export interface LedgerOptions {
  readonly redisUrl: string;
  readonly clickhouseUrl: string;
  readonly logger: Logger;
  readonly observer: WriterObserver & ReconcilerObserver & WitnessObserver;
  /** Of the snapshot in force. */
  readonly circuitBreaker: () => CircuitSettings;
  /** How long an open request may go without a sign of life, in milliseconds. */
  readonly leaseMs: number;
  /** Limit domains, one at least. */
  readonly domains: readonly string[];
}

/** The control plane's half of the ledger, running. */
export interface RunningLedger {
  stores(): Promise<StoreStatus[]>;
  /** Of providers that are not closed and clean; rejects while Redis is away. */
  circuits(): Promise<readonly CircuitStatus[]>;
  /** Finished requests, and what limits were charged by them. */
  readonly requests: RequestLog & ChargeLog;
  readonly limits: LimitBook;
  /** Of the admin API. */
  readonly sessions: SessionBook;
  readonly once: OnceBook;
  /** Takes a message of the access log: undecoded, for when a worker has died with it. */
  witness(bytes: Buffer): void;
  /** A worker is gone: what it was told and has not settled is looked for. */
  workerGone(): void;
  stop(): Promise<void>;
}

/** Reads of the rows stream block for up to a second; a command may take that and some more. */
const BLOCKING_TIMEOUT_MS = 5000;
const MIGRATION_RETRY_MS = 1000;
/** Rounds of the reconciler within one lease: 10 s apart for the default of 120 s. */
const ROUNDS_PER_LEASE = 12;
/** Of the access log: some 25,000 requests. An entry has 2 to 3 KiB. */
const WITNESS_BYTES = 64 * 1024 * 1024;

async function statusOf(name: string, version: () => Promise<string | undefined>): Promise<StoreStatus> {
  try {
    return { name, healthy: true, version: await version() };
  } catch {
    return { name, healthy: false, problem: 'does not answer' };
  }
}

/** Starts to carry rows into ClickHouse and to close what was left open; neither store has to be there yet. */
export function startLedger(options: LedgerOptions): RunningLedger {
  const { logger, observer } = options;
  const connection = { url: options.redisUrl, logger, name: 'limen-control' };
  const redis = connectRedisOrCluster(connection);
  const clickhouse = connectClickHouse({ url: options.clickhouseUrl });
  const books = openControlBooks({ ...options, redis });
  // Each waits for its own rows, and blocks its connection by that.
  const queues = options.domains.map((domain) => {
    const reader = connectRedisOrCluster({ ...connection, commandTimeoutMs: BLOCKING_TIMEOUT_MS });
    const queue = new RedisRowQueue(reader, domain);
    const store = new ClickHouseGatewayLog(clickhouse);
    return { reader, writer: new LedgerWriter({ queue, store, logger, observer }) };
  });
  const ring = new WitnessRing({
    maxBytes: WITNESS_BYTES,
    maxAgeMs: 2 * options.leaseMs,
    now: () => performance.now(),
    onDropped: (bytes) => observer.witnessDropped(bytes),
  });
  const witnessed = {
    protocol: loadProcessorProtocol(),
    estimator: new OutputEstimator(),
    onUnreadable: (error: unknown) => logger.error({ error }, 'an entry of the access log cannot be read'),
  };
  const recovery = new Recovery({
    ring,
    book: books.recovery,
    read: (messages, intentIds) => readWitnessed(messages, intentIds, witnessed),
    leaseMs: options.leaseMs,
    onRecovered: (requests) => observer.recovered(requests),
    logger,
  });
  const reconciler = new Reconciler({
    book: books.intents,
    recover: (lapsed) => recovery.recover(lapsed),
    logger,
    observer,
    leaseMs: options.leaseMs,
    everyMs: options.leaseMs / ROUNDS_PER_LEASE,
  });
  const keeper = new ShareKeeper({
    book: books.shares,
    domains: options.domains.length,
    logger,
    now: Date.now,
  });
  const stopping = new AbortController();
  const prepared = prepare();

  async function prepare(): Promise<void> {
    for (let told = false; !stopping.signal.aborted;) {
      try {
        await migrateClickHouse(clickhouse);
        for (const { writer } of queues) writer.start();
        return;
      } catch (error) {
        if (!told) logger.warn({ error }, 'ClickHouse cannot be prepared yet; rows wait in Redis');
        told = true;
        await delay(MIGRATION_RETRY_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  }

  reconciler.start();
  if (options.domains.length > 1) keeper.start();
  return {
    circuits: () => books.circuits.circuits(),
    requests: new ClickHouseRequestLog(clickhouse),
    limits: books.limits,
    sessions: new RedisSessionBook(redis),
    once: new RedisOnceBook(redis),
    witness: (bytes) => ring.push(bytes),
    workerGone: () => recovery.workerGone(),
    stores: () =>
      Promise.all([
        statusOf('redis', async () => /redis_version:(\S+)/.exec(await redis.info('server'))?.[1]),
        statusOf('clickhouse', async () => {
          const result = await clickhouse.query({
            query: 'SELECT version() AS version',
            format: 'JSONEachRow',
          });
          return (await result.json<{ version: string }>())[0]?.version;
        }),
      ]),
    stop: async () => {
      stopping.abort();
      await prepared;
      await Promise.all(queues.map(({ writer }) => writer.stop()));
      await keeper.stop();
      await recovery.stop();
      await reconciler.stop();
      for (const { reader } of queues) reader.disconnect();
      redis.disconnect();
      await clickhouse.close();
    },
  };
}
