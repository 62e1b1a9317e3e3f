import type { ErrorCode, LimenError } from '../core/errors.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { RequestHead } from './answer.ts';
import { endedContext } from './forward.ts';

/** What the checkpoint identify refuses with. */
const CODES: ReadonlySet<ErrorCode> = new Set([
  'missing_api_key',
  'invalid_api_key',
  'invalid_token',
  'token_expired',
  'conflicting_credentials',
  'user_disabled',
]);

/** Anyone can make such rows, without any credential: beyond these a worker only counts them. */
const ROWS_PER_SECOND = 20;
/** Characters of the reason. */
const LONGEST_REASON = 200;

/**
 * Rows of requests that are nobody's, so that `limen explain` can tell why. Neither credential nor claims are in
 * them: what was sent might be somebody's real one, misspelt.
 */
export class UnidentifiedRequests {
  readonly #now: () => number;
  #second = 0;
  #rows = 0;

  /** @param now Unix time in milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The context that makes a refusal a row; undefined where none is due. */
  refused(
    error: LimenError,
    request: {
      readonly head: RequestHead;
      readonly format: string;
      readonly snapshot: string;
      readonly milliseconds: number;
    },
  ): RequestContext | undefined {
    if (!CODES.has(error.code) || !this.#hasRoom()) return undefined;
    const { head, format, snapshot, milliseconds } = request;
    const reason = error.cause instanceof Error ? error.cause.message : error.message;
    const numbers = `${error.code}: ${reason}`.slice(0, LONGEST_REASON);
    return endedContext(
      {
        intent: {
          requestId: head.requestId,
          time: this.#now(),
          keyId: '',
          user: '',
          team: '',
          tenant: '',
          format,
          modelAsked: '',
          model: '',
          stream: false,
          inputEstimate: 0,
          snapshot,
        },
        intentId: '',
        trace: [['identify', '', '', 'refused', numbers]],
      },
      milliseconds,
    );
  }

  #hasRoom(): boolean {
    const second = Math.floor(this.#now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#rows = 0;
    }
    this.#rows += 1;
    return this.#rows <= ROWS_PER_SECOND;
  }
}
