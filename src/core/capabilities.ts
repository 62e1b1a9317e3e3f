/**
 * What Limen would like of an Envoy beyond the ordinary. All of it is in stock Envoy 1.40; an Envoy that
 * somebody else chose (Istio's, say) may be older, and then the fallback holds.
 */
export interface EnvoyCapabilities {
  /**
   * Envoy 1.40: cluster specifier `priority_group` with an order per request from dynamic metadata, and
   * `RetryPolicy.refresh_cluster_on_retry`. Fallback: the request goes to one provider, named by a header,
   * and tries again there; no failover to another provider.
   */
  readonly priorityGroups: boolean;
  /**
   * Envoy 1.40: `ai_protocol_manager` extracts token usage natively (marked work-in-progress by Envoy).
   * Fallback: the response filter reads usage from the bytes as they pass through a worker.
   */
  readonly nativeUsage: boolean;
}

/** Stock Envoy 1.40. */
export const ALL_CAPABILITIES: EnvoyCapabilities = { priorityGroups: true, nativeUsage: true };

/** The least that Limen works with: FULL_DUPLEX_STREAMED ext_proc, upstream HTTP filters, credential injector. */
export const LEAST_CAPABILITIES: EnvoyCapabilities = { priorityGroups: false, nativeUsage: false };
