import { RESPONSE_NAMESPACE } from '../core/gateway-names.ts';
import type { ProcessingRequest, ProcessingResponse } from '../envoy-protocol/messages.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { createPassingAnswer, type PassingAnswer } from '../pipeline/passing.ts';
import { ReportSchedule } from '../pipeline/report.ts';
import { readContext } from './context.ts';
import type { Exchange, LegHandler } from './exchange.ts';
import { headerMutation, HeaderView } from './replies.ts';

/** An answer of the client's own format that a worker must see: to hide a usage chunk or to read the usage. */
export class ResponseLeg implements LegHandler {
  readonly #exchange: Exchange;
  readonly #schedule = new ReportSchedule();
  #answer: PassingAnswer | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  onMessage(message: ProcessingRequest): Promise<void> | undefined {
    if (message.responseHeaders !== null) return this.#onHeaders(message);
    if (message.responseBody !== null) {
      return this.#onBody(message.responseBody.body, message.responseBody.endOfStream);
    }
    if (message.responseTrailers !== null) return this.#onTrailers();
    return undefined;
  }

  onOver(): void {
    this.#answer = undefined;
  }

  #onHeaders(message: ProcessingRequest): Promise<void> | undefined {
    const headers = message.responseHeaders;
    if (headers === null) return undefined;
    const view = new HeaderView(headers);
    this.#answer = createPassingAnswer(
      readContext(message),
      Number(view.get(':status') ?? '0'),
      view.get('content-type') ?? '',
    );
    return this.#exchange.send({
      responseHeaders: {
        // Of a stream the length may change; an upstream that names one for a stream is rare, not impossible.
        response: view.get('content-type')?.includes('event-stream')
          ? { headerMutation: headerMutation({}, ['content-length']) }
          : {},
      },
    });
  }

  #onBody(chunk: Buffer, endOfStream: boolean): Promise<void> | undefined {
    const answer = this.#answer;
    if (answer === undefined) return undefined;
    const passed = chunk.length > 0 ? answer.push(chunk) : chunk;
    const last = endOfStream ? answer.end() : undefined;
    const body = last === undefined || last.length === 0 ? passed : Buffer.concat([passed, last]);
    const report = answer.report();
    const due = this.#schedule.due(report.usage !== undefined, endOfStream);
    return this.#exchange.sendBody(
      'responseBody',
      body,
      endOfStream,
      due ? this.#metadata(report) : undefined,
    );
  }

  async #onTrailers(): Promise<void> {
    const answer = this.#answer;
    if (answer !== undefined) {
      await this.#exchange.sendBody('responseBody', answer.end(), false, this.#metadata(answer.report()));
    }
    await this.#exchange.send({ responseTrailers: {} });
  }

  #metadata(report: object): ProcessingResponse {
    return { dynamicMetadata: jsonToStruct({ [RESPONSE_NAMESPACE]: { usage: JSON.stringify(report) } }) };
  }
}
