import type { LimenError } from '../core/errors.ts';
import type { EncodeRequestOptions } from '../formats/format.ts';
import type { FormatName, HubRequest } from '../formats/hub.ts';
import type { WarningList } from '../formats/warnings.ts';

/** The kinds of provider, as `spec.type` of a Provider names them. */
export type ProviderType = 'openai' | 'openai-compatible' | 'anthropic';

/** What Limen asks of a provider. */
export type Operation = 'generate' | 'models';

export interface CredentialHeader {
  /** Header name in lower case. */
  readonly header: string;
  /** Stands before the credential: `Bearer `, or nothing. */
  readonly prefix: string;
}

export interface PrepareContext {
  readonly warnings: WarningList;
  /** Output limit to set where the client set none and the provider insists on one. */
  readonly defaultMaxOutputTokens?: number | undefined;
}

/** An answer with a status of 400 or more. Header names are in lower case. */
export interface UpstreamErrorResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The body, or as much of it as was kept. */
  readonly body: Buffer;
}

/**
 * One kind of provider: which format it speaks, where, and what is peculiar about it. Formats know bytes;
 * providers know rules.
 */
export interface Provider {
  readonly type: ProviderType;
  /** The wire format it is sent. */
  readonly format: FormatName;
  /** Where it is found when the resource names no `baseUrl`; undefined where there is no such place. */
  readonly defaultBaseUrl: string | undefined;
  readonly credential: CredentialHeader;
  /** Headers that each request needs beside the credential. */
  readonly requestHeaders: Readonly<Record<string, string>>;
  readonly encodeOptions: Pick<EncodeRequestOptions, 'maxOutputTokensField' | 'reasoningTextField'>;

  /** `:path` of an operation; `basePath` is the path of the base URL, `/v1` or empty. */
  requestPath(basePath: string, operation: Operation): string;

  /**
   * Fits a converted request to the model's rules; each change is a warning. `request.model` is already the
   * provider's name of the model. Requests of the provider's own format pass byte for byte and never come here.
   */
  prepareRequest(request: HubRequest, context: PrepareContext): HubRequest;

  /** The error that an answer with a status of 400 or more stands for. */
  decodeError(response: UpstreamErrorResponse): LimenError;
}
