import type { HubFinish, HubFinishReason, JsonObject } from '../hub.ts';
import { asObject, asString } from '../json/parse.ts';

const REASONS: Readonly<Record<string, HubFinishReason>> = {
  end_turn: 'stop',
  stop_sequence: 'stop_sequence',
  max_tokens: 'length',
  model_context_window_exceeded: 'context_window',
  tool_use: 'tool_calls',
  refusal: 'refusal',
  pause_turn: 'pause',
};

const STOP_REASONS: Readonly<Record<HubFinishReason, string>> = {
  stop: 'end_turn',
  stop_sequence: 'stop_sequence',
  length: 'max_tokens',
  context_window: 'model_context_window_exceeded',
  tool_calls: 'tool_use',
  refusal: 'refusal',
  pause: 'pause_turn',
};

/** `value` is a message or the delta of `message_delta`. Unknown reasons count as an ordinary stop. */
export function decodeMessagesFinish(value: JsonObject): HubFinish {
  const stopReason = asString(value['stop_reason']) ?? 'end_turn';
  return {
    reason: Object.hasOwn(REASONS, stopReason) ? (REASONS[stopReason] ?? 'stop') : 'stop',
    stopSequence: asString(value['stop_sequence']),
    explanation: asString(asObject(value['stop_details'])?.['explanation']),
  };
}

export function encodeMessagesFinish(finish: HubFinish): JsonObject {
  return {
    stop_reason: STOP_REASONS[finish.reason],
    stop_sequence: finish.stopSequence ?? null,
    ...(finish.explanation === undefined
      ? {}
      : { stop_details: { type: 'refusal', category: null, explanation: finish.explanation } }),
  };
}
