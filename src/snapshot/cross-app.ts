import type { GatewayResource } from '../config/resources/index.ts';
import {
  ASSERTED_CLAIM,
  exchangedAudience,
  EXCHANGED_ALGORITHM,
  exchangedEntryName,
} from '../core/cross-app-access.ts';
import type { SnapshotGateway, SnapshotIdentityProvider } from '../core/snapshot.ts';

/** What workers and Envoy know of it; clients and their secrets stay in the control plane. */
export function compileCrossAppAccess({
  access: { publicUrl },
  crossAppAccess: { enabled },
}: GatewayResource['spec']): Pick<SnapshotGateway, 'crossAppAccess'> {
  return enabled && publicUrl !== undefined ? { crossAppAccess: { issuer: publicUrl } } : {};
}

/**
 * For each identity provider the entry for tokens that the gateway issues on its word: the same users by the same mapping
 * of claims, as the assertion had them.
 */
export function exchangedEntries(
  { crossAppAccess }: SnapshotGateway,
  tokenSeconds: number,
  providers: readonly SnapshotIdentityProvider[],
): readonly SnapshotIdentityProvider[] {
  if (crossAppAccess === undefined) return [];
  const asserted = (path: string): string => `${ASSERTED_CLAIM}.${path}`;
  const optional = (path: string | undefined) => (path === undefined ? undefined : asserted(path));
  return providers.map((provider) => {
    const { user, email, name, groups, roles, tenant, team, features } = provider.claims;
    return {
      ...provider,
      name: exchangedEntryName(provider.name),
      exchangedFor: provider.name,
      issuer: crossAppAccess.issuer,
      audiences: [exchangedAudience(provider.name)],
      withoutAudience: false,
      algorithms: [EXCHANGED_ALGORITHM],
      maxLifetimeSeconds: tokenSeconds,
      claims: {
        user: asserted(user),
        email: asserted(email),
        name: asserted(name),
        groups: optional(groups),
        roles: optional(roles),
        tenant: optional(tenant),
        team: optional(team),
        scopes: 'scope',
        features: Object.fromEntries(
          Object.entries(features).map(([feature, path]) => [feature, asserted(path)]),
        ),
      },
    };
  });
}
