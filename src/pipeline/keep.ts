import { type KeptAnswers, MAX_KEPT_BYTES, type RequestContext } from '../core/ledger.ts';
import { ownerOf } from '../core/principal.ts';
import type { Usage } from '../core/usage.ts';
import { ResponseCollector } from '../formats/collect.ts';
import type { Format, StreamDecoder } from '../formats/format.ts';
import { parseSseBlock, SseSplitter } from '../formats/framing/sse.ts';
import { FORMATS, isClientFormat } from '../formats/index.ts';
import { asArray, asObject, asString, parseJson, parseUpstreamObject } from '../formats/json/parse.ts';
import { SEALED_PREFIX } from '../formats/reasoning.ts';
import { outputItems } from '../formats/responses/stored.ts';
import { WarningList } from '../formats/warnings.ts';
import { encodeKept } from './answer-cache.ts';
import { conversationKey, keptItems, pendingKey } from './conversation.ts';

/** Keeps an answer for later requests while it passes to its client. */
export interface AnswerKeeper {
  /** The client's bytes, as they go out. Never throws. */
  push(chunk: Buffer): void;
  /**
   * The answer ended well: it is kept if it is whole and good. Never throws.
   *
   * @param usage what the provider told and the client was not shown
   */
  end(usage?: Usage): void;
}

export interface KeeperOptions {
  /** HTTP status that the client gets. */
  readonly status: number;
  /** The fields that the provider could not be told, as `x-limen-dropped` names them; empty: none. */
  readonly dropped: string;
  readonly keptAnswers: KeptAnswers;
  /** Told of an answer that is not kept for its size. */
  readonly onTooLarge: () => void;
}

/** Undefined where nothing is to be kept. */
export function createAnswerKeeper(
  context: RequestContext,
  options: KeeperOptions,
): AnswerKeeper | undefined {
  const { keep } = context;
  if (keep === undefined || options.status !== 200) return undefined;
  const reader = createReader(context);
  let lost = false;
  const give = (step: () => void): void => {
    if (lost) return;
    try {
      step();
      if (!reader.tooLarge) return;
      options.onTooLarge();
    } catch {
      // Whatever cannot be read is the client's to read, and nobody's later.
    }
    lost = true;
  };
  return {
    push: (chunk) => give(() => reader.push(chunk)),
    end: (usage) => {
      give(() => {
        const body = reader.end(usage);
        if (body !== undefined && !reader.tooLarge) keepAnswer(context, body, options);
      });
    },
  };
}

function keepAnswer(context: RequestContext, body: Buffer, { keptAnswers, dropped }: KeeperOptions): void {
  const { cacheKey, cacheSeconds = 0, shared, storeSeconds } = context.keep ?? {};
  const { requestId, tenant } = context;
  // Sealed reasoning opens for the key that it was sealed for, and for no other.
  if (cacheKey !== undefined && !(shared === true && body.includes(SEALED_PREFIX))) {
    keptAnswers.put(cacheKey, encodeKept({ dropped, body }), cacheSeconds, undefined, tenant);
  }
  if (storeSeconds === undefined) return;
  const response = asObject(parseJson(body.toString('utf8'))) ?? {};
  const id = asString(response['id']);
  if (id === undefined) return;
  const owner = ownerOf(context);
  keptAnswers.put(
    conversationKey(owner, id),
    keptItems(outputItems(response)),
    storeSeconds,
    pendingKey(owner, requestId),
    tenant,
  );
}

/** Reads the whole answer, as JSON in the client's format, out of its bytes. Every method may throw. */
interface AnswerReader {
  readonly tooLarge: boolean;
  push(chunk: Buffer): void;
  /** Undefined where the answer was not whole or not good. */
  end(usage: Usage | undefined): Buffer | undefined;
}

function createReader(context: RequestContext): AnswerReader {
  const format = isClientFormat(context.format) ? FORMATS[context.format] : undefined;
  if (format === undefined || !context.stream) return new WholeReader(format);
  return format.name === 'responses' ? new LastEventReader() : new StreamReader(format, context);
}

class WholeReader implements AnswerReader {
  readonly #format: Format | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** @param format undefined for embeddings */
  constructor(format: Format | undefined) {
    this.#format = format;
  }

  get tooLarge(): boolean {
    return this.#bytes > MAX_KEPT_BYTES;
  }

  push(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.tooLarge) this.#chunks = [];
    else this.#chunks.push(chunk);
  }

  end(): Buffer | undefined {
    const body = Buffer.concat(this.#chunks);
    if (this.#format !== undefined) {
      this.#format.decodeResponse(body);
      return body;
    }
    const answer = parseUpstreamObject(body.toString('utf8'), 'an answer');
    return asArray(answer['data']).length > 0 ? body : undefined;
  }
}

/** The last event of a Responses stream holds the whole answer. */
class LastEventReader implements AnswerReader {
  readonly #splitter = new SseSplitter(MAX_KEPT_BYTES);
  #response: unknown;
  tooLarge = false;

  push(chunk: Buffer): void {
    try {
      this.#splitter.push(chunk, this.#onBlock);
    } catch {
      this.tooLarge = true;
    }
  }

  end(): Buffer | undefined {
    this.#splitter.end(this.#onBlock);
    return asObject(this.#response) === undefined ? undefined : Buffer.from(JSON.stringify(this.#response));
  }

  readonly #onBlock = (block: Buffer): void => {
    // Only the last event is worth a parser.
    if (!block.includes('response.completed') && !block.includes('response.incomplete')) return;
    const event = asObject(parseJson(parseSseBlock(block).data ?? ''));
    const type = event?.['type'];
    if (type === 'response.completed' || type === 'response.incomplete') this.#response = event?.['response'];
  };
}

/** Other streams are put together from their events. */
class StreamReader implements AnswerReader {
  readonly #format: Format;
  readonly #context: RequestContext;
  readonly #collector = new ResponseCollector();
  readonly #decoder: StreamDecoder;
  #encodedBytes = 0;

  constructor(format: Format, context: RequestContext) {
    this.#format = format;
    this.#context = context;
    this.#decoder = format.createStreamDecoder((event) => this.#collector.write(event), {
      // An event is larger than what it tells.
      maxEventBytes: 4 * MAX_KEPT_BYTES,
      maxHeldBytes: MAX_KEPT_BYTES,
    });
  }

  get tooLarge(): boolean {
    return Math.max(this.#collector.characters, this.#encodedBytes) > MAX_KEPT_BYTES;
  }

  push(chunk: Buffer): void {
    this.#decoder.push(chunk);
  }

  end(usage: Usage | undefined): Buffer | undefined {
    this.#decoder.end();
    const { response } = this.#collector;
    if (response === undefined) return undefined;
    const { modelAsked, time, requestId, framing } = this.#context;
    const body = this.#format.encodeResponse(
      { ...response, usage: response.usage ?? usage },
      {
        warnings: new WarningList(),
        requestedModel: modelAsked,
        created: Math.floor(time / 1000),
        requestId,
        exposeUsage: true,
        framing,
      },
    );
    this.#encodedBytes = body.length;
    return body;
  }
}
