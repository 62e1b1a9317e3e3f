import { LimenError } from '../core/errors.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { Format } from '../formats/format.ts';
import { FORMATS, isClientFormat } from '../formats/index.ts';

export const JSON_HEADERS = { 'content-type': 'application/json' };

/** The head of a request as the front leg sees it. */
export interface RequestHead {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly requestId: string;
  header(name: string): string | undefined;
  /** The request has no body. */
  readonly endOfStream: boolean;
}

/** An answer that Limen gives by itself. */
export interface Answer {
  readonly kind: 'answer';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** What went wrong, for metrics; undefined for a good answer. */
  readonly error?: LimenError | undefined;
  /** Makes it a row of the ledger; undefined where nobody was identified, or nothing was asked of a model. */
  readonly context?: RequestContext | undefined;
}

/** @param authenticate `www-authenticate`, where other credentials would mend it */
export function refusal(format: Format, error: LimenError, requestId: string, authenticate?: string): Answer {
  return {
    kind: 'answer',
    status: error.status,
    headers: {
      ...JSON_HEADERS,
      ...(error.retryAfterSeconds === undefined ? {} : { 'retry-after': String(error.retryAfterSeconds) }),
      ...(authenticate === undefined ? {} : { 'www-authenticate': authenticate }),
    },
    body: format.encodeError(error, requestId),
    error,
  };
}

export function tooLarge(maxBytes: number): LimenError {
  return new LimenError(
    'request_too_large',
    `The request body is larger than the ${Math.floor(maxBytes / 1024)} KiB that this gateway takes.`,
  );
}

/** The format whose errors the clients of an operation understand: a client format, `embeddings`, `count_tokens`. */
export function errorFormat(operation: string): Format {
  if (operation === 'count_tokens') return FORMATS.messages;
  return FORMATS[isClientFormat(operation) ? operation : 'chat'];
}
