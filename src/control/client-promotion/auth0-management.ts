import { z } from 'zod';
import { parsedJson } from '../../core/json.ts';
import {
  whyNotFetched,
  type GuardedFetch,
  type GuardedRequest,
  type GuardedResponse,
} from '../guarded-fetch.ts';

const LARGEST_ANSWER_BYTES = 256 * 1024;
/** A token is used for this part of its life. */
const TOKEN_USED = 0.8;
const LONGEST_TOKEN_SECONDS = 86_400;
const SHORTEST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 300_000;

const tokenSchema = z.object({
  access_token: z
    .string()
    .max(16_384)
    .regex(/^[\x21-\x7e]+$/),
  expires_in: z.number().min(1),
});

/** Of a refusal the code alone is shown: its message may quote what was sent. */
const refusalSchema = z.object({ errorCode: z.string().regex(/^[a-z_]{1,64}$/) });

/** Why the tenant could not be asked, or did not do it. Its message ends a sentence and quotes nothing of an answer. */
export class ManagementProblem extends Error {
  override readonly name = 'ManagementProblem';
  /** Whether other clients would meet with it just so: the tenant is away, or the gateway may not do this there. */
  readonly isForAll: boolean;
  /** How long the tenant wishes to be left alone, in milliseconds. */
  readonly waitMs: number | undefined;

  constructor(message: string, options: { readonly isForAll: boolean; readonly waitMs?: number }) {
    super(message);
    this.isForAll = options.isForAll;
    this.waitMs = options.waitMs;
  }
}

export interface ManagementAccount {
  /** Scheme and host. */
  readonly tenantUrl: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

export interface ManagementCall {
  readonly method: 'GET' | 'POST' | 'PATCH';
  /** Below `/api/v2/`; what is put into it is encoded already. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** The permission that the gateway's client needs for it, for who reads of a refusal. */
  readonly needs: string;
}

/** Auth0's Management API v2 (auth0.com/docs/api/management/v2), asked as the gateway's own client there. */
export class Auth0Management {
  readonly #account: ManagementAccount;
  readonly #fetch: GuardedFetch;
  readonly #now: () => number;
  #token: { readonly value: string; readonly until: number } | undefined;

  /** @param now Unix time in milliseconds */
  constructor(account: ManagementAccount, fetch: GuardedFetch, now: () => number) {
    this.#account = account;
    this.#fetch = fetch;
    this.#now = now;
  }

  /**
   * The body of the answer; undefined where there is none.
   *
   * @throws ManagementProblem
   */
  async call({ method, path, query, body, needs }: ManagementCall): Promise<unknown> {
    const parameters = query === undefined ? '' : `?${new URLSearchParams(query).toString()}`;
    const answer = await this.#send(`/api/v2/${path}${parameters}`, {
      method,
      headers: { authorization: `Bearer ${await this.#accessToken()}`, ...JSON_HEADERS },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const { status } = answer;
    if (status >= 200 && status < 300) return answer.body.length === 0 ? undefined : this.#json(answer);
    // Revoked, or the key that it is signed with was changed: the next try is with another one.
    if (status === 401) this.#token = undefined;
    const hint = status === 403 ? `; its client there needs ${needs}` : '';
    throw this.#problem(answer, `${method} /api/v2/${path.split('/')[0] ?? ''}`, hint);
  }

  /** auth0.com/docs/secure/tokens/access-tokens/management-api-access-tokens */
  async #accessToken(): Promise<string> {
    if (this.#token !== undefined && this.#token.until > this.#now()) return this.#token.value;
    const { tenantUrl, clientId, clientSecret } = this.#account;
    const answer = await this.#send('/oauth/token', {
      method: 'POST',
      headers: JSON_HEADERS,
      body: JSON.stringify({
        grant_type: 'client_credentials',
        client_id: clientId,
        client_secret: clientSecret,
        audience: `${tenantUrl}/api/v2/`,
      }),
    });
    if (answer.status !== 200) {
      throw this.#problem(answer, 'POST /oauth/token', '; are clientId and clientSecret right?', () => true);
    }
    const token = tokenSchema.safeParse(this.#json(answer));
    if (!token.success) throw this.#unreadable('a token');
    const seconds = Math.min(token.data.expires_in, LONGEST_TOKEN_SECONDS);
    this.#token = {
      value: token.data.access_token,
      until: this.#now() + seconds * 1000 * TOKEN_USED,
    };
    return this.#token.value;
  }

  async #send(path: string, request: GuardedRequest): Promise<GuardedResponse> {
    try {
      return await this.#fetch(`${this.#account.tenantUrl}${path}`, {
        ...request,
        maxBytes: LARGEST_ANSWER_BYTES,
      });
    } catch (error) {
      throw new ManagementProblem(whyNotFetched(error, this.#host), { isForAll: true });
    }
  }

  get #host(): string {
    return new URL(this.#account.tenantUrl).host;
  }

  #problem(
    { status, headers, body }: GuardedResponse,
    what: string,
    hint: string,
    isForAll: (status: number) => boolean = isOfTenant,
  ): ManagementProblem {
    const refusal = refusalSchema.safeParse(parsedJson(body.toString('utf8')));
    const code = refusal.success ? ` (${refusal.data.errorCode})` : '';
    const message = `${this.#host} answered ${status}${code} to ${what}${hint}.`;
    if (status === 429)
      return new ManagementProblem(message, { isForAll: true, waitMs: this.#wait(headers) });
    return new ManagementProblem(message, { isForAll: isForAll(status) });
  }

  /** When the limit begins anew, in Unix seconds (Auth0's rate limit policy), or else for how long it holds. */
  #wait(headers: GuardedResponse['headers']): number {
    const reset = Number(headers['x-ratelimit-reset']) * 1000 - this.#now();
    const after = Number(headers['retry-after']) * 1000;
    const wished = [reset, after].find((wait) => Number.isFinite(wait)) ?? SHORTEST_WAIT_MS;
    return Math.min(Math.max(wished, SHORTEST_WAIT_MS), LONGEST_WAIT_MS);
  }

  #json({ body }: GuardedResponse): unknown {
    const value = parsedJson(body.toString('utf8'));
    if (value === undefined) throw this.#unreadable('JSON');
    return value;
  }

  #unreadable(wanted: string): ManagementProblem {
    return new ManagementProblem(`${this.#host} did not answer with ${wanted}.`, { isForAll: true });
  }
}

/** Other refusals are of the one client that a call was about. */
function isOfTenant(status: number): boolean {
  return [401, 403, 408].includes(status) || status >= 500;
}

const JSON_HEADERS = { 'content-type': 'application/json', accept: 'application/json' } as const;
