import { domainOf } from '../../core/domains.ts';
import type {
  Admission,
  AdmitRequest,
  ChargedAttempt,
  CircuitBook,
  CircuitStatus,
  IntentBook,
  IntentClosing,
  KeptAnswers,
  Ledger,
  LedgerSettlement,
  OpenIntent,
  RecoveryBook,
} from '../../core/ledger.ts';

/** What each limit domain has, by its name, in the order of the setting: at least one. */
export type ByDomain<One> = ReadonlyMap<string, One>;

/** Between the id of an intent and its domain. */
const OF_DOMAIN = '@';

/** An intent id that tells its domain. */
function qualified(intentId: string, domain: string): string {
  return intentId === '' ? '' : `${intentId}${OF_DOMAIN}${domain}`;
}

/** An intent of no domain that is known was written when there was but one, which is the first now. */
function partsOf<One>(
  domains: ByDomain<One>,
  intentId: string,
): { readonly domain: string; readonly id: string } {
  const [id = '', domain = ''] = intentId.split(OF_DOMAIN);
  return { id, domain: domains.has(domain) ? domain : firstOf(domains) };
}

function firstOf<One>(domains: ByDomain<One>): string {
  const [first = ''] = domains.keys();
  return first;
}

function at<One>(domains: ByDomain<One>, domain: string): One {
  const found = domains.get(domain);
  if (found === undefined) throw new RangeError(`there is no limit domain '${domain}'`);
  return found;
}

/** Who is told that a limit domain does not answer. */
export type OnDomainAway = (domain: string, error: unknown) => void;

/**
 * One domain after the other. One that is away is told of, and holds up no other. Rejects where all are; else returns why
 * the last of those is that are.
 */
export async function inEach<One>(
  domains: ByDomain<One>,
  onAway: OnDomainAway,
  action: (one: One, domain: string) => Promise<void>,
): Promise<unknown> {
  let away = 0;
  let reason: unknown;
  for (const [domain, one] of domains) {
    try {
      await action(one, domain);
    } catch (error) {
      away += 1;
      if (away === domains.size) throw error;
      onAway(domain, error);
      reason = error;
    }
  }
  return reason;
}

/** The ledger of one worker over several limit domains: each request has all that is its own in its tenant's. */
export class DomainLedger implements Ledger {
  readonly #domains: ByDomain<Ledger>;
  readonly #names: readonly string[];

  constructor(domains: ByDomain<Ledger>) {
    this.#domains = domains;
    this.#names = [...domains.keys()];
  }

