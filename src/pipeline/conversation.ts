import { createHash } from 'node:crypto';
import { LimenError } from '../core/errors.ts';
import { type AdmitRequest, MAX_KEPT_BYTES } from '../core/ledger.ts';
import { readMember, type TopLevel } from '../formats/json/scan.ts';
import { readOptionalBoolean } from '../formats/json/members.ts';
import { inputItems, withPreviousItems } from '../formats/responses/stored.ts';

/** How long the items of a request wait for its answer, in seconds, where conversations are kept for a shorter time. */
const LONGEST_ANSWER_SECONDS = 3600;

/** What a request of the Responses API has to do with answers that were given before, or will be asked for later. */
export interface Conversation {
  /** Id of the answer that it goes on from. */
  readonly previousId: string | undefined;
  /** How long its own answer is kept; undefined: it is not. */
  readonly storeSeconds: number | undefined;
}

/**
 * Reads it, and refuses what would lean on what a provider has stored: its account is shared by all who use the
 * gateway, so an id there may be anybody's. Throws invalid_request.
 *
 * @param storeSeconds Gateway.spec.responses.storeSeconds
 */
export function readConversation(body: Buffer, topLevel: TopLevel, storeSeconds: number): Conversation {
  const previousId = readMember(body, topLevel, 'previous_response_id') ?? undefined;
  const store = readOptionalBoolean(body, topLevel, 'store');
  const keeps = storeSeconds > 0;
  if (previousId !== undefined && (typeof previousId !== 'string' || previousId === '')) {
    throw refusal('previous_response_id', "The field 'previous_response_id' must be the id of an answer.");
  }
  // `store: true` alone asks for nothing: what comes of it shows when somebody refers to the answer.
  if (previousId !== undefined && !keeps) {
    throw refusal(
      'previous_response_id',
      "The field 'previous_response_id' cannot be used: this gateway keeps no answers. Its administrator may set Gateway.spec.responses.storeSeconds; until then send the earlier items in 'input'.",
    );
  }
  if ((readMember(body, topLevel, 'conversation') ?? undefined) !== undefined) {
    throw refusal(
      'conversation',
      "The field 'conversation' cannot be used: this gateway keeps no conversations.",
    );
  }
  if (readOptionalBoolean(body, topLevel, 'background') === true) {
    throw refusal('background', "The field 'background' cannot be used: answers cannot be fetched later.");
  }
  return { previousId, storeSeconds: keeps && store !== false ? storeSeconds : undefined };
}

function refusal(param: string, message: string): LimenError {
  return new LimenError('invalid_request', message, { param });
}

/** Answers cannot be fetched or deleted: they are kept for `previous_response_id` alone. */
export function noStoredResponses(): LimenError {
  return new LimenError(
    'not_found',
    'This gateway keeps no responses to fetch, cancel or delete; previous_response_id is all that refers to one.',
  );
}

/** Where the conversation up to an answer is kept: nobody finds it but the one who had it (ownerOf). */
export function conversationKey(owner: string, responseId: string): string {
  return `conversation:${hash([owner, responseId])}`;
}

/** Where the items of a request wait for its answer. */
export function pendingKey(owner: string, requestId: string): string {
  return `pending:${hash([owner, requestId])}`;
}

function hash(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/** Items as they are kept: whatever is appended makes one text of it. */
export function keptItems(items: string): Buffer {
  return Buffer.from(items === '' ? '' : `${items},`);
}

/** What the one call before the upstream is asked for the sake of a conversation. */
export function conversationWish(
  conversation: Conversation,
  owner: string,
  requestId: string,
  body: Buffer,
  topLevel: TopLevel,
): Pick<AdmitRequest, 'wanted' | 'keep'> {
  const { previousId, storeSeconds } = conversation;
  const value = storeSeconds === undefined ? undefined : keptItems(inputItems(body, topLevel));
  return {
    wanted: previousId === undefined ? undefined : conversationKey(owner, previousId),
    keep:
      // What would not be kept is not sent either: the request waits for this call, as do those behind it.
      storeSeconds === undefined || value === undefined || value.length > MAX_KEPT_BYTES
        ? undefined
        : {
            key: pendingKey(owner, requestId),
            value,
            ttlSeconds: Math.max(storeSeconds, LONGEST_ANSWER_SECONDS),
          },
  };
}

/**
 * The request with all that went before it. Throws not_found where the answer is not known (any more, or to this key),
 * and unavailable where nobody could look.
 */
export function continued(
  body: Buffer,
  topLevel: TopLevel,
  previousId: string,
  admission: { readonly intentId: string; readonly found?: Buffer | undefined },
): Buffer {
  const { found, intentId } = admission;
  if (found === undefined && intentId === '') {
    throw new LimenError('unavailable', 'Earlier answers cannot be read at the moment. Try again shortly.', {
      retryAfterSeconds: 1,
    });
  }
  if (found === undefined) {
    throw new LimenError('not_found', `Previous response with id '${previousId.slice(0, 100)}' not found.`, {
      param: 'previous_response_id',
    });
  }
  return withPreviousItems(body, topLevel, found.toString('utf8').replace(/,$/, ''));
}
