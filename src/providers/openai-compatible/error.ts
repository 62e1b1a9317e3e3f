import type { LimenError } from '../../core/errors.ts';
import { chat } from '../../formats/chat/index.ts';
import { decodeErrorResponse } from '../../formats/upstream-body.ts';
import type { UpstreamErrorResponse } from '../provider.ts';

/** OpenAI's shape, or one of the shorter ones that the format's decoder also understands. */
export function decodeOpenAiCompatibleError(response: UpstreamErrorResponse): LimenError {
  return decodeErrorResponse(response, (value) => chat.decodeError(value));
}
