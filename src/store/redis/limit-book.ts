import { batchesOf } from '../../core/batches.ts';
import type { LimitAlert, LimitBook, LimitUnit, LimitUsage } from '../../core/limits.ts';
import type { RedisClient } from './connection.ts';
import { inEach, type ByDomain, type OnDomainAway } from './domains.ts';
import { ledgerKeys, type LedgerKeys } from './ledger-keys.ts';
import { LIMIT_RESET, LIMIT_USAGE } from './limit-book-scripts.ts';
import { SEPARATOR, whoOf } from './limit-codec.ts';

/** Counters looked at in one call. */
const PAGE = 500;
const UNITS: readonly LimitUnit[] = ['requests', 'tokens', 'usd'];

/** Between domain and id of an alert. */
const OF_DOMAIN = '@';

/** The counters in Redis as admins see them: each as the sum over all limit domains. */
export class RedisLimitBook implements LimitBook {
  readonly #redis: RedisClient;
  readonly #domains: ByDomain<LedgerKeys>;
  readonly #onAway: OnDomainAway;

  /** @param domains limit domains; `default` alone unless said otherwise */
  constructor(
    redis: RedisClient,
    domains: string | readonly string[] = 'default',
    onAway: OnDomainAway = () => undefined,
  ) {
    this.#redis = redis;
    this.#onAway = onAway;
    this.#domains = new Map([domains].flat().map((domain) => [domain, ledgerKeys(domain)]));
  }

  async usage({
    rule = '',
    subject = '',
    limit,
  }: Parameters<LimitBook['usage']>[0]): Promise<readonly LimitUsage[]> {
    const counters = new Map<string, LimitUsage>();
    for (const keys of this.#domains.values()) {
      const found = await this.#usageOf(keys, rule, subject, limit);
      for (const [name, usage] of found) counters.set(name, sumOf(counters.get(name), usage));
    }
    return [...counters.values()].slice(0, limit);
  }

  async #usageOf(
    keys: LedgerKeys,
    rule: string,
    subject: string,
    limit: number,
  ): Promise<ReadonlyMap<string, LimitUsage>> {
    // A page may come twice where the index grows meanwhile.
    const found = new Map<string, LimitUsage>();
    let cursor: string | undefined;
    while (cursor !== '0' && found.size < limit) {
      const reply = list(await this.#page(LIMIT_USAGE, keys, cursor, rule, subject));
      cursor = text(reply[0]) || '0';
      for (const one of reply.slice(1)) {
        const fields = list(one);
        found.set(text(fields[9]), usageOf(fields));
      }
    }
    return found;
  }

  async reset(rule: string, subject: string): Promise<number> {
    // Nobody means everything by naming nothing.
    if (rule === '') return 0;
    const names = new Set<string>();
    for (const keys of this.#domains.values()) {
      let cursor: string | undefined;
      while (cursor !== '0') {
        const reply = list(await this.#page(LIMIT_RESET, keys, cursor, rule, subject));
        cursor = text(reply[0]) || '0';
        for (const name of reply.slice(1)) names.add(text(name));
      }
    }
    await this.#forgetAlerts(names);
    return names.size;
  }

  /** What was told of sums is in the first of several domains. */
  async #forgetAlerts(names: ReadonlySet<string>): Promise<void> {
    const [first] = this.#domains.values();
    if (first === undefined || this.#domains.size === 1) return;
    for (const name of names) await this.#redis.del(first.alerted(name));
  }

  #page(
    script: typeof LIMIT_USAGE,
    keys: LedgerKeys,
    cursor: string | undefined,
    rule: string,
    subject: string,
  ): Promise<unknown> {
    const [itsRule = '', itsSubject = ''] = whoOf({ rule, subject }).split(SEPARATOR);
    return script.run(this.#redis, [keys.counters], [cursor ?? '0', PAGE, itsRule, itsSubject]);
  }

  async alerts(limit: number): Promise<readonly { readonly id: string; readonly alert: LimitAlert }[]> {
    const found: { readonly id: string; readonly alert: LimitAlert }[] = [];
    await inEach(this.#domains, this.#onAway, async (keys, domain) => {
      const entries = await this.#redis.xrange(keys.alerts, '-', '+', 'COUNT', limit);
      found.push(
        ...entries.map(([id, fields]) => ({ id: `${id}${OF_DOMAIN}${domain}`, alert: alertOf(fields) })),
      );
    });
    return found.slice(0, limit);
  }

  async acknowledge(ids: readonly string[]): Promise<void> {
    await inEach(this.#domains, this.#onAway, async (keys, domain) => {
      const suffix = `${OF_DOMAIN}${domain}`;
      const own = ids.filter((id) => id.endsWith(suffix)).map((id) => id.slice(0, -suffix.length));
      for (const some of batchesOf(own, PAGE)) await this.#redis.xdel(keys.alerts, ...some);
    });
  }
}

/** A counter that several domains have. */
function sumOf(one: LimitUsage | undefined, other: LimitUsage): LimitUsage {
  if (one === undefined) return other;
  return {
    ...other,
    used: one.used + other.used,
    reserved: one.reserved + other.reserved,
    overrun: one.overrun + other.overrun,
    periodStart: Math.min(one.periodStart, other.periodStart),
    resetsAt: Math.max(one.resetsAt, other.resetsAt),
  };
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function unitOf(name: unknown): LimitUnit {
  return UNITS.find((unit) => unit === name) ?? 'requests';
}

function usageOf(one: readonly unknown[]): LimitUsage {
  const [rule, subject, unit, limit, used, reserved, overrun, periodStart, resetsAt] = one;
  return {
    rule: text(rule),
    subject: text(subject),
    unit: unitOf(unit),
    limit: Number(limit),
    used: Number(used),
    reserved: Number(reserved),
    overrun: Number(overrun),
    periodStart: Number(periodStart),
    resetsAt: Number(resetsAt),
  };
}

/** Fields and values of an entry, in turn. */
function alertOf(fields: readonly string[]): LimitAlert {
  const value = (name: string): string => fields[fields.indexOf(name) + 1] ?? '';
  const [rule = '', subject = ''] = value('who').split(SEPARATOR);
  return {
    rule,
    subject,
    unit: unitOf(value('unit')),
    percent: Number(value('percent')),
    used: Number(value('used')),
    limit: Number(value('limit')),
    time: Number(value('time')),
    resetsAt: Number(value('ends')),
  };
}
