import { LimenError, toLimenError } from '../core/errors.ts';
import { RESPONSE_NAMESPACE } from '../core/gateway-names.ts';
import type { KeptAnswers, RequestContext } from '../core/ledger.ts';
import { ownerOf } from '../core/principal.ts';
import {
  RESPONSE_STATUS,
  type HttpHeaders,
  type ProcessingRequest,
  type ProcessingResponse,
} from '../envoy-protocol/messages.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import { errorFormat, refusal } from '../pipeline/answer.ts';
import { Decompressor } from '../pipeline/decompressor.ts';
import { ReportSchedule } from '../pipeline/report.ts';
import { loadTokenizer } from '../pipeline/tokenizer.ts';
import { WayBack, type CountTokens } from '../pipeline/way-back.ts';
import { readAttribute, readContext, readNote } from './context.ts';
import type { Exchange, LegHandler } from './exchange.ts';
import { headerMutation, HeaderView } from './replies.ts';

/** Response code details of an answer that came from a provider. */
const VIA_UPSTREAM = 'via_upstream';

export interface ResponseLegOptions {
  readonly exchange: Exchange;
  readonly carrierFor: (owner: string) => ReasoningCarrier | undefined;
  readonly keptAnswers: KeptAnswers;
  /** Told of an answer that is not kept for its size. */
  readonly onTooLarge: () => void;
  /**
   * Seconds that a provider may be silent in the middle of a stream, or take for an answer in one piece since the
   * request was decided on.
   */
  readonly patienceSeconds: number;
}

/** A provider's answer that a worker must see or change: converted, stripped, counted, kept. */
export class ResponseLeg implements LegHandler {
  readonly #options: ResponseLegOptions;
  readonly #exchange: Exchange;
  readonly #schedule = new ReportSchedule();
  #context: RequestContext | undefined;
  /** Undefined while an answer passes as it is: Envoy's own, which has the client's shape already. */
  #wayBack: WayBack | undefined;
  #decompressor: Decompressor | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Envoy is slower to take what was written than the provider is to send more. */
  #busy = false;

  constructor(options: ResponseLegOptions) {
    this.#options = options;
    this.#exchange = options.exchange;
  }

  onMessage(message: ProcessingRequest): Promise<void> | undefined {
    const sent = this.#handle(message);
    if (this.#context?.stream === true) this.#timer?.refresh();
    if (sent === undefined) return undefined;
    this.#busy = true;
    return sent.finally(() => {
      this.#busy = false;
    });
  }

  onOver(): void {
    clearTimeout(this.#timer);
    this.#decompressor?.close();
    this.#wayBack = undefined;
  }

  #handle(message: ProcessingRequest): Promise<void> | undefined {
    if (message.responseHeaders !== null) return this.#onHeaders(message);
    if (message.responseBody !== null) {
      const { body, endOfStream } = message.responseBody;
      if (this.#decompressor === undefined) return this.#onBody(body, endOfStream);
      return this.#onCompressed(this.#decompressor, body, endOfStream);
    }
    if (message.responseTrailers !== null) return this.#onTrailers();
    return undefined;
  }

  #onHeaders(message: ProcessingRequest): Promise<void> | undefined {
    const headers = message.responseHeaders;
    if (headers === null) return undefined;
    if (readAttribute(message, 'response.code_details') !== VIA_UPSTREAM) return this.#letPass();
    const context = readContext(message);
    if (context.cutOffTokens === undefined) return this.#start(message, headers, context);
    return loadTokenizer().then((countTokens) =>
      this.#exchange.over ? undefined : this.#start(message, headers, context, countTokens),
    );
  }

  #start(
    message: ProcessingRequest,
    headers: HttpHeaders,
    context: RequestContext,
    countTokens?: CountTokens,
  ): Promise<void> | undefined {
    const { carrierFor, keptAnswers, onTooLarge } = this.#options;
    const view = new HeaderView(headers);
    const cluster = readAttribute(message, 'xds.cluster_name');
    const note = { ...readNote(message, cluster), ...context.converted };
    const { 'content-encoding': encoding = '', ...others } = view.toRecord();
    const decompressor = Decompressor.for(encoding);
    const wayBack = WayBack.start({
      context,
      ...note,
      status: Number(view.get(':status') ?? '0'),
      headers: decompressor === undefined ? view.toRecord() : others,
      carrier: carrierFor(ownerOf(context)),
      keptAnswers,
      onTooLarge,
      countTokens,
    });
    if (wayBack === undefined) {
      decompressor?.close();
      return this.#letPass();
    }
    this.#context = context;
    this.#decompressor = decompressor;
    this.#wayBack = wayBack;
    if (note.failure !== undefined) return this.#refuse(context, wayBack, note.failure);
    if (headers.endOfStream) {
      // An answer without a body is an error that has to be given one.
      wayBack.end();
      const empty = new LimenError('upstream_invalid_response', 'The provider sent an empty answer.');
      return this.#refuse(context, wayBack, wayBack.transform.error ?? empty, true);
    }
    this.#startTimer(context);
    // Whether an answer in one piece is good shows when it is whole; its headers wait until then.
    if (!wayBack.transform.streams) return undefined;
    return this.#exchange.send({ ...this.#headers(wayBack), ...this.#report(wayBack) });
  }

