import { LimenError } from '../core/errors.ts';
import { holdsSealed, openRequest } from '../formats/carry.ts';
import type { RequestInspection, RequestRoute, StreamFraming } from '../formats/format.ts';
import type { ClientFormatName, FormatName, HubRequest } from '../formats/hub.ts';
import { FORMATS, WIRE_FORMATS } from '../formats/index.ts';
import { editTopLevel } from '../formats/json/edit.ts';
import { scanTopLevel } from '../formats/json/scan.ts';
import { type ReasoningCarrier, SEALED_PREFIX } from '../formats/reasoning.ts';
import { fittedUser } from '../formats/user-id.ts';
import { type ConversionWarning, WarningList } from '../formats/warnings.ts';
import { fitDialect } from './dialect.ts';
import { PROVIDERS, providerOf } from './index.ts';
import type { ProviderApi, ProviderOptions, ProviderType } from './provider.ts';

/** Whom a request goes to. */
export interface TranslationTarget {
  /** A ProviderType, as a snapshot has it. */
  readonly type: string;
  /** The provider's name of the model. */
  readonly model: string;
  /** Path of the provider's base URL, without a slash at its end: `/v1` or empty. */
  readonly basePath: string;
  readonly options: ProviderOptions;
  /** The verified user, where the provider is to be told. */
  readonly user?: string | undefined;
}

/** Which API of its provider a request goes to. */
export function apiFor(
  target: TranslationTarget,
  clientFormat: ClientFormatName,
  stream: boolean,
  framing: StreamFraming,
): ProviderApi {
  const { model, basePath, options, user } = target;
  const api = providerOf(target.type).api({ clientFormat, model, stream, framing, basePath, options });
  return user === undefined
    ? api
    : { ...api, edits: new Map([...api.edits, ...userEdits(user, api.format)]) };
}

/** Names the verified user in the place of whatever the client said, in the formats that have a field for it. */
export function userEdits(user: string, format: FormatName | 'embeddings'): ReadonlyMap<string, string> {
  const fitted = fittedUser(user);
  switch (format) {
    case 'chat':
    case 'responses':
    case 'embeddings':
      return new Map([['user', JSON.stringify(fitted)]]);
    case 'messages':
      return new Map([['metadata', JSON.stringify({ user_id: fitted })]]);
    default:
      return new Map();
  }
}

/**
 * A request for an upstream of its own format: only what must change is edited, in place. Returns the body itself
 * where nothing must.
 *
 * @param inspection what `inspectRequest` told of this very body
 */
export function rewriteRequest(
  body: Buffer,
  format: ClientFormatName,
  inspection: Pick<RequestInspection, 'model' | 'stream' | 'includeUsage' | 'topLevel'>,
  edits: ProviderApi['edits'],
  requestUsage: boolean,
): Buffer {
  const all = new Map<string, string | undefined>(edits);
  if (edits.get('model') === JSON.stringify(inspection.model)) all.delete('model');
  if (requestUsage) {
    for (const [key, text] of FORMATS[format].usageRequestEdits(body, inspection)) all.set(key, text);
  }
  return editTopLevel(body, inspection.topLevel, all);
}

export interface ConvertOptions {
  readonly clientFormat: ClientFormatName;
  readonly target: TranslationTarget;
  readonly body: Buffer;
  /** What the request says of itself. */
  readonly route: RequestRoute;
  readonly framing: StreamFraming;
  readonly defaultMaxOutputTokens?: number | undefined;
  /** Refuse what cannot be carried over, instead of naming it. */
  readonly strict?: boolean;
  /** Opens the reasoning that a client of another format carried; without it such reasoning is dropped. */
  readonly carrier?: ReasoningCarrier | undefined;
  /** The client's header `anthropic-beta`, for platforms that take some features only, or want them in the body. */
  readonly betas?: string | undefined;
}

export interface ConvertedRequest {
  readonly body: Buffer;
  /** `:path` of the upstream request. */
  readonly path: string;
  /** Headers to set, names in lower case. `content-length` is among them. */
  readonly headers: Readonly<Record<string, string>>;
  /** Headers of other APIs, which mean nothing here. */
  readonly removeHeaders: readonly string[];
  readonly warnings: readonly ConversionWarning[];
  /** Tools of the request that take free text, which the way back has to know (ResponseTransformOptions). */
  readonly freeTextTools?: readonly string[] | undefined;
}

/**
 * A request for any provider: converted through the hub, or edited in place where the formats are the same.
 * A converted stream always asks the upstream for usage. Throws bad_json, invalid_request, and in strict mode
 * unsupported_field.
 */
