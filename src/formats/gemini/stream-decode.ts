import type { Usage } from '../../core/usage.ts';
import type { StreamDecoder, StreamLimits } from '../format.ts';
import { JsonArraySplitter } from '../framing/json-array.ts';
import { parseSseBlock, SseSplitter } from '../framing/sse.ts';
import type { HubBlock, HubEvent, HubFinish, HubPart, JsonObject } from '../hub.ts';
import { asArray, asObject, asString, parseJson, parseUpstreamObject } from '../json/parse.ts';
import { upstreamStreamError } from '../upstream-error.ts';
import { decodeCitations, otherGrounding } from './citations.ts';
import { decodeGeminiError } from './error.ts';
import { decodeBlockedPrompt, decodeGeminiFinish } from './finish.ts';
import { decodeLogprobs } from './logprobs.ts';
import { TextOffsets } from './offsets.ts';
import { callNamer, decodePart } from './parts.ts';
import { firstCandidate, readCreated } from './response.ts';
import { decodeGeminiUsage } from './usage.ts';

/** Byte order mark and white space may stand before a stream of either framing. */
const LEADING: ReadonlySet<number> = new Set([0xef, 0xbb, 0xbf, 0x20, 0x09, 0x0a, 0x0d]);
const OPEN_BRACKET = 0x5b;

interface OpenBlock {
  readonly kind: 'text' | 'thinking';
  /** A signature ends what it signs: what follows is another part. */
  signed: boolean;
}

/**
 * Reads a stream of GenerateContentResponse, as server-sent events or as one JSON array. It is over when it ends
 * after a `finishReason` or a blocked prompt: there is no last event, but an array has its bracket.
 */
export class GeminiStreamDecoder implements StreamDecoder {
  readonly #emit: (event: HubEvent) => void;
  readonly #limits: StreamLimits;
  readonly #nameCall = callNamer(() => this.#id);
  readonly #offsets = new TextOffsets();
  #sse: SseSplitter | undefined;
  #array: JsonArraySplitter | undefined;
  #id = '';
  #started = false;
  #open: OpenBlock | undefined;
  #textBlocks = 0;
  #sawToolCalls = false;
  #finish: HubFinish | undefined;
  #usage: Usage | undefined;
  #ended = false;

  constructor(emit: (event: HubEvent) => void, limits: StreamLimits) {
    this.#emit = emit;
    this.#limits = limits;
  }

  push(chunk: Buffer): void {
    const bytes = this.#array === undefined && this.#sse === undefined ? this.#choose(chunk) : chunk;
    this.#sse?.push(bytes, this.#onBlock);
    this.#array?.push(bytes, this.#onElement);
  }

  end(): void {
    this.#sse?.end(this.#onBlock);
    if (this.#ended || this.#finish === undefined || this.#array?.closed === false) return;
    this.#ended = true;
    this.#stopBlock();
    this.#emit({ kind: 'finish', finish: this.#finish });
    if (this.#usage !== undefined) this.#emit({ kind: 'usage', usage: this.#usage });
    this.#emit({ kind: 'end' });
  }

  /** The first byte that says something tells the framing. Returns what is left to read. */
  #choose(chunk: Buffer): Buffer {
    const start = chunk.findIndex((byte) => !LEADING.has(byte));
    if (start === -1) return chunk.subarray(chunk.length);
    const { maxEventBytes } = this.#limits;
    if (chunk[start] === OPEN_BRACKET) this.#array = new JsonArraySplitter(maxEventBytes);
    else this.#sse = new SseSplitter(maxEventBytes);
    return chunk.subarray(start);
  }

  readonly #onBlock = (block: Buffer): void => {
    if (this.#ended) return;
    const { data } = parseSseBlock(block);
    if (data === undefined) this.#emit({ kind: 'ping' });
    else if (data !== '') this.#read(parseUpstreamObject(data, 'a stream event', parseJson));
  };

  readonly #onElement = (element: Buffer): void => {
    if (!this.#ended) this.#read(parseUpstreamObject(element.toString('utf8'), 'a stream event', parseJson));
  };

  #read(response: JsonObject): void {
    if (asObject(response['error']) !== undefined) {
      this.#ended = true;
      this.#emit({ kind: 'error', error: upstreamStreamError(decodeGeminiError(response)) });
      return;
    }
    this.#usage = decodeGeminiUsage(response['usageMetadata'], this.#usage);
    this.#start(response);
    this.#readCandidate(response);
    // Told with every chunk: whoever counts while the answer goes on knows hidden reasoning by this alone.
    if (this.#usage !== undefined && response['usageMetadata'] !== undefined) {
      this.#emit({ kind: 'usage', usage: this.#usage });
    }
  }

