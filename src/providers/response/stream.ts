import { createSealer } from '../../formats/carry.ts';
import type { LimenError } from '../../core/errors.ts';
import type { StreamDecoder, StreamEncoder } from '../../formats/format.ts';
import type { HubEvent } from '../../formats/hub.ts';
import type { ProviderApi } from '../provider.ts';
import { CutOff } from './cut-off.ts';
import { NOTHING, type ResponseTransformOptions, streamHeaders, Transform } from './transform.ts';
import { createUnwrapper, type Unwrapper } from './unwrap.ts';

/** A stream: bytes → upstream events → hub events → client events → bytes. */
export class StreamTransform extends Transform {
  override readonly streams = true;
  readonly #unwrapper: Unwrapper | undefined;
  readonly #decoder: StreamDecoder;
  readonly #encoder: StreamEncoder;
  readonly #cutOff: CutOff | undefined;

  constructor(options: ResponseTransformOptions, api: ProviderApi) {
    super(options, api, options.status, streamHeaders(options.framing));
    this.#unwrapper = createUnwrapper(api, this.limits);
    this.#encoder = this.format.createStreamEncoder(this.context);
    const seal = createSealer(
      (event) => this.#encoder.write(event),
      this.format,
      options.carrier,
      this.warningList,
      this.limits,
    );
    const pass = (event: HubEvent): void => {
      this.observe(event);
      seal(event);
    };
    const { cutOff } = options;
    this.#cutOff = cutOff && new CutOff(cutOff, this.limits.maxHeldBytes, pass);
    this.#decoder = this.wire.createStreamDecoder(
      this.#cutOff === undefined ? pass : (event) => this.#cutOff?.write(event),
      this.limits,
    );
  }

  override get over(): boolean {
    return this.outcome === 'error' || this.isCut;
  }

  override get countedTokens(): number | undefined {
    return this.#cutOff?.tokens;
  }

  override get isCut(): boolean {
    return this.#cutOff?.isCut === true;
  }

  protected onChunk(chunk: Buffer): Buffer {
    return this.#run(() => this.#decoder.push(this.#unwrapper?.push(chunk) ?? chunk));
  }

  protected onEnd(): Buffer {
    return this.#run(() => {
      const rest = this.#unwrapper?.end();
      if (rest !== undefined && rest.length > 0) this.#decoder.push(rest);
      this.#decoder.end();
    });
  }

  protected onFail(error: LimenError): Buffer {
    this.#encoder.write({ kind: 'error', error });
    return this.#encoder.take();
  }

  #run(step: () => void): Buffer {
    // After an error event, or after the end, nothing more is for the client.
    if (this.outcome !== 'truncated') return NOTHING;
    try {
      step();
    } catch (error) {
      if (this.outcome === 'truncated') this.#encoder.write({ kind: 'error', error: this.failed(error) });
    }
    return this.#encoder.take();
  }
}
