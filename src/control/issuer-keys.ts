import { isDeepStrictEqual } from 'node:util';
import type { DeclaredIssuer } from '../config/secrets.ts';
import type { IssuerKeys } from '../core/access.ts';
import type { IssuerKeyStore, KeptIssuerKeys } from '../core/identity-store.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import type { GuardedFetch } from './guarded-fetch.ts';
import { fetchIssuerKeys } from './issuer-document.ts';

/** How long keys are kept where their issuer says nothing, and the bounds of what it may say. */
const REFRESH_SECONDS = 600;
const SHORTEST_REFRESH_SECONDS = 60;
const LONGEST_REFRESH_SECONDS = 3600;
/** Spread, so that a fleet does not ask at once. */
const REFRESH_SPREAD = 0.1;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 300_000;
/** However many tokens name keys that nobody knows, an issuer is not asked more often because of them. */
export const REQUEST_INTERVAL_MS = 30_000;

export interface IssuerKeysOptions {
  readonly fetch: GuardedFetch;
  readonly kept: IssuerKeyStore;
  /** Brings all keys into force; resolves when the workers have them, or took too long. */
  readonly publish: (keys: readonly IssuerKeys[]) => Promise<void>;
  /** Told of each try to fetch keys, with why it failed (ends a sentence). */
  readonly onFetched: (provider: string, problem?: string) => void;
  /** Something beside the issuers went wrong: the keys cannot be kept or published. */
  readonly onError: (error: unknown) => void;
  /** From 0 to 1; Math.random unless told otherwise. */
  readonly random?: () => number;
}

/** How the keys of one issuer stand. */
export interface IssuerStatus {
  /** Where they come from. */
  readonly source: DeclaredIssuer['keys']['kind'];
  /** Whether the latest try to fetch them went well; undefined before the first, and where nothing is fetched. */
  readonly reachable: boolean | undefined;
  /** Why it did not; ends a sentence. */
  readonly problem?: string | undefined;
  readonly keys: readonly Pick<JsonWebKey, 'kty' | 'kid' | 'alg'>[];
  /** Unix time in milliseconds. */
  readonly fetchedAt?: number | undefined;
}

interface Entry {
  readonly declared: DeclaredIssuer;
  /** Issuer and source in words: keys that were kept for others are not used. */
  readonly fingerprint: string;
  readonly secret: string | undefined;
  /** In force; replaced only where a key has changed. */
  published?: IssuerKeys | undefined;
  fetchedAt?: number | undefined;
  reachable?: boolean | undefined;
  problem?: string | undefined;
  /** What is in force is kept, too. */
  isKept: boolean;
  failures: number;
  /** When it was asked last, when it will be, and when it is or was because of a token. */
  askedAt: number;
  nextAt: number;
  requestedAt: number;
  isAsking: boolean;
  timer?: NodeJS.Timeout | undefined;
}

/**
 * Keeps the keys of every identity provider: fetched at the start and again in the background, the last good ones while
 * the issuer is away, also over a restart.
 */