  #letPass(): Promise<void> | undefined {
    return this.#exchange.send({ responseHeaders: { response: {} } });
  }

  #headers(wayBack: WayBack): ProcessingResponse {
    const { status, headers } = wayBack.transform;
    const set = { ':status': String(status), ...headers.set, ...wayBack.headers };
    return { responseHeaders: { response: { headerMutation: headerMutation(set, headers.remove) } } };
  }

  #onBody(chunk: Buffer, endOfStream: boolean): Promise<void> | undefined {
    const wayBack = this.#wayBack;
    if (wayBack === undefined) return this.#exchange.sendBody('responseBody', chunk, endOfStream);
    const passed = chunk.length > 0 ? wayBack.push(chunk) : chunk;
    if (!wayBack.transform.streams) return endOfStream ? this.#wholeAnswer(wayBack, true) : undefined;
    if (wayBack.transform.over && !endOfStream) return this.#endEarly(wayBack, passed);
    const last = endOfStream ? wayBack.end() : undefined;
    const body = last === undefined || last.length === 0 ? passed : Buffer.concat([passed, last]);
    if (endOfStream && wayBack.transform.outcome === 'truncated') return this.#breakOff(body, wayBack);
    const due = this.#schedule.due(wayBack.transform.usage !== undefined, endOfStream);
    const report = due ? this.#report(wayBack) : undefined;
    return this.#exchange.sendBody('responseBody', body, endOfStream, report);
  }

  /** The client has its last event, of an error or a cut: a provider that goes on sending is left. */
  #endEarly(wayBack: WayBack, body: Buffer): Promise<void> | undefined {
    this.#wayBack = undefined;
    clearTimeout(this.#timer);
    const sent = this.#exchange.sendBody('responseBody', body, true, this.#report(wayBack));
    this.#exchange.finish();
    return sent;
  }

  async #onCompressed(decompressor: Decompressor, body: Buffer, endOfStream: boolean): Promise<void> {
    const wayBack = this.#wayBack;
    if (wayBack === undefined) return;
    try {
      const plain = await decompressor.push(body);
      const last = endOfStream ? await decompressor.end() : Buffer.alloc(0);
      await this.#onBody(last.length === 0 ? plain : Buffer.concat([plain, last]), endOfStream);
    } catch (error) {
      await this.#fail(wayBack, toLimenError(error));
    }
  }

  async #wholeAnswer(wayBack: WayBack, endOfStream: boolean): Promise<void> {
    clearTimeout(this.#timer);
    const body = wayBack.end();
    await this.#exchange.send({ ...this.#headers(wayBack), ...this.#report(wayBack) });
    await this.#exchange.sendBody('responseBody', body, endOfStream);
  }

  /** What has come so far is the client's, but the end must not look like one. */
  async #breakOff(body: Buffer, wayBack: WayBack, error?: LimenError): Promise<void> {
    await this.#exchange.sendBody('responseBody', body, false, this.#report(wayBack, error));
    this.#exchange.abort();
  }

  async #onTrailers(): Promise<void> {
    const wayBack = this.#wayBack;
    if (wayBack !== undefined && !wayBack.transform.streams) {
      await this.#wholeAnswer(wayBack, false);
    } else if (wayBack !== undefined) {
      const body = wayBack.end();
      if (wayBack.transform.outcome === 'truncated') {
        await this.#breakOff(body, wayBack);
        return;
      }
      await this.#exchange.sendBody('responseBody', body, false, this.#report(wayBack));
    }
    await this.#exchange.send({ responseTrailers: {} });
  }

  /**
   * Answers in the provider's place, which Envoy then asks for no more. No immediate response: at this point Envoy
   * would send that past the filters that add what every answer has.
   *
   * @param empty the provider's answer has no body, and none will be asked for
   */
  async #refuse(context: RequestContext, wayBack: WayBack, error: LimenError, empty = false): Promise<void> {
    clearTimeout(this.#timer);
    const { status, headers, body } = refusal(errorFormat(context.format), error, context.requestId);
    const { remove } = wayBack.transform.headers;
    const mutation = headerMutation({ ':status': String(status), ...headers }, remove);
    await this.#exchange.send({
      responseHeaders: {
        response: {
          headerMutation: mutation,
          ...(empty ? { status: RESPONSE_STATUS.continueAndReplace, bodyMutation: { body } } : {}),
        },
      },
      ...this.#report(wayBack, error),
    });
    if (!empty) await this.#exchange.sendBody('responseBody', body, true);
    this.#exchange.finish();
  }

  #startTimer(context: RequestContext): void {
    const patience = this.#options.patienceSeconds * 1000;
    const left = context.stream ? patience : context.time + patience - Date.now();
    this.#timer = setTimeout(() => this.#onSilence(), Math.max(0, left));
  }

  /** Ends what would otherwise end without a word, when Envoy's own limit is reached. */
  #onSilence(): void {
    const wayBack = this.#wayBack;
    if (wayBack === undefined || this.#exchange.over) return;
    if (this.#busy) {
      // It is the client who is slow.
      this.#timer?.refresh();
      return;
    }
    const error = new LimenError(
      'upstream_timeout',
      'The provider fell silent in the middle of its answer. Try again, or ask for a shorter answer.',
    );
    try {
      void this.#fail(wayBack, error);
    } catch {
      // An error that cannot be told in the client's format: what has come must at least not look whole.
      this.#exchange.abort();
    }
  }

  /** Ends an answer that cannot go on, in the way that its client understands. */
  #fail(wayBack: WayBack, error: LimenError): Promise<void> | undefined {
    const context = this.#context;
    if (context === undefined) return undefined;
    this.#wayBack = undefined;
    if (!wayBack.transform.streams) return this.#refuse(context, wayBack, error);
    // A client that has a part of an answer in one piece can be told nothing more.
    if (!context.stream) return this.#breakOff(Buffer.alloc(0), wayBack, error);
    return this.#endEarly(wayBack, wayBack.fail(error));
  }

  #report(wayBack: WayBack, error?: LimenError): ProcessingResponse {
    const usage = JSON.stringify(wayBack.report(error));
    return { dynamicMetadata: jsonToStruct({ [RESPONSE_NAMESPACE]: { usage } }) };
  }
}
