/**
 * The one closed union of everything that can go wrong with a request. A code is stable: clients, dashboards
 * and ledger rows key on it, so a code is added but never renamed.
 *
 * The value is the HTTP status the client gets when the thrower names no other.
 */
export const ERROR_STATUS = {
  bad_json: 400,
  invalid_request: 400,
  model_required: 400,
  unsupported_field: 400,
  conflicting_credentials: 400,
  missing_api_key: 401,
  invalid_api_key: 401,
  invalid_token: 401,
  token_expired: 401,
  budget_exhausted: 402,
  not_allowed: 403,
  insufficient_scope: 403,
  user_disabled: 403,
  model_not_allowed: 403,
  not_found: 404,
  model_not_found: 404,
  request_timeout: 408,
  request_too_large: 413,
  headers_too_large: 431,
  rate_limited: 429,
  internal_error: 500,
  upstream_refused: 502,
  upstream_error: 502,
  upstream_reset: 502,
  upstream_invalid_response: 502,
  unavailable: 503,
  limits_unavailable: 503,
  upstream_unavailable: 503,
  upstream_timeout: 504,
} as const satisfies Record<string, number>;

/** A stable error code, as clients see it. */
export type ErrorCode = keyof typeof ERROR_STATUS;

/** What a thrower may add to a code and a public message. */
export interface LimenErrorOptions {
  /** HTTP status, where it is not the code's usual one (an upstream's 429, say). */
  readonly status?: number;
  /** Name of the request field at fault, in the client's own terms: `messages[2].role`. */
  readonly param?: string;
  /** Whole seconds after which a retry may succeed; becomes `retry-after`. */
  readonly retryAfterSeconds?: number;
  /** Scopes that would do, where some are missing; they go into `www-authenticate`. */
  readonly scopes?: readonly string[];
  /** What really happened. For logs only: never put into an answer. */
  readonly cause?: unknown;
}

/**
 * An error whose `message` is written for the client and holds no secret, no address and no stack. The
 * cause stays apart and reaches only the log.
 */
export class LimenError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly param: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly scopes: readonly string[] | undefined;

  constructor(code: ErrorCode, message: string, options: LimenErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LimenError';
    this.code = code;
    this.status = options.status ?? ERROR_STATUS[code];
    this.param = options.param;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.scopes = options.scopes;
  }
}

/** The error as it is, or an `internal_error` that keeps the stranger as its cause. */
export function toLimenError(error: unknown): LimenError {
  if (error instanceof LimenError) return error;
  return new LimenError('internal_error', 'The gateway failed to handle this request.', { cause: error });
}

/**
 * What was thrown, as it may be told: an ORM's error of a failed query names the query's parameters, and what is stored
 * sealed or hashed is among them; its cause says what went wrong.
 */
export function tellable(error: unknown): unknown {
  if (!(error instanceof Error) || !(error.cause instanceof Error)) return error;
  const cause = tellable(error.cause);
  if ('params' in error) return cause;
  return cause === error.cause ? error : Object.create(error, { cause: { value: cause } });
}

/** What anything that was thrown says, for a log or another error. */
export function messageOf(error: unknown): string {
  const told = tellable(error);
  return told instanceof Error ? told.message : String(told);
}
