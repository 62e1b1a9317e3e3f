import { LimenError, toLimenError } from '../../core/errors.ts';
import type { Usage } from '../../core/usage.ts';
import type {
  Format,
  ResponseContext,
  StreamFraming,
  StreamLimits,
  WireFormat,
} from '../../formats/format.ts';
import type { ClientFormatName, HubEvent } from '../../formats/hub.ts';
import { FORMATS, WIRE_FORMATS } from '../../formats/index.ts';
import type { ReasoningCarrier } from '../../formats/reasoning.ts';
import { type ConversionWarning, WarningList } from '../../formats/warnings.ts';
import type { ProviderApi } from '../provider.ts';
import type { TranslationTarget } from '../translate.ts';
import type { CutOffOptions } from './cut-off.ts';

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
  readonly clientFormat: ClientFormatName;
  /** Who answered. */
  readonly target: TranslationTarget;
  /** HTTP status of the upstream. */
  readonly status: number;
  /** Response headers of the upstream, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The client asked for a stream. */
  readonly stream: boolean;
  /** How it wants that. */
  readonly framing: StreamFraming;
  /** The client asked for a usage chunk. */
  readonly exposeUsage: boolean;
  readonly requestedModel: string;
  /** Unix seconds. */
  readonly created: number;
  readonly requestId: string;
  /** What `convertRequest` said of this request. */
  readonly freeTextTools?: readonly string[] | undefined;
  readonly limits?: ResponseLimits;
  /** Seals reasoning of other vendors for the client; without it such reasoning is dropped. */
  readonly carrier?: ReasoningCarrier | undefined;
  /** Ends a stream early; an answer in one piece is paid for when it comes, and is never cut. */
  readonly cutOff?: CutOffOptions | undefined;
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
  /** Ends the answer for a reason of the gateway's own (a stall, say), with the error that the client's format has for it. */
  fail(error: LimenError): Buffer;
  /** The answer has ended, by an error or a cut, whatever the upstream goes on to send: nothing more will be handed out. */
  readonly over: boolean;
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
  /** Tokens of output that were counted on the way; absent where nobody counts. */
  readonly countedTokens: number | undefined;
  /** The stream was ended because a budget was used up. The outcome is `complete`: the client has a proper end. */
  readonly isCut: boolean;
}

export const NOTHING = Buffer.alloc(0);
/** Headers that speak of the upstream's bytes. */
const REMOVED_HEADERS = [
  'content-length',
  'content-encoding',
  'etag',
  'content-md5',
  'transfer-encoding',
  'location',
];
export const JSON_HEADERS = { 'content-type': 'application/json' };

/** Headers of a client's stream. */
export function streamHeaders(framing: StreamFraming): Readonly<Record<string, string>> {
  const type = framing === 'sse' ? 'text/event-stream; charset=utf-8' : 'application/json; charset=utf-8';
  return { 'content-type': type, 'cache-control': 'no-cache' };
}

/** What all ways of turning an answer have in common: counting, usage, outcome. */
export abstract class Transform implements ResponseTransform {
  readonly streams: boolean = false;
  status: number;
  readonly #headers: ResponseTransform['headers'];
  outcome: ResponseOutcome = 'truncated';
  error: LimenError | undefined;
  usage: Usage | undefined;
  contentStarted = false;
  contentCharacters = 0;
  deliveredBytes = 0;
  protected readonly format: Format;
  /** What the upstream speaks. */
  protected readonly wire: WireFormat;
  protected readonly limits: ResponseLimits;
  protected readonly context: ResponseContext;
  protected readonly warningList = new WarningList();

  constructor(
    options: ResponseTransformOptions,
    api: ProviderApi,
    status: number,
    headers: Readonly<Record<string, string>>,
  ) {
    this.status = status;
    this.#headers = { set: headers, remove: REMOVED_HEADERS };
    this.format = FORMATS[options.clientFormat];
    this.wire = WIRE_FORMATS[api.format];
    this.limits = options.limits ?? DEFAULT_RESPONSE_LIMITS;
    const { requestedModel, created, requestId, exposeUsage, framing } = options;
    this.context = {
      warnings: this.warningList,
      requestedModel,
      created,
      requestId,
      exposeUsage,
      framing,
      freeTextTools: new Set(options.freeTextTools),
    };
  }

  /** With what an error's body tells of the time to wait: Google says it nowhere else. */
  get headers(): ResponseTransform['headers'] {
    const seconds = this.error?.retryAfterSeconds;
    if (this.streams || seconds === undefined) return this.#headers;
    return { ...this.#headers, set: { ...this.#headers.set, 'retry-after': String(seconds) } };
  }

  get over(): boolean {
    return false;
  }

  get countedTokens(): number | undefined {
    return undefined;
  }

  get isCut(): boolean {
    return false;
  }

  get warnings(): readonly ConversionWarning[] {
    return this.warningList.items;
  }

  push(chunk: Buffer): Buffer {
    return this.#count(this.onChunk(chunk));
  }

  end(): Buffer {
    return this.#count(this.onEnd());
  }

  fail(error: LimenError): Buffer {
    return this.#count(this.onFail(this.failed(error)));
  }

  protected abstract onChunk(chunk: Buffer): Buffer;
  protected abstract onEnd(): Buffer;
  /** The bytes that tell the client of an error. */
  protected abstract onFail(error: LimenError): Buffer;

  /** Notes an error as the answer's outcome. */
  protected failed(cause: unknown): LimenError {
    this.error = toLimenError(cause);
    this.outcome = 'error';
    return this.error;
  }

  /** The error as the last event of a stream. */
  protected streamError(error: LimenError): Buffer {
    const { requestId, framing } = this.context;
    return Buffer.from(this.format.encodeStreamError(error, requestId, framing, this.deliveredBytes === 0));
  }

  /** The error as a whole answer. */
  protected wholeError(error: LimenError): Buffer {
    this.status = error.status;
    return this.format.encodeError(error, this.context.requestId);
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
        this.contentStarted ||=
          event.block.kind === 'tool_call' ||
          event.block.kind === 'redacted_thinking' ||
          event.block.kind === 'image';
        break;
      case 'error':
        this.failed(event.error);
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

/** Chunks of a body, up to a limit. */
export class BodyBuffer {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get #overflowed(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  /** Keeps the chunk while there is room; of an overflowing body the part that fitted stays. */
  push(chunk: Buffer): void {
    if (!this.#overflowed) this.#chunks.push(chunk.subarray(0, this.#maxBytes - this.#bytes));
    this.#bytes += chunk.length;
  }

  /** All of it. Throws upstream_invalid_response where it did not fit. */
  takeWhole(): Buffer {
    if (this.#overflowed) {
      throw new LimenError(
        'upstream_invalid_response',
        'The upstream sent an answer larger than the gateway takes.',
      );
    }
    return this.take();
  }

  /** What fitted of it. */
  take(): Buffer {
    const [first] = this.#chunks;
    const body = this.#chunks.length > 1 ? Buffer.concat(this.#chunks) : (first ?? NOTHING);
    this.#chunks = [];
    return body;
  }
}
