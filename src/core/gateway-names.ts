/**
 * Names that the Envoy configuration and the processor must agree on. Neither may import the other, so they
 * stand here.
 */

/** Dynamic metadata of the front leg: `context` (JSON of a RequestContext) and `route` (a RouteName). */
export const CONTEXT_NAMESPACE = 'limen';
/** Typed dynamic metadata of the front leg: the order of clusters to try (PriorityGroupsOverride). */
export const ORDER_NAMESPACE = 'limen.order';
/**
 * Dynamic metadata of the upstream leg, for the response leg: `cluster` of the last try, `dropped` (what its provider
 * could not be told), `failure` (JSON of a code and a message, where its stream failed before it began; else empty).
 */
export const ATTEMPT_NAMESPACE = 'limen.attempt';
/** Dynamic metadata of the response leg: `usage` (JSON of a LegReport), what it has counted so far. */
export const RESPONSE_NAMESPACE = 'limen.response';
/** Typed dynamic metadata of Envoy's own token counting (envoy.data.ai.v3.TokenUsage). */
export const USAGE_NAMESPACE = 'limen.usage';

/** Request header that names the cluster, for Envoys without priority groups. Clients can never set it. */
export const CLUSTER_HEADER = 'x-limen-cluster';
/** gRPC metadata that tells a worker which leg it is called for. */
export const LEG_METADATA = 'limen-leg';
/**
 * gRPC metadata of the response leg: whole seconds that a provider may be silent in the middle of a stream, or take for
 * an answer in one piece since the request was decided on.
 */
export const PATIENCE_METADATA = 'limen-patience';
/** gRPC metadata of the upstream leg of watched clusters. */
export const WATCH_METADATA = 'limen-watch';

/**
 * The request's id as providers see it (OpenAI documents the header). Failed tries are logged with it: Envoy's log of a
 * try knows nothing of the request but what was sent.
 */
export const TRY_ID_HEADER = 'x-client-request-id';
/** Response headers between upstream filters, router and workers; clients and providers see none of them. */
export const INTERNAL_RESPONSE_PREFIX = 'x-limen-internal-';
/** `STATUS:RETRY-AFTER` of a provider's answer, by which the router decides on another try. */
export const VERDICT_HEADER = `${INTERNAL_RESPONSE_PREFIX}verdict`;
/** How a watched stream failed before it began: an outcome of FailedAttempt. */
export const OUTCOME_HEADER = `${INTERNAL_RESPONSE_PREFIX}outcome`;

/**
 * Response headers about limits. The front leg writes those that there are into CONTEXT_NAMESPACE under the same names,
 * and Envoy sets them in the place of a provider's own.
 */
export const RATE_LIMIT_HEADERS = ['requests', 'tokens', 'usd'].flatMap((unit) =>
  ['limit', 'remaining', 'reset'].map((what) => `x-ratelimit-${what}-${unit}`),
);

/** Response code details of answers that a worker gives by itself begin so; an error code follows. */
export const WORKER_ANSWER_DETAILS = 'limen_';

/** The three exchanges that a worker may serve. */
export type Leg = 'front' | 'upstream' | 'response';

/** Client formats whose usage Envoy can count by itself. */
export const NATIVE_FORMATS = ['chat', 'responses', 'messages', 'gemini', 'embeddings'] as const;
export type NativeFormat = (typeof NATIVE_FORMATS)[number];

/**
 * How an answer goes back, and so which route a request takes after the front leg has decided: natively, no worker
 * sees it; processed, the response leg reads or converts it.
 */
export type ResponsePath = `native/${NativeFormat}` | 'processed';

/**
 * Whether another try would go to the same provider: then the upstream's `retry-after` is waited for. Where there
 * is another provider it is asked at once.
 */
export type RetryManner = 'alone' | 'failover';

/** Route name: the path, whether the answer is a stream (which has no whole timeout), and how it is tried again. */
export type ModelRouteName = `${ResponsePath}/${'stream' | 'whole'}/${RetryManner}`;
export type RouteName = ModelRouteName | typeof BACKEND_ROUTE;

