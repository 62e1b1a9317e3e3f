import type { DeclaredCredential, DeclaredIssuer, DeclaredKey } from '../config/secrets.ts';
import {
  gatewaySchema,
  type ApiKeyResource,
  type GatewayResource,
  type IdentityProviderResource,
  type ModelResource,
  type ProviderResource,
  type Resource,
} from '../config/resources/index.ts';
import { DEFAULT_MODEL_PREFIXES, PROVIDER_TYPES } from '../config/resources/provider.ts';
import { backendCluster } from '../core/gateway-names.ts';
import type {
  KnownTeam,
  ModelPrefix,
  Snapshot,
  SnapshotGateway,
  SnapshotModel,
  SnapshotTarget,
} from '../core/snapshot.ts';
import { priceOf } from '../prices/price-table.ts';
import { compileRoles, compileTeam } from './access.ts';
import { compileBackend } from './backend.ts';
import { contentVersion } from './canonical-json.ts';
import { compileCrossAppAccess, exchangedEntries } from './cross-app.ts';
import { compileIdentityProvider, declaredIssuer } from './identity-provider.ts';
import { compileLimit } from './limits.ts';
import { compileProvider, declaredCredentials } from './provider.ts';

export interface BuiltSnapshot {
  readonly snapshot: Snapshot;
  /** Of what has a credential, named as in ProviderSecrets. */
  readonly credentials: Readonly<Record<string, DeclaredCredential>>;
  readonly keys: readonly DeclaredKey[];
  /** Identity providers in force, with where their keys come from. */
  readonly issuers: readonly DeclaredIssuer[];
}

/**
 * Compiles resources that were checked (validateResource, mergeSources) into a snapshot. Pure: the same
 * resources in any order give the same snapshot and version.
 *
 * @param resources every default filled in; at most one Gateway, names unique, every target's provider there
 * @param knownTeams that were in force at some time; those that are not among the resources bound who is in them still
 */
export function buildSnapshot(
  resources: readonly Resource[],
  knownTeams: readonly KnownTeam[] = [],
): BuiltSnapshot {
  const providers = ofKind(resources, 'Provider');
  const models = ofKind(resources, 'Model');
  const backends = ofKind(resources, 'Backend');
  const issuers = ofKind(resources, 'IdentityProvider').filter(({ spec }) => spec.enabled);
  const gateway = resources.find((resource) => resource.kind === 'Gateway');
  const compiledGateway = compileGateway(gateway);
  const identityProviders = issuers.map(compileIdentityProvider);
  const teams = byName(ofKind(resources, 'Team').map(compileTeam));
  const formerTeams = knownTeams
    .filter((team) => !Object.hasOwn(teams, team.name) && boundsAnybody(team))
    .sort((left, right) => compare(left.name, right.name));
  const types = new Map(providers.map(({ metadata, spec }) => [metadata.name, spec.type]));
  const content = {
    gateway: withLogs(compiledGateway, issuers),
    providers: byName(providers.flatMap(compileProvider)),
    models: byName(models.map((model) => compileModel(model, types))),
    aliases: sortedRecord(
      models.flatMap((model) => model.spec.aliases.map((alias) => [alias, model.metadata.name] as const)),
    ),
    prefixes: compilePrefixes(providers),
    roles: byName(compileRoles(ofKind(resources, 'Role'))),
    teams,
    ...(formerTeams.length === 0 ? {} : { formerTeams: byName(formerTeams) }),
    identityProviders: byName([
      ...identityProviders,
      ...exchangedEntries(compiledGateway, crossAppTokenSeconds(gateway), identityProviders),
    ]),
    limits: ofKind(resources, 'LimitPolicy').flatMap(compileLimit),
    backends: byName(backends.map(compileBackend)),
  };
  return {
    snapshot: { version: contentVersion(content), ...content },
    credentials: sortedRecord([
      ...providers.flatMap(declaredCredentials),
      ...backends.flatMap(({ metadata, spec }) =>
        spec.credential === undefined
          ? []
          : [[backendCluster(metadata.name), { kind: 'text', source: spec.credential }] as const],
      ),
    ]),
    keys: ofKind(resources, 'ApiKey').map(declaredKey),
    issuers: issuers.map(declaredIssuer),
  };
}

/** One without a list of its own bounds nobody: its name goes on as any name does. */
function boundsAnybody({ tenant, models, defaultRoles, members, groups }: KnownTeam): boolean {
  const bounds = [tenant, models, defaultRoles];
  return bounds.some((bound) => bound !== undefined) || members.length > 0 || groups.length > 0;
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
  const { workflow, crossAppAccess: _, ...spec } = gateway.spec;
  return { ...spec, ...compileCrossAppAccess(gateway.spec), workflowHeaders: workflow.headers };
}

function withLogs(gateway: SnapshotGateway, issuers: readonly IdentityProviderResource[]): SnapshotGateway {
  const hasLogs = issuers.some(({ spec }) => spec.clientPromotion !== undefined);
  return hasLogs ? { ...gateway, identityProviderLogs: true } : gateway;
}

function crossAppTokenSeconds(gateway: GatewayResource = DEFAULT_GATEWAY): number {
  return gateway.spec.crossAppAccess.tokenSeconds;
}

/** @param types of the providers, by name */
function compileModel({ metadata, spec }: ModelResource, types: ReadonlyMap<string, string>): SnapshotModel {
  const targets = spec.targets.map((target): SnapshotTarget => ({
    ...target,
    price:
      target.price ?? spec.price ?? priceOf(types.get(target.provider) ?? '', target.model ?? metadata.name),
  }));
  return {
    name: metadata.name,
    // Array.prototype.sort is stable: within a priority the order of declaration stays.
    targets: targets.sort((left, right) => left.priority - right.priority),
    usageChunk: spec.usageChunk,
    perTryTimeoutSeconds: spec.perTryTimeoutSeconds,
    failoverOn: spec.failoverOn,
    losses: spec.losses,
    access: spec.access,
    cache: spec.cache,
    multiplier: spec.multiplier,
    contextTokens: spec.contextTokens,
    outputTokens: spec.outputTokens,
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
      tenant: spec.tenant,
      surfaces: spec.surfaces,
      models: spec.models,
      tools: spec.tools,
      scopes: spec.scopes,
      permissions: spec.permissions,
      expiresAt: spec.expiresAt === undefined ? undefined : Date.parse(spec.expiresAt),
    },
    secret: spec.secret,
  };
}
