import { createHash } from 'node:crypto';
import { Encoder, type EncodedAny, type TypedJson } from '../encode/encode.ts';
import { EncodeError, joinPath, type EncodeProblem } from '../encode/problems.ts';

/** The kinds of resources that ADS serves, in the order in which a stream sends them (make before break). */
export const RESOURCE_KINDS = ['clusters', 'endpoints', 'secrets', 'listeners', 'routes'] as const;

export type ResourceKind = (typeof RESOURCE_KINDS)[number];

/** Whole sets by kind and resource name; a kind that is left out stays as it is. */
export type ResourceSets = { readonly [Kind in ResourceKind]?: Readonly<Record<string, TypedJson>> };

/** A resource that Envoy can be sent, named by the hash of its bytes. */
export interface CachedResource {
  readonly name: string;
  /** First 16 hex digits of the SHA-256 of the encoded resource. */
  readonly version: string;
  readonly any: EncodedAny;
}

/** What a publication did. */
export interface Publication {
  /** Grows by one with each publication; what `awaitAcknowledged` waits for. */
  readonly generation: number;
  /** Kinds whose content differs from before; empty where all was as it is already. */
  readonly changed: readonly ResourceKind[];
}

interface KindDefinition {
  readonly typeUrl: string;
  readonly nameField: string;
}

const TYPE = 'type.googleapis.com/envoy';
const KINDS: Readonly<Record<ResourceKind, KindDefinition>> = {
  clusters: { typeUrl: `${TYPE}.config.cluster.v3.Cluster`, nameField: 'name' },
  endpoints: { typeUrl: `${TYPE}.config.endpoint.v3.ClusterLoadAssignment`, nameField: 'cluster_name' },
  secrets: { typeUrl: `${TYPE}.extensions.transport_sockets.tls.v3.Secret`, nameField: 'name' },
  listeners: { typeUrl: `${TYPE}.config.listener.v3.Listener`, nameField: 'name' },
  routes: { typeUrl: `${TYPE}.config.route.v3.RouteConfiguration`, nameField: 'name' },
};
const KIND_OF_TYPE: ReadonlyMap<string, ResourceKind> = new Map(
  RESOURCE_KINDS.map((kind) => [KINDS[kind].typeUrl, kind]),
);

/** The kind that a discovery request's type URL asks for; undefined for a type that Limen does not serve. */
export function kindOfType(typeUrl: string): ResourceKind | undefined {
  return KIND_OF_TYPE.get(typeUrl);
}

/** The type URL of a kind. */
export function typeUrlOf(kind: ResourceKind): string {
  return KINDS[kind].typeUrl;
}

/** A version for a set of resources: the same names and contents give the same text. */
export function setVersion(resources: Iterable<CachedResource>): string {
  const lines = [...resources].map(({ name, version }) => `${name} ${version}`).sort();
  return hash(lines.join('\n'));
}

/** Encoded resources by kind and name. Publishing is all or nothing. */
export class ResourceCache {
  readonly #encoder: Encoder;
  readonly #sets = new Map<ResourceKind, ReadonlyMap<string, CachedResource>>();
  readonly #versions = new Map<ResourceKind, string>();
  readonly #whole = new Set<ResourceKind>();
  /** An object that was encoded once is not encoded again, so callers must not change it afterwards. */
  readonly #encoded = new WeakMap<TypedJson, CachedResource>();
  readonly #listeners = new Set<() => void>();
  #generation = 0;

  constructor(encoder: Encoder = new Encoder()) {
    this.#encoder = encoder;
  }

  /** Number of the latest publication; 0 before the first. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Replaces the given kinds. With `keepAbsent`, resources whose names are not in the new set stay as they are:
   * for the first half of a change whose removals have to wait until nobody uses them any more.
   *
   * @throws EncodeError with every problem of every resource; nothing is published then.
   */
  set(sets: ResourceSets, options: { readonly keepAbsent?: boolean } = {}): Publication {
    const keepAbsent = options.keepAbsent === true;
    const staged = this.#stage(sets, keepAbsent);
    if (!keepAbsent) for (const kind of staged.keys()) this.#whole.add(kind);
    return this.#publish(staged);
  }

