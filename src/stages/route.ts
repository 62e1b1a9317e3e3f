import type { EnvoyCapabilities } from '../core/capabilities.ts';
import { LimenError } from '../core/errors.ts';
import {
  convertedCluster,
  type NATIVE_FORMATS,
  plainCluster,
  type RouteName,
  watchedCluster,
} from '../core/gateway-names.ts';
import type { RequestTarget } from '../core/ledger.ts';
import { nearestNames } from '../core/nearest.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotModel, SnapshotProvider, SnapshotTarget } from '../core/snapshot.ts';
import type { TraceLine } from '../core/trace.ts';
import type { Price } from '../core/usage.ts';

/** How one provider is sent a request: what it must agree in with others for all to be sent the same bytes. */
export interface ProviderShape {
  readonly format: string;
  /** How its streams arrive. */
  readonly framing: string;
  /** `:path` on the provider, query included. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** New JSON text of top-level members; undefined removes one. */
  readonly edits: ReadonlyMap<string, string | undefined>;
  /** Its error answers have another shape than the format's. */
  readonly foreignErrors?: boolean | undefined;
}

/** What routing must know of a request. */
export interface RoutedRequest {
  readonly format: (typeof NATIVE_FORMATS)[number];
  readonly stream: boolean;
  readonly framing: 'sse' | 'json-array';
  /** The client asked for a usage chunk of its own. */
  readonly includeUsage: boolean;
  /** The format tells usage in a stream only when asked to. */
  readonly usageMustBeAsked: boolean;
  /** A worker must see the answer, to keep it. */
  readonly keepsAnswer: boolean;
  /** The body cannot be edited in place, whoever gets it. */
  readonly mustConvert: boolean;
}

/** What the gateway allows. */
export interface RouteSettings {
  readonly capabilities: EnvoyCapabilities;
  /** Tries of one request in all. */
  readonly attempts: number;
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
  /** What every provider is sent alike, in the client's own format; undefined where it is converted. */
  readonly shape: ProviderShape | undefined;
  /** Every provider is sent the same converted request, so it is converted once, before any of them is tried. */
  readonly convertsOnce: boolean;
  /** The body must ask for usage. */
  readonly requestUsage: boolean;
  /** Each try is watched until its first content. */
  readonly watched: boolean;
}

