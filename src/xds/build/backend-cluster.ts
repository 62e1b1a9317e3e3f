import {
  backendCluster,
  CONTEXT_NAMESPACE,
  CREDENTIAL_HEADERS,
  TRY_ID_HEADER,
} from '../../core/gateway-names.ts';
import type { SnapshotBackend } from '../../core/snapshot.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';
import { circuitBreakers, transportSocket } from './clusters.ts';
import {
  authority,
  headerCredentialFilter,
  identityMutations,
  removePrefix,
  setHeader,
} from './upstream-filters.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const HEADER_MUTATION = 'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation';
/** What Envoy holds of one request or answer that the other side is slow to take. */
const BUFFER_BYTES = 1_048_576;
const IDLE_SECONDS = 60;

export interface BackendClusterOptions {
  /** Resolved and checked; none: every request is answered with 503. */
  readonly addresses: readonly string[];
  /** PEM file of the authorities that the system trusts. */
  readonly systemCaFile: string;
}

/** The cluster of a Backend. Nothing in it is resolved by Envoy. */
export function backendClusterResource(
  backend: SnapshotBackend,
  options: BackendClusterOptions,
): TypedMessage {
  const name = backendCluster(backend.name);
  return typed('envoy.config.cluster.v3.Cluster', {
    name,
    type: 'STATIC',
    connect_timeout: duration(backend.connectTimeoutSeconds),
    per_connection_buffer_limit_bytes: BUFFER_BYTES,
    common_lb_config: { healthy_panic_threshold: { value: 0 } },
    circuit_breakers: circuitBreakers(),
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: endpoints(backend, options.addresses) }],
    },
    ...(backend.scheme === 'https' ? transportSocket(backend, options.systemCaFile) : {}),
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: typed(HTTP_OPTIONS, {
        common_http_protocol_options: { idle_timeout: duration(IDLE_SECONDS) },
        // A WebSocket begins as a request of HTTP/1.1; few servers take one within HTTP/2.
        ...(backend.scheme === 'https' && !backend.webSocket
          ? { auto_config: { http2_protocol_options: {} } }
          : { explicit_http_config: { http_protocol_options: {} } }),
        http_filters: [
          cleanRequestFilter(backend),
          ...(backend.credential === undefined ? [] : [headerCredentialFilter(name, backend.credential)]),
          cleanResponseFilter(backend),
          {
            name: 'envoy.filters.http.upstream_codec',
            typed_config: typed('envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec', {}),
          },
        ],
      }),
    },
  });
}

/** One endpoint with all its addresses: they are tried within one connection attempt, as RFC 8305 says. */
function endpoints(backend: SnapshotBackend, addresses: readonly string[]): ProtoMessage[] {
  const [first, ...others] = addresses.map((address) => ({
    address: { socket_address: { address, port_value: backend.port } },
  }));
  if (first === undefined) return [];
  return [
    {
      endpoint: {
        hostname: authority(backend),
        ...first,
        ...(others.length === 0 ? {} : { additional_addresses: others }),
      },
    },
  ];
}

/**
 * What some servers take for the true address, path or method of a request. The gateway has decided by the request line,
 * and a service may trust what comes from a gateway.
 */
const OVERRIDING_HEADERS = [
  'forwarded',
  'x-real-ip',
  'x-original-url',
  'x-rewrite-url',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
];

/** Takes out the client's credential and all that is said within the gateway alone. The rest is the client's to send. */
function cleanRequestFilter({ cookies, identityHeaders }: SnapshotBackend): ProtoMessage {
  const removed = [
    ...[...CREDENTIAL_HEADERS, ...OVERRIDING_HEADERS, 'proxy-authorization', 'x-request-id'].map(
      (header) => ({
        remove: header,
      }),
    ),
    ...(cookies ? [] : [{ remove: 'cookie' }]),
    ...['x-envoy-', 'x-forwarded-', 'x-limen-'].map(removePrefix),
  ];
  return {
    name: 'limen.clean',
    typed_config: typed(HEADER_MUTATION, {
      mutations: {
        request_mutations: [
          ...removed,
          setHeader(TRY_ID_HEADER, `%DYNAMIC_METADATA(${CONTEXT_NAMESPACE}:id)%`),
          ...identityMutations(identityHeaders),
        ],
        // Some servers put trailers among the headers. HTTP/2 carries them, and the listener looks at headers alone.
        request_trailers_mutations: [...removed, ...identityMutations(false)],
      },
    }),
  };
}

/** Takes out of an answer what is the gateway's to say. */
function cleanResponseFilter({ cookies }: SnapshotBackend): ProtoMessage {
  return {
    name: 'limen.clean_response',
    typed_config: typed(HEADER_MUTATION, {
      mutations: {
        response_mutations: [
          removePrefix('x-limen-'),
          removePrefix('x-envoy-'),
          // Browsers keep cookies, and clear them, for a host: for the console and every other service on it too.
          ...(cookies ? [] : [{ remove: 'set-cookie' }, { remove: 'clear-site-data' }]),
          // About the service's own address, never about the gateway's.
          { remove: 'alt-svc' },
          { remove: 'strict-transport-security' },
          // Which browsers may read the answer is the gateway's to say.
          removePrefix('access-control-'),
          // What it asks for, the gateway has: the client's credential never comes here.
          { remove: 'www-authenticate' },
        ],
      },
    }),
  };
}
