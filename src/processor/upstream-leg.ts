import { LimenError } from '../core/errors.ts';
import { ATTEMPT_NAMESPACE } from '../core/gateway-names.ts';
import type { HttpHeaders, ProcessingRequest, ProcessingResponse } from '../envoy-protocol/messages.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { Attempt, type AttemptDependencies } from '../pipeline/attempt.ts';
import { ReportSchedule } from '../pipeline/report.ts';
import type { ResponseTransform } from '../providers/response-transform.ts';
import { readContext } from './context.ts';
import type { Exchange, LegHandler } from './exchange.ts';
import { bodyPieces, headerMutation, HeaderView, immediateResponse } from './replies.ts';

/** One try on one provider: its request is converted when its body is whole, its answer as it comes. */
export class UpstreamLeg implements LegHandler {
  readonly #exchange: Exchange;
  readonly #dependencies: AttemptDependencies;
  readonly #schedule = new ReportSchedule();
  #attempt: Attempt | undefined;
  #transform: ResponseTransform | undefined;

  constructor(exchange: Exchange, dependencies: AttemptDependencies) {
    this.#exchange = exchange;
    this.#dependencies = dependencies;
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
    this.#attempt = new Attempt(readContext(message), cluster, this.#dependencies);
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
    const { dropped } = attempt;
    return this.#exchange.send({
      responseHeaders: {
        response: {
          headerMutation: headerMutation(
            {
              ':status': String(transform.status),
              ...transform.headers.set,
              ...(dropped === '' ? {} : { 'x-limen-dropped': dropped }),
            },
            transform.headers.remove,
          ),
        },
      },
      ...this.#report(attempt, transform),
    });
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

  async #onResponseBody(chunk: Buffer, endOfStream: boolean): Promise<void> {
    const attempt = this.#requireAttempt();
    const transform = this.#transform;
    if (transform === undefined) return;
    const passed = chunk.length > 0 ? transform.push(chunk) : chunk;
    const last = endOfStream ? transform.end() : undefined;
    const body = last === undefined || last.length === 0 ? passed : Buffer.concat([passed, last]);
    if (endOfStream && transform.outcome === 'truncated') {
      // What has come so far is the client's, but the end must not look like one.
      await this.#sendBody(body, false, this.#report(attempt, transform));
      this.#exchange.abort();
      return;
    }
    const due = this.#schedule.due(transform.usage !== undefined, endOfStream);
    await this.#sendBody(body, endOfStream, due ? this.#report(attempt, transform) : {});
  }

  async #onResponseTrailers(): Promise<void> {
    const attempt = this.#requireAttempt();
    const transform = this.#transform;
    if (transform !== undefined) {
      await this.#sendBody(transform.end(), false, this.#report(attempt, transform));
      if (transform.outcome === 'truncated') {
        this.#exchange.abort();
        return;
      }
    }
    await this.#exchange.send({ responseTrailers: {} });
  }

  async #sendBody(body: Buffer, endOfStream: boolean, report: ProcessingResponse): Promise<void> {
    let first = true;
    for (const piece of bodyPieces('responseBody', body, endOfStream)) {
      await this.#exchange.send(first ? { ...piece, ...report } : piece);
      first = false;
    }
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