  async admit(request: AdmitRequest): Promise<Admission> {
    const domain = domainOf(this.#names, request.intent.tenant);
    const { insteadOf } = request;
    const own =
      insteadOf === undefined ? request : { ...request, insteadOf: partsOf(this.#domains, insteadOf).id };
    const admission = await at(this.#domains, domain).admit(own);
    return { ...admission, intentId: qualified(admission.intentId, domain) };
  }

  settle(settlement: LedgerSettlement): void {
    const { intentId, row } = settlement;
    if (intentId === '') {
      at(this.#domains, domainOf(this.#names, row.tenant)).settle(settlement);
      return;
    }
    const { domain, id } = partsOf(this.#domains, intentId);
    at(this.#domains, domain).settle({ ...settlement, intentId: id });
  }

  recordAttempts(attempts: readonly ChargedAttempt[]): void {
    for (const attempt of attempts) {
      const { domain, id } = partsOf(this.#domains, attempt.intentId);
      at(this.#domains, domain).recordAttempts([{ ...attempt, intentId: id }]);
    }
  }

  renew(intentIds: readonly string[]): void {
    for (const intentId of intentIds) {
      const { domain, id } = partsOf(this.#domains, intentId);
      at(this.#domains, domain).renew([id]);
    }
  }
}

/** Keeps answers where the admissions of their tenant look for them. */
export class DomainKeptAnswers implements KeptAnswers {
  readonly #domains: ByDomain<KeptAnswers>;
  readonly #names: readonly string[];

  constructor(domains: ByDomain<KeptAnswers>) {
    this.#domains = domains;
    this.#names = [...domains.keys()];
  }

  put(key: string, value: Buffer, ttlSeconds: number, after?: string, tenant = ''): void {
    at(this.#domains, domainOf(this.#names, tenant)).put(key, value, ttlSeconds, after);
  }
}

/**
 * The open intents of all limit domains; who reconciles the first one that is there reconciles all. Should there be two,
 * because one of them does not reach the first, each intent is closed once all the same.
 */
export class DomainIntentBook implements IntentBook {
  readonly #domains: ByDomain<IntentBook>;
  readonly #onAway: OnDomainAway;
  /** Of each domain, as of when it last told. */
  readonly #backlogs = new Map<string, Awaited<ReturnType<IntentBook['backlog']>>>();

  constructor(domains: ByDomain<IntentBook>, onAway: OnDomainAway) {
    this.#domains = domains;
    this.#onAway = onAway;
  }

  async lapsed(leaseMs: number, limit: number): Promise<readonly OpenIntent[]> {
    const found: OpenIntent[] = [];
    // Each its part, so that one whose intents cannot be closed holds up no other.
    const most = Math.ceil(limit / this.#domains.size);
    await inEach(this.#domains, this.#onAway, async (book, domain) => {
      const some = await book.lapsed(leaseMs, most);
      found.push(...some.map((intent) => ({ ...intent, intentId: qualified(intent.intentId, domain) })));
    });
    return found;
  }

  async close(closings: readonly IntentClosing[], leaseMs: number): Promise<number> {
    let closed = 0;
    await inEach(this.#domains, this.#onAway, async (book, domain) => {
      const own = closings.flatMap(({ intentId, row }) => {
        const { domain: its, id } = partsOf(this.#domains, intentId);
        return its === domain ? [{ intentId: id, row }] : [];
      });
      if (own.length > 0) closed += await book.close(own, leaseMs);
    });
    return closed;
  }

  async backlog(): Promise<{ readonly intents: number; readonly rows: number }> {
    await inEach(this.#domains, this.#onAway, async (book, domain) => {
      this.#backlogs.set(domain, await book.backlog());
    });
    const all = [...this.#backlogs.values()];
    return {
      intents: all.reduce((sum, { intents }) => sum + intents, 0),
      rows: all.reduce((sum, { rows }) => sum + rows, 0),
    };
  }

  async lead(holdMs: number): Promise<boolean> {
    const answers: boolean[] = [];
    await inEach(this.#domains, this.#onAway, async (book) => {
      if (answers.length === 0) answers.push(await book.lead(holdMs));
    });
    return answers[0] === true;
  }
}

/**
 * Settles what no worker has settled, in all limit domains. Those that are there are served first; then the call rejects
 * for those that are away, so that whoever asks does so again.
 */
export class DomainRecoveryBook implements RecoveryBook {
  readonly #domains: ByDomain<RecoveryBook>;
  readonly #onAway: OnDomainAway;
  /** Why a domain could not be read since the first page was asked for. */
  #unread: unknown;

  constructor(domains: ByDomain<RecoveryBook>, onAway: OnDomainAway) {
    this.#domains = domains;
    this.#onAway = onAway;
  }

  async open(after: string, limit: number): Promise<readonly OpenIntent[]> {
    const names = [...this.#domains.keys()];
    const last = partsOf(this.#domains, after);
    const left = new Map([...this.#domains].slice(names.indexOf(last.domain)));
    if (after === '') this.#unread = undefined;
    const found: OpenIntent[] = [];
    const unread = await inEach(left, this.#onAway, async (book, domain) => {
      const from = domain === last.domain ? last.id : '';
      const some = found.length < limit ? await book.open(from, limit - found.length) : [];
      found.push(...some.map((intent) => ({ ...intent, intentId: qualified(intent.intentId, domain) })));
    });
    this.#unread = unread ?? this.#unread;
    if (found.length === 0 && this.#unread !== undefined) throw this.#unread;
    return found;
  }

  async settle(
    attempts: readonly ChargedAttempt[],
    settlements: readonly LedgerSettlement[],
  ): Promise<number> {
    const own = <One extends { readonly intentId: string }>(all: readonly One[], domain: string): One[] =>
      all.flatMap((one) => {
        const { domain: its, id } = partsOf(this.#domains, one.intentId);
        return its === domain ? [{ ...one, intentId: id }] : [];
      });
    let settled = 0;
    const unsettled = await inEach(this.#domains, this.#onAway, async (book, domain) => {
      const [tries, ends] = [own(attempts, domain), own(settlements, domain)];
      if (tries.length + ends.length > 0) settled += await book.settle(tries, ends);
    });
    if (unsettled !== undefined) throw unsettled;
    return settled;
  }
}

/** Each limit domain learns by itself; of a provider the worst of its circuits is told, of domains that are there. */
export class DomainCircuitBook implements CircuitBook {
  readonly #domains: ByDomain<CircuitBook>;
  readonly #onAway: OnDomainAway;

  constructor(domains: ByDomain<CircuitBook>, onAway: OnDomainAway) {
    this.#domains = domains;
    this.#onAway = onAway;
  }

  async circuits(): Promise<readonly CircuitStatus[]> {
    const all: CircuitStatus[] = [];
    await inEach(this.#domains, this.#onAway, async (book) => {
      all.push(...(await book.circuits()));
    });
    const worst = Map.groupBy(all, ({ provider }) => provider);
    return [...worst.values()]
      .flatMap((circuits) => circuits.sort((left, right) => badness(right) - badness(left)).slice(0, 1))
      .sort((left, right) => (left.provider < right.provider ? -1 : 1));
  }
}

const STATES: readonly CircuitStatus['state'][] = ['closed', 'probing', 'open'];

/** By its state, then by the time that it takes. */
function badness({ state, retryInSeconds, failures }: CircuitStatus): number {
  return STATES.indexOf(state) * 1e9 + retryInSeconds * 1000 + Math.min(failures, 999);
}
