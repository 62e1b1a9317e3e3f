import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { ALL_CAPABILITIES, type EnvoyCapabilities } from '../../src/core/capabilities.ts';
import type { FailedAttempt, GatewayLogRow, Intent, Ledger } from '../../src/core/ledger.ts';
import type { Snapshot } from '../../src/core/snapshot.ts';
import type { AccessLogEntry } from '../../src/ledger/access-log-entry.ts';
import { OutputEstimator } from '../../src/ledger/estimator.ts';
import { settleFromAccessLog } from '../../src/ledger/settle.ts';
import { AggregatedDiscovery } from '../../src/xds/ads/aggregated-discovery.ts';
import { OrderedPublisher, type OrderedResult } from '../../src/xds/ads/ordered-publisher.ts';
import { AdsServer } from '../../src/xds/ads/server.ts';
import { buildBootstrap, type BootstrapOptions } from '../../src/xds/build/bootstrap.ts';
import { call, openCall, type CallOptions, type ClientAnswer, type OpenAnswer } from './data-plane/client.ts';
import {
  CLIENT_KEY,
  compile,
  DEFAULT_KEYS,
  type DataPlaneConfiguration,
} from './data-plane/configuration.ts';
import { xdsOf, type EnvoySurroundings } from './data-plane/envoy-resources.ts';
import { RemoteWorker } from './data-plane/remote-worker.ts';
import { Reports } from './data-plane/reports.ts';
import { TestWorker, type WorkerLoad, type WorkerOptions } from './data-plane/worker.ts';
import { eventually, freePort, get, removeFolder, RunningEnvoy, temporaryFolder } from './running-envoy.ts';

export { CLIENT_KEY } from './data-plane/configuration.ts';
export type { BackendInput, GatewayInput, ProviderInput } from './data-plane/configuration.ts';

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

/** As `limen processor` takes it: the largest body that a Gateway resource can allow. */
const LARGEST_MESSAGE_BYTES = 268_435_456;
const ENVOY_HEAP_BYTES = 2 * 1024 ** 3;
const READY_TIMEOUT_MS = 60_000;
const ACKNOWLEDGE_TIMEOUT_MS = 30_000;
const REMOVAL_GRACE_MS = 100;
const SETTLE_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 30_000;

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
    const { publisher, withoutSnapshot } = this.#parts;
    const next = { ...this.#configuration, ...changes };
    const snapshot = compile(next);
    const resources = xdsOf(next, snapshot, this.#parts);
    const result = await publisher.publish(resources, async () => {
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
    this.#parts.reports.forget();
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

interface Parts extends EnvoySurroundings {
  readonly folder: string;
  readonly reports: Reports;
  readonly server: AdsServer;
  readonly publisher: OrderedPublisher;
  readonly withoutSnapshot: boolean;
}

/** Starts a data plane and waits until it serves; a second or two. */
export function startDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  return DataPlane.start(options);
}
