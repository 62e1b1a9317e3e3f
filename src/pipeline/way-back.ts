import type { LimenError } from '../core/errors.ts';
import type { ConversionNote, KeptAnswers, RequestContext, RequestTarget } from '../core/ledger.ts';
import { isClientFormat } from '../formats/index.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import type { LegReportInput } from '../ledger/leg-report.ts';
import { createEmbeddingsTransform } from '../providers/embeddings.ts';
import {
  createResponseTransform,
  type CountTokens,
  type CutOffOptions,
  type ResponseTransform,
} from '../providers/response-transform.ts';
import { droppedFields } from './dropped.ts';
import { createAnswerKeeper, type AnswerKeeper } from './keep.ts';
import { countedUsage } from './report.ts';

export type { CountTokens, ResponseTransform } from '../providers/response-transform.ts';

export interface WayBackOptions extends ConversionNote {
  readonly context: RequestContext;
  /** Cluster of the try that was answered. */
  readonly cluster: string;
  /** HTTP status of the provider. */
  readonly status: number;
  /** Of the provider, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly carrier: ReasoningCarrier | undefined;
  readonly keptAnswers: KeptAnswers;
  /** Told of an answer that is not kept for its size. */
  readonly onTooLarge: () => void;
  /** Needed where the context has `cutOffTokens`. */
  readonly countTokens?: CountTokens | undefined;
}

/** A provider's answer on its way to the client: converted, counted, and kept where that is wanted. */
export class WayBack {
  readonly transform: ResponseTransform;
  readonly #options: WayBackOptions;
  #keeper: AnswerKeeper | undefined;
  #keeps = false;

  /** Undefined for answers that pass as they are: nobody planned to read them. */
  static start(options: WayBackOptions): WayBack | undefined {
    const target = options.context.targets.find(({ cluster }) => cluster === options.cluster);
    const transform = target === undefined ? undefined : transformOf(options, target);
    return transform === undefined ? undefined : new WayBack(options, transform);
  }

  private constructor(options: WayBackOptions, transform: ResponseTransform) {
    this.#options = options;
    this.transform = transform;
  }

  /** Headers that tell the client what became of its request, beside those of the answer. */
  get headers(): Readonly<Record<string, string>> {
    const { context } = this.#options;
    const dropped = this.#dropped;
    return {
      ...(dropped === '' ? {} : { 'x-limen-dropped': dropped }),
      ...(context.cache === 'miss' ? { 'x-limen-cache': 'miss' } : {}),
    };
  }

  push(chunk: Buffer): Buffer {
    return this.#kept(this.transform.push(chunk));
  }

  end(): Buffer {
    const last = this.#kept(this.transform.end());
    const { outcome, isCut, usage } = this.transform;
    // What a budget cut off is nobody else's answer, and nothing to go on from.
    if (outcome === 'complete' && !isCut) this.#keeper?.end(usage);
    return last;
  }

  /** Ends a stream for a reason of the gateway's own. */
  fail(error: LimenError): Buffer {
    return this.transform.fail(error);
  }

  /** What the ledger is told, as often as there is something new. */
  report(error: LimenError | undefined = this.transform.error): LegReportInput {
    const { usage, outcome, contentCharacters, countedTokens, isCut } = this.transform;
    return {
      ...countedUsage(usage, outcome === 'complete' && !isCut, contentCharacters, countedTokens),
      ...(isCut ? { cutOffTokens: countedTokens } : {}),
      ...(error === undefined ? {} : { errorCode: error.code }),
    };
  }

  get #dropped(): string {
    const { dropped } = this.#options;
    const lost = droppedFields(this.transform.warnings);
    return dropped === '' || lost === '' ? dropped + lost : `${dropped}, ${lost}`;
  }

  /** The status that a keeper goes by is final with the first bytes. */
  #kept(bytes: Buffer): Buffer {
    if (bytes.length === 0) return bytes;
    if (!this.#keeps) {
      this.#keeps = true;
      const { context, keptAnswers, onTooLarge } = this.#options;
      const { status } = this.transform;
      this.#keeper = createAnswerKeeper(context, {
        status,
        dropped: this.#dropped,
        keptAnswers,
        onTooLarge,
      });
    }
    this.#keeper?.push(bytes);
    return bytes;
  }
}

function transformOf(
  { context, status, headers, carrier, freeTextTools, countTokens }: WayBackOptions,
  target: RequestTarget,
): ResponseTransform | undefined {
  const { format } = context;
  const common = {
    target,
    status,
    headers,
    requestedModel: context.modelAsked,
    created: Math.floor(context.time / 1000),
    requestId: context.requestId,
  };
  if (format === 'embeddings') {
    return createEmbeddingsTransform({
      ...common,
      encoding: context.embeddingEncoding ?? 'float',
      inputEstimate: context.inputEstimate,
    });
  }
  if (!isClientFormat(format)) return undefined;
  return createResponseTransform({
    ...common,
    clientFormat: format,
    stream: context.stream,
    framing: context.framing,
    exposeUsage: context.exposeUsage,
    carrier,
    freeTextTools,
    cutOff: cutOffOf(context, countTokens),
  });
}

/** Throws where a budget would have to be overlooked: an answer that nobody counts cannot be ended. */
function cutOffOf(
  { cutOffTokens, inputEstimate, untoldInput = inputEstimate }: RequestContext,
  countTokens: CountTokens | undefined,
): CutOffOptions | undefined {
  if (cutOffTokens === undefined) return undefined;
  if (countTokens === undefined) throw new Error('an answer is to be cut off, and nobody counts it');
  return { tokens: cutOffTokens, inputEstimate: untoldInput, countTokens };
}
