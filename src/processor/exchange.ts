import type { ProcessorProtocol } from '../envoy-protocol/codecs.ts';
import type { CommonResponse, ProcessingRequest, ProcessingResponse } from '../envoy-protocol/messages.ts';
import { GRPC_STATUS, type GrpcCall } from './grpc-server.ts';

/** What a leg does with an exchange. Every method may be called after `over`, and then does nothing. */
export interface LegHandler {
  /** One message of Envoy; the next one is read when the promise is settled. */
  onMessage(message: ProcessingRequest): Promise<void> | undefined;
  /** The exchange is over, however it came about. Called once. */
  onOver(): void;
}

/** Largest piece of a body in one gRPC message, so that Envoy can pass it on while the next one comes. */
const BODY_PIECE_BYTES = 1_048_576;
/** What may wait to be sent while more is read. */
const UNSENT_BYTES = 1_048_576;

/** Envoy has taken nearly all that was written, or the exchange is over. */
interface Drained {
  readonly promise: Promise<void>;
  readonly done: () => void;
}

function streamedBody(body: Buffer, endOfStream: boolean): { readonly response: CommonResponse } {
  return { response: { bodyMutation: { streamedResponse: { body, endOfStream } } } };
}

/**
 * The sending half of an exchange. Messages are read one at a time, and none while Envoy is slower to take
 * what was written: so nothing piles up here.
 */
export class Exchange {
  readonly #call: GrpcCall;
  readonly #protocol: ProcessorProtocol;
  #over = false;
  /** Bytes that were written and that Envoy has not taken. */
  #unsent = 0;
  #drained: Drained | undefined;

  constructor(call: GrpcCall, protocol: ProcessorProtocol) {
    this.#call = call;
    this.#protocol = protocol;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Writes one message; resolves when there is room for the next. */
  send(response: ProcessingResponse): Promise<void> | undefined {
    if (this.#over) return undefined;
    const bytes = this.#protocol.processingResponse.encode(response);
    this.#unsent += bytes.length;
    this.#call.write(bytes, () => {
      this.#unsent -= bytes.length;
      if (this.#unsent <= UNSENT_BYTES) this.#drained?.done();
    });
    if (this.#unsent <= UNSENT_BYTES) return undefined;
    this.#drained ??= this.#whenDrained();
    return this.#drained.promise;
  }

  #whenDrained(): Drained {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => {
      this.#drained = undefined;
      resolve();
    };
    return { promise, done };
  }

  /**
   * Writes a piece of a FULL_DUPLEX_STREAMED body, in several messages where it is large; `beside` goes with the
   * first. An empty piece that ends nothing and has nothing beside it is not written at all.
   */
  sendBody(
    leg: 'requestBody' | 'responseBody',
    body: Buffer,
    endOfStream: boolean,
    beside?: ProcessingResponse,
  ): Promise<void> | undefined {
    if (body.length === 0 && !endOfStream && beside === undefined) return undefined;
    if (body.length > BODY_PIECE_BYTES) return this.#sendPieces(leg, body, endOfStream, beside);
    return this.send({ [leg]: streamedBody(body, endOfStream), ...beside });
  }

  async #sendPieces(
    leg: 'requestBody' | 'responseBody',
    body: Buffer,
    endOfStream: boolean,
    beside?: ProcessingResponse,
  ): Promise<void> {
    for (let offset = 0; offset < body.length; offset += BODY_PIECE_BYTES) {
      const piece = body.subarray(offset, offset + BODY_PIECE_BYTES);
      const last = endOfStream && offset + piece.length === body.length;
      await this.send({ [leg]: streamedBody(piece, last), ...(offset === 0 ? beside : {}) });
    }
  }

  /** Says that this leg has no more to do: Envoy goes on without it. */
  finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#call.end();
  }

  /** Has Envoy break the stream that the exchange belongs to: for an answer that must not end cleanly. */
  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#call.fail(GRPC_STATUS.internal, 'the answer is incomplete');
  }

  /** Feeds the handler until the exchange is over. */
  run(handler: LegHandler, onFault: (error: unknown) => void): void {
    const fault = (error: unknown): void => {
      onFault(error);
      this.abort();
    };
    this.#call.read({
      onMessage: (bytes) => {
        if (this.#over) return undefined;
        try {
          return handler.onMessage(this.#protocol.processingRequest.decode(bytes))?.catch(fault);
        } catch (error) {
          fault(error);
          return undefined;
        }
      },
      onEnd: () => this.finish(),
      onClose: () => {
        this.#over = true;
        this.#drained?.done();
        handler.onOver();
      },
    });
  }
}
