import {
  SIGNATURE_ALGORITHMS,
  type IdentityProviderResource,
} from '../config/resources/identity-provider.ts';
import type { DeclaredIssuer, IssuerKeySource } from '../config/secrets.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import type { SnapshotIdentityProvider } from '../core/snapshot.ts';

type Spec = IdentityProviderResource['spec'];

export function compileIdentityProvider({
  metadata,
  spec,
}: IdentityProviderResource): SnapshotIdentityProvider {
  const { issuer, audiences, clockSkewSeconds, maxLifetimeSeconds, claims, roleMapping, defaultRoles } = spec;
  return {
    name: metadata.name,
    issuer,
    audiences,
    withoutAudience: audiences.length === 0 && spec.sharedSecret !== undefined,
    algorithms: spec.algorithms ?? (spec.sharedSecret === undefined ? SIGNATURE_ALGORITHMS : ['HS256']),
    clockSkewSeconds,
    maxLifetimeSeconds,
    userPrefix: spec.userPrefix ?? `${metadata.name}:`,
    groupPrefix: spec.groupPrefix ?? '',
    allowedGroups: spec.allowedGroups,
    allowedTeams: spec.allowedTeams,
    allowedTenants: spec.allowedTenants,
    claims,
    roleMapping,
    defaultRoles,
  };
}

/** Where the keys come from that its tokens are verified with. */
export function declaredIssuer({ metadata, spec }: IdentityProviderResource): DeclaredIssuer {
  const { clientPromotion } = spec;
  return {
    name: metadata.name,
    issuer: spec.issuer,
    keys: keySourceOf(spec),
    ...(clientPromotion === undefined
      ? {}
      : {
          promotion: {
            clientSecret: clientPromotion.clientSecret,
            webhookSecret: clientPromotion.webhookSecret,
          },
        }),
  };
}

function keySourceOf({ jwksUri, jwks, sharedSecret }: Spec): IssuerKeySource {
  if (sharedSecret !== undefined) return { kind: 'sharedSecret', source: sharedSecret };
  if (jwks !== undefined) return { kind: 'inline', keys: jwks.keys.map(plainKey) };
  return jwksUri === undefined ? { kind: 'discovery' } : { kind: 'jwksUri', uri: jwksUri };
}

/** Only what verification reads: nothing of a certificate or a URL goes on. */
function plainKey({ kty, kid, alg, use, crv, n, e, x, y }: JsonWebKey): JsonWebKey {
  return { kty, kid, alg, use, crv, n, e, x, y };
}
