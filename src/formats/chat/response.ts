import { LimenError } from '../../core/errors.ts';
import type { ResponseContext } from '../format.ts';
import type { HubBlock, HubPart, HubResponse, JsonObject } from '../hub.ts';
import { asArray, asNumber, asObject, asString, parseUpstreamObject } from '../json/parse.ts';
import { upstreamStreamError } from '../upstream-error.ts';
import { sealedReasoningDetail } from './carrier.ts';
import { decodeChatError } from './error.ts';
import { decodeChatFinish, encodeChatFinish } from './finish.ts';
import { decodeChatUsage, encodeChatUsage } from './usage.ts';

/** Reads a `chat.completion`. Throws upstream_invalid_response, or the error that it holds. */
export function decodeChatResponse(body: Buffer): HubResponse {
  const value = parseUpstreamObject(body.toString('utf8'), 'an answer');
  if (value['error'] !== undefined && value['error'] !== null)
    throw upstreamStreamError(decodeChatError(value));
  const choice = asObject(asArray(value['choices'])[0]);
  const message = asObject(choice?.['message']);
  if (message === undefined) {
    throw new LimenError('upstream_invalid_response', 'The upstream sent an answer without a message.');
  }
  const content = decodeMessageContent(message);
  return {
    id: asString(value['id']) ?? '',
    model: asString(value['model']) ?? '',
    created: asNumber(value['created']),
    content,
    finish: decodeChatFinish(
      choice?.['finish_reason'],
      content.some((part) => part.kind === 'tool_call'),
      content.some((part) => part.kind === 'refusal'),
    ),
    usage: decodeChatUsage(value['usage']),
    serviceTier: asString(value['service_tier']),
  };
}

function decodeMessageContent(message: JsonObject): HubPart[] {
  const parts: HubPart[] = [];
  const reasoning = readReasoningText(message);
  if (reasoning) parts.push({ kind: 'thinking', text: reasoning });
  const content = message['content'];
  if (typeof content === 'string') {
    if (content !== '') parts.push({ kind: 'text', text: content });
  } else {
    for (const part of asArray(content)) {
      const text = asString(asObject(part)?.['text']);
      if (text) parts.push({ kind: 'text', text });
    }
  }
  const refusal = asString(message['refusal']);
  if (refusal) parts.push({ kind: 'refusal', text: refusal });
  for (const [index, value] of asArray(message['tool_calls']).entries()) {
    const call = asObject(value);
    const called = asObject(call?.['function']);
    if (call === undefined || called === undefined) continue;
    parts.push({
      kind: 'tool_call',
      id: asString(call['id']) ?? `call_${String(index)}`,
      name: asString(called['name']) ?? '',
      argumentsJson: asString(called['arguments']) ?? JSON.stringify(called['arguments'] ?? {}),
    });
  }
  return parts;
}

/** Reasoning text as compatible servers name it: `reasoning_content` (DeepSeek, vLLM) or `reasoning` (Ollama, Groq). */
export function readReasoningText(value: JsonObject): string | undefined {
  return asString(value['reasoning_content']) ?? asString(value['reasoning']);
}

/** An id in the shape that clients of this API are used to. */
export function chatResponseId(id: string, requestId: string): string {
  return id === '' ? `chatcmpl-${requestId}` : id.replace(/^msg_/, 'chatcmpl-');
}

export function encodeChatResponse(response: HubResponse, context: ResponseContext): Buffer {
  const body = {
    id: chatResponseId(response.id, context.requestId),
    object: 'chat.completion',
    created: response.created ?? context.created,
    model: context.requestedModel,
    choices: [
      {
        index: 0,
        message: encodeMessage(response, context),
        logprobs: null,
        finish_reason: encodeChatFinish(response.finish, context.warnings),
      },
    ],
    ...(response.usage === undefined ? {} : { usage: encodeChatUsage(response.usage) }),
    ...(response.serviceTier === undefined ? {} : { service_tier: response.serviceTier }),
  };
  return Buffer.from(JSON.stringify(body));
}

function encodeMessage(response: HubResponse, context: ResponseContext): JsonObject {
  const texts: string[] = [];
  const thinking: string[] = [];
  const refusals: string[] = [];
  const details: JsonObject[] = [];
  const calls: JsonObject[] = [];
  for (const part of response.content) {
    switch (part.kind) {
      case 'text':
        texts.push(part.text);
        break;
      case 'thinking':
        thinking.push(part.text);
        if (part.signature) sealOrWarn(part, details, context);
        break;
      case 'redacted_thinking':
        sealOrWarn(part, details, context);
        break;
      case 'refusal':
        refusals.push(part.text);
        break;
      case 'tool_call':
        calls.push({
          id: part.id,
          type: 'function',
          function: { name: part.name, arguments: part.argumentsJson === '' ? '{}' : part.argumentsJson },
        });
        break;
      default:
        warnAboutContent(part, context);
    }
  }
  const explanation = response.finish.explanation;
  if (refusals.length === 0 && explanation !== undefined) refusals.push(explanation);
  return {
    role: 'assistant',
    content: texts.length > 0 ? texts.join('') : calls.length > 0 || refusals.length > 0 ? null : '',
    refusal: refusals.length > 0 ? refusals.join('') : null,
    ...(thinking.length > 0 ? { reasoning_content: thinking.join('\n') } : {}),
    ...(details.length > 0 ? { reasoning_details: details } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

function sealOrWarn(
  part: Extract<HubPart, { kind: 'thinking' | 'redacted_thinking' }>,
  details: JsonObject[],
  context: ResponseContext,
): void {
  const { reasoningCarrier } = context;
  if (reasoningCarrier !== undefined) details.push(sealedReasoningDetail(reasoningCarrier.seal(part)));
  else warnAboutSignature(context);
}

export function warnAboutSignature({ warnings }: ResponseContext): void {
  warnings.dropped('signature', 'Chat Completions has no field for the signature of reasoning.');
}

export function warnAboutContent(part: HubPart | HubBlock, context: ResponseContext): void {
  const type = (part.kind === 'opaque' ? asString(part.value['type']) : undefined) ?? part.kind;
  // The delta of a stream and the part of a plain answer are one thing to a client.
  const name = type.replace(/_delta$/, '');
  context.warnings.dropped(`content.${name}`, 'Chat Completions has no such content in an answer.');
}
