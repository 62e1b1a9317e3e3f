import {
  BACKEND_ROUTE,
  BACKENDS_PATH,
  CLUSTER_HEADER,
  CONTEXT_NAMESPACE,
  METADATA_PATH,
  ORDER_NAMESPACE,
  NATIVE_FORMATS,
  VERDICT_HEADER,
  type NativeFormat,
  type RetryManner,
  type ModelRouteName,
  type RouteName,
} from '../../core/gateway-names.ts';
import type { EnvoyCapabilities } from '../../core/capabilities.ts';
import type { SnapshotGateway } from '../../core/snapshot.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';
import { bufferBytes } from './clusters.ts';
import {
  decidedByHead,
  decompressorsDisabled,
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
 * Statuses, beside the 5xx, that another provider may mend: a refusal of the gateway's own account (the other has
 * another one), too early, too many requests.
 */
const MENDED_ELSEWHERE = [401, 402, 403, 408, 425, 429];
/** Those that the same provider may mend later; the 5xx as well. */
const MENDED_BY_TIME = '408|425|429|5[0-9][0-9]';
const RETRY_BASE_SECONDS = 0.05;
const RETRY_MAX_SECONDS = 1;
/** What a worker may be late by when it ends an answer itself, before Envoy does. */
const WORKER_MARGIN_SECONDS = 2;
/** What the idle limit of an answer in one piece is longer than its whole time. */
const IDLE_MARGIN_SECONDS = 5;

const ROUTER_DISABLED_FRONT: Readonly<Record<string, TypedMessage>> = {
  [FRONT_FILTER]: extProcDisabled(),
};

interface RouteKind {
  /** The format that Envoy counts the tokens of; undefined: a worker sees the answer. */
  readonly native: NativeFormat | undefined;
  readonly stream: boolean;
  readonly manner: RetryManner;
}

/** Every way that a request may take once it was decided on. */
function routeKinds(capabilities: EnvoyCapabilities): RouteKind[] {
  const natives = capabilities.nativeUsage ? NATIVE_FORMATS : [];
  const manners: RetryManner[] = capabilities.priorityGroups ? ['alone', 'failover'] : ['alone'];
  return [...natives, undefined].flatMap((native) =>
    [true, false].flatMap((stream) => manners.map((manner) => ({ native, stream, manner }))),
  );
}

function decidedFor(name: RouteName): ProtoMessage {
  return { filter: CONTEXT_NAMESPACE, path: [{ key: 'route' }], value: { string_match: { exact: name } } };
}

/**
 * A route that a request takes once the front leg has decided: it matches what that leg wrote into dynamic
 * metadata, which no client can set, and sends the request to the clusters that it named, in its order.
 */
function decidedRoute(
  { native, stream, manner }: RouteKind,
  gateway: SnapshotGateway,
  capabilities: EnvoyCapabilities,
): ProtoMessage {
  const path = native === undefined ? 'processed' : (`native/${native}` as const);
  const name: ModelRouteName = `${path}/${stream ? 'stream' : 'whole'}/${manner}`;
  const { requestSeconds, streamIdleSeconds } = gateway.timeouts;
  const patience = stream ? streamIdleSeconds : requestSeconds;
  const margin = native === undefined ? WORKER_MARGIN_SECONDS : 0;
  return {
    name,
    match: {
      prefix: '/',
      dynamic_metadata: [decidedFor(name)],
    },
    route: {
      ...clusterChoice(capabilities),
      auto_host_rewrite: true,
      timeout: duration(stream ? 0 : requestSeconds + margin),
      // A stream's own idle limit; an answer in one piece may take its whole time in silence.
      idle_timeout: duration(stream ? streamIdleSeconds + margin : requestSeconds + IDLE_MARGIN_SECONDS),
      // Priorities are the classes of a cluster's circuit breaker: the retry budget is in the ordinary one.
      ...(manner === 'failover' ? { priority: 'HIGH' } : {}),
      retry_policy: retryPolicy(manner, gateway, capabilities),
    },
    typed_per_filter_config:
      native === undefined
        ? { [RESPONSE_FILTER]: responseProcessed(patience) }
        : { [USAGE_FILTER]: usagePerRoute(native), [REFUSAL_FILTER]: refusalsOfProvider() },
  };
}

/**
 * The route of a request to another service. The front leg names its cluster, in a header that no client can set, and
 * the longest time of its answer, where there is one. No second try: nobody has kept what was sent.
 */
function backendRoute(gateway: SnapshotGateway): ProtoMessage {
  return {
    name: BACKEND_ROUTE,
    match: { prefix: '/', dynamic_metadata: [decidedFor(BACKEND_ROUTE)] },
    route: {
      cluster_header: CLUSTER_HEADER,
      auto_host_rewrite: true,
      timeout: duration(0),
      idle_timeout: backendIdle(gateway),
    },
  };
}

/** Nobody knows whether a service thinks before it answers or in the middle of it. */
function backendIdle({ timeouts: { streamIdleSeconds, requestSeconds } }: SnapshotGateway): string {
  return duration(Math.max(streamIdleSeconds, requestSeconds));
}

/**
 * Where requests to other services wait for their decision. What is allowed for the whole stream is said here, and how
 * long it may be silent: Envoy starts that timer anew when something passes, and not when another route is chosen. A
 * worker that is silent is found by the filter's message timeout.
 */
