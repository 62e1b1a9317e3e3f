import type { LimenError } from '../../core/errors.ts';
import { chat } from '../../formats/chat/index.ts';
import { decodeErrorResponse } from '../../formats/upstream-body.ts';
import type { UpstreamErrorResponse } from '../provider.ts';

/** OpenAI docs, "Error codes": `{error: {message, type, param, code}}`. */
export function decodeOpenAiError(response: UpstreamErrorResponse): LimenError {
  return decodeErrorResponse(response, (value) => chat.decodeError(value));
}
