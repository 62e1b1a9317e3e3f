import type { LimenError } from '../core/errors.ts';
import { makeUsage } from '../core/usage.ts';
import {
  decodeEmbeddingsRequest,
  type EmbeddingEncoding,
  inspectEmbeddingsRequest,
} from '../formats/embeddings/request.ts';
import { encodeEmbeddingsResponse } from '../formats/embeddings/response.ts';
import { editTopLevel } from '../formats/json/edit.ts';
import { parseUpstreamObject } from '../formats/json/parse.ts';
import { WarningList } from '../formats/warnings.ts';
import { anthropicEmbeddings } from './anthropic/embeddings.ts';
import { azureOpenAiEmbeddings } from './azure-openai/embeddings.ts';
import { bedrockEmbeddings } from './bedrock/embeddings.ts';
import type { EmbeddingsApi, EmbeddingsOf } from './embeddings-api.ts';
import { geminiEmbeddings } from './gemini/embeddings.ts';
import { providerOf } from './index.ts';
import { openAiCompatibleEmbeddings } from './openai-compatible/embeddings.ts';
import { openAiEmbeddings } from './openai/embeddings.ts';
import type { ProviderType } from './provider.ts';
import { FailedTransform } from './response/failed.ts';
import {
  BodyBuffer,
  JSON_HEADERS,
  NOTHING,
  type ResponseTransform,
  type ResponseTransformOptions,
  Transform,
} from './response/transform.ts';
import {
  apiFor,
  type ConvertedRequest,
  foreignHeaders,
  refuseLosses,
  type TranslationTarget,
  userEdits,
} from './translate.ts';
import { vertexEmbeddings } from './vertex/embeddings.ts';

const EMBEDDINGS: Readonly<Record<ProviderType, EmbeddingsOf>> = {
  openai: openAiEmbeddings,
  'azure-openai': azureOpenAiEmbeddings,
  'openai-compatible': openAiCompatibleEmbeddings,
  anthropic: anthropicEmbeddings,
  gemini: geminiEmbeddings,
  vertex: vertexEmbeddings,
  bedrock: bedrockEmbeddings,
};

/** How a target makes embeddings. Throws invalid_request where it makes none. */
export function embeddingsApiFor(target: TranslationTarget): EmbeddingsApi {
  const api = EMBEDDINGS[providerOf(target.type).type](target);
  if (target.user === undefined || api.conversion !== undefined) return api;
  return { ...api, edits: new Map([...api.edits, ...userEdits(target.user, 'embeddings')]) };
}

/**
 * A request for embeddings as one target takes it: converted, or edited in place where it speaks OpenAI's shape.
 * Throws bad_json, invalid_request, and in strict mode unsupported_field.
 */
export function convertEmbeddings(options: {
  readonly target: TranslationTarget;
  readonly body: Buffer;
  readonly strict: boolean;
}): ConvertedRequest {
  const { target, body } = options;
  const { path, headers, edits, conversion } = embeddingsApiFor(target);
  const warnings = new WarningList();
  const converted =
    conversion === undefined
      ? editTopLevel(body, inspectEmbeddingsRequest(body).topLevel, edits)
      : conversion.encode(decodeEmbeddingsRequest(body), warnings);
  if (options.strict) refuseLosses(warnings.items);
  return {
    body: converted,
    path,
    headers: {
      ...headers,
      'content-type': 'application/json',
      'content-length': String(converted.length),
      'accept-encoding': 'identity',
    },
    removeHeaders: foreignHeaders(providerOf(target.type).type, apiFor(target, 'chat', false, 'sse')),
    warnings: warnings.items,
    freeTextTools: [],
  };
}

export interface EmbeddingsTransformOptions extends Pick<
  ResponseTransformOptions,
  'target' | 'status' | 'headers' | 'requestedModel' | 'created' | 'requestId' | 'limits'
> {
  readonly encoding: EmbeddingEncoding;
  /** Tokens of the input, where the provider will not tell. */
  readonly inputEstimate: number;
}

/** Turns a target's answer to a request for embeddings into OpenAI's. */
export function createEmbeddingsTransform(options: EmbeddingsTransformOptions): ResponseTransform {
  const all: ResponseTransformOptions = {
    ...options,
    clientFormat: 'chat',
    stream: false,
    framing: 'sse',
    exposeUsage: true,
  };
  const encoding = options.headers['content-encoding'] ?? 'identity';
  if (options.status >= 400)
    return new FailedTransform(all, apiFor(options.target, 'chat', false, 'sse'), undefined);
  if (encoding !== 'identity' && encoding !== '') {
    const compressed = 'The upstream sent a compressed answer that was not asked for.';
    return new FailedTransform(all, apiFor(options.target, 'chat', false, 'sse'), compressed);
  }
  return new EmbeddingsTransform(all, options);
}

/** An answer in one piece. Where the provider speaks OpenAI's shape it goes on as it is. */
class EmbeddingsTransform extends Transform {
  readonly #options: EmbeddingsTransformOptions;
  readonly #body: BodyBuffer;

  constructor(all: ResponseTransformOptions, options: EmbeddingsTransformOptions) {
    super(all, apiFor(options.target, 'chat', false, 'sse'), options.status, JSON_HEADERS);
    this.#options = options;
    this.#body = new BodyBuffer(this.limits.maxBodyBytes);
  }

  protected onChunk(chunk: Buffer): Buffer {
    this.#body.push(chunk);
    return NOTHING;
  }

  protected onEnd(): Buffer {
    try {
      const bytes = this.#answer(this.#body.takeWhole());
      this.outcome = 'complete';
      return bytes;
    } catch (cause) {
      return this.onFail(this.failed(cause));
    }
  }

  protected onFail(error: LimenError): Buffer {
    return this.wholeError(error);
  }

  #answer(body: Buffer): Buffer {
    const { target, headers, encoding, inputEstimate, requestedModel } = this.#options;
    const { conversion } = embeddingsApiFor(target);
    if (conversion === undefined) {
      const answer = parseUpstreamObject(body.toString('utf8'), 'an answer');
      this.usage = this.format.usageOf(answer, undefined);
      return body;
    }
    const answer = conversion.decode(body, headers);
    // Without a count of the provider nothing is reported: the ledger estimates, and says so.
    if (answer.inputTokens !== undefined) this.usage = makeUsage({ input: answer.inputTokens });
    return encodeEmbeddingsResponse(answer, {
      model: requestedModel,
      encoding,
      estimatedTokens: inputEstimate,
    });
  }
}
