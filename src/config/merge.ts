import { isAbsolute, relative, resolve } from 'node:path';
import { formatPath, inReadingOrder, type ConfigIssue } from './load/issue.ts';
import { nearestNames } from '../core/nearest.ts';
import { describeOrigin, resourceId, type SourcedResource } from './origin.ts';
import { BUILT_IN_ROLES } from '../core/roles.ts';
import type {
  ApiKeyResource,
  LimitPolicyResource,
  ModelResource,
  ProviderResource,
  Resource,
} from './resources/index.ts';
import { DEFAULT_MODEL_PREFIXES } from './resources/provider.ts';

/** What each source declares; where two declare the same resource, the one further up here is in force. */
export interface ConfigSources {
  readonly file: readonly SourcedResource[];
  readonly database: readonly SourcedResource[];
  readonly environment: readonly SourcedResource[];
  /** In force only where no other source has a Provider: the demo. */
  readonly builtIn: readonly SourcedResource[];
  /** `Kind/name` of resources that the file declares but wrongly; references to them are not reported. */
  readonly invalid?: ReadonlySet<string>;
  /** Absolute folders in whose files secrets of the database may lie; absent: in any file. */
  readonly secretFolders?: readonly string[];
}

export interface MergedConfig {
  readonly resources: readonly SourcedResource[];
  /** Errors of the file: with any of these the whole must not come into force. */
  readonly issues: readonly ConfigIssue[];
  /** What was left out or hidden of the other sources, which are never worth refusing the whole for. */
  readonly warnings: readonly ConfigIssue[];
}

/**
 * Puts all sources together and checks what only the whole can tell: references, names taken twice, more than
 * one Gateway. Pure.
 */
export function mergeSources(sources: ConfigSources): MergedConfig {
  const others = [...sources.file, ...sources.database, ...sources.environment];
  const hasProvider = others.some(({ resource }) => resource.kind === 'Provider');
  const merger = new Merger(sources.invalid ?? new Set());
  const ordered = hasProvider ? others : [...others, ...sources.builtIn];
  const allowed = merger.withoutForeignFiles(merger.withoutHidden(ordered), sources.secretFolders);
  const kept = merger.withoutReferencesToNowhere(
    merger.withoutAmbiguousIssuers(
      merger.withoutOwnIssuer(merger.withoutTakenNames(merger.withoutSecondGateway(allowed))),
    ),
  );
  return { resources: kept, issues: inReadingOrder(merger.issues), warnings: merger.warnings };
}

class Merger {
  readonly issues: ConfigIssue[] = [];
  readonly warnings: ConfigIssue[] = [];
  readonly #invalid: ReadonlySet<string>;

  constructor(invalid: ReadonlySet<string>) {
    this.#invalid = invalid;
  }

