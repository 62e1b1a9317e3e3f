/** What can go wrong with an admin request; a code is stable, scripts and the console key on it. */
export const ADMIN_ERROR_STATUS = {
  invalid_request: 400,
  unauthorized: 401,
  /** The message names the permission that is missing. */
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  /** Declared in a file or implied by the environment, so not to be changed here. */
  read_only: 409,
  /** Somebody else changed something at the same time. */
  conflict: 409,
  too_large: 413,
  unsupported_media_type: 415,
  /** Details list what is wrong with the resources. */
  invalid_configuration: 422,
  /** Too many wrong credentials from one address, or too many requests. */
  too_many_requests: 429,
  internal_error: 500,
  unavailable: 503,
} as const satisfies Record<string, number>;

export type AdminErrorCode = keyof typeof ADMIN_ERROR_STATUS;

/** An error whose message and details are written for the admin and hold no secret and no cause. */
export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly code: AdminErrorCode;
  readonly details: unknown;

  constructor(code: AdminErrorCode, message: string, details?: unknown) {
    super(message);
    this.code = code;
    this.details = details;
  }

  get status(): number {
    return ADMIN_ERROR_STATUS[this.code];
  }
}
