import type { Usage } from '../../core/usage.ts';
import type { ResponseContext, StreamEncoder } from '../format.ts';
import { formatSseComment, formatSseEvent } from '../framing/sse.ts';
import type { HubBlock, HubEvent, HubPart, JsonObject } from '../hub.ts';
import { sealedReasoningDetail } from './carrier.ts';
import { encodeChatStreamError } from './error.ts';
import { encodeChatFinish } from './finish.ts';
import { chatResponseId, warnAboutContent, warnAboutSignature } from './response.ts';
import { encodeChatUsage } from './usage.ts';

/**
 * Writes a stream of `chat.completion.chunk` as OpenAI documents it: the role first, deltas, a chunk with
 * `finish_reason`, the usage chunk (no choices) where the client asked for it, `[DONE]`. With usage asked
 * for, every other chunk carries `usage: null`.
 */
export class ChatStreamEncoder implements StreamEncoder {
  readonly #context: ResponseContext;
  #pieces: string[] = [];
  #head: JsonObject = {};
  #block: HubBlock | undefined;
  #toolIndex = -1;
  #thinkingText = '';
  #usage: Usage | undefined;

  constructor(context: ResponseContext) {
    this.#context = context;
  }

  take(): Buffer {
    const bytes = Buffer.from(this.#pieces.join(''));
    this.#pieces = [];
    return bytes;
  }

  write(event: HubEvent): void {
    switch (event.kind) {
      case 'start':
        this.#start(event);
        break;
      case 'block_start':
        this.#startBlock(event.block);
        break;
      case 'delta':
        this.#delta(event.text);
        break;
      case 'signature':
        this.#seal({ kind: 'thinking', text: this.#thinkingText, signature: event.signature });
        break;
      case 'opaque_delta':
        // Deltas of an opaque block were reported with its start.
        if (this.#block?.kind !== 'opaque') {
          warnAboutContent({ kind: 'opaque', format: event.format, value: event.value }, this.#context);
        }
        break;
      case 'block_stop':
        break;
      case 'finish':
        if (event.finish.explanation !== undefined) this.#choice({ refusal: event.finish.explanation }, null);
        this.#choice({}, encodeChatFinish(event.finish, this.#context.warnings));
        break;
      case 'usage':
        this.#usage = event.usage;
        break;
      case 'ping':
        this.#pieces.push(formatSseComment('ping'));
        break;
      case 'error':
        this.#pieces.push(encodeChatStreamError(event.error, this.#context.requestId));
        break;
      case 'end':
        this.#end();
        break;
    }
  }

  #start(event: Extract<HubEvent, { kind: 'start' }>): void {
    this.#head = {
      id: chatResponseId(event.id, this.#context.requestId),
      object: 'chat.completion.chunk',
      created: event.created ?? this.#context.created,
      model: this.#context.requestedModel,
      ...(event.serviceTier === undefined ? {} : { service_tier: event.serviceTier }),
    };
    this.#choice({ role: 'assistant', content: '', refusal: null }, null);
  }

  #startBlock(block: HubBlock): void {
    this.#block = block;
    switch (block.kind) {
      case 'tool_call':
        this.#toolIndex += 1;
        this.#choice(
          {
            tool_calls: [
              {
                index: this.#toolIndex,
                id: block.id,
                type: 'function',
                function: { name: block.name, arguments: '' },
              },
            ],
          },
          null,
        );
        break;
      case 'redacted_thinking':
        this.#seal(block);
        break;
      case 'thinking':
        this.#thinkingText = '';
        break;
      case 'opaque':
        warnAboutContent(block, this.#context);
        break;
      default:
    }
  }

  #delta(text: string): void {
    switch (this.#block?.kind) {
      case 'text':
        this.#choice({ content: text }, null);
        break;
      case 'thinking':
        if (this.#context.reasoningCarrier !== undefined) this.#thinkingText += text;
        this.#choice({ reasoning_content: text }, null);
        break;
      case 'refusal':
        this.#choice({ refusal: text }, null);
        break;
      case 'tool_call':
        this.#choice({ tool_calls: [{ index: this.#toolIndex, function: { arguments: text } }] }, null);
        break;
      default:
    }
  }

  #seal(part: Extract<HubPart, { kind: 'thinking' | 'redacted_thinking' }>): void {
    const { reasoningCarrier } = this.#context;
    if (reasoningCarrier === undefined) warnAboutSignature(this.#context);
    else this.#choice({ reasoning_details: [sealedReasoningDetail(reasoningCarrier.seal(part))] }, null);
  }

  #choice(delta: JsonObject, finishReason: string | null): void {
    const chunk = {
      ...this.#head,
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
      ...(this.#context.exposeUsage ? { usage: null } : {}),
    };
    this.#pieces.push(formatSseEvent(undefined, JSON.stringify(chunk)));
  }

  #end(): void {
    if (this.#context.exposeUsage && this.#usage !== undefined) {
      const chunk = { ...this.#head, choices: [], usage: encodeChatUsage(this.#usage) };
      this.#pieces.push(formatSseEvent(undefined, JSON.stringify(chunk)));
    }
    this.#pieces.push(formatSseEvent(undefined, '[DONE]'));
  }
}
