import { LimenError, toLimenError } from '../core/errors.ts';
import type { Usage } from '../core/usage.ts';
import type {
  Format,
  ResponseContext,
  StreamDecoder,
  StreamEncoder,
  StreamLimits,
  UsageStrip,
} from '../formats/format.ts';
import type { FormatName, HubEvent, HubResponse } from '../formats/hub.ts';
import { FORMATS } from '../formats/index.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import { responseEvents } from '../formats/replay.ts';
import { clientStatus } from '../formats/upstream-error.ts';
import { createUsageReader, type UsageReader } from '../formats/usage-reader.ts';
import { type ConversionWarning, WarningList } from '../formats/warnings.ts';
import { PROVIDERS } from './index.ts';
import type { Provider, ProviderType } from './provider.ts';

/** Bytes that one answer may make the process hold. */
export interface ResponseLimits extends StreamLimits {
  /** Largest answer that is not a stream. */
  readonly maxBodyBytes: number;
  /** As much of an error answer as is read. */
  readonly maxErrorBytes: number;
}

export const DEFAULT_RESPONSE_LIMITS: ResponseLimits = {
  maxEventBytes: 4 * 1024 * 1024,
  maxHeldBytes: 4 * 1024 * 1024,
  maxBodyBytes: 32 * 1024 * 1024,
  maxErrorBytes: 256 * 1024,
};

export interface ResponseTransformOptions {
  /** The client's format. */
  readonly format: FormatName;
  readonly provider: ProviderType;
  /** HTTP status of the upstream. */
  readonly status: number;
  /** Response headers of the upstream, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The client asked for a stream. */
  readonly stream: boolean;
  /** The client asked for a usage chunk. */
  readonly exposeUsage: boolean;
  readonly requestedModel: string;
  /** Unix seconds. */
  readonly created: number;
  readonly requestId: string;
  readonly limits?: ResponseLimits;
  readonly reasoningCarrier?: ReasoningCarrier;
}

/** How an answer ended. `truncated`: the upstream broke off, so the client's stream must not end cleanly. */
export type ResponseOutcome = 'complete' | 'truncated' | 'error';

/** Turns one upstream answer into the client's. Feed it with `push`, then `end`; never after either threw. */
export interface ResponseTransform {
  /** Bytes go on as they come. Of an answer that does not stream, status and headers are final after `end`. */
  readonly streams: boolean;
  /** HTTP status for the client. */
  readonly status: number;
  readonly headers: {
    readonly set: Readonly<Record<string, string>>;
    readonly remove: readonly string[];
  };
  /** Bytes for the client. They may be empty. Never throws. */
  push(chunk: Buffer): Buffer;
  /** The upstream ended properly at HTTP level. Never throws. */
  end(): Buffer;
  /** What is known of the usage so far. */
  readonly usage: Usage | undefined;
  /** `truncated` until the answer's own ending was seen. */
  readonly outcome: ResponseOutcome;
  /** The error behind the outcome `error`. */
  readonly error: LimenError | undefined;
  /** What the answer had that the client's format cannot say. */
  readonly warnings: readonly ConversionWarning[];
  /** Generated content (not just a role) was handed out. */
  readonly contentStarted: boolean;
  /** UTF-16 units of generated text handed out, to estimate tokens from where no usage comes. */
  readonly contentCharacters: number;
  readonly deliveredBytes: number;
}

const NOTHING = Buffer.alloc(0);
/** Headers that speak of the upstream's bytes. */
const REMOVED_HEADERS = ['content-length', 'content-encoding', 'etag', 'content-md5', 'transfer-encoding'];
const JSON_HEADERS = { 'content-type': 'application/json' };
const STREAM_HEADERS = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' };

/** Chooses by status and content type how the answer is to be read. */
export function createResponseTransform(options: ResponseTransformOptions): ResponseTransform {
  const contentType = options.headers['content-type']?.toLowerCase() ?? '';
  const encoding = options.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' && encoding !== '') {
    return new ErrorTransform(options, 'The upstream sent a compressed answer that was not asked for.');
  }
  if (options.status >= 400) return new ErrorTransform(options, undefined);
  const isEventStream = contentType.includes('text/event-stream');
  const isSameFormat = PROVIDERS[options.provider].format === options.format;
  if (isSameFormat && (options.stream ? isEventStream : contentType.includes('json'))) {
    return new PassingTransform(options);
  }
  if (options.stream && (isEventStream || contentType === '')) return new StreamTransform(options);
  if (isEventStream) return new ErrorTransform(options, 'The upstream sent a stream that was not asked for.');
  if (options.stream && !contentType.includes('json')) {
    return new ErrorTransform(options, 'The upstream sent neither a stream nor JSON.');
  }
  return new BodyTransform(options);
}

