import type { StatusSource, StoreStatus } from '../admin/contract.ts';
import type { Settings } from '../config/env.ts';
import type { ConfigurationCenter } from '../control/configuration-center.ts';
import type { Publisher } from '../control/publisher.ts';
import type { DistributionServer } from '../distribution/server.ts';
import type { PostgresConnection } from '../store/postgres/database.ts';
import type { AggregatedDiscovery } from '../xds/ads/aggregated-discovery.ts';
import type { IssuerKeysKeeper } from '../control/issuer-keys.ts';
import type { RunningClientPromotion } from './client-promotion.ts';
import { identityProviderStatus } from './issuers.ts';
import type { RunningLedger } from './ledger.ts';

/** The parts of a control plane that tell how they are. */
export interface StatusParts {
  readonly version: string;
  /** Unix time in milliseconds. */
  readonly startedAt: number;
  readonly settings: Pick<Settings, 'config'>;
  readonly publisher: Publisher;
  readonly center: ConfigurationCenter;
  readonly issuers: IssuerKeysKeeper;
  readonly promotion: Pick<RunningClientPromotion, 'statusOf'>;
  readonly discovery: AggregatedDiscovery;
  readonly distribution: DistributionServer;
  readonly ledger: RunningLedger;
  readonly postgres: PostgresConnection;
}

async function postgresStatus(postgres: PostgresConnection): Promise<StoreStatus> {
  try {
    return { name: 'postgres', healthy: true, version: (await postgres.check()).version };
  } catch {
    return { name: 'postgres', healthy: false, problem: 'does not answer' };
  }
}

/** What `limen get`, `limen doctor` and the admin API show of it. */
export function statusSource(parts: StatusParts): StatusSource {
  const { version, startedAt, settings, publisher, center, issuers, promotion } = parts;
  const { discovery, distribution, ledger, postgres } = parts;
  return {
    version,
    startedAt,
    snapshot: () => {
      const snapshot = publisher.inForce;
      if (snapshot === undefined) return undefined;
      const { models, providers } = snapshot;
      return {
        version: snapshot.version,
        models: Object.keys(models).length,
        providers: Object.keys(providers).length,
      };
    },
    configuration: () => ({ path: settings.config, issues: center.issues, warnings: center.warnings }),
    providers: () =>
      center.inForce.flatMap(({ resource, origin }) => {
        if (resource.kind !== 'Provider') return [];
        const { metadata, spec } = resource;
        const { state: credential, ...details } =
          spec.credential === undefined ? { state: 'none' as const } : center.credentialOf(metadata.name);
        return [{ name: metadata.name, type: spec.type, source: origin.source, credential, ...details }];
      }),
    identityProviders: () => identityProviderStatus(center.inForce, issuers, promotion),
    envoys: () => discovery.status().map((node) => ({ ...node, kinds: { ...node.kinds } })),
    workers: () => distribution.status(),
    circuits: () => ledger.circuits(),
    stores: async () => [await postgresStatus(postgres), ...(await ledger.stores())],
  };
}
