import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { API_VERSION } from '../../src/config/resources/common.ts';
import { backendSchema } from '../../src/config/resources/backend.ts';
import { gatewaySchema } from '../../src/config/resources/gateway.ts';
import { modelSchema } from '../../src/config/resources/model.ts';
import { anyResourceSchema } from '../../src/config/resources/index.ts';
import { providerSchema } from '../../src/config/resources/provider.ts';
import { ALL_CAPABILITIES, type EnvoyCapabilities } from '../../src/core/capabilities.ts';
import { LimenError } from '../../src/core/errors.ts';
import { BACKEND_ROUTE, backendCluster, BACKENDS_PATH } from '../../src/core/gateway-names.ts';
import type { FailedAttempt, GatewayLogRow, Intent, Ledger } from '../../src/core/ledger.ts';
import type { Snapshot } from '../../src/core/snapshot.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { FORMATS } from '../../src/formats/index.ts';
import type { AccessLogEntry } from '../../src/ledger/access-log-entry.ts';
import { OutputEstimator } from '../../src/ledger/estimator.ts';
import { settleFromAccessLog } from '../../src/ledger/settle.ts';
import { foreignHeadersOf, providerOf } from '../../src/providers/index.ts';
import { buildSnapshot } from '../../src/snapshot/build.ts';
import { AggregatedDiscovery } from '../../src/xds/ads/aggregated-discovery.ts';
import { OrderedPublisher, type OrderedResult } from '../../src/xds/ads/ordered-publisher.ts';
import { AdsServer } from '../../src/xds/ads/server.ts';
import { buildBootstrap, type BootstrapOptions } from '../../src/xds/build/bootstrap.ts';
import { PROCESSOR_CLUSTER } from '../../src/xds/build/filters.ts';
import { buildXds } from '../../src/xds/build/index.ts';
import {
  BACKEND_MESSAGES,
  REQUEST_ID_PLACEHOLDER,
  type ErrorBodies,
} from '../../src/xds/build/local-replies.ts';
import type { XdsResources } from '../../src/xds/resource.ts';
import { call, openCall, type CallOptions, type ClientAnswer, type OpenAnswer } from './data-plane/client.ts';
import { RemoteWorker } from './data-plane/remote-worker.ts';
import {
  TestWorker,
  type TestKey,
  type WorkerLoad,
  type WorkerOptions,
  type WorkerReport,
  type WorkerState,
} from './data-plane/worker.ts';
import { eventually, freePort, get, removeFolder, RunningEnvoy, temporaryFolder } from './running-envoy.ts';

export type ProviderInput = Omit<z.input<typeof providerSchema>['spec'], 'credential'> & {
  /** What Envoy is to inject, in clear; for Bedrock also the parts of an access key as JSON. */
  readonly credential?: string;
};
export type ModelInput = z.input<typeof modelSchema>['spec'];
export type GatewayInput = z.input<typeof gatewaySchema>['spec'];
export type BackendInput = Omit<z.input<typeof backendSchema>['spec'], 'credential'> & {
  /** What Envoy is to inject, in clear. */
  readonly credential?: string;
};

/** The configuration of a data plane, as the resources' specifications say it. */
export interface DataPlaneConfiguration {
  readonly providers: Readonly<Record<string, ProviderInput>>;
  readonly models: Readonly<Record<string, ModelInput>>;
  readonly gateway?: GatewayInput;
  readonly keys?: readonly TestKey[];
  /** Users, tokens that are taken for verified, and what the limiter says. */
  readonly users?: WorkerState['users'];
  readonly tokens?: WorkerState['tokens'];
  readonly admission?: WorkerState['admission'];
  /** With which tokens are verified in earnest, and what is revoked. */
  readonly issuerKeys?: WorkerState['issuerKeys'];
  readonly revocations?: WorkerState['revocations'];
  /** Roles, teams, identity providers: resources of further kinds. */
  readonly others?: readonly { readonly kind: string; readonly name: string; readonly spec: object }[];
  readonly backends?: Readonly<Record<string, BackendInput>>;
  /** Where backends are, by name; absent: at the host of their URL, which must be an address then. */
  readonly backendAddresses?: Readonly<Record<string, readonly string[]>>;
}

