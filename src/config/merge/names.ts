import { describeOrigin, resourceId, type SourcedResource } from '../origin.ts';
import type { Objection } from './objections.ts';

export function withoutHidden(ordered: readonly SourcedResource[], object: Objection): SourcedResource[] {
  const byId = new Map<string, SourcedResource>();
  for (const sourced of ordered) {
    const id = resourceId(sourced.resource);
    const other = byId.get(id);
    if (other) {
      object(sourced, [], {
        message: `is not in force: ${describeOrigin(other.origin)} declares it too`,
      });
    } else byId.set(id, sourced);
  }
  return [...byId.values()];
}

export function withoutSecondGateway(
  resources: readonly SourcedResource[],
  object: Objection,
): SourcedResource[] {
  const first = resources.find(({ resource }) => resource.kind === 'Gateway');
  return resources.filter((sourced) => {
    if (sourced.resource.kind !== 'Gateway' || sourced === first || !first) return true;
    object(sourced, ['metadata', 'name'], {
      value: JSON.stringify(sourced.resource.metadata.name),
      message: `is a second Gateway; ${first.resource.metadata.name} stands at ${describeOrigin(first.origin)}`,
      allowed: 'only one in all sources',
    });
    return false;
  });
}

/** A client's `model` must mean one thing, whether it is a name or an alias. The same goes for prefixes. */
export function withoutTakenNames(
  resources: readonly SourcedResource[],
  object: Objection,
): SourcedResource[] {
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
    object(sourced, path, {
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

function namesBesides({ resource }: SourcedResource): { field: string; names: readonly string[] } {
  if (resource.kind === 'Model') return { field: 'aliases', names: resource.spec.aliases };
  if (resource.kind === 'Provider')
    return { field: 'modelPrefixes', names: resource.spec.modelPrefixes ?? [] };
  return { field: '', names: [] };
}