abstract class Transform implements ResponseTransform {
  readonly streams: boolean = false;
  status: number;
  readonly headers: ResponseTransform['headers'];
  outcome: ResponseOutcome = 'truncated';
  error: LimenError | undefined;
  usage: Usage | undefined;
  contentStarted = false;
  contentCharacters = 0;
  deliveredBytes = 0;
  protected readonly format: Format;
  protected readonly provider: Provider;
  protected readonly limits: ResponseLimits;
  protected readonly context: ResponseContext;
  readonly #warnings = new WarningList();

  constructor(options: ResponseTransformOptions, status: number, headers: Readonly<Record<string, string>>) {
    this.status = status;
    this.headers = { set: headers, remove: REMOVED_HEADERS };
    this.format = FORMATS[options.format];
    this.provider = PROVIDERS[options.provider];
    this.limits = options.limits ?? DEFAULT_RESPONSE_LIMITS;
    const { requestedModel, created, requestId, exposeUsage, reasoningCarrier } = options;
    this.context = {
      warnings: this.#warnings,
      requestedModel,
      created,
      requestId,
      exposeUsage,
      ...(reasoningCarrier === undefined ? {} : { reasoningCarrier }),
    };
  }

  get warnings(): readonly ConversionWarning[] {
    return this.#warnings.items;
  }

  push(chunk: Buffer): Buffer {
    return this.#count(this.onChunk(chunk));
  }

  end(): Buffer {
    return this.#count(this.onEnd());
  }

  protected abstract onChunk(chunk: Buffer): Buffer;
  protected abstract onEnd(): Buffer;

  protected fail(cause: unknown): LimenError {
    this.error = toLimenError(cause);
    this.outcome = 'error';
    return this.error;
  }

  /** Notes what an event tells about usage and content. */
  protected observe(event: HubEvent): void {
    switch (event.kind) {
      case 'start':
        this.usage = event.usage ?? this.usage;
        break;
      case 'usage':
        this.usage = event.usage;
        break;
      case 'delta':
        this.contentStarted = true;
        this.contentCharacters += event.text.length;
        break;
      case 'block_start':
        this.contentStarted ||= event.block.kind === 'tool_call' || event.block.kind === 'redacted_thinking';
        break;
      case 'error':
        this.fail(event.error);
        break;
      case 'end':
        this.outcome = 'complete';
        break;
      default:
    }
  }

  #count(bytes: Buffer): Buffer {
    this.deliveredBytes += bytes.length;
    return bytes;
  }
}

/** A stream: bytes → upstream events → hub events → client events → bytes. */
class StreamTransform extends Transform {
  override readonly streams = true;
  readonly #decoder: StreamDecoder;
  readonly #encoder: StreamEncoder;

  constructor(options: ResponseTransformOptions) {
    super(options, options.status, STREAM_HEADERS);
    this.#encoder = this.format.createStreamEncoder(this.context);
    this.#decoder = FORMATS[this.provider.format].createStreamDecoder((event) => {
      this.observe(event);
      this.#encoder.write(event);
    }, this.limits);
  }

  protected onChunk(chunk: Buffer): Buffer {
    return this.#run(() => {
      this.#decoder.push(chunk);
    });
  }

  protected onEnd(): Buffer {
    return this.#run(() => {
      this.#decoder.end();
    });
  }

  #run(step: () => void): Buffer {
    // After an error event, or after the end, nothing more is for the client.
    if (this.outcome !== 'truncated') return NOTHING;
    try {
      step();
    } catch (error) {
      if (this.outcome === 'truncated') this.#encoder.write({ kind: 'error', error: this.fail(error) });
    }
    return this.#encoder.take();
  }
}

/**
 * An answer in the client's own format: it passes byte for byte (every candidate, every unknown field), but for a
 * usage report that the client did not ask for. What it tells is read beside it.
 */
class PassingTransform extends Transform {
  override readonly streams = true;
  readonly #decoder: StreamDecoder | undefined;
  readonly #reader: UsageReader | undefined;
  readonly #strip: UsageStrip | undefined;
  #unreadable = false;
  #broken = false;

  constructor(options: ResponseTransformOptions) {
    super(options, options.status, {});
    if (!options.stream) {
      this.#reader = createUsageReader(this.format, false, this.limits.maxBodyBytes);
      return;
    }
    this.#decoder = this.format.createStreamDecoder((event) => this.observe(event), this.limits);
    if (!options.exposeUsage) this.#strip = this.format.createUsageStrip?.(this.limits.maxEventBytes);
  }

  protected onChunk(chunk: Buffer): Buffer {
    this.#reader?.push(chunk);
    this.#read((decoder) => decoder.push(chunk));
    return this.#stripped((strip) => strip.push(chunk), chunk);
  }

