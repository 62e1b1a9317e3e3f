import type { ProviderSecrets, Snapshot } from '../core/snapshot.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { OrderedPublisher, OrderedResult } from '../xds/ads/ordered-publisher.ts';
import type { ListenerCertificate } from '../xds/build/index.ts';
import type { XdsResources } from '../xds/resource.ts';

/** One configuration that is to be in force. */
export interface Configuration {
  readonly snapshot: Snapshot;
  readonly secrets: ProviderSecrets;
  readonly listenerCertificate?: ListenerCertificate | undefined;
  /** Where each Backend is, by its name, as far as is known. */
  readonly backendAddresses?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** The workers, as publishing needs them. */
export interface WorkersPort {
  publishSnapshot(snapshot: Snapshot): void;
  /** Resolves when every connected worker has it in force, or the time is over. */
  settled(version: string, timeoutMs: number): Promise<void>;
}

export interface PublisherOptions {
  readonly envoy: Pick<OrderedPublisher, 'publish'>;
  readonly workers: WorkersPort;
  readonly build: (configuration: Configuration) => XdsResources;
  readonly logger: Logger;
  /** Longest wait for a worker that doesn't answer; it gets the snapshot when it does. */
  readonly acknowledgeMs: number;
}

/**
 * Brings configurations into force, Envoy and workers in step (OrderedPublisher says in which). One at a time;
 * of those that wait, only the latest counts. What an Envoy refuses is taken back from the workers too.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  #waiting: Configuration | undefined;
  #running: Promise<void> | undefined;
  #inForce: Snapshot | undefined;
  #refused: Extract<OrderedResult, { state: 'refused' }>['nacked'] = [];

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** The snapshot in force. */
  get inForce(): Snapshot | undefined {
    return this.#inForce;
  }

  /** What Envoys said to the latest configuration, where they refused it; empty when it is in force. */
  get refused(): Extract<OrderedResult, { state: 'refused' }>['nacked'] {
    return this.#refused;
  }

  /** Resolves when this configuration, or one that came after it, is in force or was refused. */
  publish(configuration: Configuration): Promise<void> {
    this.#waiting = configuration;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting !== undefined) {
      const configuration = this.#waiting;
      this.#waiting = undefined;
      await this.#bringIntoForce(configuration);
    }
  }

  async #bringIntoForce(configuration: Configuration): Promise<void> {
    const { envoy, build, logger } = this.#options;
    const { snapshot } = configuration;
    const before = this.#inForce;
    // At the start nobody uses anything yet, and Envoy finds its clusters ready only with workers that serve.
    if (before === undefined) this.#options.workers.publishSnapshot(snapshot);
    const result = await envoy.publish({ ...build(configuration) }, () => this.#toWorkers(snapshot));
    if (result.state === 'refused') {
      this.#refused = result.nacked;
      logger.error({ refused: result.nacked }, 'Envoy refused the configuration; the last good one stays');
      if (before !== undefined) await this.#toWorkers(before);
      return;
    }
    this.#refused = [];
    this.#inForce = snapshot;
    logger.info({ snapshot: snapshot.version, late: result.timedOut }, 'configuration in force');
  }

  async #toWorkers(snapshot: Snapshot): Promise<void> {
    const { workers, acknowledgeMs } = this.#options;
    workers.publishSnapshot(snapshot);
    await workers.settled(snapshot.version, acknowledgeMs);
  }
}
