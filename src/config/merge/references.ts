import { didYouMean } from '../../core/nearest.ts';
import { BUILT_IN_ROLES } from '../../core/roles.ts';
import type { SourcedResource } from '../origin.ts';
import type { LimitPolicyResource, ModelResource, ProviderResource, Resource } from '../resources/index.ts';
import { DEFAULT_MODEL_PREFIXES } from '../resources/provider.ts';
import type { Objection } from './objections.ts';

export interface ReferenceChecks {
  readonly object: Objection;
  /** `Kind/name` of resources that the file declares but wrongly; references to them are not reported. */
  readonly invalid: ReadonlySet<string>;
}

/** Models whose targets are there; what else names nothing is told, and stays. */
export function withoutReferencesToNowhere(
  resources: readonly SourcedResource[],
  checks: ReferenceChecks,
): SourcedResource[] {
  const { object, invalid } = checks;
  const providers = new Map(
    resources.flatMap((sourced) =>
      sourced.resource.kind === 'Provider'
        ? [[sourced.resource.metadata.name, { ...sourced, resource: sourced.resource }]]
        : [],
    ),
  );
  objectToUnknownRoles(resources, checks);
  objectToUnknownNames(resources, checks);
  return resources.filter((sourced) => {
    const { resource, origin } = sourced;
    if (resource.kind !== 'Model') return true;
    // Well-known models stand for a well-known service; a declared provider of that name may be another.
    if (origin.source === 'environment' && !impliedModelFits(resource, providers, origin.because))
      return false;
    const missing = resource.spec.targets.flatMap(({ provider }, index) =>
      providers.has(provider) || invalid.has(`Provider/${provider}`) ? [] : [{ provider, index }],
    );
    for (const { provider, index } of missing) {
      const known = [...providers.keys()].sort();
      object(sourced, ['spec', 'targets', index, 'provider'], {
        value: JSON.stringify(provider),
        message: 'is no Provider',
        allowed: known.length > 0 ? `one of ${known.join(', ')}` : 'declare one first',
        hint: didYouMean(provider, known),
      });
    }
    return missing.length === 0;
  });
}

/** A rule that names what is nowhere stays in force: left out, it would hold nobody. */
function objectToUnknownNames(resources: readonly SourcedResource[], checks: ReferenceChecks): void {
  const known = { Provider: namesOfKind(resources, 'Provider'), Model: namesOfKind(resources, 'Model') };
  for (const sourced of resources) {
    const { resource } = sourced;
    if (resource.kind === 'LimitPolicy')
      objectToUnknownNamesOf({ ...sourced, resource }, resources, known, checks);
  }
}

function objectToUnknownNamesOf(
  sourced: SourcedResource & { readonly resource: LimitPolicyResource },
  resources: readonly SourcedResource[],
  names: Readonly<Record<'Provider' | 'Model', ReadonlySet<string>>>,
  { object, invalid }: ReferenceChecks,
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
      if (invalid.has(`${kind}/${name}`)) continue;
      object(sourced, ['spec', 'match', field, index], {
        value: JSON.stringify(name),
        message: `is no ${kind}`,
        allowed: `the name of a ${kind}, or a pattern with *`,
        hint: didYouMean(name, known),
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
function objectToUnknownRoles(
  resources: readonly SourcedResource[],
  { object, invalid }: ReferenceChecks,
): void {
  const known = [
    ...Object.keys(BUILT_IN_ROLES),
    ...resources.flatMap(({ resource }) => (resource.kind === 'Role' ? [resource.metadata.name] : [])),
  ];
  const names = new Set(known);
  for (const sourced of resources) {
    for (const { path, name } of namedRoles(sourced.resource)) {
      if (names.has(name) || invalid.has(`Role/${name}`)) continue;
      object(sourced, path, {
        value: JSON.stringify(name),
        message: 'is no Role',
        allowed: `one of ${known.join(', ')}`,
        hint: didYouMean(name, known),
      });
    }
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
