import { describeOrigin, resourceId, type SourcedResource } from '../origin.ts';
import type { IdentityProviderResource } from '../resources/identity-provider.ts';
import type { Objection } from './objections.ts';

type Spec = IdentityProviderResource['spec'];

/** Claims by which issuers name the same things, and what says which of these one of them may name. */
const SHARED_NAMES = [
  {
    claim: 'groups',
    isBounded: ({ groupPrefix, allowedGroups }: Spec) =>
      groupPrefix !== undefined || allowedGroups !== undefined,
    allowed: 'with groupPrefix ("" for none) or allowedGroups (["*"] for all) beside it',
  },
  {
    claim: 'team',
    isBounded: ({ allowedTeams }: Spec) => allowedTeams !== undefined,
    allowed: 'with allowedTeams (["*"] for all) beside it',
  },
  {
    claim: 'tenant',
    isBounded: ({ allowedTenants }: Spec) => allowedTenants !== undefined,
    allowed: 'with allowedTenants (["*"] for all) beside it',
  },
] as const;

/**
 * Groups, teams and tenants are the same whoever names them, so a less trusted issuer could name those of another one. Where
 * several identity providers map such a claim, each of them must say what its tokens may name.
 */
export function withoutUnboundedClaims(
  resources: readonly SourcedResource[],
  object: Objection,
): readonly SourcedResource[] {
  const providers = resources.flatMap((sourced) => {
    const { kind, spec } = sourced.resource;
    return kind === 'IdentityProvider' && spec.enabled ? [{ sourced, spec }] : [];
  });
  const unbounded = new Set<SourcedResource>();
  for (const { claim, isBounded, allowed } of SHARED_NAMES) {
    const mapping = providers.filter(({ spec }) => spec.claims[claim] !== undefined);
    for (const { sourced, spec } of mapping) {
      const other = mapping.find((one) => one.sourced !== sourced)?.sourced;
      if (other === undefined || isBounded(spec)) continue;
      unbounded.add(sourced);
      object(sourced, ['spec', 'claims', claim], {
        value: JSON.stringify(spec.claims[claim]),
        message: `names what ${resourceId(other.resource)} (${describeOrigin(other.origin)}) may name too`,
        allowed,
      });
    }
  }
  return resources.filter((sourced) => !unbounded.has(sourced));
}
