import type { SecretSource } from '../config/resources/common.ts';
import type { DeclaredKey } from '../config/secrets.ts';
import {
  gatewaySchema,
  type ApiKeyResource,
  type GatewayResource,
  type ModelResource,
  type ProviderResource,
  type Resource,
} from '../config/resources/index.ts';
import { DEFAULT_BASE_URLS, DEFAULT_MODEL_PREFIXES, PROVIDER_TYPES } from '../config/resources/provider.ts';
import type {
  ModelPrefix,
  Snapshot,
  SnapshotGateway,
  SnapshotModel,
  SnapshotProvider,
} from '../core/snapshot.ts';
import { contentVersion } from './canonical-json.ts';

export interface BuiltSnapshot {
  readonly snapshot: Snapshot;
  /** By provider name, for those that have a credential. */
  readonly secretSources: Readonly<Record<string, SecretSource>>;
  readonly keys: readonly DeclaredKey[];
}

/**
 * Compiles resources that were checked (validateResource, mergeSources) into a snapshot. Pure: the same
 * resources in any order give the same snapshot and version.
 *
 * @param resources every default filled in; at most one Gateway, names unique, every target's provider there
 */
export function buildSnapshot(resources: readonly Resource[]): BuiltSnapshot {
  const providers = ofKind(resources, 'Provider');
  const models = ofKind(resources, 'Model');
  const gateway = resources.find((resource) => resource.kind === 'Gateway');
  const content = {
    gateway: compileGateway(gateway),
    providers: byName(providers.map(compileProvider)),
    models: byName(models.map(compileModel)),
    aliases: sortedRecord(
      models.flatMap((model) => model.spec.aliases.map((alias) => [alias, model.metadata.name] as const)),
    ),
    prefixes: compilePrefixes(providers),
  };
  return {
    snapshot: { version: contentVersion(content), ...content },
    secretSources: sortedRecord(
      providers.flatMap(({ metadata, spec }) =>
        spec.credential ? [[metadata.name, spec.credential] as const] : [],
      ),
    ),
    keys: ofKind(resources, 'ApiKey').map(declaredKey),
  };
}

function ofKind<Kind extends Resource['kind']>(
  resources: readonly Resource[],
  kind: Kind,
): Extract<Resource, { kind: Kind }>[] {
  const matches = (resource: Resource): resource is Extract<Resource, { kind: Kind }> =>
    resource.kind === kind;
  return resources.filter(matches).sort((left, right) => compare(left.metadata.name, right.metadata.name));
}

/** By code unit, so that the order is the same on every machine. */
function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

function sortedRecord<Value>(entries: readonly (readonly [string, Value])[]): Record<string, Value> {
  return Object.fromEntries([...entries].sort(([left], [right]) => compare(left, right)));
}

function byName<Item extends { readonly name: string }>(items: readonly Item[]): Record<string, Item> {
  return Object.fromEntries(items.map((item) => [item.name, item]));
}

const DEFAULT_GATEWAY: GatewayResource = gatewaySchema.parse({
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'Gateway',
  metadata: { name: 'default' },
  spec: {},
});

function compileGateway(gateway: GatewayResource = DEFAULT_GATEWAY): SnapshotGateway {
  return gateway.spec;
}

function compileProvider({ metadata, spec }: ProviderResource): SnapshotProvider {
  const baseUrl = spec.baseUrl ?? DEFAULT_BASE_URLS[spec.type];
  if (baseUrl === undefined)
    throw new TypeError(`Provider ${metadata.name} has no base URL; the schema asks for one.`);
  const url = new URL(baseUrl);
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return {
    name: metadata.name,
    type: spec.type,
    scheme,
    host,
    port: url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port),
    basePath: url.pathname.replace(/\/+$/, ''),
    hasCredential: spec.credential !== undefined,
    caFile: spec.tls?.caFile,
    serverName: spec.tls?.serverName ?? host,
    connectTimeoutSeconds: spec.connectTimeoutSeconds,
    defaultMaxOutputTokens: spec.defaultMaxOutputTokens,
  };
}

function compileModel({ metadata, spec }: ModelResource): SnapshotModel {
  return {
    name: metadata.name,
    // Array.prototype.sort is stable: within a priority the order of declaration stays.
    targets: [...spec.targets].sort((left, right) => left.priority - right.priority),
    price: spec.price,
    usageChunk: spec.usageChunk,
    perTryTimeoutSeconds: spec.perTryTimeoutSeconds,
  };
}

/**
 * Prefixes that a provider names itself, and the usual ones of a type for the provider that bears the type's
 * name or else is the only one of it: with two, nobody could say which was meant.
 */
function compilePrefixes(providers: readonly ProviderResource[]): ModelPrefix[] {
  const prefixes = new Map<string, string>();
  for (const { metadata, spec } of providers) {
    for (const prefix of spec.modelPrefixes ?? []) prefixes.set(prefix, metadata.name);
  }
  for (const type of PROVIDER_TYPES) {
    const candidates = providers.filter(({ spec }) => spec.type === type);
    const chosen =
      candidates.find(({ metadata }) => metadata.name === type) ??
      (candidates.length === 1 ? candidates[0] : undefined);
    if (!chosen || chosen.spec.modelPrefixes !== undefined) continue;
    for (const prefix of DEFAULT_MODEL_PREFIXES[type]) {
      if (!prefixes.has(prefix)) prefixes.set(prefix, chosen.metadata.name);
    }
  }
  return [...prefixes]
    .map(([prefix, provider]) => ({ prefix, provider }))
    .sort((left, right) => right.prefix.length - left.prefix.length || compare(left.prefix, right.prefix));
}

function declaredKey({ metadata, spec }: ApiKeyResource): DeclaredKey {
  return {
    key: {
      id: `config/${metadata.name}`,
      user: spec.user,
      team: spec.team,
      models: spec.models,
      expiresAt: spec.expiresAt === undefined ? undefined : Date.parse(spec.expiresAt),
    },
    secret: spec.secret,
  };
}
