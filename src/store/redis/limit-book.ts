import type { LimitAlert, LimitBook, LimitUnit, LimitUsage } from '../../core/limits.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys, type LedgerKeys } from './ledger-keys.ts';
import { LIMIT_RESET, LIMIT_USAGE } from './limit-book-scripts.ts';
import { SEPARATOR, whoOf } from './limit-codec.ts';

/** Counters looked at in one call. */
const PAGE = 500;
const UNITS: readonly LimitUnit[] = ['requests', 'tokens', 'usd'];

/** The counters in Redis as admins see them. */
export class RedisLimitBook implements LimitBook {
  readonly #redis: RedisClient;
  readonly #keys: LedgerKeys;

  /** @param domain limit domain; `default` unless said otherwise */
  constructor(redis: RedisClient, domain = 'default') {
    this.#redis = redis;
    this.#keys = ledgerKeys(domain);
  }

  async usage({
    rule = '',
    subject = '',
    limit,
  }: Parameters<LimitBook['usage']>[0]): Promise<readonly LimitUsage[]> {
    // A page may come twice where the index grows meanwhile.
    const found = new Map<string, LimitUsage>();
    let cursor: string | undefined;
    while (cursor !== '0' && found.size < limit) {
      const reply = list(await this.#page(LIMIT_USAGE, cursor, rule, subject));
      cursor = text(reply[0]) || '0';
      for (const one of reply.slice(1)) {
        const fields = list(one);
        found.set(text(fields[9]), usageOf(fields));
      }
    }
    return [...found.values()].slice(0, limit);
  }

  async reset(rule: string, subject: string): Promise<number> {
    // Nobody means everything by naming nothing.
    if (rule === '') return 0;
    let counters = 0;
    let cursor: string | undefined;
    while (cursor !== '0') {
      const reply = list(await this.#page(LIMIT_RESET, cursor, rule, subject));
      cursor = text(reply[0]) || '0';
      counters += Number(reply[1] ?? 0);
    }
    return counters;
  }

  #page(
    script: typeof LIMIT_USAGE,
    cursor: string | undefined,
    rule: string,
    subject: string,
  ): Promise<unknown> {
    const [itsRule = '', itsSubject = ''] = whoOf({ rule, subject }).split(SEPARATOR);
    return script.run(this.#redis, [this.#keys.counters], [cursor ?? '0', PAGE, itsRule, itsSubject]);
  }

  async alerts(limit: number): Promise<readonly { readonly id: string; readonly alert: LimitAlert }[]> {
    const entries = await this.#redis.xrange(this.#keys.alerts, '-', '+', 'COUNT', limit);
    return entries.map(([id, fields]) => ({ id, alert: alertOf(fields) }));
  }

  async acknowledge(ids: readonly string[]): Promise<void> {
    for (let from = 0; from < ids.length; from += PAGE) {
      await this.#redis.xdel(this.#keys.alerts, ...ids.slice(from, from + PAGE));
    }
  }
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