function undecidedBackendRoute(gateway: SnapshotGateway): ProtoMessage {
  return {
    name: 'front/backends',
    match: { path_separated_prefix: BACKENDS_PATH },
    route: {
      ...answeredByEnvoy('SERVICE_UNAVAILABLE'),
      idle_timeout: backendIdle(gateway),
      // Which of them takes WebSockets, the front leg knows.
      upgrade_configs: [{ upgrade_type: 'websocket' }],
    },
    typed_per_filter_config: { [FRONT_FILTER]: decidedByHead(), ...decompressorsDisabled() },
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

function retryPolicy(
  manner: RetryManner,
  gateway: SnapshotGateway,
  capabilities: EnvoyCapabilities,
): ProtoMessage {
  return {
    // The front leg sets x-envoy-max-retries for each request; without it there is one try.
    num_retries: 0,
    per_try_timeout: duration(gateway.timeouts.perTrySeconds),
    retry_back_off: {
      base_interval: duration(RETRY_BASE_SECONDS),
      max_interval: duration(RETRY_MAX_SECONDS),
    },
    ...(manner === 'alone' ? waiting(gateway.retries.maxRetryAfterSeconds) : elsewhere()),
    ...(capabilities.priorityGroups ? { refresh_cluster_on_retry: true } : {}),
  };
}

/** There is another provider: it is asked at once. */
function elsewhere(): ProtoMessage {
  return {
    retry_on: '5xx,reset,connect-failure,refused-stream,retriable-status-codes',
    retriable_status_codes: MENDED_ELSEWHERE,
  };
}

/**
 * There is none: the same provider is asked again when it says so. One that asks for more time than is waited for is
 * left alone, and its answer is the client's; Envoy by itself would ignore its wish.
 */
function waiting(maxSeconds: number): ProtoMessage {
  const seconds = Math.floor(maxSeconds);
  const waitable = Array.from({ length: seconds + 1 }, (_, second) => String(second)).join('|');
  return {
    retry_on: 'reset,connect-failure,refused-stream,retriable-headers',
    // A provider that says nothing of a time has `-` there, or nothing.
    retriable_headers: [
      {
        name: VERDICT_HEADER,
        string_match: { safe_regex: { regex: `(${MENDED_BY_TIME}):(-|${waitable})?` } },
      },
    ],
    ...(seconds === 0
      ? {}
      : {
          rate_limited_retry_back_off: {
            reset_headers: [{ name: 'retry-after', format: 'SECONDS' }],
            max_interval: duration(seconds),
          },
        }),
  };
}

/** Paths that the front leg answers or decides on. Everything else is a 404 without a worker. */
const FRONT_PATHS: readonly ProtoMessage[] = [
  { path: '/v1/chat/completions' },
  { path_separated_prefix: '/v1/responses' },
  { path: '/v1/messages' },
  { path: '/v1/messages/count_tokens' },
  { path: '/v1/embeddings' },
  { path_separated_prefix: '/v1/models' },
  { path_separated_prefix: '/v1beta/models' },
  { path: '/health/ready' },
  { path_separated_prefix: METADATA_PATH },
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
        allow_methods: 'GET, POST, PUT, PATCH, DELETE, OPTIONS',
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

/** The gateway's own authorization server is the control plane; a small body, and no worker. */
function crossAppRoutes({ crossAppAccess }: SnapshotGateway): readonly ProtoMessage[] {
  if (crossAppAccess === undefined) return [];
  // RFC 8414, section 3.1: of an issuer with a path, the path comes last. Nothing else of the control plane is to be
  // reached here, so each path is whole.
  const metadata = '/.well-known/oauth-authorization-server';
  const withPath = `${metadata}${new URL(crossAppAccess.issuer).pathname.replace(/\/$/, '')}`;
  return [
    { path: '/oauth/token' },
    { path: '/oauth/jwks.json' },
    ...[...new Set([metadata, withPath])].map((path) => ({ path })),
  ].map((match) => ({
    name: 'cross-app-access',
    match,
    route: { cluster: ADMIN_CLUSTER },
    typed_per_filter_config: ROUTER_DISABLED_FRONT,
  }));
}

/** Logs of identity providers go to the control plane, which knows by a secret whose they are; no worker sees them. */
function identityProviderLogRoutes({ identityProviderLogs }: SnapshotGateway): readonly ProtoMessage[] {
  if (identityProviderLogs !== true) return [];
  return [
    {
      name: 'identity-provider-logs',
      // Of any name: which ones there are, a stranger shall not learn.
      match: {
        safe_regex: { regex: '/webhooks/identity-providers/[a-z0-9._-]+/logs' },
        headers: [{ name: ':method', string_match: { exact: 'POST' } }],
      },
      route: { cluster: ADMIN_CLUSTER },
      typed_per_filter_config: ROUTER_DISABLED_FRONT,
    },
  ];
}

/** The one route configuration of the public listener. It doesn't change with models or keys. */
export function gatewayRoutes(gateway: SnapshotGateway, capabilities: EnvoyCapabilities): TypedMessage {
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
          // First: what was decided on goes by that alone, whatever path it has now. A Backend may have a /metrics too.
          ...routeKinds(capabilities).map((kind) => decidedRoute(kind, gateway, capabilities)),
          backendRoute(gateway),
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
          ...crossAppRoutes(gateway),
          ...identityProviderLogRoutes(gateway),
          undecidedBackendRoute(gateway),
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