export interface DataPlaneOptions extends DataPlaneConfiguration {
  readonly capabilities?: EnvoyCapabilities;
  /** How many; one by default. */
  readonly workers?: number;
  /** In processes of their own, so that one can be killed and measured. */
  readonly workerProcesses?: boolean;
  /** Where somebody takes a copy of the access log, as the control plane does. */
  readonly witnessSocket?: string;
  /** Workers never get a snapshot, as while the control plane starts. */
  readonly withoutSnapshot?: boolean;
  /** Of workers in this process; absent: one that notes what it is told, and says what `admission` says. */
  readonly ledger?: Ledger;
  /** Bounds and ports of the bootstrap, where the usual ones are not meant. */
  readonly bootstrap?: Partial<BootstrapOptions>;
}

/** The key that requests carry unless they say otherwise. It may use every model. */
export const CLIENT_KEY = 'tw-data-plane-0123456789abcdef';
const DEFAULT_KEYS: readonly TestKey[] = [{ key: CLIENT_KEY, id: 'key-1', user: 'ann', team: 'physics' }];
/** As `limen processor` takes it: the largest body that a Gateway resource can allow. */
const LARGEST_MESSAGE_BYTES = 268_435_456;
const ENVOY_HEAP_BYTES = 2 * 1024 ** 3;
const READY_TIMEOUT_MS = 60_000;
const ACKNOWLEDGE_TIMEOUT_MS = 30_000;
const REMOVAL_GRACE_MS = 100;
const HEALTH_CHECK_PATIENCE = '15s';
const SETTLE_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 30_000;

/** Everything that workers reported since the start or the last `forget`. */
class Reports {
  entries: AccessLogEntry[] = [];
  intents: Intent[] = [];
  attempts: FailedAttempt[] = [];
  answers: { readonly status: number; readonly code: string | undefined }[] = [];
  faults: string[] = [];
  rawAccessLog: Buffer[] = [];

  readonly take = (report: WorkerReport): void => {
    switch (report.kind) {
      case 'entry':
        this.entries.push(report.entry);
        return;
      case 'access log':
        this.rawAccessLog.push(Buffer.from(report.base64, 'base64'));
        return;
      case 'admit':
        this.intents.push(report.intent);
        return;
      case 'attempts':
        this.attempts.push(...report.attempts);
        return;
      case 'answer':
        this.answers.push({ status: report.status, code: report.code });
        return;
      case 'fault':
        this.faults.push(`${report.leg}: ${report.message}`);
    }
  };
}

function compile(configuration: DataPlaneConfiguration): Snapshot {
  const resource = (kind: string, name: string, spec: object) => ({
    apiVersion: API_VERSION,
    kind,
    metadata: { name },
    spec,
  });
  return buildSnapshot([
    gatewaySchema.parse(resource('Gateway', 'default', configuration.gateway ?? {})),
    ...Object.entries(configuration.providers).map(([name, { credential, ...spec }]) =>
      providerSchema.parse(
        resource('Provider', name, {
          modelPrefixes: [],
          ...spec,
          ...(credential === undefined ? {} : { credential: credentialInput(credential) }),
        }),
      ),
    ),
    ...Object.entries(configuration.models).map(([name, spec]) =>
      modelSchema.parse(resource('Model', name, spec)),
    ),
    ...(configuration.others ?? []).map(({ kind, name, spec }) =>
      anyResourceSchema.parse(resource(kind, name, spec)),
    ),
    ...Object.entries(configuration.backends ?? {}).map(([name, { credential, ...spec }]) =>
      backendSchema.parse(
        resource('Backend', name, {
          ...spec,
          ...(credential === undefined ? {} : { credential: { value: credential } }),
        }),
      ),
    ),
  ]).snapshot;
}

/** The credential as a resource has it. */
function credentialInput(credential: string): object {
  if (!credential.startsWith('{')) return { value: credential };
  const parts: unknown = JSON.parse(credential);
  return Object.fromEntries(
    Object.entries(z.record(z.string(), z.string()).parse(parts)).map(([part, value]) => [part, { value }]),
  );
}

