import { LimenError } from '../core/errors.ts';
import {
  CHARGED_FIELD,
  BACKEND_ROUTE,
  CONTEXT_NAMESPACE,
  IDENTITY_FIELD,
  type RouteName,
} from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { ProcessorProtocol } from '../envoy-protocol/codecs.ts';
import type { HttpHeaders, ProcessingRequest, ProcessingResponse } from '../envoy-protocol/messages.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { errorFormat, tooLarge, type Answer } from '../pipeline/answer.ts';
import type { ForwardHead } from '../pipeline/backend.ts';
import type { Forward, FrontPipeline, HeadDecision, ReadBody } from '../pipeline/front.ts';
import type { Exchange, LegHandler } from './exchange.ts';
import { clusterOrder, headerMutation, HeaderView, immediateResponse } from './replies.ts';

/** Memory that a piece of a body takes beside its bytes: bodies in tiny pieces must not slip under the limit. */
const PIECE_OVERHEAD_BYTES = 512;

/** Bytes of request bodies that this worker holds at the moment. */
export class BytesInFlight {
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }
}

/** What the other legs, Envoy's routes and the access log read of the decision. */
function contextMetadata(
  context: RequestContext,
  route?: RouteName,
  identity?: Readonly<Record<string, string>>,
  rateLimits?: Readonly<Record<string, string>>,
): Pick<ProcessingResponse, 'dynamicMetadata'> {
  const fields = {
    id: context.requestId,
    // Envoy's own answers take their shape by it.
    format: context.format === BACKEND_ROUTE ? BACKEND_ROUTE : errorFormat(context.format).name,
    context: JSON.stringify(context),
    ...(route === undefined ? {} : { route }),
    ...(context.holds.length === 0 ? {} : { [CHARGED_FIELD]: 'true' }),
    ...(identity === undefined ? {} : { [IDENTITY_FIELD]: identity }),
    // Envoy puts them into the response, which no worker need see.
    ...rateLimits,
  };
  return { dynamicMetadata: jsonToStruct({ [CONTEXT_NAMESPACE]: fields }) };
}

export interface FrontLegOptions {
  readonly exchange: Exchange;
  readonly protocol: ProcessorProtocol;
  readonly pipeline: FrontPipeline;
  readonly bytesInFlight: BytesInFlight;
  /** Told of each request that was answered here. */
  readonly onAnswer: (answer: Answer) => void;
  /** Told of each request that was admitted and then had nobody to go on for. */
  readonly onAbandoned: (context: RequestContext) => void;
}

/** The request's exchange: holds the body until it is whole, then answers headers and body in one go. */
export class FrontLeg implements LegHandler {
  readonly #options: FrontLegOptions;
  #reading: ReadBody | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** What `bytesInFlight` was told of. */
  #held = 0;

  constructor(options: FrontLegOptions) {
    this.#options = options;
  }

  onMessage(message: ProcessingRequest): Promise<void> | undefined {
    if (message.requestHeaders !== null) return this.#onHeaders(message.requestHeaders);
    if (message.requestBody !== null) {
      const { body, endOfStream } = message.requestBody;
      return this.#onBody(body) ?? (endOfStream ? this.#decide() : undefined);
    }
    if (message.requestTrailers !== null) return this.#decide();
    return undefined;
  }

  onOver(): void {
    this.#release();
  }

  #onHeaders(headers: HttpHeaders): Promise<void> | undefined {
    const view = new HeaderView(headers);
    const result = this.#options.pipeline.onHead({
      method: view.get(':method') ?? '',
      path: view.get(':path') ?? '',
      requestId: view.get('x-request-id') ?? '',
      header: (name) => view.get(name),
      endOfStream: headers.endOfStream,
    });
    if (result instanceof Promise) return result.then((decided) => this.#onDecidedHead(decided));
    return this.#onDecidedHead(result);
  }

  #onDecidedHead(result: HeadDecision): Promise<void> | undefined {
    if (result.kind === 'answer') return this.#answer(result);
    if (result.kind === 'forward head') return this.#forwardHead(result);
    this.#reading = result;
    return undefined;
  }

  /** Keeps a piece of the body; answers where it is one too many. */
  #onBody(body: Buffer): Promise<void> | undefined {
    const reading = this.#reading;
    if (reading === undefined || body.length === 0) return undefined;
    const { bytesInFlight } = this.#options;
    this.#bytes += body.length;
    this.#held += body.length + PIECE_OVERHEAD_BYTES;
    bytesInFlight.add(body.length + PIECE_OVERHEAD_BYTES);
    this.#chunks.push(body);
    if (this.#bytes > reading.maxBytes) return this.#answer(reading.refuse(tooLarge(reading.maxBytes)));
    if (bytesInFlight.bytes > reading.maxBytesInFlight) {
      const busy = 'The gateway holds too many large requests at the moment. Try again shortly.';
      return this.#answer(reading.refuse(new LimenError('unavailable', busy, { retryAfterSeconds: 1 })));
    }
    return undefined;
  }

  async #decide(): Promise<void> {
    const reading = this.#reading;
    if (reading === undefined) return;
    const first = this.#chunks[0];
    const body = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    this.#chunks = [];
    const result = await reading.decide(body);
    if (result.kind === 'answer') await this.#answer(result);
    else await this.#forward(result);
  }

  /**
   * Whether the client left while its request was decided on. Envoy never learns of that decision, and so logs nothing
   * that would settle it: what it reserved would be kept from others until its lease runs out.
   */
  #isAbandoned(context: RequestContext | undefined): boolean {
    const { exchange, onAbandoned } = this.#options;
    if (!exchange.over) return false;
    if (context !== undefined && context.intentId !== '') onAbandoned(context);
    return true;
  }

  async #forward(forward: Forward): Promise<void> {
    const { exchange, protocol } = this.#options;
    const { context, route, identity, rateLimits } = forward;
    if (this.#isAbandoned(context)) return;
    await exchange.send({
      requestHeaders: {
        response: {
          headerMutation: headerMutation(forward.setHeaders, forward.removeHeaders),
          clearRouteCache: true,
        },
      },
      ...contextMetadata(context, route, identity, rateLimits),
      typedDynamicMetadata: clusterOrder(protocol, forward.groups),
    });
    // Trailers end here: with an answer to them Envoy 1.40 would send the body that it keeps for retries again.
    await exchange.sendBody('requestBody', forward.body, true);
    // The answer needs no worker: with the exchange ended, Envoy carries it alone.
    exchange.finish();
    this.#release();
  }

  /** Envoy has the body, and carries it alone from here on. */
  async #forwardHead(forward: ForwardHead): Promise<void> {
    const { exchange } = this.#options;
    const { context, route, identity, rateLimits, setHeaders, removeHeaders } = forward;
    if (this.#isAbandoned(context)) return;
    await exchange.send({
      requestHeaders: {
        response: { headerMutation: headerMutation(setHeaders, removeHeaders), clearRouteCache: true },
      },
      ...contextMetadata(context, route, identity, rateLimits),
    });
    exchange.finish();
  }

  async #answer(answer: Answer): Promise<void> {
    this.#options.onAnswer(answer);
    this.#release();
    this.#reading = undefined;
    const { context } = answer;
    if (this.#isAbandoned(context)) return;
    const metadata = context === undefined ? {} : contextMetadata(context);
    await this.#options.exchange.send({ ...immediateResponse(answer), ...metadata });
    this.#options.exchange.finish();
  }

  #release(): void {
    this.#options.bytesInFlight.add(-this.#held);
    this.#held = 0;
    this.#bytes = 0;
    this.#chunks = [];
  }
}
