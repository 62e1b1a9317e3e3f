import { importPKCS8, SignJWT } from 'jose';
import { z } from 'zod';
import type { GoogleServiceAccount } from '../config/secrets.ts';
import { whyNotFetched, type GuardedFetch } from './guarded-fetch.ts';

/** What an access token may be used for: everything that the account's own roles allow (Vertex AI asks for this one). */
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
/** RFC 7523, section 2.1 */
const JWT_GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
/** Longest lifetime that Google takes for an assertion, and the usual one of its tokens. */
const ASSERTION_SECONDS = 3600;
/** A token is renewed after this part of its life, spread so that a fleet does not ask at once. */
const RENEW_AFTER = 0.7;
const RENEW_SPREAD = 0.15;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** Google's own bound; it also keeps what a server says within what a timer can wait. */
const LONGEST_LIFE_SECONDS = 43_200;
const LARGEST_ANSWER_BYTES = 64 * 1024;

/** RFC 6749, section 5.1. Tokens of another type could not be sent as `Bearer`. */
const answerSchema = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]+$/),
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.number().min(1),
});

/** RFC 6749, section 5.2. Of a refusal the code alone is shown: its description may quote what was sent. */
const refusalSchema = z.object({ error: z.string().regex(/^[a-z_]{1,64}$/) });

/** Told of each try to get a token. */
export interface TokenObserver {
  /** @param problem why none was to be had; ends a sentence */
  tokenRefreshed(provider: string, problem?: string): void;
}

export interface GoogleTokensOptions {
  readonly fetch: GuardedFetch;
  readonly observer: TokenObserver;
  /** A token has come, or none could be had. */
  readonly onChange: () => void;
  /** From 0 to 1; Math.random unless told otherwise. */
  readonly random?: () => number;
}

/** How a provider's token stands. */
export interface TokenStatus {
  /** Unix time in milliseconds; absent where there is no token that still holds. */
  readonly expiresAt?: number | undefined;
  /** What the latest try said, where it failed; ends a sentence. */
  readonly problem?: string | undefined;
}

interface Entry {
  readonly account: GoogleServiceAccount;
  token?: { readonly value: string; readonly expiresAt: number; readonly renewAt: number } | undefined;
  problem?: string | undefined;
  failures: number;
  timer?: NodeJS.Timeout | undefined;
}

/**
 * Keeps an access token for each Google service account, renewed long before it expires. While no new one is to be
 * had, the last one is kept until its end.
 */
export class GoogleTokens {
  readonly #options: GoogleTokensOptions;
  #entries = new Map<string, Entry>();

  constructor(options: GoogleTokensOptions) {
    this.#options = options;
  }

  /** Tokens that hold at this moment, by provider. */
  get tokens(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      [...this.#entries].flatMap(([provider, { token }]) =>
        token !== undefined && token.expiresAt > Date.now() ? [[provider, token.value]] : [],
      ),
    );
  }

  /** By provider. */
  get status(): ReadonlyMap<string, TokenStatus> {
    return new Map(
      [...this.#entries].map(([provider, { token, problem }]) => [
        provider,
        {
          expiresAt: token !== undefined && token.expiresAt > Date.now() ? token.expiresAt : undefined,
          problem,
        },
      ]),
    );
  }

  /** The accounts that need tokens from now on. One that changed keeps its token until the new account has one. */
  setAccounts(accounts: Readonly<Record<string, GoogleServiceAccount>>): void {
    const before = this.#entries;
    this.#entries = new Map(
      Object.entries(accounts).map(([provider, account]) => {
        const entry = before.get(provider);
        if (entry !== undefined && isSame(entry.account, account)) return [provider, entry];
        return [provider, { account, token: entry?.token, failures: 0 }];
      }),
    );
    for (const [provider, entry] of before) {
      if (this.#entries.get(provider) !== entry) clearTimeout(entry.timer);
    }
    for (const [provider, entry] of this.#entries) {
      if (before.get(provider) !== entry) void this.#renew(provider, entry);
    }
  }

  close(): void {
    this.setAccounts({});
  }

  async #renew(provider: string, entry: Entry): Promise<void> {
    const { fetch, observer, onChange, random = Math.random } = this.#options;
    const asked = Date.now();
    const found = await requestToken(entry.account, fetch);
    // Another account, or none, took its place meanwhile.
    if (this.#entries.get(provider) !== entry) return;
    if ('value' in found) {
      const { value, seconds } = found;
      entry.token = {
        value,
        expiresAt: asked + seconds * 1000,
        renewAt: asked + seconds * 1000 * (RENEW_AFTER + RENEW_SPREAD * random()),
      };
      entry.problem = undefined;
      entry.failures = 0;
    } else {
      entry.problem = found.problem;
      entry.failures += 1;
    }
    observer.tokenRefreshed(provider, entry.problem);
    this.#schedule(provider, entry, random());
    onChange();
  }

  #schedule(provider: string, entry: Entry, random: number): void {
    const backoff = Math.min(FIRST_RETRY_MS * 2 ** (entry.failures - 1), LONGEST_RETRY_MS);
    const wait = entry.failures > 0 ? backoff * (0.5 + random / 2) : (entry.token?.renewAt ?? 0) - Date.now();
    entry.timer = setTimeout(() => void this.#renew(provider, entry), Math.max(0, wait));
    entry.timer.unref();
  }
}

function isSame(left: GoogleServiceAccount, right: GoogleServiceAccount): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

type Requested = { readonly value: string; readonly seconds: number } | { readonly problem: string };

/** Asks the account's own token address for an access token (RFC 7523). Never throws; no problem quotes a secret. */
async function requestToken(account: GoogleServiceAccount, fetchGuarded: GuardedFetch): Promise<Requested> {
  let assertion: string;
  try {
    assertion = await signAssertion(account);
  } catch {
    return { problem: 'its private_key is no RSA key in PKCS #8.' };
  }
  try {
    const { status, body } = await fetchGuarded(account.tokenUri, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams({ grant_type: JWT_GRANT, assertion }).toString(),
      maxBytes: LARGEST_ANSWER_BYTES,
    });
    const answer: unknown = JSON.parse(body.toString('utf8'));
    if (status !== 200) {
      const refusal = refusalSchema.safeParse(answer);
      const code = refusal.success ? ` (${refusal.data.error})` : '';
      return { problem: `${hostOf(account)} answered ${status}${code}.` };
    }
    const token = answerSchema.safeParse(answer);
    if (!token.success) return { problem: `${hostOf(account)} answered without a bearer token.` };
    return {
      value: token.data.access_token,
      seconds: Math.min(token.data.expires_in, LONGEST_LIFE_SECONDS),
    };
  } catch (error) {
    if (error instanceof SyntaxError) return { problem: `${hostOf(account)} did not answer with JSON.` };
    return { problem: whyNotFetched(error, hostOf(account)) };
  }
}

function hostOf({ tokenUri }: GoogleServiceAccount): string {
  return URL.canParse(tokenUri) ? new URL(tokenUri).host : 'its token_uri';
}

async function signAssertion({
  clientEmail,
  privateKey,
  privateKeyId,
  tokenUri,
}: GoogleServiceAccount): Promise<string> {
  const key = await importPKCS8(privateKey, 'RS256');
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ scope: SCOPE })
    .setProtectedHeader({
      alg: 'RS256',
      typ: 'JWT',
      ...(privateKeyId === undefined ? {} : { kid: privateKeyId }),
    })
    .setIssuer(clientEmail)
    .setAudience(tokenUri)
    .setIssuedAt(now)
    .setExpirationTime(now + ASSERTION_SECONDS)
    .sign(key);
}
