import type { ProviderSecrets, Snapshot, SnapshotModel, SnapshotProvider } from '../../core/snapshot.ts';
import type { EnvoyCapabilities } from '../../core/capabilities.ts';
import { backendCluster, plainCluster } from '../../core/gateway-names.ts';
import { typed, type TypedMessage, type XdsResources } from '../resource.ts';
import { backendClusterResource } from './backend-cluster.ts';
import { processorCluster, providerClusters, witnessCluster } from './clusters.ts';
import { PROCESSOR_CLUSTER, WITNESS_CLUSTER } from './filters.ts';
import {
  GATEWAY_LISTENER,
  gatewayListener,
  LISTENER_CERTIFICATE_SECRET,
  LISTENER_CLIENT_CA_SECRET,
} from './listener.ts';
import type { ErrorBodies } from './local-replies.ts';
import { GATEWAY_ROUTES, gatewayRoutes } from './routes.ts';
import { credentialResource, credentialSecret, type CredentialPlacement } from './upstream-filters.ts';

/** PEM texts of the public listener's certificate, read by the control plane. */
export interface ListenerCertificate {
  readonly certificate: string;
  readonly key: string;
  readonly clientCa?: string | undefined;
}

export interface BuildOptions {
  readonly address: string;
  readonly port: number;
  readonly processorSockets: readonly string[];
  /** Where the control plane takes a copy of the access log; absent: it takes none. */
  readonly witnessSocket?: string | undefined;
  readonly capabilities: EnvoyCapabilities;
  readonly errorBodies: readonly ErrorBodies[];
  /** How often Envoy reports requests that are still open; 15 s unless said otherwise. */
  readonly openRequestReportSeconds?: number;
  readonly placementOf: (provider: SnapshotProvider) => CredentialPlacement;
  readonly foreignHeadersOf: (provider: SnapshotProvider) => readonly string[];
  readonly systemCaFile: string;
  readonly secrets: ProviderSecrets;
  /** Where each Backend is, by its name: Envoy resolves nothing itself of what somebody pasted. */
  readonly backendAddresses?: Readonly<Record<string, readonly string[]>> | undefined;
  readonly listenerCertificate?: ListenerCertificate | undefined;
}

const OPEN_REQUEST_REPORT_SECONDS = 15;
const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';

/** Everything that Envoy is told, from one snapshot. Pure: the same input gives the same resources. */
export function buildXds(snapshot: Snapshot, options: BuildOptions): XdsResources {
  const { gateway } = snapshot;
  const providers = Object.values(snapshot.providers);
  const models = Object.values(snapshot.models);
  const most = mostTargets(models);
  const mostWatched = mostTargets(models.filter(({ failoverOn }) => failoverOn === 'firstEvent'));
  const clusters: [string, TypedMessage][] = [
    [PROCESSOR_CLUSTER, processorCluster(options.processorSockets)],
    ...(options.witnessSocket === undefined
      ? []
      : [[WITNESS_CLUSTER, witnessCluster(options.witnessSocket)] satisfies [string, TypedMessage]]),
    ...providers.flatMap((provider) =>
      providerClusters(provider, {
        gateway,
        placementOf: options.placementOf,
        foreignHeadersOf: options.foreignHeadersOf,
        systemCaFile: options.systemCaFile,
        secrets: options.secrets,
        mostTargets: most.get(provider.resource) ?? 0,
        mostWatchedTargets: mostWatched.get(provider.resource) ?? 0,
      }),
    ),
    ...Object.values(snapshot.backends).map((backend): [string, TypedMessage] => {
      const name = backendCluster(backend.name);
      const addresses = options.backendAddresses?.[backend.name] ?? [];
      return [name, backendClusterResource(backend, { addresses, systemCaFile: options.systemCaFile })];
    }),
  ];
  const secrets: [string, TypedMessage][] = providers.flatMap((provider): [string, TypedMessage][] => {
    const value = options.secrets[provider.name];
    if (value === undefined || options.placementOf(provider).kind !== 'header') return [];
    const cluster = plainCluster(provider.name);
    return [[credentialSecret(cluster), credentialResource(cluster, value)]];
  });
  for (const { name, credential } of Object.values(snapshot.backends)) {
    const cluster = backendCluster(name);
    const value = options.secrets[cluster];
    if (credential !== undefined && value !== undefined) {
      secrets.push([credentialSecret(cluster), credentialResource(cluster, value)]);
    }
  }
  if (options.listenerCertificate !== undefined) {
    secrets.push(...listenerSecrets(options.listenerCertificate));
  }
  return {
    clusters: Object.fromEntries(clusters),
    secrets: Object.fromEntries(secrets),
    listeners: {
      [GATEWAY_LISTENER]: gatewayListener({
        address: options.address,
        port: options.port,
        gateway,
        capabilities: options.capabilities,
        errorBodies: options.errorBodies,
        witness: options.witnessSocket !== undefined,
        openRequestReportSeconds: options.openRequestReportSeconds ?? OPEN_REQUEST_REPORT_SECONDS,
      }),
    },
    routes: { [GATEWAY_ROUTES]: gatewayRoutes(gateway, options.capabilities) },
  };
}

/** By provider: the most targets that one Model has of it. */
function mostTargets(models: readonly SnapshotModel[]): ReadonlyMap<string, number> {
  const most = new Map<string, number>();
  for (const { targets } of models) {
    for (const [provider, own] of Map.groupBy(targets, (target) => target.provider)) {
      most.set(provider, Math.max(most.get(provider) ?? 0, own.length));
    }
  }
  return most;
}

function listenerSecrets(certificate: ListenerCertificate): [string, TypedMessage][] {
  const secrets: [string, TypedMessage][] = [
    [
      LISTENER_CERTIFICATE_SECRET,
      typed(SECRET, {
        name: LISTENER_CERTIFICATE_SECRET,
        tls_certificate: {
          certificate_chain: { inline_string: certificate.certificate },
          private_key: { inline_string: certificate.key },
        },
      }),
    ],
  ];
  if (certificate.clientCa !== undefined) {
    secrets.push([
      LISTENER_CLIENT_CA_SECRET,
      typed(SECRET, {
        name: LISTENER_CLIENT_CA_SECRET,
        validation_context: { trusted_ca: { inline_string: certificate.clientCa } },
      }),
    ]);
  }
  return secrets;
}
