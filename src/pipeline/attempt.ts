import { LimenError, toLimenError } from '../core/errors.ts';
import type { RequestContext, RequestTarget } from '../core/ledger.ts';
import type { ConversionWarning } from '../formats/warnings.ts';
import { FORMATS, isFormat } from '../formats/index.ts';
import type { FormatName } from '../formats/hub.ts';
import { providerOf } from '../providers/index.ts';
import { createResponseTransform, type ResponseTransform } from '../providers/response-transform.ts';
import { convertRequest, type ConvertedRequest } from '../providers/translate.ts';
import { refusal, type Answer } from './answer.ts';
import type { LegReportInput } from '../ledger/leg-report.ts';
import { countedUsage } from './report.ts';

export type { ResponseTransform } from '../providers/response-transform.ts';

/** Longest list of fields that a response header names. */
const MAX_DROPPED_HEADER_LENGTH = 1024;

/** One try of a request on one provider: converts the request afresh, and the provider's answer back. */
export class Attempt {
  readonly #context: RequestContext;
  readonly #format: FormatName;
  readonly #target: RequestTarget;
  #warnings: readonly ConversionWarning[] = [];

  /** Throws where Envoy tries a cluster that the front leg did not name. */
  constructor(context: RequestContext, cluster: string) {
    const target = context.targets.find((candidate) => candidate.cluster === cluster);
    if (target === undefined || !isFormat(context.format)) {
      throw new LimenError('internal_error', 'The gateway failed to handle this request.', {
        cause: new Error(`a try on ${cluster} in format ${context.format} that nobody planned`),
      });
    }
    this.#context = context;
    this.#format = context.format;
    this.#target = target;
  }

  /** The request as this provider wants it. Throws what the conversion throws. */
  convert(body: Buffer): ConvertedRequest {
    const converted = convertRequest({
      format: this.#format,
      provider: providerOf(this.#target.type).type,
      body,
      model: this.#target.model,
      basePath: this.#target.basePath,
      defaultMaxOutputTokens: this.#target.defaultMaxOutputTokens,
    });
    this.#warnings = converted.warnings;
    return converted;
  }

  /** The answer to a request that this provider cannot be sent. */
  refuse(error: unknown): Answer {
    return refusal(FORMATS[this.#format], toLimenError(error), this.#context.requestId);
  }

  /** Begins to convert the provider's answer. `headers` have lower-case names. */
  respond(status: number, headers: Readonly<Record<string, string>>): ResponseTransform {
    return createResponseTransform({
      format: this.#format,
      provider: providerOf(this.#target.type).type,
      status,
      headers,
      stream: this.#context.stream,
      exposeUsage: this.#context.exposeUsage,
      requestedModel: this.#context.modelAsked,
      created: Math.floor(this.#context.time / 1000),
      requestId: this.#context.requestId,
    });
  }

  /** Names of the fields that this provider could not be told, for `x-limen-dropped`; empty: none. */
  get dropped(): string {
    const names = this.#warnings
      .filter((warning) => warning.action === 'dropped')
      .map((warning) => warning.field.replace(/[^\x21-\x7e]/g, '_'));
    return names.join(', ').slice(0, MAX_DROPPED_HEADER_LENGTH);
  }

  /** What the ledger is told of this try, as often as there is something new. */
  report(transform: ResponseTransform): LegReportInput {
    return {
      ...countedUsage(transform.usage, transform.outcome === 'complete', transform.contentCharacters),
      ...(transform.error === undefined ? {} : { errorCode: transform.error.code }),
      provider: this.#target.provider,
      providerModel: this.#target.model,
    };
  }
}
