import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../core/capabilities.ts';
import { variableOf, type Settings } from '../config/env.ts';
import { DistributionClient } from '../distribution/client.ts';
import { WorkerReports } from '../distribution/reports.ts';
import { SnapshotStore } from '../distribution/store.ts';
import { loadProcessorProtocol } from '../envoy-protocol/codecs.ts';
import type { StreamAccessLogsMessage } from '../envoy-protocol/access-log-messages.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import { abandonedEntry } from '../ledger/access-log-entry.ts';
import { createAccessLogHandler } from '../ledger/access-log.ts';
import { OutputEstimator } from '../ledger/estimator.ts';
import { FrontPipeline } from '../pipeline/front.ts';
import { priceOf } from '../prices/price-table.ts';
import { readAccessLogEntry } from '../processor/access-log.ts';
import { ProcessorServer } from '../processor/server.ts';
import { TryLog } from '../processor/try-log.ts';
import { connectRedisOrCluster, redisReady } from '../store/redis/connection.ts';
import { serveMetrics } from '../telemetry/collect-metrics.ts';
import { createLogger } from '../telemetry/logger.ts';
import { WorkerMetrics } from '../telemetry/worker-metrics.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';
import { announceReady, stopWhenAsked } from '../up/child-process.ts';
import { endpointsOf, metricsSocket, processorSocket } from '../up/endpoints.ts';
import { createReasoningCarriers, deriveReasoningKeys } from '../vault/reasoning-carrier.ts';
import { openWorkerStore, type WorkerStore } from './worker-store.ts';

/** Bodies are bounded by the Gateway resource; a gRPC message is at most one body. */
const LARGEST_BODY_BYTES = 268_435_456;
const STOP_MARGIN_MS = 3000;
/** How long a worker that starts waits for its store. */
const REDIS_START_MS = 2000;
/** Before the first snapshot no request goes anywhere. */
const NO_CIRCUITS = { failures: 0, openSeconds: 0 };

/** By virtual key. A worker without a key for it carries no reasoning: it is dropped with a warning. */
function reasoningCarriers(settings: Settings): (keyId: string) => ReasoningCarrier | undefined {
  const { reasoningKey, encryptionKey } = settings;
  const keys = reasoningKey ?? (encryptionKey && deriveReasoningKeys(encryptionKey));
  return keys === undefined ? () => undefined : createReasoningCarriers(keys, variableOf('reasoningKey'));
}

/** `limen processor`: one worker. Resolves when it serves. */
export async function processor(settings: Settings, index: number): Promise<undefined> {
  const logger = createLogger(`processor-${index}`, settings.logLevel);
  const endpoints = endpointsOf(settings, settings.clickhouseUrl ?? '');
  const protocol = loadProcessorProtocol();
  const snapshots = new SnapshotStore();
  const reports = new WorkerReports();
  const distribution = new DistributionClient({
    address: `unix:${endpoints.sockets.snapshots}`,
    worker: `processor-${index}`,
    store: snapshots,
    reports,
    logger,
  });
  const redis = connectRedisOrCluster({
    url: endpoints.redisUrl,
    logger,
    name: `limen-processor-${index}`,
  });
  const metrics: WorkerMetrics = new WorkerMetrics({
    queuedRows: () => store.queued(),
    redisUp: () => redis.status === 'ready',
    openExchanges: () => server.open,
    bytesInFlight: () => server.bytesInFlight.bytes,
  });
  const store: WorkerStore = openWorkerStore({
    redis,
    logger,
    observer: metrics,
    circuitBreaker: () => snapshots.current?.gateway.circuitBreaker ?? NO_CIRCUITS,
    leaseMs: settings.leaseSeconds * 1000,
    domains: settings.limitDomains,
  });
  const { ledger, keptAnswers } = store;
  const estimator = new OutputEstimator();

  const tries = new TryLog(Date.now);
  const onEntry = createAccessLogHandler({ ledger, observer: metrics, estimator });
  const onAccessLog = (message: StreamAccessLogsMessage): void => {
    for (const logged of message.httpLogs?.logEntry ?? []) {
      // One entry that cannot be read must not take those of other requests with it.
      try {
        const failed = tries.read(logged);
        if (failed.length > 0) ledger.recordAttempts(failed);
        const entry = readAccessLogEntry(logged, protocol);
        if (entry !== undefined) onEntry(entry);
      } catch (error) {
        logger.error({ error }, 'an entry of the access log cannot be read');
      }
    }
  };

  const reasoningCarrierFor = reasoningCarriers(settings);
  const server: ProcessorServer = new ProcessorServer({
    protocol,
    front: new FrontPipeline({
      snapshot: () => snapshots.current,
      directory: snapshots.directory,
      tokens: createTokenVerifier({ directory: snapshots.directory, reports, now: Date.now }),
      reports,
      ledger,
      capabilities: settings.envoyFeatures === 'all' ? ALL_CAPABILITIES : LEAST_CAPABILITIES,
      priceOf,
      reasoningCarrierFor,
      onLimitsUnchecked: (outcome) => metrics.limitsUnchecked(outcome),
      now: Date.now,
      elapsed: () => performance.now(),
      random: Math.random,
    }),
    reasoningCarrierFor,
    keptAnswers,
    onTooLarge: () => metrics.answersNotKept(1),
    maxMessageBytes: LARGEST_BODY_BYTES,
    serving: () => snapshots.current !== undefined && snapshots.directory.position !== undefined,
    onAccessLog,
    onAnswer: ({ status, error, context }) => {
      if (error?.code === 'internal_error') logger.error({ error: error.cause }, 'a request failed in Limen');
      // What has a context comes back with the access log and is counted there.
      if (error !== undefined && context === undefined) metrics.requestUnidentified(status);
    },
    onAbandoned: (context) => onEntry(abandonedEntry(context, Date.now())),
    onFault: (leg, error) => logger.error({ leg, error }, 'an exchange with Envoy failed'),
  });
  distribution.start();
  // What comes before would be let through unlimited, or refused. A Redis that is away must not keep a worker from starting.
  await redisReady(redis, REDIS_START_MS).catch(() => undefined);
  await server.listen(processorSocket(settings, index));
  const metricsServer = await serveMetrics(metrics.registry, metricsSocket(settings, index));

  stopWhenAsked(
    async () => {
      await server.drain(settings.drainSeconds * 1000);
      distribution.stop();
      reports.close();
      await store.close(STOP_MARGIN_MS);
      redis.disconnect();
      await metricsServer.close();
    },
    settings.drainSeconds * 1000 + STOP_MARGIN_MS,
  );
  announceReady();
  return undefined;
}