  /** @throws EncodeError as `set` would; nothing is published either way. */
  check(sets: ResourceSets): void {
    this.#stage(sets, false);
  }

  #stage(sets: ResourceSets, keepAbsent: boolean): Map<ResourceKind, Map<string, CachedResource>> {
    const problems: EncodeProblem[] = [];
    const staged = new Map<ResourceKind, Map<string, CachedResource>>();
    for (const kind of RESOURCE_KINDS) {
      const given = sets[kind];
      if (given === undefined) continue;
      const set = new Map(keepAbsent ? this.#sets.get(kind) : []);
      for (const [name, resource] of Object.entries(given)) {
        const cached = this.#encode(kind, name, resource, problems);
        if (cached !== undefined) set.set(name, cached);
      }
      staged.set(kind, set);
    }
    if (problems.length > 0) throw new EncodeError(problems);

    return staged;
  }

  /**
   * Remembers the sets of now; calling the result publishes them again, and nothing that came since. A kind that
   * was not published then counts as never published: Envoys keep what they have of it.
   */
  checkpoint(): () => Publication {
    const sets = new Map(this.#sets);
    return () => {
      for (const kind of this.#sets.keys()) {
        if (sets.has(kind)) continue;
        this.#sets.delete(kind);
        this.#versions.delete(kind);
      }
      return this.#publish(sets);
    };
  }

  /**
   * The resources of a kind, or undefined as long as that kind was never published: an Envoy that asks then
   * gets no answer, rather than one that takes away what it has from before the control plane's restart.
   */
  get(kind: ResourceKind): ReadonlyMap<string, CachedResource> | undefined {
    return this.#sets.get(kind);
  }

  /**
   * Whether what is not in the set does not exist. Until a kind was once published without `keepAbsent`, an
   * Envoy from before the control plane's restart may still use what the set does not name.
   */
  isWhole(kind: ResourceKind): boolean {
    return this.#whole.has(kind);
  }

  /** The set's version, empty before the first publication of that kind. */
  version(kind: ResourceKind): string {
    return this.#versions.get(kind) ?? '';
  }

  /** Calls the listener after each publication, also one that changed nothing; returns how to stop that. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #publish(sets: ReadonlyMap<ResourceKind, ReadonlyMap<string, CachedResource>>): Publication {
    const changed: ResourceKind[] = [];
    for (const [kind, set] of sets) {
      const version = setVersion(set.values());
      if (this.#versions.get(kind) === version) continue;
      this.#sets.set(kind, set);
      this.#versions.set(kind, version);
      changed.push(kind);
    }
    this.#generation += 1;
    for (const listener of this.#listeners) listener();
    return { generation: this.#generation, changed };
  }

  #encode(
    kind: ResourceKind,
    name: string,
    resource: TypedJson,
    problems: EncodeProblem[],
  ): CachedResource | undefined {
    const path = joinPath(kind, name);
    const { typeUrl, nameField } = KINDS[kind];
    const known = this.#encoded.get(resource);
    if (known?.name === name && known.any.type_url === typeUrl) return known;
    if (resource['@type'] !== typeUrl) problems.push({ path, message: `"@type" has to be ${typeUrl}` });
    if (resource[nameField] !== name) {
      problems.push({ path: joinPath(path, nameField), message: `has to be the name it is published under` });
    }
    try {
      const any = this.#encoder.encodeAny(resource, path);
      const cached = { name, version: hash(any.value), any };
      this.#encoded.set(resource, cached);
      return cached;
    } catch (error) {
      if (!(error instanceof EncodeError)) throw error;
      problems.push(...error.problems);
      return undefined;
    }
  }
}

function hash(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex').slice(0, 16);
}