function errorBodies(format: ClientFormatName, pathPrefix?: string): ErrorBodies {
  return {
    format,
    pathPrefix,
    body: (code, message) =>
      FORMATS[format].encodeError(new LimenError(code, message), REQUEST_ID_PLACEHOLDER).toString('utf8'),
  };
}

/**
 * A worker that is busy for a second, with a large body or in the process of a test that is, or that has no processor
 * so long, must not be taken for one that is stuck. Those are the system tests' matter.
 */
function withPatience(clusters: XdsResources['clusters']): XdsResources['clusters'] {
  const workers = clusters[PROCESSOR_CLUSTER];
  const checks: unknown = workers?.['health_checks'];
  if (workers === undefined || !Array.isArray(checks)) throw new Error('expected health checks of workers');
  const patient = checks.map((check: unknown) => ({ ...Object(check), timeout: HEALTH_CHECK_PATIENCE }));
  return { ...clusters, [PROCESSOR_CLUSTER]: { ...workers, health_checks: patient } };
}

/** A real Envoy, fed by ADS, with real processors behind it: all of the data plane but Redis. */
export class DataPlane {
  readonly port: number;
  readonly url: string;
  readonly envoy: RunningEnvoy;
  readonly workers: readonly (TestWorker | RemoteWorker)[];
  readonly #parts: Parts;
  #configuration: DataPlaneConfiguration;

  private constructor(
    parts: Parts,
    envoy: RunningEnvoy,
    workers: readonly (TestWorker | RemoteWorker)[],
    configuration: DataPlaneConfiguration,
  ) {
    this.port = parts.port;
    this.url = `http://127.0.0.1:${parts.port}`;
    this.envoy = envoy;
    this.workers = workers;
    this.#parts = parts;
    this.#configuration = configuration;
  }

  /** See {@link startDataPlane}. */
  static async start(options: DataPlaneOptions): Promise<DataPlane> {
    const folder = await temporaryFolder();
    const reports = new Reports();
    const capabilities = options.capabilities ?? ALL_CAPABILITIES;
    const count = options.workers ?? 1;
    const sockets = Array.from({ length: count }, (_, index) => join(folder, `worker-${index}.sock`));
    const start = async (socketPath: string): Promise<TestWorker | RemoteWorker> => {
      const workerOptions: WorkerOptions = {
        socketPath,
        capabilities,
        maxMessageBytes: LARGEST_MESSAGE_BYTES,
        report: reports.take,
      };
      return options.workerProcesses === true
        ? await RemoteWorker.start(workerOptions)
        : await TestWorker.start(workerOptions, options.ledger);
    };
    const workers = await Promise.all(sockets.map(start));
    const ads = new AggregatedDiscovery();
    const adsSocket = join(folder, 'ads.sock');
    const server = await AdsServer.start(ads, { address: `unix:${adsSocket}` });
    const parts: Parts = {
      folder,
      reports,
      capabilities,
      sockets,
      server,
      publisher: new OrderedPublisher(ads, {
        acknowledgeTimeoutMs: ACKNOWLEDGE_TIMEOUT_MS,
        graceMs: REMOVAL_GRACE_MS,
      }),
      port: await freePort(),
      withoutSnapshot: options.withoutSnapshot ?? false,
      witnessSocket: options.witnessSocket,
    };
    const adminSocket = join(folder, 'admin.sock');
    const bootstrap = buildBootstrap({
      nodeId: 'data-plane-test',
      adminSocket,
      adsSocket,
      controlSocket: join(folder, 'control.sock'),
      consoleAddress: '127.0.0.1',
      consolePort: await freePort(),
      maxHeapBytes: ENVOY_HEAP_BYTES,
      maxDownstreamConnections: 10_000,
      ...options.bootstrap,
    });
    const envoy = await RunningEnvoy.start(folder, bootstrap, adminSocket);
    const plane = new DataPlane(parts, envoy, workers, options);
    try {
      const result = await plane.publish({});
      if (result.state === 'refused') throw new Error(`Envoy refused: ${JSON.stringify(result.nacked)}`);
      await plane.ready();
      return plane;
    } catch (error) {
      const { log } = envoy;
      await plane.stop();
      throw new Error(`the data plane did not start: ${String(error)}\n${log}`, { cause: error });
    }
  }

