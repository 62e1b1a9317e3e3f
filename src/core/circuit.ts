import { BACKEND_ROUTE } from './gateway-names.ts';
import type { FailedAttempt, GatewayLogRow } from './ledger.ts';

/** Longest time that a provider's `retry-after` keeps requests away from it. */
const LONGEST_PAUSE_SECONDS = 300;

/** What a try tells about its provider's circuit. */
export type CircuitVerdict =
  | { readonly kind: 'success' | 'failure' }
  /** The provider asked to be left alone for so long. */
  | { readonly kind: 'pause'; readonly seconds: number };

/** The provider refuses the gateway itself: its key is wrong, or its bill unpaid. */
const REFUSES_GATEWAY: readonly number[] = [401, 402, 403, 407];

/**
 * What a failed try tells: anything that another client's request would have met as well counts. Undefined for a
 * 4xx that the client itself has earned.
 */
export function verdictOfAttempt({
  outcome,
  status,
  retryAfterSeconds,
}: Pick<FailedAttempt, 'outcome' | 'status' | 'retryAfterSeconds'>): CircuitVerdict | undefined {
  if (outcome !== 'status') return { kind: 'failure' };
  if (status === 408 || status === 429 || status >= 500) return busy(retryAfterSeconds);
  return REFUSES_GATEWAY.includes(status) ? { kind: 'failure' } : undefined;
}

function busy(retryAfterSeconds: number): CircuitVerdict {
  if (retryAfterSeconds <= 0) return { kind: 'failure' };
  return { kind: 'pause', seconds: Math.min(Math.ceil(retryAfterSeconds), LONGEST_PAUSE_SECONDS) };
}

const PROVIDER_FAILED: readonly GatewayLogRow['errorCode'][] = [
  'upstream_error',
  'upstream_invalid_response',
  'upstream_reset',
  'upstream_timeout',
  'upstream_unavailable',
];

/**
 * What a finished request tells about the provider of its last try. Undefined where none was tried, where the client
 * left before an answer, and for a refusal that the client has earned.
 */
export function verdictOfRow(
  { format, provider, attempts, status, errorCode }: GatewayLogRow,
  retryAfterSeconds = 0,
): CircuitVerdict | undefined {
  // Other services have no circuit, and one may have a provider's name.
  if (provider === '' || attempts === 0 || format === BACKEND_ROUTE) return undefined;
  if (PROVIDER_FAILED.includes(errorCode)) return busy(retryAfterSeconds);
  if (errorCode === 'upstream_refused') {
    // Clients see the provider's refusal of the gateway itself as 502.
    return status === 429 || status >= 500 ? busy(retryAfterSeconds) : undefined;
  }
  const hasAnswer = status >= 200 && status < 400;
  return hasAnswer && (errorCode === '' || errorCode === 'client_disconnected')
    ? { kind: 'success' }
    : undefined;
}
