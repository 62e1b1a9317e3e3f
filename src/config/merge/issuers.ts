import { describeOrigin, resourceId, type SourcedResource } from '../origin.ts';
import type { Objection } from './objections.ts';

/** Where the gateway issues tokens itself, nobody else does in its name. */
export function withoutOwnIssuer(
  resources: readonly SourcedResource[],
  object: Objection,
): readonly SourcedResource[] {
  const gateway = resources.map(({ resource }) => resource).find(({ kind }) => kind === 'Gateway');
  if (gateway?.kind !== 'Gateway' || !gateway.spec.crossAppAccess.enabled) return resources;
  const own = gateway.spec.access.publicUrl;
  return resources.filter((sourced) => {
    const { kind, spec } = sourced.resource;
    if (kind !== 'IdentityProvider' || !spec.enabled || spec.issuer.replace(/\/+$/, '') !== own) return true;
    object(sourced, ['spec', 'issuer'], {
      value: JSON.stringify(spec.issuer),
      message:
        'is the gateway itself, by access.publicUrl of the Gateway, which issues tokens for Cross App Access',
      allowed: 'the issuer of an identity provider, or enabled: false',
    });
    return false;
  });
}

/** A token must belong to one identity provider alone: its mapping and its rights hang on it. */
export function withoutAmbiguousIssuers(
  resources: readonly SourcedResource[],
  object: Objection,
): SourcedResource[] {
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
    object(sourced, path, {
      value: JSON.stringify(spec.audiences[index] ?? spec.issuer),
      message: `is taken, for the same issuer, by ${resourceId(owner.resource)} (${describeOrigin(owner.origin)})`,
      allowed: 'each audience of an issuer once, or enabled: false',
    });
    return false;
  });
}
