import { isIP } from 'node:net';
import { convertedCluster, CREDENTIAL_HEADERS, plainCluster } from '../../core/gateway-names.ts';
import type { SnapshotGateway, SnapshotProvider } from '../../core/snapshot.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';
import { PROCESSOR_CLUSTER, upstreamFilter } from './filters.ts';

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
/** Envoy's own limits (1,024 connections, 3 retries at once) protect a mesh; here limits are the processor's. */
const UNLIMITED = 1_000_000;
/** Room for headers and framing beside the largest body. */
const BUFFER_MARGIN_BYTES = 1_048_576;
/**
 * Twice the largest answer of an upstream leg, and a margin. The window is also the mark at which Envoy stops
 * reading from a provider for a worker that is slower, and Envoy 1.40 dies (SIGSEGV) when an exchange of an upstream
 * filter passes that mark and falls below its half after the provider's stream has ended.
 */
const PROCESSOR_WINDOW_BYTES = 68 * 1_048_576;
/** Exchanges whose whole window one slow client each may take before others on the connection feel it. */
const PROCESSOR_WINDOWS = 4;
/** Requests that a connection to a worker carries at once. */
const PROCESSOR_STREAMS = 1024;

/** How a provider wants its credential: header, and the text before it. Told by the provider's own folder. */
export interface CredentialPlacement {
  readonly header: string;
  readonly prefix: string;
}

/** Bytes that Envoy must be able to hold for one request, so that a try can be repeated. */
export function bufferBytes(gateway: SnapshotGateway): number {
  return gateway.limits.requestBody + BUFFER_MARGIN_BYTES;
}

/** Name of the SDS secret with a provider's credential. */
export function credentialSecret(provider: string): string {
  return `provider/${provider}/credential`;
}

function pipeEndpoint(path: string): ProtoMessage {
  return { endpoint: { address: { pipe: { path } } } };
}

function circuitBreakers(): ProtoMessage {
  return {
    thresholds: [
      {
        max_connections: UNLIMITED,
        max_pending_requests: UNLIMITED,
        max_requests: UNLIMITED,
        max_retries: UNLIMITED,
      },
    ],
  };
}

function http2(): ProtoMessage {
  return {
    max_concurrent_streams: PROCESSOR_STREAMS,
    initial_stream_window_size: PROCESSOR_WINDOW_BYTES,
    initial_connection_window_size: PROCESSOR_WINDOW_BYTES * PROCESSOR_WINDOWS,
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
    common_lb_config: { healthy_panic_threshold: { value: 0 } },
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

function removePrefix(prefix: string): ProtoMessage {
  return { remove_on_match: { key_matcher: { prefix } } };
}

/** Takes out everything that must not leave: every credential header, Envoy's and Limen's own headers. */
function cleanRequestFilter(): ProtoMessage {
  return {
    name: 'limen.clean',
    typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
      mutations: {
        request_mutations: [
          ...CREDENTIAL_HEADERS.map((header) => ({ remove: header })),
          { remove: 'x-request-id' },
          { remove: 'cookie' },
          { remove: 'proxy-authorization' },
          { remove: 'x-http-method-override' },
          // Accounts belong to a credential, and the credential here is the gateway's.
          { remove: 'openai-organization' },
          { remove: 'openai-project' },
          removePrefix('x-envoy-'),
          removePrefix('x-forwarded-'),
          removePrefix('x-limen-'),
        ],
      },
    }),
  };
}

/**
 * Takes out of a provider's answer what could pass for ours, and its cookies. Response filters run in reverse, so
 * this one stands last: before the upstream leg says what it dropped.
 */