  /** An error where the file is at fault, a warning for the database; what is only implied gives way in silence. */
  #object(
    sourced: SourcedResource,
    path: readonly PropertyKey[],
    issue: Omit<ConfigIssue, 'path' | 'resource'>,
  ): void {
    const { origin, resource } = sourced;
    const described: ConfigIssue = { resource: resourceId(resource), path: formatPath(path), ...issue };
    if (origin.source === 'file') {
      const position = sourced.positions?.get(described.path);
      this.issues.push({
        ...described,
        file: origin.file,
        line: position?.line ?? origin.line,
        column: position?.column ?? 1,
      });
    } else if (origin.source === 'database') this.warnings.push(described);
  }

  withoutHidden(ordered: readonly SourcedResource[]): SourcedResource[] {
    const byId = new Map<string, SourcedResource>();
    for (const sourced of ordered) {
      const id = resourceId(sourced.resource);
      const other = byId.get(id);
      if (other) {
        this.#object(sourced, [], {
          message: `is not in force: ${describeOrigin(other.origin)} declares it too`,
        });
      } else byId.set(id, sourced);
    }
    return [...byId.values()];
  }

  /**
   * Who may write to the database need not be who runs this machine: of its files, such a resource may name those
   * alone that were put there as secrets.
   */
  withoutForeignFiles(
    resources: readonly SourcedResource[],
    folders: readonly string[] | undefined,
  ): readonly SourcedResource[] {
    if (folders === undefined) return resources;
    return resources.filter((sourced) => {
      if (sourced.origin.source !== 'database') return true;
      const foreign = secretFiles(sourced.resource).filter(({ file }) => !isInside(file, folders));
      for (const { path, file } of foreign) {
        this.#object(sourced, path, {
          value: JSON.stringify(file),
          message: 'is not where secrets may lie',
          allowed: `a file in ${folders.join(', ')}`,
        });
      }
      return foreign.length === 0;
    });
  }

  withoutSecondGateway(resources: readonly SourcedResource[]): SourcedResource[] {
    const first = resources.find(({ resource }) => resource.kind === 'Gateway');
    return resources.filter((sourced) => {
      if (sourced.resource.kind !== 'Gateway' || sourced === first || !first) return true;
      this.#object(sourced, ['metadata', 'name'], {
        value: JSON.stringify(sourced.resource.metadata.name),
        message: `is a second Gateway; ${first.resource.metadata.name} stands at ${describeOrigin(first.origin)}`,
        allowed: 'only one in all sources',
      });
      return false;
    });
  }

  /** A client's `model` must mean one thing, whether it is a name or an alias. The same goes for prefixes. */
  withoutTakenNames(resources: readonly SourcedResource[]): SourcedResource[] {
    const names = new Map<string, SourcedResource>();
    const prefixes = new Map<string, SourcedResource>();
    const dropped = new Set<SourcedResource>();
    const bySource = Map.groupBy(resources, ({ origin }) => origin.source);
    const clash = (
      sourced: SourcedResource,
      path: readonly PropertyKey[],
      name: string,
      owner: SourcedResource,
    ) => {
      this.#object(sourced, path, {
        value: JSON.stringify(name),
        message: `is taken by ${resourceId(owner.resource)} (${describeOrigin(owner.origin)})`,
      });
      dropped.add(sourced);
    };
    for (const group of bySource.values()) {
      // All names of a source before its aliases: the order of declarations must not decide.
      for (const sourced of group) {
        if (sourced.resource.kind !== 'Model') continue;
        const { name } = sourced.resource.metadata;
        const owner = names.get(name);
        if (owner) clash(sourced, ['metadata', 'name'], name, owner);
        else names.set(name, sourced);
      }
      for (const sourced of group) {
        const list = namesBesides(sourced);
        const register = sourced.resource.kind === 'Model' ? names : prefixes;
        for (const [index, name] of list.names.entries()) {
          if (dropped.has(sourced)) break;
          const owner = register.get(name);
          if (owner) clash(sourced, ['spec', list.field, index], name, owner);
          else register.set(name, sourced);
        }
      }
    }
    return resources.filter((sourced) => !dropped.has(sourced));
  }

  /** Where the gateway issues tokens itself, nobody else does in its name. */
  withoutOwnIssuer(resources: readonly SourcedResource[]): readonly SourcedResource[] {
    const gateway = resources.map(({ resource }) => resource).find(({ kind }) => kind === 'Gateway');
    if (gateway?.kind !== 'Gateway' || !gateway.spec.crossAppAccess.enabled) return resources;
    const own = gateway.spec.access.publicUrl;
    return resources.filter((sourced) => {
      const { kind, spec } = sourced.resource;
      if (kind !== 'IdentityProvider' || !spec.enabled || spec.issuer.replace(/\/+$/, '') !== own)
        return true;
      this.#object(sourced, ['spec', 'issuer'], {
        value: JSON.stringify(spec.issuer),
        message:
          'is the gateway itself, by access.publicUrl of the Gateway, which issues tokens for Cross App Access',
        allowed: 'the issuer of an identity provider, or enabled: false',
      });
      return false;
    });
  }

  /** A token must belong to one identity provider alone: its mapping and its rights hang on it. */
  withoutAmbiguousIssuers(resources: readonly SourcedResource[]): SourcedResource[] {
    const owners = new Map<string, SourcedResource>();
    return resources.filter((sourced) => {
      const { kind, spec } = sourced.resource;
      if (kind !== 'IdentityProvider' || !spec.enabled) return true;
      const audiences = spec.audiences.length === 0 ? [null] : spec.audiences;
      const names = audiences.map((audience) => JSON.stringify([spec.issuer, audience]));
      const index = names.findIndex((name) => owners.has(name));
      const owner = owners.get(names[index] ?? '');
      if (owner === undefined) {
        for (const name of names) owners.set(name, sourced);
        return true;
      }
      const path = spec.audiences.length === 0 ? ['spec', 'issuer'] : ['spec', 'audiences', index];
      this.#object(sourced, path, {
        value: JSON.stringify(spec.audiences[index] ?? spec.issuer),
        message: `is taken, for the same issuer, by ${resourceId(owner.resource)} (${describeOrigin(owner.origin)})`,
        allowed: 'each audience of an issuer once, or enabled: false',
      });
      return false;
    });
  }

  /** A rule that names what is nowhere stays in force: left out, it would hold nobody. */
  #objectToUnknownNames(resources: readonly SourcedResource[]): void {
    const known = { Provider: namesOfKind(resources, 'Provider'), Model: namesOfKind(resources, 'Model') };
    for (const sourced of resources) {
      const { resource } = sourced;
      if (resource.kind === 'LimitPolicy')
        this.#objectToUnknownNamesOf({ ...sourced, resource }, resources, known);
    }
  }

  #objectToUnknownNamesOf(
    sourced: SourcedResource & { readonly resource: LimitPolicyResource },
    resources: readonly SourcedResource[],
    names: Readonly<Record<'Provider' | 'Model', ReadonlySet<string>>>,
  ): void {
    const { match } = sourced.resource.spec;
    const check = (
      field: 'providers' | 'models',
      kind: 'Provider' | 'Model',
      isKnown: (name: string) => boolean,
    ) => {
      const known = names[kind];
      for (const [index, name] of (match[field] ?? []).entries()) {
        if (name.includes('*') || known.has(name) || isKnown(name)) continue;
        if (this.#invalid.has(`${kind}/${name}`)) continue;
        const nearest = nearestNames(name, known, 1)[0];
        this.#object(sourced, ['spec', 'match', field, index], {
          value: JSON.stringify(name),
          message: `is no ${kind}`,
          allowed: `the name of a ${kind}, or a pattern with *`,
          ...(nearest ? { hint: `did you mean ${nearest}?` } : {}),
        });
      }
    };
    check('providers', 'Provider', () => false);
    check('models', 'Model', (name) => goesByPrefix(name, resources));
  }

  /**
   * Who names a role that is nowhere stays in force: such a role gives nobody a right, and what the resource withholds
   * (a team's list of models, say) must not fall away with it.
   */
  #objectToUnknownRoles(resources: readonly SourcedResource[]): void {
    const known = [
      ...Object.keys(BUILT_IN_ROLES),
      ...resources.flatMap(({ resource }) => (resource.kind === 'Role' ? [resource.metadata.name] : [])),
    ];
    const names = new Set(known);
    for (const sourced of resources) {
      for (const { path, name } of namedRoles(sourced.resource)) {
        if (names.has(name) || this.#invalid.has(`Role/${name}`)) continue;
        const nearest = nearestNames(name, known, 1)[0];
        this.#object(sourced, path, {
          value: JSON.stringify(name),
          message: 'is no Role',
          allowed: `one of ${known.join(', ')}`,
          ...(nearest ? { hint: `did you mean ${nearest}?` } : {}),
        });
      }
    }
  }

  withoutReferencesToNowhere(resources: readonly SourcedResource[]): SourcedResource[] {
    const providers = new Map(
      resources.flatMap((sourced) =>
        sourced.resource.kind === 'Provider'
          ? [[sourced.resource.metadata.name, { ...sourced, resource: sourced.resource }]]
          : [],
      ),
    );
    this.#objectToUnknownRoles(resources);
    this.#objectToUnknownNames(resources);
    return resources.filter((sourced) => {
      const { resource, origin } = sourced;
      if (resource.kind !== 'Model') return true;
      // Well-known models stand for a well-known service; a declared provider of that name may be another.
      if (origin.source === 'environment' && !impliedModelFits(resource, providers, origin.because))
        return false;
      const missing = resource.spec.targets.flatMap(({ provider }, index) =>
        providers.has(provider) || this.#invalid.has(`Provider/${provider}`) ? [] : [{ provider, index }],
      );
      for (const { provider, index } of missing) {
        const nearest = nearestNames(provider, providers.keys(), 1)[0];
        const known = [...providers.keys()].sort();
        this.#object(sourced, ['spec', 'targets', index, 'provider'], {
          value: JSON.stringify(provider),
          message: 'is no Provider',
          allowed: known.length > 0 ? `one of ${known.join(', ')}` : 'declare one first',
          ...(nearest ? { hint: `did you mean ${nearest}?` } : {}),
        });
      }
      return missing.length === 0;
    });
  }
}

