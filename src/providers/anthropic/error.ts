import type { LimenError } from '../../core/errors.ts';
import { messages } from '../../formats/messages/index.ts';
import { decodeErrorResponse } from '../../formats/upstream-body.ts';
import type { UpstreamErrorResponse } from '../provider.ts';

/** Claude docs, "Errors": `{type: "error", error: {type, message}, request_id}`. */
export function decodeAnthropicError(response: UpstreamErrorResponse): LimenError {
  return decodeErrorResponse(response, (value) => messages.decodeError(value));
}
