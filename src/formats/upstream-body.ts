import type { LimenError } from '../core/errors.ts';
import type { DecodedError } from './format.ts';
import { upstreamStatusError } from './upstream-error.ts';

/** An error answer as every provider's `decodeError` gets it. */
interface ErrorResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Reads an error answer with a format's own decoder. Bodies that are no JSON (a proxy's HTML) say nothing. */
export function decodeErrorResponse(
  response: ErrorResponse,
  decode: (value: unknown) => DecodedError,
): LimenError {
  let value: unknown;
  try {
    value = JSON.parse(response.body.toString('utf8'));
  } catch {
    value = undefined;
  }
  return upstreamStatusError(response.status, decode(value), retryAfterSeconds(response.headers));
}

/**
 * Whole seconds of `retry-after-ms` or `retry-after` (RFC 9110, 10.2.3). A date counts from the answer's own
 * `date` header, so no clock is needed and a skewed one does no harm.
 */
export function retryAfterSeconds(headers: Readonly<Record<string, string>>): number | undefined {
  const milliseconds = Number(headers['retry-after-ms'] ?? Number.NaN);
  if (milliseconds >= 0) return Math.ceil(milliseconds / 1000);
  const text = headers['retry-after']?.trim();
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  if (seconds >= 0) return Math.ceil(seconds);
  const wait = Date.parse(text) - Date.parse(headers['date'] ?? '');
  return wait >= 0 ? Math.ceil(wait / 1000) : undefined;
}
