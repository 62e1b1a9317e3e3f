import type { SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { AssertionClaims } from './assertion.ts';

/** What the mapping of the issuer's entry reads, unchanged; nothing else goes into the token. */
export function assertedClaims(
  claims: AssertionClaims,
  provider: SnapshotIdentityProvider | undefined,
): Readonly<Record<string, unknown>> {
  if (provider === undefined) return {};
  const { user, email, name, groups, roles, tenant, team, features } = provider.claims;
  const paths = [user, email, name, groups, roles, tenant, team, ...Object.values(features)];
  const names = paths.flatMap((path) => {
    const [, quoted, plain] = /^(?:"([^"]+)"|([^".]+))/.exec(path ?? '') ?? [];
    return quoted ?? plain ?? [];
  });
  return Object.fromEntries(
    [...new Set(names)].flatMap((one) => (Object.hasOwn(claims, one) ? [[one, claims[one]] as const] : [])),
  );
}
