import type { LimenError } from '../../core/errors.ts';
import type { DecodedError } from '../format.ts';
import { formatSseEvent } from '../framing/sse.ts';
import type { JsonObject } from '../hub.ts';
import { asObject, asString } from '../json/parse.ts';

/** `type` values by HTTP status (Claude docs, "Errors"); the official clients choose their exception by both. */
const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
};

export function messagesErrorBody(
  error: { readonly code: string; readonly message: string },
  status: number,
  requestId: string,
): JsonObject {
  const type = TYPES[status] ?? (status >= 500 ? 'api_error' : 'invalid_request_error');
  return {
    type: 'error',
    // The official clients read `details.error_code` as the error's stable code.
    error: { type, message: error.message, details: { error_code: error.code } },
    request_id: requestId,
  };
}

export function encodeMessagesError(error: LimenError, requestId: string): Buffer {
  return Buffer.from(JSON.stringify(messagesErrorBody(error, error.status, requestId)));
}

export function encodeMessagesStreamError(error: LimenError, requestId: string): string {
  return formatSseEvent('error', JSON.stringify(messagesErrorBody(error, error.status, requestId)));
}

export function decodeMessagesError(value: unknown): DecodedError {
  const body = asObject(value);
  const error = asObject(body?.['error']);
  return {
    message: asString(error?.['message']) ?? asString(body?.['message']),
    type: asString(error?.['type']),
    code: asString(asObject(error?.['details'])?.['error_code']),
    param: undefined,
  };
}
