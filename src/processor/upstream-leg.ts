import type { LimenError } from '../core/errors.ts';
import { ATTEMPT_NAMESPACE, OUTCOME_HEADER, VERDICT_HEADER } from '../core/gateway-names.ts';
import type { FailedAttempt } from '../core/ledger.ts';
import { ownerOf } from '../core/principal.ts';
import type { HttpHeaders, ProcessingRequest, ProcessingResponse } from '../envoy-protocol/messages.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { Attempt, type FirstEventWatch } from '../pipeline/attempt.ts';
import { droppedFields } from '../pipeline/dropped.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import { encodeNote, readAttribute, readContext } from './context.ts';
import type { Exchange, LegHandler } from './exchange.ts';
import { headerMutation, HeaderView, immediateResponse } from './replies.ts';

export interface UpstreamLegOptions {
  readonly exchange: Exchange;
  /** Whether Envoy keeps the answer back until this leg has seen its first content. */
  readonly watches: boolean;
  readonly carrierFor: (owner: string) => ReasoningCarrier | undefined;
}

/** What a failed beginning makes of an answer's status, so that the router tries again. */
const FAILED_STATUS = '502';
const OUTCOME: FailedAttempt['outcome'] = 'first_event_error';

/** One try on one provider: its request is converted when its body is whole, the beginning of its answer watched. */
export class UpstreamLeg implements LegHandler {
  readonly #options: UpstreamLegOptions;
  #attempt: Attempt | undefined;
  #watch: FirstEventWatch | undefined;
  #cluster = '';
  #dropped = '';
  #freeTextTools: readonly string[] = [];

  constructor(options: UpstreamLegOptions) {
    this.#options = options;
  }

  onMessage(message: ProcessingRequest): Promise<void> | undefined {
    if (message.requestHeaders !== null) return this.#onRequestHeaders(message);
    if (message.requestBody !== null) return this.#onRequestBody(message.requestBody.body);
    if (message.responseHeaders !== null) return this.#onResponseHeaders(message.responseHeaders);
    if (message.responseBody !== null) {
      return this.#onResponseBody(message.responseBody.body, message.responseBody.endOfStream);
    }
    if (message.responseTrailers !== null) return this.#judge(this.#watch?.end());
    return undefined;
  }

  onOver(): void {
    this.#watch = undefined;
  }

  #onRequestHeaders(message: ProcessingRequest): Promise<void> | undefined {
    const { exchange, carrierFor } = this.#options;
    const context = readContext(message);
    this.#cluster = readAttribute(message, 'xds.cluster_name');
    this.#attempt = new Attempt(context, this.#cluster, carrierFor(ownerOf(context)));
    return exchange.send({ requestHeaders: { response: {} } });
  }

  #onRequestBody(body: Buffer): Promise<void> | undefined {
    const { exchange, watches } = this.#options;
    const answer = this.#answerRequest(this.#requireAttempt(), body);
    const sent = exchange.send(answer);
    // Whatever the answer is, this leg has no more to do with it.
    if (!watches || answer.immediateResponse !== undefined) exchange.finish();
    return sent;
  }

  #answerRequest(attempt: Attempt, body: Buffer): ProcessingResponse {
    try {
      const converted = attempt.convert(body);
      this.#dropped = droppedFields(converted.warnings);
      this.#freeTextTools = converted.freeTextTools ?? [];
      return {
        requestBody: {
          response: {
            headerMutation: headerMutation(
              { ...converted.headers, ':path': converted.path },
              converted.removeHeaders,
            ),
            bodyMutation: { body: converted.body },
          },
        },
        ...this.#note(),
      };
    } catch (error) {
      return { ...immediateResponse(attempt.refuse(error)), ...this.#note() };
    }
  }

  #onResponseHeaders(headers: HttpHeaders): Promise<void> | undefined {
    const view = new HeaderView(headers);
    const watch = headers.endOfStream
      ? undefined
      : this.#requireAttempt().watch(Number(view.get(':status') ?? '0'), view.toRecord());
    if (watch === undefined || watch instanceof Error) return this.#judge(watch ?? 'begun');
    this.#watch = watch;
    return undefined;
  }

  #onResponseBody(chunk: Buffer, endOfStream: boolean): Promise<void> | undefined {
    const seen = this.#watch?.push(chunk);
    return this.#judge(endOfStream && seen === 'waiting' ? this.#watch?.end() : seen);
  }

  /** Lets the answer go once it has begun, or has the router try again. */
  #judge(seen: 'waiting' | 'begun' | LimenError | undefined): Promise<void> | undefined {
    const { exchange } = this.#options;
    if (seen === undefined || seen === 'waiting' || exchange.over) return undefined;
    let sent: Promise<void> | undefined;
    if (seen !== 'begun') {
      sent = exchange.send({
        responseHeaders: {
          response: {
            headerMutation: headerMutation({
              ':status': FAILED_STATUS,
              [VERDICT_HEADER]: `${FAILED_STATUS}:`,
              [OUTCOME_HEADER]: OUTCOME,
            }),
          },
        },
        ...this.#note(seen),
      });
    }
    exchange.finish();
    return sent;
  }

  #note(failure?: LimenError): ProcessingResponse {
    const note = encodeNote({
      cluster: this.#cluster,
      dropped: this.#dropped,
      freeTextTools: this.#freeTextTools,
      failure,
    });
    return { dynamicMetadata: jsonToStruct({ [ATTEMPT_NAMESPACE]: note }) };
  }

  #requireAttempt(): Attempt {
    if (this.#attempt === undefined) throw new Error('Envoy sent no request headers to the upstream leg');
    return this.#attempt;
  }
}
