import type { AcknowledgementReport, AggregatedDiscovery } from './aggregated-discovery.ts';
import type { ResourceKind, ResourceSets } from './resource-cache.ts';

/** What became of one configuration. */
export type OrderedResult =
  /** In force; `timedOut` names the Envoys that had not answered in time and will get it when they do. */
  | {
      readonly state: 'in force';
      readonly acknowledged: readonly string[];
      readonly timedOut: readonly string[];
    }
  /** Refused by an Envoy: what was in force before is published again. */
  | { readonly state: 'refused'; readonly nacked: AcknowledgementReport['nacked'] };

export interface OrderedPublisherOptions {
  /** How long an Envoy may take to answer each stage, in milliseconds. */
  readonly acknowledgeTimeoutMs: number;
  /** How long removed resources stay for requests that still use them, in milliseconds. */
  readonly graceMs: number;
}

/** What listeners and routes lean on. */
const FOUNDATION: readonly ResourceKind[] = ['clusters', 'endpoints', 'secrets'];

/**
 * Puts configurations in force without a moment in which something is named that is not there:
 *
 * 1. new and changed clusters, endpoints and secrets, until every Envoy has answered;
 * 2. the workers' new snapshot, until they have it;
 * 3. new and changed listeners, until every Envoy has answered; then routes, likewise, so that no route comes
 *    into force beside a listener that was refused;
 * 4. after a grace, what is no longer there: listeners and routes first, then what they leaned on.
 *
 * Publications run one after the other. One that comes within another's grace takes over its removals.
 */
export class OrderedPublisher {
  readonly #discovery: AggregatedDiscovery;
  readonly #options: OrderedPublisherOptions;
  #tail: Promise<unknown> = Promise.resolve();
  #removal: NodeJS.Timeout | undefined;
  #inForce: ResourceSets = {};

  constructor(discovery: AggregatedDiscovery, options: OrderedPublisherOptions) {
    this.#discovery = discovery;
    this.#options = options;
  }

  /**
   * @param resources All kinds that are in use, each as a whole.
   * @param prepareWorkers Resolves when the workers can serve what comes; when it rejects, so does this, and
   *   Envoy keeps the routes it has.
   * @throws EncodeError listing every fault of every resource, before anything is published.
   */
  publish(resources: ResourceSets, prepareWorkers: () => Promise<void>): Promise<OrderedResult> {
    const result = this.#tail.then(() => this.#publish(resources, prepareWorkers));
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Gives up pending removals: the control plane stops, and its successor publishes the state of then. */
  stop(): void {
    clearTimeout(this.#removal);
  }

  async #publish(resources: ResourceSets, prepareWorkers: () => Promise<void>): Promise<OrderedResult> {
    this.#discovery.check(resources);
    clearTimeout(this.#removal);
    const restore = this.#discovery.checkpoint();
    try {
      const foundation = await this.#stage(resources, FOUNDATION, { keepAbsent: true });
      if (foundation.nacked.length > 0) return this.#refuse(restore, foundation);
      await prepareWorkers();
      const listeners = await this.#stage(resources, ['listeners'], { keepAbsent: true });
      if (listeners.nacked.length > 0) return this.#refuse(restore, listeners);
      const routes = await this.#stage(resources, ['routes'], { keepAbsent: true });
      if (routes.nacked.length > 0) return this.#refuse(restore, routes);
      this.#inForce = resources;
      const late = new Set([...foundation.timedOut, ...listeners.timedOut, ...routes.timedOut]);
      const acknowledged = routes.acknowledged.filter((node) => !late.has(node));
      return { state: 'in force', acknowledged, timedOut: [...late] };
    } catch (error) {
      restore();
      throw error;
    } finally {
      this.#scheduleRemoval();
    }
  }

  #scheduleRemoval(): void {
    this.#removal = setTimeout(() => this.#enqueueRemoval(), this.#options.graceMs);
    this.#removal.unref();
  }

  #refuse(restore: () => unknown, { nacked }: AcknowledgementReport): OrderedResult {
    restore();
    return { state: 'refused', nacked };
  }

  #enqueueRemoval(): void {
    const removal = this.#removal;
    const previous = this.#tail;
    this.#tail = (async () => {
      await previous;
      // A publication that was queued before this has taken over.
      if (this.#removal !== removal) return;
      await this.#stage(this.#inForce, ['listeners', 'routes'], { keepAbsent: false });
      await this.#stage(this.#inForce, FOUNDATION, { keepAbsent: false });
    })();
  }

  async #stage(
    resources: ResourceSets,
    kinds: readonly ResourceKind[],
    options: { readonly keepAbsent: boolean },
  ): Promise<AcknowledgementReport> {
    const sets = Object.fromEntries(
      kinds.flatMap((kind) => (resources[kind] === undefined ? [] : [[kind, resources[kind]]])),
    );
    const { generation } = this.#discovery.setResources(sets, options);
    return await this.#discovery.awaitAcknowledged(kinds, generation, this.#options.acknowledgeTimeoutMs);
  }
}
