import type { RequestContext } from '../core/ledger.ts';

/** Response flags of Envoy's access log, by their field names in envoy.data.accesslog.v3.ResponseFlags. */
export type ResponseFlag =
  | 'failed_local_healthcheck'
  | 'no_healthy_upstream'
  | 'upstream_request_timeout'
  | 'local_reset'
  | 'upstream_remote_reset'
  | 'upstream_connection_failure'
  | 'upstream_connection_termination'
  | 'upstream_overflow'
  | 'no_route_found'
  | 'rate_limited'
  | 'downstream_connection_termination'
  | 'upstream_retry_limit_exceeded'
  | 'stream_idle_timeout'
  | 'downstream_protocol_error'
  | 'upstream_max_stream_duration_reached'
  | 'duration_timeout'
  | 'upstream_protocol_error'
  | 'no_cluster_found'
  | 'overload_manager'
  | 'dns_resolution_failure'
  | 'downstream_remote_reset';

/**
 * envoy.data.ai.v3.TokenUsage with its wrappers opened; a count that Envoy did not set is absent.
 *
 * Measured with Envoy 1.40: `inputTokens` of an Anthropic answer already holds the tokens read from and written
 * to its cache, as OpenAI's does, so the parts are never added. The message is absent where the client left, the
 * upstream broke, the status was not 2xx, or the answer told no usage; FAILED for a body that does not parse;
 * PARTIAL where an Anthropic stream ended in an error event.
 */
export interface EnvoyTokenUsage {
  readonly status: 'complete' | 'partial' | 'failed';
  readonly inputTokens?: number | undefined;
  readonly outputTokens?: number | undefined;
  readonly cachedTokens?: number | undefined;
  readonly cacheCreationTokens?: number | undefined;
  readonly reasoningTokens?: number | undefined;
}

/** One HTTP entry of Envoy's access log, decoded: what the ledger reads of it. */
export interface AccessLogEntry {
  /** `end`: the request is over (DownstreamEnd). `periodic`: it is still open (DownstreamPeriodic). */
  readonly kind: 'end' | 'periodic';
  /** Dynamic metadata `limen`, field `context`: JSON of a RequestContext. Absent before identification. */
  readonly context: string | undefined;
  /** Dynamic metadata `limen.response`, field `usage`: JSON of a LegReport of the response leg. */
  readonly response: string | undefined;
  /** Typed dynamic metadata of Envoy's own token counting. */
  readonly tokenUsage: EnvoyTokenUsage | undefined;
  /** HTTP status that the client got; 0 where no header was sent. */
  readonly status: number;
  readonly flags: readonly ResponseFlag[];
  /** `via_upstream`, `response_timeout`, `upstream_reset_after_response_started{…}` … */
  readonly details: string;
  /** Whole seconds of the answer's `retry-after`; absent where it has none. */
  readonly retryAfterSeconds?: number | undefined;
  /** Bytes of the answer's body that were sent to the client. */
  readonly responseBytes: number;
  /** Tries, the first included; 0 where no upstream was asked. */
  readonly attempts: number;
  /** Cluster of the last try, empty where none was chosen. */
  readonly upstreamCluster: string;
  /** Milliseconds from the request's start to its end; 0 in periodic entries. */
  readonly durationMs: number;
  /** Milliseconds from the request's start to the upstream's first byte; undefined where none came. */
  readonly firstUpstreamByteMs: number | undefined;
}

/** What Envoy would have said of a request whose client left before anything of the decision on it had reached Envoy. */
export function abandonedEntry(context: RequestContext, now: number): AccessLogEntry {
  return {
    kind: 'end',
    context: JSON.stringify(context),
    response: undefined,
    tokenUsage: undefined,
    status: 0,
    flags: ['downstream_remote_reset'],
    details: '',
    responseBytes: 0,
    attempts: 0,
    upstreamCluster: '',
    durationMs: Math.max(0, now - context.time),
    firstUpstreamByteMs: undefined,
  };
}