/** Every role that a resource names, and where. */
function namedRoles({ kind, spec }: Resource): { path: readonly PropertyKey[]; name: string }[] {
  const listed = (path: readonly PropertyKey[], names: readonly string[] = []) =>
    names.map((name, index) => ({ path: ['spec', ...path, index], name }));
  switch (kind) {
    case 'Gateway':
      return listed(['access', 'keyRoles'], spec.access.keyRoles);
    case 'Model':
      return listed(['access', 'roles'], spec.access?.roles);
    case 'Team':
      return listed(['roles'], spec.roles);
    case 'Backend':
      return [
        ...listed(['access', 'roles'], spec.access?.roles),
        ...spec.routes.flatMap(({ access }, index) =>
          listed(['routes', index, 'access', 'roles'], access?.roles),
        ),
      ];
    case 'IdentityProvider':
      return [
        ...listed(['defaultRoles'], spec.defaultRoles),
        ...Object.entries(spec.roleMapping).flatMap(([value, names]) =>
          listed(['roleMapping', value], names),
        ),
      ];
    default:
      return [];
  }
}

/** Every file that a resource names as the place of a secret. */
function secretFiles({ kind, spec }: Resource): { path: readonly PropertyKey[]; file: string }[] {
  const secrets = {
    ...(kind === 'Provider' ? { credential: spec.credential } : {}),
    ...(kind === 'ApiKey' ? { secret: spec.secret } : {}),
    ...(kind === 'Backend' ? { credential: spec.credential } : {}),
    ...(kind === 'IdentityProvider' ? { sharedSecret: spec.sharedSecret } : {}),
  };
  const tenants = kind === 'Provider' ? Object.entries(spec.tenants ?? {}) : [];
  return [
    ...Object.entries(secrets).flatMap(([field, secret]) => filesOf(['spec', field], secret)),
    ...tenants.flatMap(([tenant, { credential }]) =>
      filesOf(['spec', 'tenants', tenant, 'credential'], credential),
    ),
  ];
}

