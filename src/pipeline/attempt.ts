import { LimenError, toLimenError } from '../core/errors.ts';
import { targetAmong, targetOfCluster } from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { Snapshot, SnapshotProvider } from '../core/snapshot.ts';
import type { ConversionWarning } from '../formats/warnings.ts';
import { FORMATS } from '../formats/index.ts';
import type { FormatName } from '../formats/hub.ts';
import { providerOf } from '../providers/index.ts';
import { createResponseTransform, type ResponseTransform } from '../providers/response-transform.ts';
import { convertRequest, type ConvertedRequest } from '../providers/translate.ts';
import { resolveModel } from '../stages/route.ts';
import { refusal, type Answer } from './front.ts';
import type { LegReportInput } from '../ledger/leg-report.ts';
import { countedUsage } from './report.ts';

export type { ResponseTransform } from '../providers/response-transform.ts';

export interface AttemptDependencies {
  /** The snapshot that the request pinned, or the one in force where that is no longer held. */
  readonly snapshot: (version: string) => Snapshot | undefined;
}

/** Longest list of fields that a response header names. */
const MAX_DROPPED_HEADER_LENGTH = 1024;

/** One try of a request on one provider: converts the request afresh, and the provider's answer back. */
export class Attempt {
  readonly #context: RequestContext;
  readonly #format: FormatName;
  readonly #provider: SnapshotProvider;
  readonly #model: string;
  #warnings: readonly ConversionWarning[] = [];

  /** Throws `unavailable` where the provider or the model is in no snapshot that this worker holds. */
  constructor(context: RequestContext, cluster: string, dependencies: AttemptDependencies) {
    const snapshot = dependencies.snapshot(context.snapshot);
    const named = targetOfCluster(cluster);
    const model = snapshot === undefined ? undefined : resolveModel(snapshot, context.modelAsked);
    const target = named && model && targetAmong(model.targets, named);
    const provider = target && snapshot?.providers[target.provider];
    if (provider === undefined || target === undefined || !isFormat(context.format)) {
      throw new LimenError('unavailable', 'The configuration of this model has just changed. Try again.');
    }
    this.#context = context;
    this.#format = context.format;
    this.#provider = provider;
    this.#model = target.model ?? context.model;
  }

  /** The request as this provider wants it. Throws what the conversion throws. */
  convert(body: Buffer): ConvertedRequest {
    const converted = convertRequest({
      format: this.#format,
      provider: providerOf(this.#provider.type).type,
      body,
      model: this.#model,
      basePath: this.#provider.basePath,
      defaultMaxOutputTokens: this.#provider.defaultMaxOutputTokens,
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
      provider: providerOf(this.#provider.type).type,
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
      provider: this.#provider.name,
      providerModel: this.#model,
    };
  }
}

function isFormat(name: string): name is FormatName {
  return Object.hasOwn(FORMATS, name);
}
