import { type ErrorCode, LimenError } from '../core/errors.ts';
import type { Format } from './format.ts';

interface LocalReply {
  readonly code: ErrorCode;
  readonly message: string;
}

/** What Envoy answers by itself, by HTTP status, when no processor had a say. */
const LOCAL_REPLIES: Readonly<Record<number, LocalReply>> = {
  400: { code: 'invalid_request', message: 'The gateway could not read this request.' },
  403: { code: 'not_allowed', message: 'The gateway does not allow this request.' },
  404: { code: 'not_found', message: 'The gateway has nothing at this address.' },
  408: { code: 'request_timeout', message: 'The request did not arrive in time.' },
  413: { code: 'request_too_large', message: 'The request body is larger than the gateway takes.' },
  429: { code: 'rate_limited', message: 'Too many requests.' },
  431: { code: 'headers_too_large', message: 'The request headers are larger than the gateway takes.' },
  500: { code: 'internal_error', message: 'The gateway failed to handle this request.' },
  502: { code: 'upstream_error', message: 'The upstream gave no proper answer.' },
  503: { code: 'unavailable', message: 'The gateway or its upstream cannot take this request now.' },
  504: { code: 'upstream_timeout', message: 'The upstream did not answer in time.' },
};

/** The statuses that `localReplyBody` knows. */
export const LOCAL_REPLY_STATUSES: readonly number[] = Object.keys(LOCAL_REPLIES).map(Number);

/**
 * JSON text of Envoy's own answer in the client's format. `requestId` may be one of Envoy's command operators
 * (`%REQ(X-REQUEST-ID)%`): the text holds no other `%`. Unknown statuses get the words of 500 or 400.
 */
export function localReplyBody(format: Format, status: number, requestId: string): string {
  const reply = LOCAL_REPLIES[status] ?? LOCAL_REPLIES[status >= 500 ? 500 : 400];
  const code = reply?.code ?? 'internal_error';
  const error = new LimenError(code, reply?.message ?? 'The request failed.', { status });
  return format.encodeError(error, requestId).toString('utf8');
}
