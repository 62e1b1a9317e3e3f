import { isIP } from 'node:net';
import { convertedCluster, plainCluster, watchedCluster } from '../../core/gateway-names.ts';
import type { ProviderSecrets, SnapshotGateway, SnapshotProvider } from '../../core/snapshot.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';
import { PROCESSOR_CLUSTER, upstreamFilter, WITNESS_CLUSTER } from './filters.ts';
import {
  authority,
  cleanRequestFilter,
  cleanResponseFilter,
  credentialFilters,
  type CredentialPlacement,
} from './upstream-filters.ts';

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
/** Envoy's own limits (1,024 connections, 3 retries at once) protect a mesh; here limits are the processor's. */
const UNLIMITED = 1_000_000;
const RETRY_BUDGET_PERCENT = 20;
/** Tries that the budget always allows: where little is open, a share of it says nothing. */
const LEAST_RETRY_CONCURRENCY = 10;
/** Room for headers and framing beside the largest body. */
const BUFFER_MARGIN_BYTES = 1_048_576;
/** What Envoy takes from a provider at once, however much lies in the socket: a message to a worker is no larger. */
const PROVIDER_BUFFER_BYTES = 1_048_576;
/** What a worker may send ahead for one answer, and for all on a connection. */
const PROCESSOR_STREAM_WINDOW_BYTES = 1_048_576;
const PROCESSOR_CONNECTION_WINDOW_BYTES = 16_777_216;
/** Each of Envoy's threads holds little more than that for a control plane that does not read; by default far more. */
const WITNESS_WINDOW_BYTES = 1_048_576;
/** Requests that a connection to a worker carries at once. */
const PROCESSOR_STREAMS = 1024;

/** Bytes that Envoy must be able to hold for one request, so that a try can be repeated. */
export function bufferBytes(gateway: SnapshotGateway): number {
  return gateway.limits.requestBody + BUFFER_MARGIN_BYTES;
}

function pipeEndpoint(path: string): ProtoMessage {
  return { endpoint: { address: { pipe: { path } } } };
}

const NO_LIMITS = {
  max_connections: UNLIMITED,
  max_pending_requests: UNLIMITED,
  max_requests: UNLIMITED,
  max_retries: UNLIMITED,
};

/**
 * Tries that repeat one on the same provider may be a fifth of what is open there, so that retries cannot bury one
 * that is down. Tries on another provider have no such bound (routes of their kind have the other priority): they
 * are what saves requests from the one that is down.
 */
export function circuitBreakers(): ProtoMessage {
  return {
    thresholds: [
      {
        ...NO_LIMITS,
        retry_budget: {
          budget_percent: { value: RETRY_BUDGET_PERCENT },
          min_retry_concurrency: LEAST_RETRY_CONCURRENCY,
        },
      },
      { priority: 'HIGH', ...NO_LIMITS },
    ],
  };
}

function http2(): ProtoMessage {
  return {
    max_concurrent_streams: PROCESSOR_STREAMS,
    initial_stream_window_size: PROCESSOR_STREAM_WINDOW_BYTES,
    initial_connection_window_size: PROCESSOR_CONNECTION_WINDOW_BYTES,
    connection_keepalive: { interval: duration(1), timeout: duration(3) },
  };
}

/**
 * The workers. A stopped one answers no health check and is taken out after two seconds; it answers no ping
 * either, so its connections are closed and the exchanges that hang on it end. A draining one fails the
 * health check alone, so that what it has begun is finished.
 */
export function processorCluster(socketPaths: readonly string[]): TypedMessage {
  return typed(CLUSTER, {
    name: PROCESSOR_CLUSTER,
    type: 'STATIC',
    connect_timeout: duration(1),
    lb_policy: 'LEAST_REQUEST',
    load_assignment: {
      cluster_name: PROCESSOR_CLUSTER,
      endpoints: [{ lb_endpoints: socketPaths.map(pipeEndpoint) }],
    },
    common_lb_config: {
      healthy_panic_threshold: { value: 0 },
      // Else a change of health within a second of another one is kept back until that is over: a worker that is known
      // to be dead is sent requests all the while, and one that is back is sent none.
      update_merge_window: duration(0),
    },
    health_checks: [
      {
        timeout: duration(1),
        interval: duration(1),
        no_traffic_interval: duration(1),
        unhealthy_interval: duration(0.25),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        grpc_health_check: {},
      },
    ],
    circuit_breakers: circuitBreakers(),
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: typed(HTTP_OPTIONS, {
        explicit_http_config: { http2_protocol_options: http2() },
      }),
    },
  });
}

