import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PromotionSecrets } from '../../config/secrets.ts';
import type { GuardedFetch } from '../guarded-fetch.ts';
import { readDeliveredLog } from './auth0-logs.ts';
import { Auth0Management, ManagementProblem, type ManagementAccount } from './auth0-management.ts';
import { promoteClient, type PromotionGoal, type PromotionRefusal } from './auth0-promotion.ts';

/** How clients of one identity provider are promoted. */
export interface PromotionSettings extends PromotionGoal, ManagementAccount, PromotionSecrets {}

/** What has become of a client that registered itself, or of a try to promote it. */
export type PromotionOutcome = {
  /** Name of the IdentityProvider. */
  readonly provider: string;
  /** Absent where the log names none. */
  readonly client?: string | undefined;
} & (
  | { readonly outcome: 'promoted'; readonly name: string; readonly changes: readonly string[] }
  | { readonly outcome: 'unchanged' }
  | { readonly outcome: 'refused'; readonly reason: PromotionRefusal }
  /** `problem` ends a sentence. */
  | { readonly outcome: 'retried' | 'failed'; readonly problem: string }
);

/** How promotion stands at one identity provider, counted since the control plane started. */
export interface PromotionStatus {
  /** Unix time in milliseconds: of the latest delivery of its log. */
  readonly deliveredAt?: number | undefined;
  readonly waiting: number;
  readonly promoted: number;
  readonly refused: number;
  readonly failed: number;
  /** Why the latest try went wrong; ends a sentence. */
  readonly problem?: string | undefined;
}

export type Delivery = 'unreadable' | 'too many' | 'no room' | { readonly registrations: number };

export interface ClientPromoterOptions {
  /** Undefined where no clients are promoted, or a secret for it is missing. */
  readonly settings: (provider: string) => PromotionSettings | undefined;
  readonly fetch: GuardedFetch;
  /** Must not throw. */
  readonly onOutcome: (outcome: PromotionOutcome) => void;
  /** A fault of the gateway itself. */
  readonly onError: (error: unknown) => void;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Shortest wait before another try; a second unless told otherwise. */
  readonly firstRetryMs?: number;
}

/** Clients of one identity provider that wait; beyond, its log is to be sent again later. */
const MOST_WAITING = 1000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** What could not be done for so long is given up. */
const PATIENCE_MS = 3_600_000;
const CLOSE_WITHIN_MS = 3000;

/** A secret may be on its way; what waits was taken, and is not to be forgotten in silence. */
const NOT_READY = new ManagementProblem(
  'its clients are promoted no longer, or a secret for it is missing.',
  {
    isForAll: true,
  },
);

interface Waiting {
  readonly since: number;
  failures: number;
  nextAt: number;
}

/** The clients of one identity provider, one after another. */
interface Line {
  readonly waiting: Map<string, Waiting>;
  readonly counts: { promoted: number; refused: number; failed: number };
  deliveredAt?: number | undefined;
  problem?: string | undefined;
  /** Of tries that would go wrong for every client; nothing is tried before `notBefore`. */
  failures: number;
  notBefore: number;
  work?: Promise<void> | undefined;
  timer?: NodeJS.Timeout | undefined;
  management?: { readonly account: string; readonly api: Auth0Management } | undefined;
}

/**
 * Takes the logs of identity providers and promotes the clients that they say have registered themselves: afterwards, one
 * after another, again and again for an hour. What waits is in memory: a control plane that ends forgets it.
 */
export class ClientPromoter {
  readonly #options: ClientPromoterOptions;
  readonly #lines = new Map<string, Line>();
  /** In place of the secret of one that has none, so that both take as long. */
  readonly #nobody = randomBytes(32).toString('hex');
  /** Unix time in milliseconds; nothing more is tried after it. */
  #closesAt: number | undefined;

  constructor(options: ClientPromoterOptions) {
    this.#options = options;
  }

  /** Whether one of these is the secret that a provider's log stream proves itself with; false where it has none. */
  isSecret(provider: string, given: readonly string[]): boolean {
    const settings = this.#options.settings(provider);
    const wanted = digest(settings?.webhookSecret ?? this.#nobody);
    const matches = given.map((one) => timingSafeEqual(digest(one), wanted));
    return settings !== undefined && matches.includes(true);
  }

  /** Takes a delivery of a provider's log, whose secret was right. What follows of it is done later. */
  take(provider: string, text: string): Delivery {
    const log = readDeliveredLog(text);
    if (log === undefined) return 'unreadable';
    // More than this would find no room, however often they are sent.
    if (log === 'too many' || log.clients.length > MOST_WAITING) return 'too many';
    const line = this.#lineOf(provider);
    const added = log.clients.filter((client) => !line.waiting.has(client));
    if (line.waiting.size + added.length > MOST_WAITING) return 'no room';
    const now = this.#options.now();
    line.deliveredAt = now;
    for (let count = 0; count < log.misnamed; count += 1) this.#refused(provider, line, 'id is none');
    for (const client of added) line.waiting.set(client, { since: now, failures: 0, nextAt: now });
    this.#work(provider, line);
    return { registrations: log.clients.length + log.misnamed };
  }

  statusOf(provider: string): PromotionStatus {
    const line = this.#lines.get(provider);
    if (line === undefined) return { waiting: 0, promoted: 0, refused: 0, failed: 0 };
    const { deliveredAt, problem, waiting, counts } = line;
    return { deliveredAt, waiting: waiting.size, ...counts, problem };
  }

  /** What can be done at once is done, for some seconds at most. Nothing is to be taken any more. */
  async close(): Promise<void> {
    this.#closesAt = this.#options.now() + CLOSE_WITHIN_MS;
    for (const { timer } of this.#lines.values()) clearTimeout(timer);
    const work = Promise.all([...this.#lines.values()].flatMap((line) => line.work ?? []));
    // What is under way asks a tenant again and again, which may be slow: it is not waited for.
    await Promise.race([work, sleep(CLOSE_WITHIN_MS, undefined, { ref: false })]);
  }

  #lineOf(provider: string): Line {
    const known = this.#lines.get(provider);
    if (known !== undefined) return known;
    const line: Line = {
      waiting: new Map(),
      counts: { promoted: 0, refused: 0, failed: 0 },
      failures: 0,
      notBefore: 0,
    };
    this.#lines.set(provider, line);
    return line;
  }

  #work(provider: string, line: Line): void {
    if (line.work !== undefined) return;
    clearTimeout(line.timer);
    line.work = this.#workThrough(provider, line).finally(() => {
      line.work = undefined;
      this.#sleep(provider, line);
    });
  }

