import type { AggregatedDiscovery } from '../aggregated-discovery.ts';
import type { DeltaDiscoveryResponse, DiscoveryResponse } from '../protocol.ts';
import { kindOfType, typeUrlOf, type ResourceKind } from '../resource-cache.ts';

/** A response as both protocols tell it. */
export interface Received {
  readonly kind: ResourceKind | undefined;
  readonly version: string;
  readonly nonce: string;
  /** Resources in it: by name where the protocol names them (delta), else counted. */
  readonly count: number;
  readonly names: readonly string[];
  readonly removed: readonly string[];
}

/** The client's half of an ADS stream, answering only when a test says so. */
export interface ScriptedEnvoy {
  readonly responses: Received[];
  /** Subscribes; no names: everything. `has` are the versions kept from an earlier connection. */
  subscribe(kind: ResourceKind, names?: readonly string[], has?: Readonly<Record<string, string>>): void;
  unsubscribe(kind: ResourceKind, names: readonly string[]): void;
  /** Accepts the latest response of a kind. */
  accept(kind: ResourceKind): void;
  refuse(kind: ResourceKind, message: string): void;
  /** Answers with a nonce that is not the latest one's. */
  acceptStale(kind: ResourceKind, nonce: string): void;
  resume(): void;
  close(): void;
}

/** How a scripted Envoy behaves towards the transport. */
export interface ScriptOptions {
  readonly node?: string;
  /** Whether the transport takes more after each response; yes by default. */
  readonly writable?: () => boolean;
}

export function scriptedDeltaEnvoy(ads: AggregatedDiscovery, options: ScriptOptions = {}): ScriptedEnvoy {
  const responses: Received[] = [];
  const stream = ads.openDelta((response: DeltaDiscoveryResponse) => {
    responses.push({
      kind: kindOfType(response.typeUrl),
      version: response.systemVersionInfo,
      nonce: response.nonce,
      count: response.resources.length,
      names: response.resources.map(({ name }) => name),
      removed: response.removedResources,
    });
    return options.writable?.() ?? true;
  });
  const request = (kind: ResourceKind, fields: Partial<Parameters<typeof stream.handle>[0]>): void => {
    stream.handle({
      node: { id: options.node ?? 'envoy-1' },
      typeUrl: typeUrlOf(kind),
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      initialResourceVersions: {},
      responseNonce: '',
      errorDetail: null,
      ...fields,
    });
  };
  return {
    responses,
    subscribe: (kind, names = [], has = {}) =>
      request(kind, { resourceNamesSubscribe: names, initialResourceVersions: has }),
    unsubscribe: (kind, names) => request(kind, { resourceNamesUnsubscribe: names }),
    accept: (kind) => request(kind, { responseNonce: latest(responses, kind).nonce }),
    refuse: (kind, message) =>
      request(kind, { responseNonce: latest(responses, kind).nonce, errorDetail: { code: 13, message } }),
    acceptStale: (kind, nonce) => request(kind, { responseNonce: nonce }),
    resume: () => stream.resume(),
    close: () => stream.close(),
  };
}

export function scriptedWorldEnvoy(ads: AggregatedDiscovery, options: ScriptOptions = {}): ScriptedEnvoy {
  const responses: Received[] = [];
  const subscriptions = new Map<ResourceKind, Set<string>>();
  const accepted = new Map<ResourceKind, string>();
  const stream = ads.openStateOfTheWorld((response: DiscoveryResponse) => {
    responses.push({
      kind: kindOfType(response.typeUrl),
      version: response.versionInfo,
      nonce: response.nonce,
      count: response.resources.length,
      names: [],
      removed: [],
    });
    return options.writable?.() ?? true;
  });
  const request = (kind: ResourceKind, fields: Partial<Parameters<typeof stream.handle>[0]>): void => {
    stream.handle({
      node: { id: options.node ?? 'envoy-1' },
      typeUrl: typeUrlOf(kind),
      versionInfo: accepted.get(kind) ?? '',
      resourceNames: [...(subscriptions.get(kind) ?? [])],
      responseNonce: responses.findLast((response) => response.kind === kind)?.nonce ?? '',
      errorDetail: null,
      ...fields,
    });
  };
  return {
    responses,
    subscribe(kind, names = [], has = {}) {
      subscriptions.set(kind, new Set([...(subscriptions.get(kind) ?? []), ...names]));
      const [version] = Object.values(has);
      if (version !== undefined) accepted.set(kind, version);
      request(kind, {});
    },
    unsubscribe(kind, names) {
      for (const name of names) subscriptions.get(kind)?.delete(name);
      request(kind, {});
    },
    accept(kind) {
      accepted.set(kind, latest(responses, kind).version);
      request(kind, {});
    },
    refuse: (kind, message) => request(kind, { errorDetail: { code: 13, message } }),
    acceptStale: (kind, nonce) => request(kind, { responseNonce: nonce }),
    resume: () => stream.resume(),
    close: () => stream.close(),
  };
}

function latest(responses: readonly Received[], kind: ResourceKind): Received {
  const found = responses.findLast((response) => response.kind === kind);
  if (found === undefined) throw new Error(`no response with ${kind} yet`);
  return found;
}