export class IssuerKeysKeeper {
  readonly #options: IssuerKeysOptions;
  #entries = new Map<string, Entry>();
  readonly #kept = new Map<string, KeptIssuerKeys>();
  #reading: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
  }

  /** By name of the IdentityProvider. */
  get status(): ReadonlyMap<string, IssuerStatus> {
    return new Map(
      [...this.#entries].map(([name, { declared, reachable, problem, published, fetchedAt }]) => [
        name,
        {
          source: declared.keys.kind,
          reachable,
          problem,
          keys: (published?.keys ?? []).map(({ kty, kid, alg }) => ({ kty, kid, alg })),
          fetchedAt,
        },
      ]),
    );
  }

  /**
   * The issuers whose keys are needed from now on. Resolves when what is at hand is in force: keys that were kept, given
   * or known already; what must be fetched comes when it comes.
   *
   * @param sharedSecrets in clear, by IdentityProvider
   */
  async setIssuers(
    issuers: readonly DeclaredIssuer[],
    sharedSecrets: Readonly<Record<string, string>>,
  ): Promise<void> {
    this.#reading ??= this.#readKept();
    await this.#reading;
    const before = this.#entries;
    this.#entries = new Map(
      issuers.map((declared) => {
        const { name } = declared;
        const entry = newEntry(declared, sharedSecrets[name], this.#kept.get(name));
        const known = before.get(name);
        const isSame = known?.fingerprint === entry.fingerprint && known.secret === entry.secret;
        return [name, isSame ? known : entry];
      }),
    );
    for (const [name, entry] of before) {
      if (this.#entries.get(name) !== entry) clearTimeout(entry.timer);
    }
    const isChanged =
      before.size !== this.#entries.size ||
      [...this.#entries].some(([name, entry]) => before.get(name) !== entry);
    if (isChanged) await this.#publish();
    for (const entry of this.#entries.values()) {
      if (isFetched(entry) && entry.askedAt === 0 && !entry.isAsking) void this.#fetch(entry);
    }
  }

  /** A token names a key that a worker does not have: the issuer is asked, now or as soon as it may be asked again. */
  request(provider: string, kid: string): void {
    const entry = this.#entries.get(provider);
    if (entry === undefined || !isFetched(entry) || entry.isAsking) return;
    if (entry.published?.keys.some((key) => key.kid === kid) === true) return;
    const earliest = Math.max(Date.now(), entry.requestedAt + REQUEST_INTERVAL_MS);
    if (earliest >= entry.nextAt) return;
    entry.requestedAt = earliest;
    this.#schedule(entry, earliest - Date.now());
  }

  async close(): Promise<void> {
    for (const { timer } of this.#entries.values()) clearTimeout(timer);
    this.#entries = new Map();
    await this.#writing;
  }

  async #fetch(entry: Entry): Promise<void> {
    const { fetch, onFetched, random = Math.random } = this.#options;
    const { name } = entry.declared;
    entry.isAsking = true;
    entry.askedAt = Date.now();
    const found = await fetchIssuerKeys(entry.declared, fetch);
    entry.isAsking = false;
    // Another issuer, or none, took its place meanwhile.
    if (this.#entries.get(name) !== entry) return;
    if ('problem' in found) {
      entry.problem = found.problem;
      entry.reachable = false;
      entry.failures += 1;
      const backoff = Math.min(FIRST_RETRY_MS * 2 ** (entry.failures - 1), LONGEST_RETRY_MS);
      this.#schedule(entry, backoff * (0.5 + random() / 2));
    } else {
      entry.problem = undefined;
      entry.reachable = true;
      entry.failures = 0;
      entry.fetchedAt = entry.askedAt;
      const seconds = Math.min(
        Math.max(found.maxAgeSeconds ?? REFRESH_SECONDS, SHORTEST_REFRESH_SECONDS),
        LONGEST_REFRESH_SECONDS,
      );
      this.#schedule(entry, seconds * 1000 * (1 - REFRESH_SPREAD + 2 * REFRESH_SPREAD * random()));
      await this.#take(entry, found.keys);
    }
    onFetched(name, entry.problem);
  }

  async #take(entry: Entry, keys: readonly JsonWebKey[]): Promise<void> {
    if (!isDeepStrictEqual(entry.published?.keys, keys)) {
      entry.published = issuerKeys(entry.declared, keys, entry.askedAt);
      entry.isKept = false;
      await this.#publish();
    }
    if (entry.isKept) return;
    this.#writing = this.#writing.then(() => this.#keep(entry));
    await this.#writing;
  }

  async #publish(): Promise<void> {
    const keys = [...this.#entries.values()].flatMap(({ published }) => published ?? []);
    try {
      await this.#options.publish(keys);
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** Keys that cannot be read are fetched, as those of a new issuer are. */
  async #readKept(): Promise<void> {
    try {
      for (const [name, kept] of await this.#options.kept.read()) this.#kept.set(name, kept);
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** What cannot be kept now is when the issuer is asked again. */
  async #keep(entry: Entry): Promise<void> {
    const { declared, fingerprint, published } = entry;
    if (published === undefined) return;
    const kept = { declared: fingerprint, keys: published.keys, fetchedAt: published.fetchedAt };
    try {
      await this.#options.kept.write(declared.name, kept);
      this.#kept.set(declared.name, kept);
      entry.isKept = entry.published === published;
    } catch (error) {
      this.#options.onError(error);
    }
  }

  #schedule(entry: Entry, waitMs: number): void {
    clearTimeout(entry.timer);
    const wait = Math.max(0, waitMs);
    entry.nextAt = Date.now() + wait;
    entry.timer = setTimeout(() => void this.#fetch(entry), wait);
    entry.timer.unref();
  }
}

function isFetched({ declared: { keys } }: Entry): boolean {
  return keys.kind === 'discovery' || keys.kind === 'jwksUri';
}

function newEntry(
  declared: DeclaredIssuer,
  secret: string | undefined,
  before: KeptIssuerKeys | undefined,
): Entry {
  const { issuer, keys } = declared;
  const fingerprint = JSON.stringify([issuer, keys]);
  const base = {
    declared,
    fingerprint,
    secret,
    isKept: false,
    failures: 0,
    askedAt: 0,
    nextAt: Infinity,
    requestedAt: -Infinity,
    isAsking: false,
  };
  if (keys.kind === 'inline') return { ...base, published: issuerKeys(declared, keys.keys, 0) };
  if (keys.kind === 'sharedSecret') {
    if (secret === undefined) return { ...base, problem: 'its shared secret is missing or too short.' };
    const key = { kty: 'oct', k: Buffer.from(secret, 'utf8').toString('base64url') };
    return { ...base, published: issuerKeys(declared, [key], 0) };
  }
  if (before?.declared !== fingerprint) return base;
  return {
    ...base,
    isKept: true,
    published: issuerKeys(declared, before.keys, before.fetchedAt),
    fetchedAt: before.fetchedAt,
  };
}

function issuerKeys(
  { name, issuer }: DeclaredIssuer,
  keys: readonly JsonWebKey[],
  fetchedAt: number,
): IssuerKeys {
  return { provider: name, issuer, keys, fetchedAt };
}
