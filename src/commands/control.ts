import { join } from 'node:path';
import type { AdminServices } from '../admin/routes.ts';
import { createAdminServer } from '../admin/server.ts';
import type { AdminEvent } from '../admin/admin-event.ts';
import { createKeyService } from '../admin/key-service.ts';
import { createResourceService } from '../admin/resource-service.ts';
import { createRevocationService } from '../admin/revocation-service.ts';
import { createRights } from '../admin/rights.ts';
import { resealStoredResources } from '../admin/stored-resources.ts';
import { readOrCreateAdminToken } from '../admin/token.ts';
import { createUserService } from '../admin/user-service.ts';
import { defaultLimits, demoResources, impliedResources } from '../config/environment/implied-resources.ts';
import { probeOllama } from '../config/environment/ollama.ts';
import { processEnvironment, type Settings } from '../config/env.ts';
import { loadConfig } from '../config/load/load.ts';
import type { SourcedResource } from '../config/origin.ts';
import { watchConfig } from '../config/load/watch.ts';
import { ConfigurationCenter } from '../control/configuration-center.ts';
import { PURGE_AFTER_MS, type ExpiringKey } from '../control/jobs/key-jobs.ts';
import { createGuardedFetch } from '../control/guarded-fetch.ts';
import { createLastGoodFile } from '../control/last-good-file.ts';
import { Publisher } from '../control/publisher.ts';
import { WitnessServer } from '../control/witness-server.ts';
import { isMember } from '../core/roles.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { startDemoProvider } from '../demo/server.ts';
import { DistributionServer } from '../distribution/server.ts';
import { followChanges } from '../store/postgres/change-feed.ts';
import { openPostgres } from '../store/postgres/database.ts';
import { createKnownTeamStore } from '../store/postgres/repositories/known-teams.ts';
import { createResourceStore } from '../store/postgres/repositories/resources.ts';
import { createSigningKeyStore } from '../store/postgres/repositories/signing-keys.ts';
import { collectMetrics, ownMetrics, socketMetrics } from '../telemetry/collect-metrics.ts';
import { ControlMetrics } from '../telemetry/control-metrics.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { announceReady, stopWhenAsked } from '../up/child-process.ts';
import { installationKey } from '../up/encryption-key.ts';
import { endpointsOf, metricsSocket } from '../up/endpoints.ts';
import { createVault } from '../vault/vault.ts';
import { AdsServer } from '../xds/ads/server.ts';
import { AggregatedDiscovery } from '../xds/ads/aggregated-discovery.ts';
import { startIdentity, startJobs, storeChangeOf, type Identity } from './identity.ts';
import { adminAuthentication, limitAdmin } from './admin.ts';
import { createClientPromotion } from './client-promotion.ts';
import { createCrossApp } from './cross-app.ts';
import { createIssuers } from './issuers.ts';
import { xdsBuilder } from './envoy-resources.ts';
import { startLedger } from './ledger.ts';
import { statusSource } from './status.ts';
import { OrderedPublisher } from '../xds/ads/ordered-publisher.ts';

/** Longest wait for an Envoy or a worker that doesn't answer. */
const ACKNOWLEDGE_MS = 3000;
/** Requests that pinned an older snapshot may ask for its clusters this long. */
const REMOVAL_GRACE_MS = 60_000;
const STOP_GRACE_MS = 8000;
/** An issuer that is taken out and put in again has tokens that are alive: their revocations are kept that long. */
const LONGEST_LIFETIME_MS = 86_400_000;
/** Before the first snapshot no request goes anywhere. */
const NO_CIRCUITS = { failures: 0, openSeconds: 0 };
/** Tells workers and Envoy of what the admin API has stored. */
function onAdminEvent(center: ConfigurationCenter, identity: Identity): (event: AdminEvent) => Promise<void> {
  return (event) =>
    event.type === 'resources-changed' ? center.onResources() : identity.onStoreChange(storeChangeOf(event));
}

/** A key of the configuration as jobs know it. */
function declaredKey({ resource }: SourcedResource): readonly ExpiringKey[] {
  if (resource.kind !== 'ApiKey') return [];
  const { metadata, spec } = resource;
  const expiresAt = spec.expiresAt === undefined ? undefined : Date.parse(spec.expiresAt);
  return [{ id: `config/${metadata.name}`, user: spec.user, team: spec.team, expiresAt }];
}

/** Longest that a token of these issuers can be alive after it was issued. */
function longestLifetimeMs(snapshot: Snapshot | undefined): number {
  const seconds = Object.values(snapshot?.identityProviders ?? {}).map(
    ({ maxLifetimeSeconds, clockSkewSeconds }) => maxLifetimeSeconds + 2 * clockSkewSeconds,
  );
  return Math.max(LONGEST_LIFETIME_MS, ...seconds.map((value) => value * 1000));
}