  #readCandidate(response: JsonObject): void {
    const candidate = firstCandidate(response);
    if (candidate === undefined) {
      this.#finish ??= decodeBlockedPrompt(response);
      return;
    }
    for (const part of asArray(asObject(candidate['content'])?.['parts']))
      this.#readPart(asObject(part) ?? {});
    const logprobs = decodeLogprobs(candidate['logprobsResult']);
    if (logprobs !== undefined && this.#open?.kind === 'text') this.#emit({ kind: 'logprobs', logprobs });
    this.#cite(candidate);
    if (asString(candidate['finishReason']) !== undefined) {
      this.#finish = decodeGeminiFinish(candidate, this.#sawToolCalls);
    }
  }

  #start(response: JsonObject): void {
    if (this.#started) return;
    this.#started = true;
    this.#id = asString(response['responseId']) ?? '';
    this.#emit({
      kind: 'start',
      id: this.#id,
      model: asString(response['modelVersion']) ?? '',
      created: readCreated(response),
      usage: this.#usage,
    });
  }

  #readPart(raw: JsonObject): void {
    const part = decodePart(raw, this.#nameCall);
    switch (part.kind) {
      case 'text':
      case 'thinking':
        this.#readText(part);
        break;
      case 'tool_call': {
        this.#sawToolCalls = true;
        const { id, name, signature, argumentsJson } = part;
        this.#whole({ kind: 'tool_call', id, name, signature }, argumentsJson);
        break;
      }
      case 'image':
        this.#whole(part);
        break;
      default:
        this.#whole({ kind: 'opaque', format: 'gemini', value: raw });
    }
  }

  #readText({ kind, text, signature }: Extract<HubPart, { kind: 'text' | 'thinking' }>): void {
    if (text === '' && signature === undefined) return;
    // The signature of a text may come after it, with none of its own.
    if (this.#open?.kind !== kind || this.#open.signed) this.#startBlock(kind);
    if (text !== '') this.#emit({ kind: 'delta', text });
    if (kind === 'text') this.#offsets.append(text);
    if (signature === undefined) return;
    this.#emit({ kind: 'signature', signature });
    if (this.#open !== undefined) this.#open.signed = true;
  }

  #startBlock(kind: OpenBlock['kind']): void {
    this.#stopBlock();
    this.#open = { kind, signed: false };
    if (kind === 'text') this.#textBlocks += 1;
    this.#emit({ kind: 'block_start', block: { kind } });
  }

  #stopBlock(): void {
    if (this.#open !== undefined) this.#emit({ kind: 'block_stop' });
    this.#open = undefined;
  }

  #whole(block: HubBlock, text = ''): void {
    this.#stopBlock();
    this.#emit({ kind: 'block_start', block });
    if (text !== '') this.#emit({ kind: 'delta', text });
    this.#emit({ kind: 'block_stop' });
  }

  /** Sources come at the end; their places count from the beginning of the whole text. */
  #cite(candidate: JsonObject): void {
    const isOneText = this.#textBlocks === 1 && this.#open?.kind === 'text';
    const citations = decodeCitations(candidate, () => (isOneText ? this.#offsets : undefined));
    if (citations.length > 0 && this.#open?.kind !== 'text') this.#startBlock('text');
    for (const { citation } of citations) this.#emit({ kind: 'citation', citation });
    const rest = otherGrounding(candidate);
    if (rest !== undefined) this.#whole({ kind: 'opaque', format: 'gemini', value: rest });
  }
}