  #sleep(provider: string, line: Line): void {
    if (line.waiting.size === 0 || this.#closesAt !== undefined) return;
    const next = Math.min(...[...line.waiting.values()].map(({ nextAt }) => nextAt));
    const wait = Math.max(next, line.notBefore) - this.#options.now();
    line.timer = setTimeout(() => this.#work(provider, line), Math.max(0, wait)).unref();
  }

  async #workThrough(provider: string, line: Line): Promise<void> {
    for (;;) {
      const now = this.#options.now();
      const due = [...line.waiting].find(([, { nextAt }]) => nextAt <= now);
      if (due === undefined || line.notBefore > now || now > (this.#closesAt ?? Infinity)) return;
      const settings = this.#options.settings(provider);
      if (settings === undefined) this.#failed(provider, line, ...due, NOT_READY);
      else await this.#try(provider, line, due, settings);
    }
  }

  async #try(
    provider: string,
    line: Line,
    [client, entry]: readonly [string, Waiting],
    settings: PromotionSettings,
  ): Promise<void> {
    try {
      const done = await promoteClient(this.#managementOf(line, settings), client, settings);
      line.failures = 0;
      line.problem = undefined;
      line.waiting.delete(client);
      if ('refusal' in done) this.#refused(provider, line, done.refusal, client);
      else this.#promoted(provider, line, client, done);
    } catch (error) {
      this.#failed(provider, line, client, entry, error);
    }
  }

  /** Another account needs another token. */
  #managementOf(line: Line, { tenantUrl, clientId, clientSecret }: PromotionSettings): Auth0Management {
    const account = JSON.stringify([tenantUrl, clientId, clientSecret]);
    if (line.management?.account !== account) {
      const { fetch, now } = this.#options;
      const api = new Auth0Management({ tenantUrl, clientId, clientSecret }, fetch, now);
      line.management = { account, api };
    }
    return line.management.api;
  }

  #promoted(
    provider: string,
    line: Line,
    client: string,
    { name, changes }: { readonly name: string; readonly changes: readonly string[] },
  ): void {
    if (changes.length === 0) {
      this.#options.onOutcome({ provider, client, outcome: 'unchanged' });
      return;
    }
    line.counts.promoted += 1;
    this.#options.onOutcome({ provider, client, outcome: 'promoted', name, changes });
  }

  #refused(provider: string, line: Line, reason: PromotionRefusal, client?: string): void {
    line.counts.refused += 1;
    this.#options.onOutcome({ provider, client, outcome: 'refused', reason });
  }

  #failed(provider: string, line: Line, client: string, entry: Waiting, error: unknown): void {
    const { onOutcome, onError, now } = this.#options;
    const known = error instanceof ManagementProblem ? error : undefined;
    const problem = known?.message ?? 'the gateway failed to do this; its log says why.';
    if (known === undefined) onError(error);
    line.problem = problem;
    // Behind the others: what one alone meets with must not keep them waiting.
    line.waiting.delete(client);
    line.waiting.set(client, entry);
    if (known?.waitMs !== undefined) line.notBefore = now() + known.waitMs;
    else if (known?.isForAll === true) line.notBefore = now() + this.#backoff(line);
    else entry.nextAt = now() + this.#backoff(entry);
    // What goes wrong for all ends for all whose time is over: not for one with each try.
    const tried = known?.isForAll === true ? [...line.waiting] : [[client, entry] as const];
    const over = tried.filter(([, { since }]) => now() - since > PATIENCE_MS).map(([name]) => name);
    for (const name of over) {
      line.waiting.delete(name);
      line.counts.failed += 1;
      onOutcome({ provider, client: name, outcome: 'failed', problem });
    }
    if (!over.includes(client)) onOutcome({ provider, client, outcome: 'retried', problem });
  }

  #backoff(failing: { failures: number }): number {
    const { firstRetryMs = FIRST_RETRY_MS } = this.#options;
    failing.failures += 1;
    return Math.min(firstRetryMs * 2 ** Math.min(failing.failures - 1, 20), LONGEST_RETRY_MS);
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