/** Where the control plane takes its copy of the access log. While it is away the copy is lost, and nothing else. */
export function witnessCluster(socketPath: string): TypedMessage {
  return typed(CLUSTER, {
    name: WITNESS_CLUSTER,
    type: 'STATIC',
    connect_timeout: duration(1),
    load_assignment: {
      cluster_name: WITNESS_CLUSTER,
      endpoints: [{ lb_endpoints: [pipeEndpoint(socketPath)] }],
    },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: typed(HTTP_OPTIONS, {
        explicit_http_config: {
          http2_protocol_options: {
            initial_stream_window_size: WITNESS_WINDOW_BYTES,
            initial_connection_window_size: WITNESS_WINDOW_BYTES,
            connection_keepalive: { interval: duration(5), timeout: duration(5) },
          },
        },
      }),
    },
  });
}

/** TLS to a service whose certificate must be for its name, or its address. */
export function transportSocket(
  provider: Pick<SnapshotProvider, 'serverName' | 'caFile'>,
  systemCaFile: string,
): ProtoMessage {
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
        // An address is no server name (RFC 6066, section 3).
        ...(isIP(provider.serverName) === 0 ? { sni: provider.serverName } : {}),
        common_tls_context: {
          validation_context: {
            trusted_ca: { filename: provider.caFile ?? systemCaFile },
            match_typed_subject_alt_names: [
              {
                san_type: isIP(provider.serverName) === 0 ? 'DNS' : 'IP_ADDRESS',
                matcher: { exact: provider.serverName },
              },
            ],
          },
        },
      }),
    },
  };
}

function providerCluster(
  name: string,
  provider: SnapshotProvider,
  options: ProviderClusterOptions,
  leg?: 'converts' | 'watches',
): TypedMessage {
  const filters: ProtoMessage[] = [
    cleanRequestFilter(options.foreignHeadersOf(provider), provider.identityHeaders),
  ];
  if (leg !== undefined) filters.push(upstreamFilter(leg === 'watches'));
  // What signs a request must see it as it leaves.
  filters.push(
    ...credentialFilters(provider, options.placementOf(provider), options.secrets[provider.name]),
    cleanResponseFilter(),
    {
      name: 'envoy.filters.http.upstream_codec',
      typed_config: typed('envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec', {}),
    },
  );
  return typed(CLUSTER, {
    name,
    // One endpoint with all its addresses: what one address family can't reach, another is tried for within the same
    // connection attempt (RFC 8305). As endpoints of their own they would cost a try each.
    type: isIP(provider.host) === 0 ? 'LOGICAL_DNS' : 'STATIC',
    ...(isIP(provider.host) === 0 ? { dns_lookup_family: 'ALL' } : {}),
    connect_timeout: duration(provider.connectTimeoutSeconds),
    per_connection_buffer_limit_bytes: PROVIDER_BUFFER_BYTES,
    common_lb_config: { healthy_panic_threshold: { value: 0 } },
    circuit_breakers: circuitBreakers(),
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            {
              endpoint: {
                // The Host header is rewritten to this, port included where it is not the scheme's own.
                hostname: authority(provider),
                address: { socket_address: { address: provider.host, port_value: provider.port } },
              },
            },
          ],
        },
      ],
    },
    ...(provider.scheme === 'https' ? transportSocket(provider, options.systemCaFile) : {}),
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: typed(HTTP_OPTIONS, {
        common_http_protocol_options: { idle_timeout: duration(60) },
        ...(provider.scheme === 'https'
          ? {
              auto_config: {
                http2_protocol_options: { initial_stream_window_size: PROVIDER_BUFFER_BYTES },
              },
            }
          : { explicit_http_config: { http_protocol_options: {} } }),
        http_filters: filters,
      }),
    },
  });
}

export interface ProviderClusterOptions {
  readonly gateway: SnapshotGateway;
  readonly placementOf: (provider: SnapshotProvider) => CredentialPlacement;
  /** Headers that only providers of other types may see, lower case. */
  readonly foreignHeadersOf: (provider: SnapshotProvider) => readonly string[];
  /** PEM file of the authorities that the system trusts. */
  readonly systemCaFile: string;
  readonly secrets: ProviderSecrets;
  /** Most targets that one Model has of this provider: each has a converted cluster of its own. */
  readonly mostTargets: number;
  /** The same of Models with `failoverOn: firstEvent`, whose targets have watched clusters. */
  readonly mostWatchedTargets: number;
}

/** The clusters of a provider: one that carries requests as they are, those that convert each try, and watch it. */
export function providerClusters(
  provider: SnapshotProvider,
  options: ProviderClusterOptions,
): [string, TypedMessage][] {
  const plain = plainCluster(provider.name);
  const converted = Array.from({ length: Math.max(1, options.mostTargets) }, (_, ordinal) =>
    convertedCluster(provider.name, ordinal),
  );
  const watched = Array.from({ length: options.mostWatchedTargets }, (_, ordinal) =>
    watchedCluster(provider.name, ordinal),
  );
  return [
    [plain, providerCluster(plain, provider, options)],
    ...converted.map((name): [string, TypedMessage] => [
      name,
      providerCluster(name, provider, options, 'converts'),
    ]),
    ...watched.map((name): [string, TypedMessage] => [
      name,
      providerCluster(name, provider, options, 'watches'),
    ]),
  ];
}
