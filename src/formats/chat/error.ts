import type { LimenError } from '../../core/errors.ts';
import type { DecodedError } from '../format.ts';
import { formatSseEvent } from '../framing/sse.ts';
import type { JsonObject } from '../hub.ts';
import { asObject, asString } from '../json/parse.ts';

/** `type` values as OpenAI uses them; the official clients choose their exception by HTTP status. */
function errorType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 402) return 'insufficient_quota';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

export function chatErrorBody(
  error: { readonly code: string; readonly message: string; readonly param?: string | undefined },
  status: number,
  requestId: string,
): JsonObject {
  return {
    error: {
      message: error.message,
      type: errorType(status),
      param: error.param ?? null,
      code: error.code,
      request_id: requestId,
    },
  };
}

export function encodeChatError(error: LimenError, requestId: string): Buffer {
  return Buffer.from(JSON.stringify(chatErrorBody(error, error.status, requestId)));
}

/** OpenAI's clients raise an APIError on a data line that holds `error`, whatever event name it has. */
export function encodeChatStreamError(error: LimenError, requestId: string): string {
  return formatSseEvent(undefined, JSON.stringify(chatErrorBody(error, error.status, requestId)));
}

/** Understands OpenAI's shape and the shorter ones of compatible servers (`{error: "text"}`, `{message}`). */
export function decodeChatError(value: unknown): DecodedError {
  const body = asObject(value);
  const error = asObject(body?.['error']) ?? body;
  const code = error?.['code'];
  return {
    message: asString(error?.['message']) ?? asString(body?.['error']),
    type: asString(error?.['type']),
    code: typeof code === 'number' ? String(code) : asString(code),
    param: asString(error?.['param']),
  };
}