/** Where other services are, by name. Requests below it are decided on by their head alone. */
export const BACKENDS_PATH = '/backends';
/** The route of a request to another service, and what such a request is called in rows. */
export const BACKEND_ROUTE = 'backend';
const BACKEND_CLUSTER_PREFIX = 'backend/';

/** Cluster that carries requests to a Backend; its credential has the same name. */
export function backendCluster(backend: string): string {
  return `${BACKEND_CLUSTER_PREFIX}${backend}`;
}

/** The Backend behind the name of a cluster or a credential; undefined where it is none's. */
export function backendOfCluster(cluster: string): string | undefined {
  return cluster.startsWith(BACKEND_CLUSTER_PREFIX)
    ? cluster.slice(BACKEND_CLUSTER_PREFIX.length)
    : undefined;
}

const CLUSTER_PREFIX = 'provider/';
const CONVERTED_SUFFIX = '/converted';
const WATCHED_SUFFIX = '/watched';

/** Cluster that carries requests to a provider as they are. */
export function plainCluster(provider: string): string {
  return `${CLUSTER_PREFIX}${provider}`;
}

/**
 * Cluster of the same provider whose upstream filters convert each try. A try knows its target by its cluster
 * alone; so a Model with several targets of one provider needs a cluster for each.
 *
 * @param ordinal counts the targets of one provider within a Model, from 0
 */
export function convertedCluster(provider: string, ordinal = 0): string {
  return `${CLUSTER_PREFIX}${provider}${CONVERTED_SUFFIX}${ordinal === 0 ? '' : `/${ordinal}`}`;
}

/** The same for models with `failoverOn: firstEvent`: its upstream leg holds each try's headers until its first content. */
export function watchedCluster(provider: string, ordinal = 0): string {
  return `${CLUSTER_PREFIX}${provider}${WATCHED_SUFFIX}${ordinal === 0 ? '' : `/${ordinal}`}`;
}

/** Whose try a cluster carries. */
export interface ClusterTarget {
  readonly provider: string;
  /** Which of a Model's targets of that provider, from 0. */
  readonly ordinal: number;
}

/** The target behind a cluster name, or undefined for a cluster that is no provider's. Names hold no slash. */
export function targetOfCluster(cluster: string): ClusterTarget | undefined {
  if (!cluster.startsWith(CLUSTER_PREFIX)) return undefined;
  const [provider = '', , ordinal = '0'] = cluster.slice(CLUSTER_PREFIX.length).split('/');
  return { provider, ordinal: Number(ordinal) };
}

/** Of a Model's targets the one that a cluster stands for. */
export function targetAmong<Target extends { readonly provider: string }>(
  targets: readonly Target[],
  { provider, ordinal }: ClusterTarget,
): Target | undefined {
  return targets.filter((target) => target.provider === provider)[ordinal];
}

/** Headers in which a client may present its credential, lower case. None of them ever goes upstream. */
export const CREDENTIAL_HEADERS = ['authorization', 'x-api-key', 'x-goog-api-key', 'api-key'] as const;

/** Field of the front leg's dynamic metadata that is there where the end of a request is charged to a rule. */
export const CHARGED_FIELD = 'charged';
/** Field of the front leg's dynamic metadata with who asks: an object of the fields below. */
export const IDENTITY_FIELD = 'identity';
/**
 * Headers that tell an upstream who asks, where its resource says so, by the field that has it. No client can ever set
 * them.
 */
export const IDENTITY_HEADERS = {
  'x-user-id': 'user',
  'x-user-email': 'email',
  'x-user-name': 'name',
  'x-user-groups': 'groups',
  'x-user-role': 'role',
  'x-user-scopes': 'scopes',
  'x-user-admin': 'admin',
  'x-organization': 'organization',
  'x-gateway-validated': 'validated',
} as const;

/** Where clients learn who issues tokens for the gateway (RFC 9728, section 3). */
export const METADATA_PATH = '/.well-known/oauth-protected-resource';
