import type { EnvoyCapabilities } from '../../core/capabilities.ts';
import {
  CONTEXT_NAMESPACE,
  IDENTITY_HEADERS,
  INTERNAL_RESPONSE_PREFIX,
  OUTCOME_HEADER,
  RATE_LIMIT_HEADERS,
  TRY_ID_HEADER,
} from '../../core/gateway-names.ts';
import type { SnapshotGateway } from '../../core/snapshot.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';
import { bufferBytes } from './clusters.ts';
import {
  decompressorFilters,
  frontFilter,
  PROCESSOR_CLUSTER,
  refusalFilter,
  responseFilter,
  usageFilter,
  WITNESS_CLUSTER,
} from './filters.ts';
import {
  DECIDED_REQUEST_ID,
  chargedFilter,
  decidedFilter,
  EARLY_REQUEST_ID,
  localReplyConfig,
  type ErrorBodies,
} from './local-replies.ts';
import { GATEWAY_ROUTES } from './routes.ts';

export const GATEWAY_LISTENER = 'gateway';
export const LISTENER_CERTIFICATE_SECRET = 'listener/gateway/certificate';
export const LISTENER_CLIENT_CA_SECRET = 'listener/gateway/client-ca';

/** How long Envoy may hold finished requests back to send them to a worker together. */
const ACCESS_LOG_FLUSH_SECONDS = 0.2;
/** About a hundred entries: fewer, larger messages cost both sides less. */
const ACCESS_LOG_BUFFER_BYTES = 131_072;
/** OpenAI's clients read the first, Anthropic's the second. */
const REQUEST_ID_HEADERS = ['x-request-id', 'request-id'];
const MAX_HEADERS_KB = 60;
const HEADERS_TIMEOUT_SECONDS = 10;

export interface ListenerOptions {
  readonly address: string;
  readonly port: number;
  readonly gateway: SnapshotGateway;
  readonly capabilities: EnvoyCapabilities;
  readonly errorBodies: readonly ErrorBodies[];
  /** The control plane gets a copy of the access log. */
  readonly witness: boolean;
  /** How often Envoy reports requests that are still open, so that their intents stay alive. */
  readonly openRequestReportSeconds: number;
}

/**
 * The log of requests and the one of tries share these settings, to the letter: so Envoy sends both over one stream to
 * one worker, the tries of a request before its end.
 */
function logStream(name: string, cluster: string): ProtoMessage {
  return {
    log_name: name,
    transport_api_version: 'V3',
    buffer_flush_interval: duration(ACCESS_LOG_FLUSH_SECONDS),
    buffer_size_bytes: ACCESS_LOG_BUFFER_BYTES,
    grpc_service: { envoy_grpc: { cluster_name: cluster } },
  };
}
const LOG_STREAM = logStream('limen', PROCESSOR_CLUSTER);
/** Its buffer is bounded too: while nobody takes it, what comes is dropped, and the workers' log goes on. */
const WITNESS_STREAM = logStream('limen.witness', WITNESS_CLUSTER);
const GRPC_LOG = 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig';

/** One access-log entry for each request that a worker decided on, and one now and then while it is open. */
function accessLog(name: string, stream: ProtoMessage, filter: ProtoMessage): ProtoMessage {
  return { name, filter, typed_config: typed(GRPC_LOG, { common_config: stream }) };
}

/** One entry for each try that failed: by its status, or by what befell it. A good one costs nothing. */
function tryLog(name: string, stream: ProtoMessage): ProtoMessage {
  return {
    name,
    filter: {
      or_filter: {
        filters: [
          {
            status_code_filter: {
              comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'limen.failed_try' } },
            },
          },
          { response_flag_filter: {} },
        ],
      },
    },
    typed_config: typed(GRPC_LOG, {
      common_config: stream,
      additional_request_headers_to_log: [TRY_ID_HEADER],
      additional_response_headers_to_log: ['retry-after', OUTCOME_HEADER],
    }),
  };
}

/**
 * Headers that only Limen may set. Removed before the first route is chosen, so no client picks a route; and
 * x-request-id, which Envoy keeps for clients in `trust.internalRanges`: rows are known by it, so that one who
 * chose it could put a new row in the place of an old one. And those that tell upstreams who asks.
 */
function earlyHeaderMutation(): ProtoMessage {
  return {
    name: 'limen.trust',
    typed_config: typed('envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation', {
      mutations: [
        { remove_on_match: { key_matcher: { prefix: 'x-limen-' } } },
        { remove: 'x-request-id' },
        ...Object.keys(IDENTITY_HEADERS).map((header) => ({ remove: header })),
      ],
    }),
  };
}

/**
 * Tells the client the id under which the ledger knows its request and what its limits have left, in place of the
 * provider's own, and nothing of what filters told each other. A filter, because a route's response headers are not added where a cluster specifier
 * plugin chose the cluster.
 */