  protected onEnd(): Buffer {
    this.#reader?.end();
    this.#read((decoder) => decoder.end());
    const rest = this.#stripped((strip) => strip.end(), NOTHING);
    this.usage ??= this.#reader?.usage;
    // Of a stream that could not be followed nobody knows whether it is whole: it is what the provider sent.
    if (this.outcome === 'truncated' && (this.#decoder === undefined || this.#unreadable)) {
      this.outcome = 'complete';
    }
    return rest;
  }

  /** A stream that cannot be followed is still the client's to read. */
  #read(step: (decoder: StreamDecoder) => void): void {
    if (this.#decoder === undefined || this.#unreadable || this.outcome !== 'truncated') return;
    try {
      step(this.#decoder);
    } catch {
      this.#unreadable = true;
    }
  }

  #stripped(step: (strip: UsageStrip) => Buffer, passed: Buffer): Buffer {
    if (this.#broken) return NOTHING;
    if (this.#strip === undefined) return passed;
    try {
      return step(this.#strip);
    } catch (cause) {
      this.#broken = true;
      return Buffer.from(this.format.encodeStreamError(this.fail(cause), this.context.requestId));
    }
  }
}

/** Chunks of a body, up to a limit. */
class BodyBuffer {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get overflowed(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  /** Keeps the chunk while there is room; of an overflowing body the part that fitted stays. */
  push(chunk: Buffer): void {
    if (!this.overflowed) this.#chunks.push(chunk.subarray(0, this.#maxBytes - this.#bytes));
    this.#bytes += chunk.length;
  }

  take(): Buffer {
    const [first] = this.#chunks;
    const body = this.#chunks.length > 1 ? Buffer.concat(this.#chunks) : (first ?? NOTHING);
    this.#chunks = [];
    return body;
  }
}

/** A plain answer. Where the client wanted a stream, it is played as one. */
class BodyTransform extends Transform {
  readonly #body: BodyBuffer;
  readonly #stream: boolean;

  constructor(options: ResponseTransformOptions) {
    super(options, options.status, options.stream ? STREAM_HEADERS : JSON_HEADERS);
    this.#body = new BodyBuffer(this.limits.maxBodyBytes);
    this.#stream = options.stream;
  }

  protected onChunk(chunk: Buffer): Buffer {
    this.#body.push(chunk);
    return NOTHING;
  }

  protected onEnd(): Buffer {
    try {
      if (this.#body.overflowed) {
        throw new LimenError(
          'upstream_invalid_response',
          'The upstream sent an answer larger than the gateway takes.',
        );
      }
      return this.#encode(FORMATS[this.provider.format].decodeResponse(this.#body.take()));
    } catch (cause) {
      return this.#encodeFailure(cause);
    }
  }

  #encode(response: HubResponse): Buffer {
    const events = responseEvents(response);
    let bytes: Buffer;
    if (this.#stream) {
      const encoder = this.format.createStreamEncoder(this.context);
      for (const event of events) encoder.write(event);
      bytes = encoder.take();
    } else {
      bytes = this.format.encodeResponse(response, this.context);
    }
    for (const event of events) this.observe(event);
    return bytes;
  }

  #encodeFailure(cause: unknown): Buffer {
    const error = this.fail(cause);
    if (this.#stream) return Buffer.from(this.format.encodeStreamError(error, this.context.requestId));
    this.status = error.status;
    return this.format.encodeError(error, this.context.requestId);
  }
}

/** An error of the upstream in the client's shape, or an answer of a kind that cannot be read at all. */
class ErrorTransform extends Transform {
  readonly #upstreamStatus: number;
  readonly #upstreamHeaders: Readonly<Record<string, string>>;
  readonly #unreadable: string | undefined;
  readonly #body: BodyBuffer;

  constructor(options: ResponseTransformOptions, unreadable: string | undefined) {
    super(options, options.status >= 400 ? clientStatus(options.status) : 502, JSON_HEADERS);
    this.#upstreamStatus = options.status;
    this.#upstreamHeaders = options.headers;
    this.#unreadable = unreadable;
    this.#body = new BodyBuffer(this.limits.maxErrorBytes);
  }

  protected onChunk(chunk: Buffer): Buffer {
    if (this.#unreadable === undefined) this.#body.push(chunk);
    return NOTHING;
  }

  protected onEnd(): Buffer {
    const error = this.fail(this.#decode());
    return this.format.encodeError(error, this.context.requestId);
  }

  #decode(): LimenError {
    if (this.#unreadable !== undefined && this.#upstreamStatus < 400) {
      return new LimenError('upstream_invalid_response', this.#unreadable);
    }
    const body = this.#body.take();
    return this.provider.decodeError({ status: this.#upstreamStatus, headers: this.#upstreamHeaders, body });
  }
}