/** Metrics of this process and of every worker, where a token for them is set. */
function metricsSource(settings: Settings, metrics: ControlMetrics): AdminServices['metrics'] {
  if (settings.metricsToken === undefined) return undefined;
  const sources = [
    ownMetrics('control', metrics.registry),
    ...Array.from({ length: settings.workers }, (_, index) =>
      socketMetrics(`processor-${index}`, metricsSocket(settings, index)),
    ),
  ];
  return { token: settings.metricsToken, collect: () => collectMetrics(sources) };
}

/** `limen control`: configuration in, Envoy and workers told, rows written. Resolves when it is up. */
export async function control(settings: Settings, version: string): Promise<undefined> {
  const logger: Logger = createLogger('control', settings.logLevel);
  const endpoints = endpointsOf(settings, settings.clickhouseUrl ?? '');
  const startedAt = Date.now();

  const postgres = await openPostgres(endpoints.postgresUrl, (error) =>
    logger.warn({ error }, 'Postgres is away'),
  );
  const resourceStore = createResourceStore(postgres.database);
  const knownTeams = createKnownTeamStore(postgres.database);
  const vault = createVault(settings.encryptionKey ?? installationKey(settings.data), 'LIMEN_ENCRYPTION_KEY');
  const resealed = await resealStoredResources(resourceStore, vault);
  if (resealed > 0)
    logger.info({ resealed }, 'stored resources are sealed with the present encryption key now');
  const revision = await resourceStore.revision();

  const metrics = new ControlMetrics({
    providers: () => Object.keys(publisher.inForce?.providers ?? {}),
    circuits: () => ledger.circuits(),
  });
  const ledger = startLedger({
    redisUrl: endpoints.redisUrl,
    clickhouseUrl: endpoints.clickhouseUrl,
    logger,
    observer: metrics,
    leaseMs: settings.leaseSeconds * 1000,
    domains: settings.limitDomains,
    circuitBreaker: () => publisher.inForce?.gateway.circuitBreaker ?? NO_CIRCUITS,
  });
  const witness = await WitnessServer.start({
    socketPath: endpoints.sockets.witness,
    onMessage: (bytes) => ledger.witness(bytes),
  });
  const demo = await startDemoProvider({ host: '127.0.0.1', port: 0 });
  const discovery = new AggregatedDiscovery();
  const ads = await AdsServer.start(discovery, { address: `unix:${endpoints.sockets.ads}` });
  const distribution = await DistributionServer.start({
    address: `unix:${endpoints.sockets.snapshots}`,
    listener: {
      onSighting: (sighting) => identity.onSighting(sighting),
      onWorkerGone: () => ledger.workerGone(),
      onKeyRequests: (requests) => {
        for (const { provider, kid } of requests) issuers.request(provider, kid);
      },
    },
  });
  const identity = await startIdentity({ postgres, distribution, logger });

  const fetch = createGuardedFetch({ allowedRanges: settings.allowedFetchRanges });
  const issuers = createIssuers({ postgres, fetch, directory: identity.sources, metrics, logger });

  const publisher = new Publisher({
    envoy: new OrderedPublisher(discovery, {
      acknowledgeTimeoutMs: ACKNOWLEDGE_MS,
      graceMs: REMOVAL_GRACE_MS,
    }),
    workers: {
      publishSnapshot: (snapshot) => distribution.publishSnapshot(snapshot),
      settled: async (snapshot, timeoutMs) => {
        await distribution.awaitAcknowledged('snapshot', snapshot, timeoutMs);
      },
    },
    build: xdsBuilder(settings, endpoints),
    logger,
    acknowledgeMs: ACKNOWLEDGE_MS,
  });
  const crossApp = createCrossApp({
    signingKeys: createSigningKeyStore(postgres.database, 'cross-app-access'),
    vault,
    resources: () => center.inForce,
    snapshot: () => publisher.inForce,
    directory: identity.directory,
    sources: identity.sources,
    keyMissing: (provider, kid) => issuers.request(provider, kid),
    once: { claim: (name, ttlMs) => ledger.once.claim(name, ttlMs) },
    events: identity.events,
    logger,
    now: Date.now,
  });
  const promotion = createClientPromotion({
    resources: () => center.inForce,
    secretsOf: (provider) => center.promotionSecretsOf(provider),
    snapshot: () => publisher.inForce,
    fetch,
    events: identity.events,
    metrics,
    logger,
    now: Date.now,
  });
  const center = new ConfigurationCenter({
    resources: resourceStore,
    teams: knownTeams,
    vault,
    environment: processEnvironment(),
    ownFolder: settings.data,
    fetch,
    addressPolicy: { allowedRanges: settings.allowedFetchRanges },
    observer: {
      tokenRefreshed: (provider, problem) => {
        metrics.tokenRefreshed(provider, problem === undefined ? 'renewed' : 'failed');
        if (problem !== undefined) logger.warn({ provider, problem }, 'no new access token is to be had');
      },
    },
    secretFolders: settings.secretFolders,
    lastGoodFile: createLastGoodFile(
      join(settings.data, 'last-good-configuration.json'),
      settings.config ?? '',
      vault,
    ),
    implied: {
      environment: [
        ...impliedResources({
          environment: processEnvironment(),
          ollama: settings.config === undefined ? await probeOllama() : undefined,
        }),
        ...(settings.defaultLimits === 'on' ? defaultLimits() : []),
      ],
      builtIn: demoResources({ demoPort: demo.port }),
    },
    publish: async (configuration) => {
      await crossApp.onSnapshot(configuration.snapshot);
      await publisher.publish(configuration);
    },
    directory: identity.sources,
    issuers,
    logger,
    now: Date.now,
  });
  const file = settings.config === undefined ? undefined : await loadConfig(settings.config);
  await center.start(file, () => identity.complete());

  const watcher =
    settings.config === undefined
      ? undefined
      : watchConfig(
          settings.config,
          (result) => center.onFile(result),
          (error) => logger.error({ error }, 'the configuration cannot be watched'),
          file === undefined ? {} : { fingerprint: file.fingerprint },
        );
  const feed = followChanges({
    url: endpoints.postgresUrl,
    revision,
    onChange: async (change) => {
      // Not waited for: a revocation that comes next must not wait until every Envoy has taken this.
      if (change.entity === 'resource' || change.entity === 'unknown') void center.onResources();
      await identity.onStoreChange(change);
    },
    onError: (error) => logger.warn({ error }, 'changes of the database are not heard at the moment'),
  });

  const jobs = startJobs({
    identity,
    declaredKeys: () => center.inForce.flatMap(declaredKey),
    postgresUrl: endpoints.postgresUrl,
    limits: ledger.limits,
    metrics,
    logger,
  });
  const status = statusSource({
    version,
    startedAt,
    settings,
    publisher,
    center,
    issuers,
    promotion,
    discovery,
    distribution,
    ledger,
    postgres,
  });
  const serviceOptions = {
    onEvent: onAdminEvent(center, identity),
    onError: (error: unknown) => logger.error({ error }, 'an admin change could not be brought into force'),
  };
  const rights = createRights({
    snapshot: () => publisher.inForce,
    user: (id) => identity.directory.user(id),
  });
  const snapshot = () => publisher.inForce;
  const admin = createAdminServer({
    token: settings.adminToken ?? readOrCreateAdminToken(settings.data),
    authentication: adminAuthentication({
      snapshot,
      directory: identity.directory,
      reports: {
        // What is seen here is written down like what a worker has seen.
        keyUsed: (id, at) => identity.onSighting({ keys: { [id]: at }, users: [] }),
        userSeen: (user) => identity.onSighting({ keys: {}, users: [user] }),
        keyMissing: (provider, kid) => issuers.request(provider, kid),
      },
      sessions: ledger.sessions,
      now: Date.now,
    }),
    inForce: snapshot,
    crossApp,
    identityLogs: promotion.logs,
    userRecords: identity.users,
    requests: ledger.requests,
    limits: limitAdmin({ book: ledger.limits, charges: ledger.requests, snapshot, now: Date.now }),
    logger,
    status,
    metrics: metricsSource(settings, metrics),
    keys: createKeyService({
      ...serviceOptions,
      keys: identity.keys,
      keyPrefix: settings.keyPrefix,
      now: Date.now,
      resources: () => center.inForce,
      rights,
      isMember: (team, user) => {
        const snapshot = publisher.inForce;
        return snapshot !== undefined && isMember(snapshot, team, user, identity.directory.user(user));
      },
      purgeAfterMs: PURGE_AFTER_MS,
    }),
    users: createUserService({ ...serviceOptions, users: identity.users, rights, now: Date.now }),
    revocations: createRevocationService({
      ...serviceOptions,
      revocations: identity.revocations,
      now: Date.now,
      longestLifetimeMs: () => longestLifetimeMs(publisher.inForce),
      isIssuer: (name) => Object.hasOwn(publisher.inForce?.identityProviders ?? {}, name),
    }),
    events: identity.events,
    rights,
    resources: createResourceService({
      ...serviceOptions,
      store: resourceStore,
      vault,
      otherSources: () => center.otherSources,
      knownTeams,
      teamUse: { keys: identity.keys, users: identity.users },
    }),
  });
  await admin.listen(endpoints.sockets.adminApi);

  stopWhenAsked(async () => {
    await watcher?.close();
    // What it is asked for while it ends still has its stores.
    await admin.close();
    await promotion.close();
    await jobs.close();
    await ledger.stop();
    await feed.close();
    await center.close();
    await issuers.close();
    crossApp.close();
    ads.stop();
    distribution.stop();
    witness.stop();
    await identity.close();
    await demo.close();
    await postgres.close();
  }, STOP_GRACE_MS);
  announceReady();
  logger.info({ version }, 'control plane is up');
  return undefined;
}