export function convertRequest(options: ConvertOptions): ConvertedRequest {
  const { clientFormat, target, route, framing } = options;
  const api = apiFor(target, clientFormat, route.stream, framing);
  const warnings = new WarningList();
  const decoded = api.format === clientFormat ? decodeSealed(options) : decode(options);
  const { body: translated, freeTextTools } =
    decoded === undefined
      ? { body: editInPlace(options, api), freeTextTools: [] }
      : convertBody(decoded, options, api, warnings);
  const { body, ...fitted } = fitDialect(translated, api, options.betas, warnings);
  if (options.strict === true) refuseLosses(warnings.items);
  return {
    body,
    path: api.path,
    headers: {
      ...api.headers,
      ...fitted.headers,
      'content-type': 'application/json',
      'content-length': String(body.length),
      // The answer is to be read here, so it must not come compressed.
      'accept-encoding': 'identity',
    },
    removeHeaders: [...foreignHeaders(providerOf(target.type).type, api), ...fitted.removeHeaders],
    warnings: warnings.items,
    freeTextTools,
  };
}

const SEALED_VALUE = Buffer.from(`"${SEALED_PREFIX}`);
const COLON = 0x3a;
/** Space, tab, line feed, carriage return: what JSON allows between its tokens. */
const WHITE_SPACE: ReadonlySet<number | undefined> = new Set([0x20, 0x09, 0x0a, 0x0d]);

/**
 * Whether a body may hold reasoning that was sealed for its client: no provider can read that, so it has to be
 * opened even where the formats are the same. True where a member's text begins like a sealed one, whatever member
 * it is; talk of sealed texts within other texts is none.
 */
export function carriesReasoning(body: Buffer): boolean {
  for (let at = body.indexOf(SEALED_VALUE); at >= 0; at = body.indexOf(SEALED_VALUE, at + 1)) {
    let before = at - 1;
    while (WHITE_SPACE.has(body[before])) before -= 1;
    if (body[before] === COLON) return true;
  }
  return false;
}

/** A request in its provider's own format, where it holds sealed reasoning; undefined: it can stay as it is. */
function decodeSealed(options: ConvertOptions): HubRequest | undefined {
  if (!carriesReasoning(options.body)) return undefined;
  try {
    const request = decode(options);
    return holdsSealed(request) ? request : undefined;
  } catch (error) {
    // What this gateway cannot read its provider may: nothing has to be converted.
    if (error instanceof LimenError) return undefined;
    throw error;
  }
}

function decode({ clientFormat, body, route }: ConvertOptions): HubRequest {
  return FORMATS[clientFormat].decodeRequest(body, route);
}

function editInPlace({ clientFormat, body, route }: ConvertOptions, api: ProviderApi): Buffer {
  // Only a format that must be asked for usage needs to know what the client asked for.
  const asks = FORMATS[clientFormat].createUsageStrip !== undefined;
  const inspection = asks
    ? FORMATS[clientFormat].inspectRequest(body, { path: '', query: '' })
    : { ...route, includeUsage: true, topLevel: scanTopLevel(body, new Set()) };
  return rewriteRequest(body, clientFormat, inspection, api.edits, true);
}

function convertBody(
  decoded: HubRequest,
  options: ConvertOptions,
  api: ProviderApi,
  warnings: WarningList,
): Pick<ConvertedRequest, 'body' | 'freeTextTools'> {
  const { target } = options;
  const opened = openRequest(decoded, options.carrier, warnings);
  const prepared = providerOf(target.type).prepareRequest(
    { ...opened, model: target.model, includeUsage: true },
    {
      warnings,
      defaultMaxOutputTokens: options.defaultMaxOutputTokens,
      format: api.format,
      options: target.options,
    },
  );
  const encoded = WIRE_FORMATS[api.format].encodeRequest(prepared, { ...api.encodeOptions, warnings });
  const others = [...api.edits].filter(([key]) => key !== 'model' || api.edits.get('model') === undefined);
  const body =
    others.length === 0 ? encoded : editTopLevel(encoded, scanTopLevel(encoded, new Set()), new Map(others));
  const freeTextTools = opened.tools.flatMap(({ name, freeText }) => (freeText === undefined ? [] : [name]));
  return { body, freeTextTools };
}

export function refuseLosses(warnings: readonly ConversionWarning[]): void {
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

const FOREIGN_HEADERS = new Map<string, readonly string[]>();

/** Headers of other APIs and providers, which a client or an earlier try on another provider may have set. */
export function foreignHeaders(type: ProviderType, api: ProviderApi): readonly string[] {
  const key = `${type} ${api.format}`;
  const known = FOREIGN_HEADERS.get(key);
  if (known !== undefined) return known;
  const own = [
    ...WIRE_FORMATS[api.format].clientHeaders,
    ...PROVIDERS[type].ownHeaders,
    ...Object.keys(api.headers),
  ];
  const all = [
    ...Object.values(WIRE_FORMATS).flatMap((format) => format.clientHeaders),
    ...Object.values(PROVIDERS).flatMap((provider) => provider.ownHeaders),
  ];
  const foreign = [...new Set(all)].filter((name) => !own.includes(name));
  FOREIGN_HEADERS.set(key, foreign);
  return foreign;
}
