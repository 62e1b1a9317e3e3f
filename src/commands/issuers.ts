import type { IdentityProviderStatus } from '../admin/contract.ts';
import type { SourcedResource } from '../config/origin.ts';
import type { DirectorySources } from '../control/directory-sources.ts';
import type { GuardedFetch } from '../control/guarded-fetch.ts';
import { IssuerKeysKeeper } from '../control/issuer-keys.ts';
import type { PostgresConnection } from '../store/postgres/database.ts';
import { createIssuerKeyStore } from '../store/postgres/repositories/issuer-keys.ts';
import type { ControlMetrics } from '../telemetry/control-metrics.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { RunningClientPromotion } from './client-promotion.ts';

export interface IssuersOptions {
  readonly postgres: Pick<PostgresConnection, 'database'>;
  readonly fetch: GuardedFetch;
  readonly directory: Pick<DirectorySources, 'set'>;
  readonly metrics: Pick<ControlMetrics, 'issuerKeysFetched'>;
  readonly logger: Logger;
}

/** Keeps the keys of identity providers, and brings them into the directory. */
export function createIssuers(options: IssuersOptions): IssuerKeysKeeper {
  const { postgres, fetch, directory, metrics, logger } = options;
  return new IssuerKeysKeeper({
    fetch,
    kept: createIssuerKeyStore(postgres.database),
    publish: (keys) =>
      directory.set(
        'issuer keys',
        keys.map((issuerKeys) => ({ type: 'issuer-keys', issuerKeys })),
      ),
    onFetched: (provider, problem) => {
      metrics.issuerKeysFetched(provider, problem === undefined ? 'fetched' : 'failed');
      if (problem !== undefined)
        logger.warn({ provider, problem }, 'the keys of an issuer are not to be had');
    },
    onError: (error) => logger.error({ error }, 'the keys of an issuer cannot be brought into force or kept'),
  });
}

/** Every identity provider that is declared, and how its keys stand. */
export function identityProviderStatus(
  resources: readonly SourcedResource[],
  issuers: IssuerKeysKeeper,
  promotion: Pick<RunningClientPromotion, 'statusOf'>,
): readonly IdentityProviderStatus[] {
  return resources.flatMap(({ resource, origin }) => {
    if (resource.kind !== 'IdentityProvider') return [];
    const { metadata, spec } = resource;
    const found = issuers.status.get(metadata.name);
    return [
      {
        name: metadata.name,
        issuer: spec.issuer,
        source: origin.source,
        enabled: spec.enabled,
        keySource: found?.source,
        reachable: found?.reachable,
        problem: found?.problem,
        keys: (found?.keys ?? []).map(({ kty, kid, alg }) => ({ kty, kid, alg })),
        fetchedAt: found?.fetchedAt,
        clientPromotion: promotion.statusOf(metadata.name),
      },
    ];
  });
}
