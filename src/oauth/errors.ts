import { LimenError } from '../core/errors.ts';

/** RFC 6749, section 5.2; RFC 8707, section 2; the last two for a server that cannot answer now. */
const STATUS = {
  invalid_request: 400,
  invalid_client: 401,
  invalid_grant: 400,
  unsupported_grant_type: 400,
  invalid_scope: 400,
  invalid_target: 400,
  slow_down: 429,
  temporarily_unavailable: 503,
  server_error: 500,
} as const satisfies Record<string, number>;

export type OAuthErrorCode = keyof typeof STATUS;

/** Why an exchange was refused, for statistics. */
export const REFUSALS = [
  'bad request',
  'unknown client',
  'wrong client secret',
  'other grant type',
  'assertion not valid',
  'assertion expired',
  'assertion revoked or user disabled',
  'other audience',
  'other client',
  'other resource',
  'scope not allowed',
  'assertion used before',
  'too many requests',
  'store or issuer away',
  'no key to sign with',
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** An answer of the token endpoint that is no token. Its message is for the client and holds no secret. */
export class OAuthError extends Error {
  override readonly name = 'OAuthError';
  readonly code: OAuthErrorCode;
  readonly refusal: Refusal;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: OAuthErrorCode, refusal: Refusal, message: string, retryAfterSeconds?: number) {
    super(message);
    this.code = code;
    this.refusal = refusal;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  get status(): number {
    return STATUS[this.code];
  }
}

/** What the verifier says of an assertion, as the token endpoint says it; undefined for a fault of our own. */
export function asOAuthError(error: unknown): OAuthError | undefined {
  if (error instanceof OAuthError) return error;
  if (!(error instanceof LimenError)) return undefined;
  if (error.status >= 500) {
    return new OAuthError(
      'temporarily_unavailable',
      'store or issuer away',
      error.message,
      error.retryAfterSeconds,
    );
  }
  const refusals: Readonly<Record<string, Refusal>> = {
    'other audience': 'other audience',
    revoked: 'assertion revoked or user disabled',
  };
  const reason = error.cause instanceof Error ? error.cause.message : '';
  const refusal =
    error.code === 'token_expired' ? 'assertion expired' : (refusals[reason] ?? 'assertion not valid');
  return new OAuthError(
    'invalid_grant',
    refusal,
    error.message.replaceAll(/\b([Tt])his token\b/g, '$1his assertion'),
  );
}
