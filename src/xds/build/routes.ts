import {
  CLUSTER_HEADER,
  CONTEXT_NAMESPACE,
  ORDER_NAMESPACE,
  RESPONSE_PATHS,
  type ResponsePath,
  type RouteName,
} from '../../core/gateway-names.ts';
import type { EnvoyCapabilities } from '../../core/capabilities.ts';
import type { SnapshotGateway } from '../../core/snapshot.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';
import { bufferBytes } from './clusters.ts';
import {
  extProcDisabled,
  FRONT_FILTER,
  REFUSAL_FILTER,
  RESPONSE_FILTER,
  responseProcessed,
  USAGE_FILTER,
  usagePerRoute,
} from './filters.ts';
import { refusalsOfProvider } from './local-replies.ts';

/** The cluster of the control plane's HTTP server, which the bootstrap holds. */
export const ADMIN_CLUSTER = 'limen_admin';
export const GATEWAY_ROUTES = 'gateway';
/** The name of no cluster. */
const NO_CLUSTER = 'limen_none';

/**
 * Statuses, beside the 5xx, that another try may mend: a refusal of the gateway's own account (another provider
 * has another one), too early, too many requests.
 */
const RETRIABLE_STATUSES = [401, 402, 403, 408, 425, 429];
const RETRY_BASE_SECONDS = 0.05;
const RETRY_MAX_SECONDS = 1;

const ROUTER_DISABLED_FRONT: Readonly<Record<string, TypedMessage>> = {
  [FRONT_FILTER]: extProcDisabled(),
};

/**
 * A route that a request takes once the front leg has decided: it matches what that leg wrote into dynamic
 * metadata, which no client can set, and sends the request to the clusters that it named, in its order.
 */
function decidedRoute(
  path: ResponsePath,
  stream: boolean,
  gateway: SnapshotGateway,
  capabilities: EnvoyCapabilities,
): ProtoMessage {
  const name: RouteName = `${path}/${stream ? 'stream' : 'whole'}`;
  const perFilter: Record<string, TypedMessage> = {};
  if (path.startsWith('response/')) perFilter[RESPONSE_FILTER] = responseProcessed();
  if (path === 'native/chat') perFilter[USAGE_FILTER] = usagePerRoute('OPENAI_CHAT_COMPLETIONS');
  if (path === 'native/messages') perFilter[USAGE_FILTER] = usagePerRoute('ANTHROPIC_MESSAGES');
  if (path !== 'converted') perFilter[REFUSAL_FILTER] = refusalsOfProvider();
  return {
    name,
    match: {
      prefix: '/',
      dynamic_metadata: [
        { filter: CONTEXT_NAMESPACE, path: [{ key: 'route' }], value: { string_match: { exact: name } } },
      ],
    },
    route: {
      ...clusterChoice(capabilities),
      auto_host_rewrite: true,
      timeout: duration(stream ? 0 : gateway.timeouts.requestSeconds),
      // A stream's own idle limit; an answer in one piece may take its whole time in silence.
      idle_timeout: duration(
        stream ? gateway.timeouts.streamIdleSeconds : gateway.timeouts.requestSeconds + 5,
      ),
      retry_policy: retryPolicy(gateway, capabilities),
    },
    typed_per_filter_config: perFilter,
  };
}

function clusterChoice(capabilities: EnvoyCapabilities): ProtoMessage {
  if (!capabilities.priorityGroups) return { cluster_header: CLUSTER_HEADER };
  return {
    inline_cluster_specifier_plugin: {
      extension: {
        name: 'limen.order',
        typed_config: typed(
          'envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier',
          {
            override_metadata_namespace: ORDER_NAMESPACE,
            // Never used: every request that comes here names its own order. The API wants one.
            priority_groups: [{ name: 'none', clusters: [{ cluster_name: NO_CLUSTER, weight: 1 }] }],
          },
        ),
      },
    },
  };
}

