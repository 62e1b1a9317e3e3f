import type { JsonObject } from '../hub.ts';

/** Marks an entry of `reasoning_details` as ours, so that entries of other makers are left alone. */
export const SEALED_REASONING_FORMAT = 'limen-sealed-v1';

/**
 * One entry of `reasoning_details`, the array in which gateways carry reasoning that must come back
 * unchanged; clients that keep it return it with the assistant's message.
 */
export function sealedReasoningDetail(sealed: string): JsonObject {
  return { type: 'reasoning.encrypted', format: SEALED_REASONING_FORMAT, data: sealed };
}