  get snapshot(): Snapshot {
    return compile(this.#configuration);
  }

  /** Puts a changed configuration in force: first Envoy's clusters and secrets, then the workers, then routes. */
  async publish(changes: Partial<DataPlaneConfiguration>): Promise<OrderedResult> {
    const { publisher, capabilities, sockets, port, withoutSnapshot, witnessSocket } = this.#parts;
    const next = { ...this.#configuration, ...changes };
    const snapshot = compile(next);
    const resources = buildXds(snapshot, {
      address: '127.0.0.1',
      port,
      processorSockets: sockets,
      witnessSocket,
      capabilities,
      errorBodies: [
        errorBodies('messages', '/v1/messages'),
        errorBodies('responses', '/v1/responses'),
        errorBodies('gemini', '/v1beta'),
        { ...errorBodies('chat', BACKENDS_PATH), format: BACKEND_ROUTE, messages: BACKEND_MESSAGES },
        errorBodies('chat'),
      ],
      placementOf: ({ type, options }) =>
        options['authentication'] === 'bearer'
          ? { kind: 'header', header: 'authorization', prefix: 'Bearer ' }
          : providerOf(type).credential,
      foreignHeadersOf: (provider) => foreignHeadersOf(provider.type),
      systemCaFile: '/etc/ssl/certs/ca-certificates.crt',
      secrets: Object.fromEntries([
        ...Object.entries(next.providers).flatMap(([name, { credential }]) =>
          credential === undefined ? [] : [[name, credential]],
        ),
        ...Object.entries(next.providers).flatMap(([name, { tenants = {} }]) =>
          Object.entries(tenants).flatMap(([tenant, { credential }]) =>
            'value' in credential ? [[`${name}@${tenant}`, credential.value]] : [],
          ),
        ),
        ...Object.entries(next.backends ?? {}).flatMap(([name, { credential }]) =>
          credential === undefined ? [] : [[backendCluster(name), credential]],
        ),
      ]),
      backendAddresses: {
        ...Object.fromEntries(
          Object.entries(next.backends ?? {}).map(([name, { url }]) => [name, [new URL(url).hostname]]),
        ),
        ...next.backendAddresses,
      },
    });
    const clusters = withPatience(resources.clusters);
    const result = await publisher.publish({ ...resources, clusters }, async () => {
      const { keys = DEFAULT_KEYS, users, tokens, admission, issuerKeys, revocations } = next;
      const state = {
        snapshot: withoutSnapshot ? undefined : snapshot,
        keys,
        users,
        tokens,
        admission,
        issuerKeys,
        revocations,
      };
      await Promise.all(this.workers.map(async (worker) => await worker.apply(state)));
    });
    if (result.state === 'in force') this.#configuration = next;
    return result;
  }

  /** Resolves when requests are served: the listener is there and, unless none is expected, a worker. */
  async ready(): Promise<void> {
    const path = this.#parts.withoutSnapshot ? '/health/live' : '/health/ready';
    await eventually(
      async () => ((await get({ port: this.port }, path)).status === 200 ? true : undefined),
      READY_TIMEOUT_MS,
    );
  }

  /** A request with the usual key, read to its end. */
  async call(options: CallOptions): Promise<ClientAnswer> {
    return await call(this.port, { key: CLIENT_KEY, ...options });
  }

  /** A request with the usual key; resolves with the head of the answer. */
  async open(options: CallOptions): Promise<OpenAnswer> {
    return await openCall(this.port, { key: CLIENT_KEY, ...options });
  }

  /** Access-log entries since the start or the last `forget`, in order of arrival. */
  get accessLog(): readonly AccessLogEntry[] {
    return this.#parts.reports.entries;
  }

  /** The access log as it came over the wire. */
  get rawAccessLog(): Buffer {
    return Buffer.concat(this.#parts.reports.rawAccessLog);
  }

  /** Every intent that was admitted. */
  get intents(): readonly Intent[] {
    return this.#parts.reports.intents;
  }

  /** Failed tries of a request that has its row, in the order in which workers knew all about them. */
  attemptsOf({ requestId }: { readonly requestId: string }): readonly FailedAttempt[] {
    return this.#parts.reports.attempts.filter((attempt) => attempt.requestId === requestId);
  }

  /** Answers that workers gave by themselves. */
  get answers(): readonly { readonly status: number; readonly code: string | undefined }[] {
    return this.#parts.reports.answers;
  }

  /** Faults of workers: none is expected unless a test provokes it. */
  get faults(): readonly string[] {
    return this.#parts.reports.faults;
  }

  /** The ledger rows of the requests that have ended. */
  get rows(): readonly GatewayLogRow[] {
    const estimator = new OutputEstimator();
    return this.accessLog.flatMap((entry) => {
      const settlement = settleFromAccessLog(entry, { estimator });
      return settlement === undefined ? [] : [settlement.row];
    });
  }

  /** Waits until `count` requests have ended, and returns their rows. */
  async settled(count = 1, timeoutMs = SETTLE_TIMEOUT_MS): Promise<readonly GatewayLogRow[]> {
    return await eventually(() => {
      const { rows } = this;
      return rows.length >= count ? rows : undefined;
    }, timeoutMs);
  }

  /** Waits for the row of the request that was answered so. */
  async rowOf(answer: { readonly headers: IncomingHttpHeaders }): Promise<GatewayLogRow> {
    return await this.rowOfRequest(String(answer.headers['x-request-id']));
  }

  /** Waits for the row of a request by its id. @throws where there are several */
  async rowOfRequest(requestId: string): Promise<GatewayLogRow> {
    return await eventually(() => {
      const [row, ...more] = this.rows.filter((one) => one.requestId === requestId);
      if (more.length > 0) throw new Error(`${more.length + 1} rows for ${requestId}`);
      return row;
    }, SETTLE_TIMEOUT_MS);
  }

  /** Forgets what was reported, between two tests. */
  forget(): void {
    const { reports } = this.#parts;
    reports.entries = [];
    reports.intents = [];
    reports.attempts = [];
    reports.answers = [];
    reports.faults = [];
    reports.rawAccessLog = [];
  }

  async loads(): Promise<readonly WorkerLoad[]> {
    return await Promise.all(this.workers.map(async (worker) => await worker.load()));
  }

  /** Waits until no worker holds anything. @throws what is still held */
  async idle(timeoutMs = IDLE_TIMEOUT_MS): Promise<void> {
    await eventually(async () => {
      const loads = await this.loads();
      const busy = loads.filter(({ open, bytesInFlight }) => open > 0 || bytesInFlight > 0);
      if (busy.length > 0) throw new Error(`still held: ${JSON.stringify(busy)}`);
      return true;
    }, timeoutMs);
  }

  /** Everything that Envoy would show an operator of its configuration, secrets and endpoints among it. */
  async configDump(): Promise<string> {
    return (await this.envoy.admin('/config_dump?include_eds')).body;
  }

  /** Envoy's counters and gauges, one a line, whose names match. */
  async stats(filter: string): Promise<string> {
    return (await this.envoy.admin(`/stats?filter=${encodeURIComponent(filter)}`)).body;
  }

  async stop(): Promise<void> {
    const { publisher, server, folder } = this.#parts;
    publisher.stop();
    await this.envoy.stop();
    await Promise.all(this.workers.map(async (worker) => await worker.stop()));
    server.stop();
    await removeFolder(folder);
  }
}

interface Parts {
  readonly folder: string;
  readonly reports: Reports;
  readonly capabilities: EnvoyCapabilities;
  readonly sockets: readonly string[];
  readonly server: AdsServer;
  readonly publisher: OrderedPublisher;
  readonly port: number;
  readonly witnessSocket: string | undefined;
  readonly withoutSnapshot: boolean;
}

/** Starts a data plane and waits until it serves; a second or two. */
export function startDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  return DataPlane.start(options);
}
