import { DeltaStream } from './delta-stream.ts';
import type { DeltaDiscoveryResponse, DiscoveryResponse } from './protocol.ts';
import {
  RESOURCE_KINDS,
  ResourceCache,
  type Publication,
  type ResourceKind,
  type ResourceSets,
} from './resource-cache.ts';
import { StateOfTheWorldStream } from './state-of-the-world-stream.ts';
import type { KindStatus, Send, Settlement, StreamOptions } from './xds-stream.ts';

/** What became of a publication. A node is an Envoy by its id; each connected one is in exactly one list. */
export interface AcknowledgementReport {
  readonly acknowledged: readonly string[];
  readonly nacked: readonly {
    readonly node: string;
    readonly kind: ResourceKind;
    readonly message: string;
  }[];
  readonly timedOut: readonly string[];
}

/** One connected Envoy, for `limen get` and `limen doctor`. */
export interface NodeStatus {
  readonly node: string;
  readonly protocol: 'delta' | 'state-of-the-world';
  /** Unix time in milliseconds. */
  readonly connectedAt: number;
  /** Only the kinds that it has asked for. */
  readonly kinds: Readonly<Partial<Record<ResourceKind, KindStatus & { readonly publishedVersion: string }>>>;
}

type Stream = DeltaStream | StateOfTheWorldStream;

/** One open ADS stream, as the transport sees it. */
export interface OpenStream<Request> {
  handle(request: Request): void;
  /** The transport takes data again. */
  resume(): void;
  /** The stream ended, broke or was cancelled; more than one call does no harm. */
  close(): void;
}

export interface AggregatedDiscoveryOptions {
  readonly cache?: ResourceCache;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
  /** How long listeners and routes wait for an Envoy's answer to clusters and secrets; 2 s by default. */
  readonly holdMs?: number;
}

const DEFAULT_HOLD_MS = 2000;

interface Connection {
  readonly stream: Stream;
  readonly protocol: NodeStatus['protocol'];
  readonly connectedAt: number;
}

/**
 * ADS without gRPC: the resources and everyone who listens. Publishing goes in stages, so that nothing is
 * named before it is there:
 *
 *     const first = ads.setResources({ clusters, secrets }, { keepAbsent: true });
 *     await ads.awaitAcknowledged(['clusters', 'secrets'], first.generation, 5000);
 *     const second = ads.setResources({ listeners, routes });
 *
 * which `OrderedPublisher` does, with workers in between and removals at the end.
 */
export class AggregatedDiscovery {
  readonly #cache: ResourceCache;
  readonly #now: () => number;
  readonly #holdMs: number;
  readonly #connections = new Set<Connection>();
  readonly #waiters = new Set<() => void>();

  constructor(options: AggregatedDiscoveryOptions = {}) {
    this.#cache = options.cache ?? new ResourceCache();
    this.#now = options.now ?? Date.now;
    this.#holdMs = options.holdMs ?? DEFAULT_HOLD_MS;
    this.#cache.subscribe(() => {
      for (const { stream } of this.#connections) stream.publish();
      this.#settled();
    });
  }

  /**
   * Publishes whole kinds; a kind that is left out stays as it is. With `keepAbsent` nothing is removed.
   *
   * @throws EncodeError listing every fault; then nothing was published.
   */
  setResources(sets: ResourceSets, options: { readonly keepAbsent?: boolean } = {}): Publication {
    return this.#cache.set(sets, options);
  }

  /** @throws EncodeError listing every fault; nothing is published either way. */
  check(sets: ResourceSets): void {
    this.#cache.check(sets);
  }

  /** Remembers what is published now; calling the result publishes that again. */
  checkpoint(): () => Publication {
    return this.#cache.checkpoint();
  }

  openDelta(send: Send<DeltaDiscoveryResponse>): OpenStream<Parameters<DeltaStream['handle']>[0]> {
    const stream = new DeltaStream(this.#cache, send, this.#streamOptions());
    return this.#open(stream, 'delta', (request) => stream.handle(request));
  }

  openStateOfTheWorld(
    send: Send<DiscoveryResponse>,
  ): OpenStream<Parameters<StateOfTheWorldStream['handle']>[0]> {
    const stream = new StateOfTheWorldStream(this.#cache, send, this.#streamOptions());
    return this.#open(stream, 'state-of-the-world', (request) => stream.handle(request));
  }

  /**
   * Waits until every connected Envoy has answered what the given kinds held at `generation`, or until
   * `timeoutMs` has passed. An Envoy that disconnects meanwhile is waited for no longer: when it comes back, it
   * gets all of it in order. With none connected it resolves at once, with empty lists.
   */
  async awaitAcknowledged(
    kinds: readonly ResourceKind[],
    generation: number,
    timeoutMs: number,
  ): Promise<AcknowledgementReport> {
    if (this.#report(kinds, generation).timedOut.length > 0) {
      await new Promise<void>((resolve) => {
        const finish = (): void => {
          clearTimeout(timer);
          this.#waiters.delete(check);
          resolve();
        };
        const check = (): void => {
          if (this.#report(kinds, generation).timedOut.length === 0) finish();
        };
        const timer = setTimeout(finish, timeoutMs);
        this.#waiters.add(check);
      });
    }
    return this.#report(kinds, generation);
  }

  /** Every connected Envoy that has said who it is. */
  status(): NodeStatus[] {
    return [...this.#connections]
      .filter(({ stream }) => stream.nodeId !== '')
      .map(({ stream, protocol, connectedAt }) => ({
        node: stream.nodeId,
        protocol,
        connectedAt,
        kinds: Object.fromEntries(
          [...stream.status()].map(([kind, status]) => [
            kind,
            { ...status, publishedVersion: this.#cache.version(kind) },
          ]),
        ),
      }));
  }

  #streamOptions(): StreamOptions {
    return { now: this.#now, holdMs: this.#holdMs, settled: () => this.#settled() };
  }

  #open<Request>(
    stream: Stream,
    protocol: NodeStatus['protocol'],
    handle: (request: Request) => void,
  ): OpenStream<Request> {
    const connection: Connection = { stream, protocol, connectedAt: this.#now() };
    this.#connections.add(connection);
    return {
      handle,
      resume: () => stream.resume(),
      close: () => {
        if (!this.#connections.delete(connection)) return;
        stream.close();
        this.#settled();
      },
    };
  }

  #settled(): void {
    for (const check of [...this.#waiters]) check();
  }

  #report(kinds: readonly ResourceKind[], generation: number): AcknowledgementReport {
    const nodes: Record<Settlement, string[]> = { acknowledged: [], refused: [], waiting: [] };
    const nacked: { node: string; kind: ResourceKind; message: string }[] = [];
    for (const { stream } of this.#connections) {
      // Not yet asked for anything: nothing to wait for.
      if (stream.nodeId === '') continue;
      const settlement = stream.settlement(kinds, generation);
      nodes[settlement].push(stream.nodeId);
      if (settlement !== 'refused') continue;
      for (const kind of RESOURCE_KINDS) {
        if (!kinds.includes(kind) || stream.settlement([kind], generation) !== 'refused') continue;
        nacked.push({
          node: stream.nodeId,
          kind,
          message: stream.status().get(kind)?.lastNack?.message ?? '',
        });
      }
    }
    return { acknowledged: nodes.acknowledged, nacked, timedOut: nodes.waiting };
  }
}
