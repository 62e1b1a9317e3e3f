import { LimenError } from '../core/errors.ts';
import { ATTEMPT_NAMESPACE } from '../core/gateway-names.ts';
import type { HttpHeaders, ProcessingRequest, ProcessingResponse } from '../envoy-protocol/messages.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { Attempt, type ResponseTransform } from '../pipeline/attempt.ts';
import { ReportSchedule } from '../pipeline/report.ts';
import { readContext } from './context.ts';
import type { Exchange, LegHandler } from './exchange.ts';
import { headerMutation, HeaderView, immediateResponse } from './replies.ts';

/**
 * Largest answer that passes an upstream leg, before and after its conversion. Envoy 1.40 dies (SIGSEGV) when a
 * buffer before or behind such a leg runs full and empties again after the provider's stream has ended; the
 * buffers of Envoy's configuration are sized so that an answer within this limit fills none.
 */
const MAX_STREAM_BYTES = 32 * 1_048_576;

/** One try on one provider: its request is converted when its body is whole, its answer as it comes. */
export class UpstreamLeg implements LegHandler {
  readonly #exchange: Exchange;
  readonly #schedule = new ReportSchedule();
  #attempt: Attempt | undefined;
  #transform: ResponseTransform | undefined;
  #received = 0;
  #delivered = 0;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  onMessage(message: ProcessingRequest): Promise<void> | undefined {
    if (message.requestHeaders !== null) return this.#onRequestHeaders(message);
    if (message.requestBody !== null) return this.#onRequestBody(message.requestBody.body);
    if (message.responseHeaders !== null) return this.#onResponseHeaders(message.responseHeaders);
    if (message.responseBody !== null) {
      return this.#onResponseBody(message.responseBody.body, message.responseBody.endOfStream);
    }
    if (message.responseTrailers !== null) return this.#onResponseTrailers();
    return undefined;
  }

  onOver(): void {
    this.#transform = undefined;
  }

  #onRequestHeaders(message: ProcessingRequest): Promise<void> | undefined {
    const attributes = Object.values(message.attributes)[0];
    const cluster = attributes?.fields['xds.cluster_name']?.stringValue ?? '';
    this.#attempt = new Attempt(readContext(message), cluster);
    return this.#exchange.send({ requestHeaders: { response: {} } });
  }

  #onRequestBody(body: Buffer): Promise<void> | undefined {
    const attempt = this.#requireAttempt();
    try {
      const converted = attempt.convert(body);
      return this.#exchange.send({
        requestBody: {
          response: {
            headerMutation: headerMutation(
              { ...converted.headers, ':path': converted.path },
              converted.removeHeaders,
            ),
            bodyMutation: { body: converted.body },
          },
        },
      });
    } catch (error) {
      return this.#exchange.send(immediateResponse(attempt.refuse(error)));
    }
  }

  #onResponseHeaders(headers: HttpHeaders): Promise<void> | undefined {
    const attempt = this.#requireAttempt();
    const view = new HeaderView(headers);
    const transform = attempt.respond(Number(view.get(':status') ?? '0'), view.toRecord());
    this.#transform = transform;
    if (headers.endOfStream) return this.#onEmptyAnswer(attempt, transform);
    // Whether an answer in one piece is good shows when it is whole; its headers wait until then.
    if (!transform.streams) return undefined;
    return this.#exchange.send({
      ...this.#responseHeaders(attempt, transform),
      ...this.#report(attempt, transform),
    });
  }

  #responseHeaders(attempt: Attempt, transform: ResponseTransform): ProcessingResponse {
    const { dropped } = attempt;
    const set = {
      ':status': String(transform.status),
      ...transform.headers.set,
      ...(dropped === '' ? {} : { 'x-limen-dropped': dropped }),
    };
    return {
      responseHeaders: { response: { headerMutation: headerMutation(set, transform.headers.remove) } },
    };
  }

  /** An answer without a body is an error that has to be given one. */
  #onEmptyAnswer(attempt: Attempt, transform: ResponseTransform): Promise<void> | undefined {
    transform.end();
    const error =
      transform.error ?? new LimenError('upstream_invalid_response', 'The provider sent an empty answer.');
    return this.#exchange.send({
      ...immediateResponse(attempt.refuse(error)),
      ...this.#report(attempt, transform),
    });
  }

  #onResponseBody(chunk: Buffer, endOfStream: boolean): Promise<void> | undefined {
    const attempt = this.#requireAttempt();
    const transform = this.#transform;
    if (transform === undefined) return undefined;
    const passed = chunk.length > 0 ? transform.push(chunk) : chunk;
    if (!transform.streams) return endOfStream ? this.#wholeAnswer(attempt, transform, true) : undefined;
    const last = endOfStream ? transform.end() : undefined;
    const body = last === undefined || last.length === 0 ? passed : Buffer.concat([passed, last]);
    this.#received += chunk.length;
    this.#delivered += body.length;
    if (Math.max(this.#received, this.#delivered) > MAX_STREAM_BYTES) {
      return this.#breakOff(Buffer.alloc(0), attempt, transform);
    }
    if (endOfStream && transform.outcome === 'truncated') return this.#breakOff(body, attempt, transform);
    const due = this.#schedule.due(transform.usage !== undefined, endOfStream);
    const report = due ? this.#report(attempt, transform) : undefined;
    return this.#exchange.sendBody('responseBody', body, endOfStream, report);
  }

  async #wholeAnswer(attempt: Attempt, transform: ResponseTransform, endOfStream: boolean): Promise<void> {
    const body = transform.end();
    await this.#exchange.send({
      ...this.#responseHeaders(attempt, transform),
      ...this.#report(attempt, transform),
    });
    await this.#exchange.sendBody('responseBody', body, endOfStream);
  }

  /** What has come so far is the client's, but the end must not look like one. */
  async #breakOff(body: Buffer, attempt: Attempt, transform: ResponseTransform): Promise<void> {
    await this.#exchange.sendBody('responseBody', body, false, this.#report(attempt, transform));
    this.#exchange.abort();
  }

  async #onResponseTrailers(): Promise<void> {
    const attempt = this.#requireAttempt();
    const transform = this.#transform;
    if (transform !== undefined && !transform.streams) {
      await this.#wholeAnswer(attempt, transform, false);
    } else if (transform !== undefined) {
      const body = transform.end();
      if (transform.outcome === 'truncated') {
        await this.#breakOff(body, attempt, transform);
        return;
      }
      await this.#exchange.sendBody('responseBody', body, false, this.#report(attempt, transform));
    }
    await this.#exchange.send({ responseTrailers: {} });
  }

  #report(attempt: Attempt, transform: ResponseTransform): ProcessingResponse {
    const usage = JSON.stringify(attempt.report(transform));
    return { dynamicMetadata: jsonToStruct({ [ATTEMPT_NAMESPACE]: { usage } }) };
  }

  #requireAttempt(): Attempt {
    if (this.#attempt === undefined) throw new Error('Envoy sent no request headers to the upstream leg');
    return this.#attempt;
  }
}