function cleanResponseFilter(): ProtoMessage {
  return {
    name: 'limen.clean_response',
    typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
      mutations: {
        response_mutations: [
          removePrefix('x-limen-'),
          removePrefix('x-envoy-'),
          { remove: 'set-cookie' },
          { remove: 'openai-organization' },
          { remove: 'anthropic-organization-id' },
          // About the provider's own address, never about the gateway's.
          { remove: 'alt-svc' },
          { remove: 'strict-transport-security' },
          // Which browsers may read the answer is the gateway's to say.
          removePrefix('access-control-'),
          // A provider asks the gateway for its credential, never the client.
          { remove: 'www-authenticate' },
        ],
      },
    }),
  };
}

function credentialFilter(provider: SnapshotProvider, placement: CredentialPlacement): ProtoMessage {
  return {
    name: 'limen.credential',
    typed_config: typed('envoy.extensions.filters.http.credential_injector.v3.CredentialInjector', {
      overwrite: true,
      credential: {
        name: 'generic',
        typed_config: typed('envoy.extensions.http.injected_credentials.generic.v3.Generic', {
          credential: {
            name: credentialSecret(provider.name),
            sds_config: { ads: {}, resource_api_version: 'V3' },
          },
          header: placement.header,
          ...(placement.prefix === '' ? {} : { header_value_prefix: placement.prefix }),
        }),
      },
    }),
  };
}

function transportSocket(provider: SnapshotProvider, systemCaFile: string): ProtoMessage {
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
  converts: boolean,
): TypedMessage {
  const filters: ProtoMessage[] = [cleanRequestFilter()];
  if (converts) filters.push(upstreamFilter());
  if (provider.hasCredential) filters.push(credentialFilter(provider, options.placementOf(provider)));
  filters.push(cleanResponseFilter(), {
    name: 'envoy.filters.http.upstream_codec',
    typed_config: typed('envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec', {}),
  });
  return typed(CLUSTER, {
    name,
    // One endpoint with all its addresses: what one address family can't reach, another is tried for within the same
    // connection attempt (RFC 8305). As endpoints of their own they would cost a try each.
    type: isIP(provider.host) === 0 ? 'LOGICAL_DNS' : 'STATIC',
    ...(isIP(provider.host) === 0 ? { dns_lookup_family: 'ALL' } : {}),
    connect_timeout: duration(provider.connectTimeoutSeconds),
    per_connection_buffer_limit_bytes: bufferBytes(options.gateway),
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
          ? { auto_config: { http2_protocol_options: {} } }
          : { explicit_http_config: { http_protocol_options: {} } }),
        http_filters: filters,
      }),
    },
  });
}

function authority(provider: SnapshotProvider): string {
  const host = isIP(provider.host) === 6 ? `[${provider.host}]` : provider.host;
  const usualPort = provider.scheme === 'https' ? 443 : 80;
  return provider.port === usualPort ? host : `${host}:${provider.port}`;
}

export interface ProviderClusterOptions {
  readonly gateway: SnapshotGateway;
  readonly placementOf: (provider: SnapshotProvider) => CredentialPlacement;
  /** PEM file of the authorities that the system trusts. */
  readonly systemCaFile: string;
  /** Most targets that one Model has of this provider: each has a converted cluster of its own. */
  readonly mostTargets: number;
}

/** The clusters of a provider: one that carries requests as they are, and those that convert each try. */
export function providerClusters(
  provider: SnapshotProvider,
  options: ProviderClusterOptions,
): [string, TypedMessage][] {
  const plain = plainCluster(provider.name);
  const converted = Array.from({ length: Math.max(1, options.mostTargets) }, (_, ordinal) =>
    convertedCluster(provider.name, ordinal),
  );
  return [
    [plain, providerCluster(plain, provider, options, false)],
    ...converted.map((name): [string, TypedMessage] => [
      name,
      providerCluster(name, provider, options, true),
    ]),
  ];
}

/** A provider's credential as Envoy's generic secret. */
export function credentialResource(provider: string, value: string): TypedMessage {
  return typed('envoy.extensions.transport_sockets.tls.v3.Secret', {
    name: credentialSecret(provider),
    generic_secret: { secret: { inline_string: value } },
  });
}
