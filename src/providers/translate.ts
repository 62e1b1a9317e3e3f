import { LimenError } from '../core/errors.ts';
import type { RequestInspection } from '../formats/format.ts';
import type { FormatName } from '../formats/hub.ts';
import { FORMATS } from '../formats/index.ts';
import { editTopLevel } from '../formats/json/edit.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import { type ConversionWarning, WarningList } from '../formats/warnings.ts';
import { PROVIDERS } from './index.ts';
import type { Provider, ProviderType } from './provider.ts';

export interface RewriteOptions {
  readonly format: FormatName;
  readonly body: Buffer;
  /** What `inspectRequest` told of this very body; read afresh where it is not given. */
  readonly inspection?: RequestInspection;
  /** The provider's name of the model; the client's stays where it is not given. */
  readonly model?: string;
  /** Ask for usage in the stream where the client did not. */
  readonly requestUsage?: boolean;
}

/**
 * A request for an upstream of its own format: only what must change is edited, in place. Returns the body
 * itself where nothing must.
 */
export function rewriteRequest(options: RewriteOptions): Buffer {
  const format = FORMATS[options.format];
  const inspection = options.inspection ?? format.inspectRequest(options.body);
  const edits = new Map<string, string>(
    options.requestUsage === true ? format.usageRequestEdits(options.body, inspection) : [],
  );
  if (options.model !== undefined && options.model !== inspection.model) {
    edits.set('model', JSON.stringify(options.model));
  }
  return editTopLevel(options.body, inspection.topLevel, edits);
}

export interface ConvertOptions {
  /** The client's format. */
  readonly format: FormatName;
  readonly provider: ProviderType;
  readonly body: Buffer;
  /** The provider's name of the model. */
  readonly model: string;
  /** Path of the provider's base URL, without a slash at its end: `/v1` or empty. */
  readonly basePath: string;
  readonly defaultMaxOutputTokens?: number | undefined;
  /** Refuse what cannot be carried over, instead of naming it. */
  readonly strict?: boolean;
  readonly reasoningCarrier?: ReasoningCarrier;
}

export interface ConvertedRequest {
  readonly body: Buffer;
  /** `:path` of the upstream request. */
  readonly path: string;
  /** Headers to set, names in lower case. `content-length` is among them. */
  readonly headers: Readonly<Record<string, string>>;
  /** Headers of the client's API that mean nothing here. */
  readonly removeHeaders: readonly string[];
  readonly warnings: readonly ConversionWarning[];
}

/**
 * A request for any provider: converted through the hub, or edited in place where the formats are the same.
 * A converted stream always asks the upstream for usage. Throws bad_json, invalid_request, and in strict mode
 * unsupported_field.
 */
export function convertRequest(options: ConvertOptions): ConvertedRequest {
  const provider = PROVIDERS[options.provider];
  const warnings = new WarningList();
  const sameFormat = provider.format === options.format;
  const body = sameFormat
    ? rewriteRequest({ ...options, requestUsage: true })
    : convertBody(options, warnings);
  if (options.strict === true) refuseLosses(warnings.items);
  return {
    body,
    path: provider.requestPath(options.basePath, 'generate'),
    headers: {
      ...provider.requestHeaders,
      'content-type': 'application/json',
      'content-length': String(body.length),
      // The answer is to be read here, so it must not come compressed.
      'accept-encoding': 'identity',
    },
    removeHeaders: foreignHeaders(provider),
    warnings: warnings.items,
  };
}

/**
 * Headers that mean nothing to this provider: those of other APIs, which a client or an earlier try on another
 * provider may have set.
 */
function foreignHeaders(provider: Provider): readonly string[] {
  const own = [...FORMATS[provider.format].clientHeaders, ...Object.keys(provider.requestHeaders)];
  const all = [
    ...Object.values(FORMATS).flatMap((format) => format.clientHeaders),
    ...Object.values(PROVIDERS).flatMap(({ requestHeaders }) => Object.keys(requestHeaders)),
  ];
  return [...new Set(all)].filter((name) => !own.includes(name));
}

function convertBody(options: ConvertOptions, warnings: WarningList): Buffer {
  const provider = PROVIDERS[options.provider];
  const decoded = FORMATS[options.format].decodeRequest(options.body);
  const request = { ...decoded, model: options.model, includeUsage: true };
  const prepared = provider.prepareRequest(request, {
    warnings,
    defaultMaxOutputTokens: options.defaultMaxOutputTokens,
  });
  return FORMATS[provider.format].encodeRequest(prepared, {
    ...provider.encodeOptions,
    warnings,
    ...(options.reasoningCarrier === undefined ? {} : { reasoningCarrier: options.reasoningCarrier }),
  });
}

function refuseLosses(warnings: readonly ConversionWarning[]): void {
  const losses = warnings.filter((warning) => warning.action !== 'defaulted');
  const [first] = losses;
  if (first === undefined) return;
  const names = losses.map((warning) => `'${warning.field}'`).join(', ');
  throw new LimenError(
    'unsupported_field',
    `The model's provider cannot take these fields as they are: ${names}. ${first.reason}`,
    { param: first.field },
  );
}
