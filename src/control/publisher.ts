import type { ProviderSecrets, Snapshot } from '../core/snapshot.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ListenerCertificate } from '../xds/build/index.ts';
import type { XdsResources } from '../xds/resource.ts';

/** One configuration that is to be in force. */
export interface Configuration {
  readonly snapshot: Snapshot;
  readonly secrets: ProviderSecrets;
  readonly listenerCertificate?: ListenerCertificate | undefined;
}

/** ADS, as publishing needs it. */
export interface EnvoyPort {
  set(
    sets: Partial<XdsResources>,
    options?: { readonly keepAbsent?: boolean },
  ): { readonly changed: readonly string[] };
  /** Resolves when every connected Envoy has acknowledged or refused what was set, or the time is over. */
  settled(timeoutMs: number): Promise<void>;
}

/** The workers, as publishing needs them. */
export interface WorkersPort {
  publishSnapshot(snapshot: Snapshot): void;
  /** Resolves when every connected worker has it in force, or the time is over. */
  settled(version: string, timeoutMs: number): Promise<void>;
}

export interface PublisherOptions {
  readonly envoy: EnvoyPort;
  readonly workers: WorkersPort;
  readonly build: (configuration: Configuration) => XdsResources;
  readonly logger: Logger;
  /** How long requests that pinned an older snapshot may still ask for its clusters. */
  readonly removalGraceMs: number;
  /** Longest wait for a party that doesn't answer; it gets the rest when it does. */
  readonly acknowledgeMs?: number;
}

const ACKNOWLEDGE_MS = 2000;

/**
 * Brings configurations into force in an order that breaks no request: clusters and secrets, acknowledged; then
 * the workers, which may now choose them; then listener and routes; and after a grace, what nobody uses any more
 * is taken away. One configuration at a time; of those that wait, only the latest counts.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  #waiting: Configuration | undefined;
  #running: Promise<void> | undefined;
  #removal: NodeJS.Timeout | undefined;
  #inForce: Snapshot | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** The snapshot that was published last. */
  get inForce(): Snapshot | undefined {
    return this.#inForce;
  }

  /** Resolves when this configuration, or one that came after it, is in force. */
  publish(configuration: Configuration): Promise<void> {
    this.#waiting = configuration;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
    return this.#running;
  }

  close(): void {
    clearTimeout(this.#removal);
  }

  async #run(): Promise<void> {
    let failure: unknown;
    while (this.#waiting !== undefined) {
      const configuration = this.#waiting;
      this.#waiting = undefined;
      failure = undefined;
      try {
        await this.#bringIntoForce(configuration);
      } catch (error) {
        failure = error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  async #bringIntoForce(configuration: Configuration): Promise<void> {
    const { envoy, workers, build, logger, removalGraceMs, acknowledgeMs = ACKNOWLEDGE_MS } = this.#options;
    const { snapshot } = configuration;
    const { clusters, secrets, listeners, routes } = build(configuration);
    clearTimeout(this.#removal);
    const first = envoy.set({ clusters, secrets }, { keepAbsent: true });
    if (first.changed.length > 0) await envoy.settled(acknowledgeMs);
    if (this.#inForce?.version !== snapshot.version) {
      workers.publishSnapshot(snapshot);
      await workers.settled(snapshot.version, acknowledgeMs);
    }
    envoy.set({ listeners, routes });
    this.#inForce = snapshot;
    logger.info({ snapshot: snapshot.version, changed: first.changed }, 'configuration in force');
    this.#removal = setTimeout(() => envoy.set({ clusters, secrets }), removalGraceMs);
    this.#removal.unref();
  }
}
