import { vi } from 'vitest';
import type { IssuerKeys, Revocation } from '../../core/access.ts';
import type { Snapshot, SnapshotIdentityProvider } from '../../core/snapshot.ts';
import type { TokenVerifier } from '../../core/verified-token.ts';
import { buildSnapshot } from '../../snapshot/build.ts';
import { createTokenVerifier } from '../verifier.ts';
import type { TestIssuer } from './issuer.ts';

/** An entry as compiled, with the defaults of the kind. */
export function entry(other: Partial<SnapshotIdentityProvider> = {}): SnapshotIdentityProvider {
  return {
    name: 'corp',
    issuer: 'https://id.example.com',
    audiences: ['limen'],
    withoutAudience: false,
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    clockSkewSeconds: 30,
    maxLifetimeSeconds: 86_400,
    userPrefix: 'corp:',
    groupPrefix: '',
    claims: { user: 'sub', email: 'email', name: 'name', scopes: 'scope', features: {} },
    roleMapping: {},
    defaultRoles: [],
    ...other,
  };
}

export function snapshotOf(...providers: readonly SnapshotIdentityProvider[]): Snapshot {
  return {
    ...buildSnapshot([]).snapshot,
    identityProviders: Object.fromEntries(providers.map((one) => [one.name, one])),
  };
}

/** A directory whose content the test changes. */
export class TestDirectory {
  readonly keys = new Map<string, IssuerKeys>();
  readonly revocations: Revocation[] = [];

  issuerKeys(provider: string): IssuerKeys | undefined {
    return this.keys.get(provider);
  }

  revocation(kind: Revocation['kind'], value: string): Revocation | undefined {
    return this.revocations.find((one) => one.kind === kind && one.value === value);
  }
}

export interface VerifierUnderTest {
  readonly directory: TestDirectory;
  readonly verifier: TokenVerifier;
  readonly keyMissing: ReturnType<typeof vi.fn<(provider: string, kid: string) => void>>;
}

export function verifierOf(...issuers: readonly TestIssuer[]): VerifierUnderTest {
  const directory = new TestDirectory();
  for (const { keys } of issuers) directory.keys.set(keys.provider, keys);
  const keyMissing = vi.fn<(provider: string, kid: string) => void>();
  const verifier = createTokenVerifier({ directory, reports: { keyMissing }, now: Date.now });
  return { directory, verifier, keyMissing };
}
