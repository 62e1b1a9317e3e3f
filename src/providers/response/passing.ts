import type { LimenError } from '../../core/errors.ts';
import type { StreamDecoder, UsageStrip } from '../../formats/format.ts';
import { createUsageReader, type UsageReader } from '../../formats/usage-reader.ts';
import type { ProviderApi } from '../provider.ts';
import { NOTHING, type ResponseTransformOptions, streamHeaders, Transform } from './transform.ts';
import { createUnwrapper, type Unwrapper } from './unwrap.ts';

const EVENT_END = Buffer.from('\n\n');
const BLANK_LINE = /(?:\n|\r\n?){2}$/;
/** A blank line is no longer, with the end of the line before it. */
const TAIL_LENGTH = 4;

/**
 * An answer in the client's own format: it passes byte for byte (every candidate, every unknown field), but for a
 * usage report that the client did not ask for. What it tells is read beside it.
 */
export class PassingTransform extends Transform {
  override readonly streams = true;
  readonly #decoder: StreamDecoder | undefined;
  readonly #reader: UsageReader | undefined;
  readonly #strip: UsageStrip | undefined;
  readonly #unwrapper: Unwrapper | undefined;
  #unreadable = false;
  #broken = false;
  /** The end of what was passed: whether that was the end of an event matters only where the gateway has to add one. */
  #tail = EVENT_END.toString('latin1');

  constructor(options: ResponseTransformOptions, api: ProviderApi) {
    const wrapped = options.stream && api.framing !== 'sse';
    super(options, api, options.status, wrapped ? streamHeaders(options.framing) : {});
    if (!options.stream) {
      this.#reader = createUsageReader(this.format, false, this.limits.maxBodyBytes);
      return;
    }
    this.#unwrapper = createUnwrapper(api, this.limits);
    this.#decoder = this.format.createStreamDecoder((event) => this.observe(event), this.limits);
    if (!options.exposeUsage) this.#strip = this.format.createUsageStrip?.(this.limits.maxEventBytes);
  }

  override get over(): boolean {
    return this.#broken;
  }

  protected onChunk(chunk: Buffer): Buffer {
    return this.#guarded(() => this.#pass(this.#unwrapper?.push(chunk) ?? chunk));
  }

  protected onEnd(): Buffer {
    const rest = this.#guarded(() => {
      const unwrapped = this.#unwrapper?.end() ?? NOTHING;
      const passed = unwrapped.length > 0 ? this.#pass(unwrapped) : NOTHING;
      const last = this.#strip?.end() ?? NOTHING;
      return last.length === 0 ? passed : Buffer.concat([passed, last]);
    });
    this.#reader?.end();
    this.#read((decoder) => decoder.end());
    this.usage ??= this.#reader?.usage;
    // Of a stream that could not be followed nobody knows whether it is whole: it is what the provider sent.
    if (this.outcome === 'truncated' && (this.#decoder === undefined || this.#unreadable)) {
      this.outcome = 'complete';
    }
    return rest;
  }

  protected onFail(error: LimenError): Buffer {
    this.#broken = true;
    const event = this.streamError(error);
    // An event that was cut off must not swallow the error.
    if (BLANK_LINE.test(this.#tail) || this.context.framing !== 'sse') return event;
    return Buffer.concat([EVENT_END, event]);
  }

  #pass(bytes: Buffer): Buffer {
    this.#reader?.push(bytes);
    this.#read((decoder) => decoder.push(bytes));
    const passed = this.#strip === undefined ? bytes : this.#strip.push(bytes);
    const end = passed.toString('latin1', Math.max(0, passed.length - TAIL_LENGTH));
    this.#tail = (this.#tail + end).slice(-TAIL_LENGTH);
    return passed;
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

  #guarded(step: () => Buffer): Buffer {
    if (this.#broken) return NOTHING;
    try {
      return step();
    } catch (cause) {
      return this.onFail(this.failed(cause));
    }
  }
}