/** A model name that is not there, with the nearest that the caller may use. */
export function unknownModel(asked: string, available: readonly string[]): LimenError {
  const nearest =
    available.length > MOST_COMPARED ? [] : nearestNames(asked.slice(0, MAX_COMPARED_LENGTH), available);
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
/** Of more models no nearest one is looked for: no limit stops who asks for wrong names, and others wait meanwhile. */
const MOST_COMPARED = 300;

const MODEL_NAME = /^[A-Za-z0-9._:/@-]{1,256}$/;

/**
 * The model behind a name: a Model resource, an alias of one, or a name whose prefix belongs to a provider
 * (then the name goes to that provider as it is). Undefined where there is none.
 */
export function resolveModel(snapshot: Snapshot, asked: string): SnapshotModel | undefined {
  // Letters of other scripts may look like these and mean another model to whoever reads a list.
  if (!MODEL_NAME.test(asked)) return undefined;
  if (Object.hasOwn(snapshot.models, asked)) return snapshot.models[asked];
  if (Object.hasOwn(snapshot.aliases, asked)) {
    const name = snapshot.aliases[asked];
    if (name !== undefined) return snapshot.models[name];
  }
  const match = snapshot.prefixes.find(
    ({ prefix }) => asked.startsWith(prefix) && asked.length > prefix.length,
  );
  if (match === undefined) return undefined;
  // Some providers take names in any case: what a Model asks of its callers must not be passed by that way.
  if (isDeclaredInOtherCase(snapshot, asked)) return undefined;
  // Some providers have the name in their path, where such a segment would lead to another model than was allowed.
  if (asked.split('/').some((segment) => segment === '.' || segment === '..')) return undefined;
  return {
    name: asked,
    targets: [{ provider: match.provider, priority: 0, weight: 1 }],
    usageChunk: 'hide',
    failoverOn: 'responseHeaders',
    losses: 'report',
  };
}

const declaredNames = new WeakMap<Snapshot, ReadonlySet<string>>();

function isDeclaredInOtherCase(snapshot: Snapshot, asked: string): boolean {
  let names = declaredNames.get(snapshot);
  if (names === undefined) {
    const declared = [...Object.keys(snapshot.models), ...Object.keys(snapshot.aliases)];
    names = new Set(declared.map((name) => name.toLowerCase()));
    declaredNames.set(snapshot, names);
  }
  return names.has(asked.toLowerCase());
}

/** A target of a Model whose provider is there. */
export interface ResolvedTarget extends SnapshotTarget {
  /** All of a RequestTarget but for its cluster, which depends on what is to be sent. */
  readonly address: Omit<RequestTarget, 'cluster'>;
  /** Counts the Model's targets of one provider, from 0. */
  readonly ordinal: number;
}

/** The usual price of a provider's model, by its type and the provider's name of it. */
export type PriceOf = (providerType: string, model: string) => Price | undefined;

/**
 * The targets of a Model as they are for somebody: a tenant's own accounts in the place of the shared ones. Throws
 * unavailable where no provider of it is configured, not_allowed where all that are belong to tenants.
 *
 * @param trace gets a line for each that is left out
 */
export function resolveTargets(
  snapshot: Snapshot,
  model: SnapshotModel,
  { user, tenant }: Pick<Principal, 'user' | 'tenant'>,
  priceOf: PriceOf,
  trace: TraceLine[],
): readonly ResolvedTarget[] {
  const seen = new Map<string, number>();
  let withheld = false;
  const targets = model.targets.flatMap((target): ResolvedTarget[] => {
    const ordinal = seen.get(target.provider) ?? 0;
    seen.set(target.provider, ordinal + 1);
    const provider = providerFor(snapshot, target.provider, tenant);
    if (provider === undefined) return [];
    if (isOthers(provider)) {
      withheld = true;
      trace.push(['authorize', `provider/${provider.name}`, tenant ?? '', 'left out', 'kept for tenants']);
      return [];
    }
    const name = target.model ?? model.name;
    const address = {
      provider: provider.name,
      type: provider.type,
      model: name,
      basePath: provider.basePath,
      defaultMaxOutputTokens: provider.defaultMaxOutputTokens,
      options: provider.options,
      price: target.price ?? priceOf(provider.type, name),
      ...(provider.subjectAsUser ? { user } : {}),
    };
    return [{ ...target, provider: provider.name, address, ordinal }];
  });
  if (targets.length === 0 && withheld) {
    throw new LimenError(
      'not_allowed',
      `You may not use the model "${model.name}": a tenant with an account of its own is missing.`,
      { param: 'model' },
    );
  }
  if (targets.length === 0) {
    throw new LimenError('unavailable', `No provider of the model "${model.name}" is configured.`);
  }
  return targets;
}

/** Whether a tenant, or nobody's, finds all accounts of a Model to be others'. */
export function isWithheld(
  snapshot: Snapshot,
  { targets }: SnapshotModel,
  { tenant }: Pick<Principal, 'tenant'>,
): boolean {
  const found = targets.flatMap(({ provider }) => providerFor(snapshot, provider, tenant) ?? []);
  return found.length > 0 && found.every(isOthers);
}

/** Kept for tenants, and here stands no tenant's own. */
function isOthers({ tenantsOnly, tenant }: SnapshotProvider): boolean {
  return tenantsOnly === true && tenant === undefined;
}

/** A provider, or in its place the tenant's own. */
function providerFor(
  { providers }: Snapshot,
  name: string,
  tenant: string | undefined,
): SnapshotProvider | undefined {
  const own = tenant === undefined ? undefined : providers[`${name}@${tenant}`];
  return own ?? providers[name];
}

/**
 * Leaves out the targets whose provider's circuit is open. Throws upstream_unavailable where none is left.
 *
 * @param open whole seconds until the next probe, by provider
 */
export function withoutOpenCircuits(
  targets: readonly ResolvedTarget[],
  open: ReadonlyMap<string, number>,
  model: string,
): readonly ResolvedTarget[] {
  const left = targets.filter(({ provider }) => !open.has(provider));
  if (left.length > 0) return left;
  const seconds = targets.map(({ provider }) => open.get(provider) ?? 1);
  throw new LimenError(
    'upstream_unavailable',
    `Every provider of the model "${model}" has failed of late. Try again shortly.`,
    { retryAfterSeconds: Math.max(1, Math.min(...seconds)) },
  );
}

/**
 * Chooses clusters and the way back. Targets that are all sent the very same request, converted or not, cost no upstream
 * exchange; otherwise every try converts, so that no try inherits another's edits.
 */
export function planRoute(
  targets: readonly ResolvedTarget[],
  model: SnapshotModel,
  request: RoutedRequest,
  shapeOf: (target: Omit<RequestTarget, 'cluster'>) => ProviderShape,
  { capabilities, attempts }: RouteSettings,
): RoutePlan {
  const shapes = targets.map(({ address }) => shapeOf(address));
  const [first] = shapes;
  const watched = request.stream && model.failoverOn === 'firstEvent' && (targets.length > 1 || attempts > 1);
  const alike = !watched && !request.mustConvert && shapes.every((shape) => isLike(shape, first, request));
  const convertsOnce = !alike && !watched && targets.every(({ address }) => isSameModel(address, targets[0]));
  const clusterOf = ({ provider, ordinal }: ResolvedTarget): string => {
    if (alike || convertsOnce) return plainCluster(provider);
    return watched ? watchedCluster(provider, ordinal) : convertedCluster(provider, ordinal);
  };
  const requestUsage = alike && request.stream && request.usageMustBeAsked && !request.includeUsage;
  const hidesUsage = requestUsage && model.usageChunk === 'hide';
  const native =
    alike &&
    capabilities.nativeUsage &&
    !hidesUsage &&
    !request.keepsAnswer &&
    (request.framing === 'sse' || !request.stream);
  const alone =
    !capabilities.priorityGroups || targets.every(({ provider }) => provider === targets[0]?.provider);
  const kind = request.stream ? 'stream' : 'whole';
  return {
    route: `${native ? (`native/${request.format}` as const) : 'processed'}/${kind}/${alone ? 'alone' : 'failover'}`,
    mode: native ? 'native' : alike ? 'strip' : 'processed',
    groups: groupByPriority(targets, clusterOf),
    targets: targets.map((target) => ({ ...target.address, cluster: clusterOf(target) })),
    shape: alike ? first : undefined,
    convertsOnce,
    requestUsage,
    watched,
  };
}

function isLike(shape: ProviderShape, first: ProviderShape | undefined, request: RoutedRequest): boolean {
  return (
    first !== undefined &&
    shape.format === request.format &&
    shape.framing === 'sse' &&
    shape.foreignErrors !== true &&
    (shape === first ||
      (shape.path === first.path &&
        isSame(new Map(Object.entries(shape.headers)), new Map(Object.entries(first.headers))) &&
        isSame(shape.edits, first.edits)))
  );
}

/** Whether the same kind of provider has the same model there, with the same settings: so what it is sent is the same. */
function isSameModel(address: ResolvedTarget['address'], first: ResolvedTarget | undefined): boolean {
  if (first === undefined) return false;
  if (address === first.address) return true;
  const { type, model, basePath, user, defaultMaxOutputTokens, options } = first.address;
  return (
    address.type === type &&
    address.model === model &&
    address.basePath === basePath &&
    address.user === user &&
    address.defaultMaxOutputTokens === defaultMaxOutputTokens &&
    isSame(new Map(Object.entries(address.options)), new Map(Object.entries(options)))
  );
}

function isSame(
  left: ReadonlyMap<string, string | undefined>,
  right: ReadonlyMap<string, string | undefined>,
): boolean {
  return (
    left.size === right.size && [...left].every(([key, value]) => right.has(key) && right.get(key) === value)
  );
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
