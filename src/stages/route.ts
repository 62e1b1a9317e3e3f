import type { EnvoyCapabilities } from '../core/capabilities.ts';
import { LimenError } from '../core/errors.ts';
import { convertedCluster, plainCluster, type RouteName } from '../core/gateway-names.ts';
import { nearestNames } from '../core/nearest.ts';
import type { RequestTarget } from '../core/ledger.ts';
import type { Snapshot, SnapshotModel, SnapshotProvider, SnapshotTarget } from '../core/snapshot.ts';

/** What routing must know of a provider: its own format, and where that format's requests go. */
export interface ProviderShape {
  readonly format: string;
  /** Path on the provider, base path included. */
  readonly path: string;
}

/** What routing must know of a request. */
export interface RoutedRequest {
  readonly format: string;
  readonly stream: boolean;
  /** The client asked for a usage chunk of its own. */
  readonly includeUsage: boolean;
  /** The format tells usage in a stream only when asked to. */
  readonly usageMustBeAsked: boolean;
}

/** Clusters to try in one go: by weight within a group, group after group. */
export interface ClusterGroup {
  readonly priority: number;
  readonly clusters: readonly { readonly name: string; readonly weight: number }[];
}

export interface RoutePlan {
  readonly route: RouteName;
  readonly mode: 'native' | 'strip' | 'processed';
  readonly groups: readonly ClusterGroup[];
  /** What each of the clusters stands for. */
  readonly targets: readonly RequestTarget[];
  /** Path for the upstream; undefined where each try sets its own. */
  readonly path: string | undefined;
  /** Model name to write into the body; undefined where it stays or each try writes its own. */
  readonly model: string | undefined;
  /** The body must ask for usage. */
  readonly requestUsage: boolean;
}

/** A model name that is not there, with the nearest that the caller may use. */
export function unknownModel(asked: string, available: readonly string[]): LimenError {
  const nearest = nearestNames(asked.slice(0, MAX_COMPARED_LENGTH), available);
  const hint = nearest.length > 0 ? ` Did you mean ${nearest.map((name) => `"${name}"`).join(' or ')}?` : '';
  return new LimenError('model_not_found', `There is no model "${shorten(asked)}" here.${hint}`, {
    param: 'model',
  });
}

function shorten(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** Longer names are cut before they are compared: the comparison grows with the product of two lengths. */
const MAX_COMPARED_LENGTH = 64;

/**
 * The model behind a name: a Model resource, an alias of one, or a name whose prefix belongs to a provider
 * (then the name goes to that provider as it is). Undefined where there is none.
 */
export function resolveModel(snapshot: Snapshot, asked: string): SnapshotModel | undefined {
  if (Object.hasOwn(snapshot.models, asked)) return snapshot.models[asked];
  if (Object.hasOwn(snapshot.aliases, asked)) {
    const name = snapshot.aliases[asked];
    if (name !== undefined) return snapshot.models[name];
  }
  const match = snapshot.prefixes.find(
    ({ prefix }) => asked.startsWith(prefix) && asked.length > prefix.length,
  );
  if (match === undefined || !/^[A-Za-z0-9._:/@-]{1,256}$/.test(asked)) return undefined;
  return {
    name: asked,
    targets: [{ provider: match.provider, priority: 0, weight: 1 }],
    usageChunk: 'hide',
  };
}

interface ResolvedTarget extends SnapshotTarget {
  readonly resolved: SnapshotProvider;
  readonly shape: ProviderShape;
  /** Counts the targets of one provider, from 0. */
  readonly ordinal: number;
}

/**
 * Chooses clusters and the way back. Targets that all speak the client's format, under one path and one model
 * name, cost no upstream exchange; otherwise every try converts, so that no try inherits another's edits.
 */
export function planRoute(
  snapshot: Snapshot,
  model: SnapshotModel,
  request: RoutedRequest,
  shapeOf: (provider: SnapshotProvider) => ProviderShape,
  capabilities: EnvoyCapabilities,
  asked: string,
): RoutePlan {
  const seen = new Map<string, number>();
  const targets: ResolvedTarget[] = model.targets.flatMap((target) => {
    const provider = snapshot.providers[target.provider];
    const ordinal = seen.get(target.provider) ?? 0;
    seen.set(target.provider, ordinal + 1);
    return provider === undefined
      ? []
      : [{ ...target, resolved: provider, shape: shapeOf(provider), ordinal }];
  });
  const first = targets[0];
  if (first === undefined) {
    throw new LimenError('unavailable', `No provider of the model "${model.name}" is configured.`);
  }
  const nameOf = (target: ResolvedTarget): string => target.model ?? model.name;
  const alike = targets.every(
    (target) =>
      target.shape.format === request.format &&
      target.shape.path === first.shape.path &&
      nameOf(target) === nameOf(first),
  );
  const clusterOf = ({ provider, ordinal }: ResolvedTarget): string =>
    alike ? plainCluster(provider) : convertedCluster(provider, ordinal);
  const requestTargets = targets.map((target): RequestTarget => ({
    cluster: clusterOf(target),
    provider: target.provider,
    type: target.resolved.type,
    model: nameOf(target),
    basePath: target.resolved.basePath,
    defaultMaxOutputTokens: target.resolved.defaultMaxOutputTokens,
  }));
  const kind = request.stream ? 'stream' : 'whole';
  if (!alike) {
    return {
      route: `converted/${kind}`,
      mode: 'processed',
      groups: groupByPriority(targets, clusterOf),
      targets: requestTargets,
      path: undefined,
      model: undefined,
      requestUsage: false,
    };
  }
  const requestUsage = request.stream && request.usageMustBeAsked && !request.includeUsage;
  const strip = requestUsage && model.usageChunk === 'hide';
  const native = capabilities.nativeUsage && !strip;
  return {
    route: `${native ? 'native' : 'response'}/${request.format === 'messages' ? 'messages' : 'chat'}/${kind}`,
    mode: native ? 'native' : 'strip',
    groups: groupByPriority(targets, clusterOf),
    targets: requestTargets,
    path: first.shape.path,
    model: nameOf(first) === asked ? undefined : nameOf(first),
    requestUsage,
  };
}

function groupByPriority(
  targets: readonly ResolvedTarget[],
  clusterOf: (target: ResolvedTarget) => string,
): readonly ClusterGroup[] {
  const groups = new Map<number, { name: string; weight: number }[]>();
  for (const target of targets) {
    const clusters = groups.get(target.priority) ?? [];
    groups.set(target.priority, clusters);
    clusters.push({ name: clusterOf(target), weight: target.weight });
  }
  return [...groups.entries()]
    .sort(([left], [right]) => left - right)
    .map(([priority, clusters]) => ({ priority, clusters }));
}

/** The first cluster by weight, for Envoys that take one cluster only. `random` is in [0, 1). */
export function pickCluster(groups: readonly ClusterGroup[], random: number): string | undefined {
  const clusters = groups[0]?.clusters ?? [];
  let rest = random * clusters.reduce((sum, cluster) => sum + cluster.weight, 0);
  for (const cluster of clusters) {
    rest -= cluster.weight;
    if (rest < 0) return cluster.name;
  }
  return clusters[0]?.name;
}