function retryPolicy(gateway: SnapshotGateway, capabilities: EnvoyCapabilities): ProtoMessage {
  return {
    retry_on: '5xx,reset,connect-failure,refused-stream,retriable-status-codes',
    retriable_status_codes: RETRIABLE_STATUSES,
    // The front leg sets x-envoy-max-retries for each request; without it there is one try.
    num_retries: 0,
    per_try_timeout: duration(gateway.timeouts.perTrySeconds),
    retry_back_off: {
      base_interval: duration(RETRY_BASE_SECONDS),
      max_interval: duration(RETRY_MAX_SECONDS),
    },
    ...(capabilities.priorityGroups ? { refresh_cluster_on_retry: true } : {}),
  };
}

/** Paths that the front leg answers or decides on. Everything else is a 404 without a worker. */
const FRONT_PATHS: readonly ProtoMessage[] = [
  { path: '/v1/chat/completions' },
  { path: '/v1/messages' },
  { path: '/v1/models' },
  { prefix: '/v1/models/' },
  { path: '/health/ready' },
];

function corsPolicy(gateway: SnapshotGateway): ProtoMessage {
  const { allowOrigins } = gateway.cors;
  if (allowOrigins.length === 0) return {};
  return {
    typed_per_filter_config: {
      'envoy.filters.http.cors': typed('envoy.extensions.filters.http.cors.v3.CorsPolicy', {
        allow_origin_string_match: allowOrigins.map((origin) =>
          origin === '*' ? { safe_regex: { regex: '.*' } } : { exact: origin },
        ),
        allow_methods: 'GET, POST, OPTIONS',
        // Clients send headers of their own making (x-stainless-…); the star stands for all but authorization, and
        // is enough because no answer allows the browser's own credentials.
        allow_headers: 'authorization, *',
        expose_headers: '*',
        max_age: '600',
      }),
    },
  };
}

/** An answer of Envoy's own. A direct response would be simpler, but Envoy's CORS filter leaves those out. */
function answeredByEnvoy(status: 'SERVICE_UNAVAILABLE' | 'NOT_FOUND'): ProtoMessage {
  return { cluster: NO_CLUSTER, cluster_not_found_response_code: status };
}

/** The one route configuration of the public listener. It doesn't change with models or keys. */
export function gatewayRoutes(gateway: SnapshotGateway, capabilities: EnvoyCapabilities): TypedMessage {
  const paths = RESPONSE_PATHS.filter((path) => capabilities.nativeUsage || !path.startsWith('native/'));
  return typed('envoy.config.route.v3.RouteConfiguration', {
    name: GATEWAY_ROUTES,
    // Clusters come and go by ADS; one that is missing fails its own requests alone.
    validate_clusters: false,
    virtual_hosts: [
      {
        name: 'gateway',
        domains: ['*'],
        request_body_buffer_limit: bufferBytes(gateway),
        ...corsPolicy(gateway),
        routes: [
          {
            name: 'health/live',
            match: { path: '/health/live' },
            direct_response: { status: 200, body: { inline_string: '{"status":"live"}\n' } },
            typed_per_filter_config: ROUTER_DISABLED_FRONT,
          },
          {
            name: 'metrics',
            match: { path: '/metrics' },
            route: { cluster: ADMIN_CLUSTER },
            typed_per_filter_config: ROUTER_DISABLED_FRONT,
          },
          ...paths.flatMap((path) => [
            decidedRoute(path, true, gateway, capabilities),
            decidedRoute(path, false, gateway, capabilities),
          ]),
          ...FRONT_PATHS.map((match) => ({
            name: 'front',
            match,
            // Reached only if the front leg let a request through without deciding: a fault, so fail closed.
            route: answeredByEnvoy('SERVICE_UNAVAILABLE'),
          })),
          {
            name: 'unknown',
            match: { prefix: '/' },
            route: answeredByEnvoy('NOT_FOUND'),
            typed_per_filter_config: ROUTER_DISABLED_FRONT,
          },
        ],
      },
    ],
  });
}
