import type { GatewayLogRow } from '../core/ledger.ts';
import type { AccessLogEntry, ResponseFlag } from './access-log-entry.ts';
import { errorCodeOf, type LegReport } from './leg-report.ts';

const CLIENT_LEFT: readonly ResponseFlag[] = ['downstream_connection_termination', 'downstream_remote_reset'];
const TOO_LATE: readonly ResponseFlag[] = [
  'upstream_request_timeout',
  'stream_idle_timeout',
  'upstream_max_stream_duration_reached',
  'duration_timeout',
];
const BROKEN: readonly ResponseFlag[] = [
  'upstream_remote_reset',
  'upstream_connection_termination',
  'upstream_protocol_error',
];
const NOT_REACHED: readonly ResponseFlag[] = [
  'no_healthy_upstream',
  'upstream_connection_failure',
  'upstream_overflow',
  'no_cluster_found',
  'dns_resolution_failure',
  'failed_local_healthcheck',
];

/** Details that Envoy gives to a try that took too long, whatever the flags say. */
const TIMEOUT_DETAILS =
  /^(response_timeout|upstream_per_try_timeout|upstream_per_try_idle_timeout|stream_idle_timeout|duration_timeout|upstream_max_stream_duration_reached)/;
const RESET_AFTER_HEADERS = 'upstream_reset_after_response_started';
const RESET_BEFORE_HEADERS = 'upstream_reset_before_response_started';
/** Details of answers that came from the upstream, rather than from Envoy itself. */
const VIA_UPSTREAM = 'via_upstream';
const SWITCHED_PROTOCOLS = 101;

/** Details that the processor gives to an answer of its own: the code of why it refused. */
const OWN_ANSWER = /^limen_([a-z_]+)/;

/** Codes of answers that Envoy gave by itself, by status. */
const LOCAL_CODES: Readonly<Record<number, GatewayLogRow['errorCode']>> = {
  404: 'not_found',
  408: 'request_timeout',
  413: 'request_too_large',
  429: 'rate_limited',
  431: 'headers_too_large',
  500: 'internal_error',
  // Envoy's only 502 without flags: in place of a provider's refusal of the gateway itself.
  502: 'upstream_refused',
  503: 'unavailable',
  504: 'upstream_timeout',
};

function codeOfUpstreamStatus(status: number): GatewayLogRow['errorCode'] {
  if (status === 408 || status === 504) return 'upstream_timeout';
  return status >= 500 ? 'upstream_error' : 'upstream_refused';
}

/**
 * The row's error code: empty for an answer that went well. What ended the request comes first (the client left,
 * the upstream broke, time ran out), then what the response leg reported, then the status.
 */
export function errorCodeOfEntry(
  entry: AccessLogEntry,
  report: LegReport | undefined,
): GatewayLogRow['errorCode'] {
  const has = (flags: readonly ResponseFlag[]) => flags.some((flag) => entry.flags.includes(flag));
  const { status, details } = entry;
  const answered = status >= 200 && status < 400;
  const reported = report?.errorCode;

  const refused = errorCodeOf(OWN_ANSWER.exec(details)?.[1]);
  if (refused !== undefined) return refused;
  // A WebSocket ends as either side wishes.
  if (status === SWITCHED_PROTOCOLS && !has(TOO_LATE)) return '';
  if (has(CLIENT_LEFT) || details.startsWith('downstream_remote')) return reported ?? 'client_disconnected';
  if (details.startsWith(RESET_AFTER_HEADERS) || (answered && has(BROKEN))) return 'upstream_reset';
  if (reported !== undefined) return reported;
  if (has(['overload_manager'])) return 'unavailable';
  // A client that stops sending its request is no slow upstream.
  if (status === 408 && details !== VIA_UPSTREAM) return 'request_timeout';
  if (TIMEOUT_DETAILS.test(details) || has(TOO_LATE)) return 'upstream_timeout';
  if (has(NOT_REACHED) || details.startsWith(RESET_BEFORE_HEADERS)) return 'upstream_unavailable';
  if (answered) return '';
  if (status === 0) return 'internal_error';
  if (details === VIA_UPSTREAM) return codeOfUpstreamStatus(status);
  return LOCAL_CODES[status] ?? (status >= 500 ? 'internal_error' : 'invalid_request');
}