type AnySecret = ApiKeyResource['spec']['secret'] | ProviderResource['spec']['credential'];

function filesOf(
  path: readonly PropertyKey[],
  secret: AnySecret,
): { path: readonly PropertyKey[]; file: string }[] {
  if (secret === undefined) return [];
  if ('file' in secret) return [{ path: [...path, 'file'], file: secret.file }];
  if (!('accessKeyId' in secret)) return [];
  return Object.entries(secret).flatMap(([part, source]) =>
    source !== undefined && 'file' in source ? [{ path: [...path, part, 'file'], file: source.file }] : [],
  );
}

function isInside(file: string, folders: readonly string[]): boolean {
  return folders.some((folder) => {
    const way = relative(folder, resolve(file));
    return way !== '' && !way.startsWith('..') && !isAbsolute(way);
  });
}

function namesBesides({ resource }: SourcedResource): { field: string; names: readonly string[] } {
  if (resource.kind === 'Model') return { field: 'aliases', names: resource.spec.aliases };
  if (resource.kind === 'Provider')
    return { field: 'modelPrefixes', names: resource.spec.modelPrefixes ?? [] };
  return { field: '', names: [] };
}

/** Whether a provider answers a model of that name although no Model names it. */
function goesByPrefix(name: string, resources: readonly SourcedResource[]): boolean {
  return resources.some(
    ({ resource }) =>
      resource.kind === 'Provider' &&
      (resource.spec.modelPrefixes ?? DEFAULT_MODEL_PREFIXES[resource.spec.type]).some((prefix) =>
        name.startsWith(prefix),
      ),
  );
}

function impliedModelFits(
  model: ModelResource,
  providers: ReadonlyMap<string, SourcedResource & { readonly resource: ProviderResource }>,
  because: string,
): boolean {
  return model.spec.targets.every(({ provider }) => {
    const found = providers.get(provider);
    if (!found) return false;
    if (found.origin.source === 'environment') return found.origin.because === because;
    const { type, modelPrefixes } = found.resource.spec;
    return type === provider && modelPrefixes?.length !== 0;
  });
}

function namesOfKind(resources: readonly SourcedResource[], kind: Resource['kind']): ReadonlySet<string> {
  return new Set(
    resources.flatMap(({ resource }) => (resource.kind === kind ? [resource.metadata.name] : [])),
  );
}