function requestIdFilter(): ProtoMessage {
  return {
    name: 'limen.request_id',
    typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
      mutations: {
        response_mutations: [
          { remove_on_match: { key_matcher: { prefix: INTERNAL_RESPONSE_PREFIX } } },
          // Whichever of the two is not empty stands.
          ...REQUEST_ID_HEADERS.flatMap((key) =>
            [EARLY_REQUEST_ID, DECIDED_REQUEST_ID].map((value) => ({
              append: { header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
            })),
          ),
          // One that is empty is not set: then a provider's own stands.
          ...RATE_LIMIT_HEADERS.map((key) => ({
            append: {
              header: { key, value: `%DYNAMIC_METADATA(${CONTEXT_NAMESPACE}:${key})%` },
              append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
            },
          })),
        ],
      },
    }),
  };
}

function httpFilters(options: ListenerOptions): ProtoMessage[] {
  const filters: ProtoMessage[] = [];
  if (options.gateway.cors.allowOrigins.length > 0) {
    filters.push({
      name: 'envoy.filters.http.cors',
      typed_config: typed('envoy.extensions.filters.http.cors.v3.Cors', {}),
    });
  }
  filters.push(requestIdFilter(), frontFilter());
  if (options.capabilities.nativeUsage) filters.push(usageFilter());
  filters.push(...decompressorFilters(), responseFilter(), refusalFilter(), {
    name: 'envoy.filters.http.router',
    typed_config: typed('envoy.extensions.filters.http.router.v3.Router', {
      suppress_envoy_headers: true,
      upstream_log: [
        tryLog('limen.tries', LOG_STREAM),
        ...(options.witness ? [tryLog('limen.witness.tries', WITNESS_STREAM)] : []),
      ],
    }),
  });
  return filters;
}

function connectionManager(options: ListenerOptions): TypedMessage {
  const { gateway } = options;
  return typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: GATEWAY_LISTENER,
    rds: { route_config_name: GATEWAY_ROUTES, config_source: { ads: {}, resource_api_version: 'V3' } },
    http_filters: httpFilters(options),
    access_log: [
      accessLog('limen.access_log', LOG_STREAM, decidedFilter),
      ...(options.witness ? [accessLog('limen.witness', WITNESS_STREAM, chargedFilter)] : []),
    ],
    access_log_options: { access_log_flush_interval: duration(options.openRequestReportSeconds) },
    early_header_mutation_extensions: [earlyHeaderMutation()],
    local_reply_config: localReplyConfig(options.errorBodies),
    use_remote_address: true,
    xff_num_trusted_hops: gateway.trust.hops,
    internal_address_config: internalAddresses(gateway.trust.internalRanges),
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'REJECT_REQUEST',
    max_request_headers_kb: MAX_HEADERS_KB,
    request_headers_timeout: duration(HEADERS_TIMEOUT_SECONDS),
    // Holds until a model's route is chosen, which has a limit of its own: so a client that stops uploading and
    // a worker that stops answering both end here.
    stream_idle_timeout: duration(gateway.timeouts.uploadIdleSeconds),
    common_http_protocol_options: {
      idle_timeout: duration(3600),
      headers_with_underscores_action: 'DROP_HEADER',
    },
    http2_protocol_options: {
      max_concurrent_streams: 256,
      initial_stream_window_size: bufferBytes(gateway),
    },
  });
}

/** The broadcast address, which no client has. */
const NOBODY = '255.255.255.255/32';

/** Whose Envoy control headers are obeyed. Without any range Envoy would take every private address for internal. */
export function internalAddresses(ranges: readonly string[]): ProtoMessage {
  return { unix_sockets: false, cidr_ranges: (ranges.length > 0 ? ranges : [NOBODY]).map(cidrRange) };
}

function cidrRange(cidr: string): ProtoMessage {
  const slash = cidr.lastIndexOf('/');
  return { address_prefix: cidr.slice(0, slash), prefix_len: Number(cidr.slice(slash + 1)) };
}

function downstreamTls(clientCertificates: boolean): ProtoMessage {
  const sds = { ads: {}, resource_api_version: 'V3' };
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
        require_client_certificate: clientCertificates,
        common_tls_context: {
          alpn_protocols: ['h2', 'http/1.1'],
          tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
          tls_certificate_sds_secret_configs: [{ name: LISTENER_CERTIFICATE_SECRET, sds_config: sds }],
          ...(clientCertificates
            ? { validation_context_sds_secret_config: { name: LISTENER_CLIENT_CA_SECRET, sds_config: sds } }
            : {}),
        },
      }),
    },
  };
}

/** The public listener. It changes, and so drains, only with the Gateway resource's own settings. */
export function gatewayListener(options: ListenerOptions): TypedMessage {
  const { gateway } = options;
  return typed('envoy.config.listener.v3.Listener', {
    name: GATEWAY_LISTENER,
    address: { socket_address: { address: options.address, port_value: options.port } },
    per_connection_buffer_limit_bytes: bufferBytes(gateway),
    filter_chains: [
      {
        ...(gateway.tls === undefined ? {} : downstreamTls(gateway.tls.clientCaFile !== undefined)),
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: connectionManager(options),
          },
        ],
      },
    ],
  });
}
