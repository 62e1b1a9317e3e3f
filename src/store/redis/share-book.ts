import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { batchesOf } from '../../core/batches.ts';
import type { ShareAsk, ShareBook, ShareChange, ShareState } from '../../core/limits.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys, type LedgerKeys } from './ledger-keys.ts';
import { SEPARATOR, whoOf } from './limit-codec.ts';
import type { RedisScript } from './scripts.ts';
import { createShareScripts } from './share-scripts.ts';

/** Counters with a share of their own that one round looks at beside those that ask: as many as may ask at once. */
const PAGE = 1000;
/** Counters that one script looks at: some milliseconds, in which the store does nothing else. */
const COUNTERS_AT_ONCE = 500;

const askSchema = z.object({
  limit: z.coerce.number(),
  wanted: z.number(),
  ends: z.coerce.number(),
  unit: z.enum(['requests', 'tokens', 'usd']),
  who: z.string(),
  alerts: z.string(),
});

interface Domain {
  readonly keys: LedgerKeys;
  cursor: string;
}

/** The shares of limits in the domains of one installation. */
export class RedisShareBook implements ShareBook {
  readonly #redis: RedisClient;
  readonly #domains: readonly Domain[];
  readonly #scripts: ReturnType<typeof createShareScripts>;
  readonly #name = randomUUID();

  /** @param scripts those of the server's clock but in tests */
  constructor(redis: RedisClient, domains: readonly string[], scripts = createShareScripts()) {
    this.#redis = redis;
    this.#domains = domains.map((name) => ({ keys: ledgerKeys(name), cursor: '0' }));
    this.#scripts = scripts;
  }

  async begin(holdMs: number): Promise<number | undefined> {
    const { shareKeeper, shareRounds } = this.#at(0).keys;
    const round = await this.#scripts.begin.run(
      this.#redis,
      [shareKeeper, shareRounds],
      [this.#name, holdMs],
    );
    return typeof round === 'string' ? Number(round) : undefined;
  }

  async asked(
    round: number,
    domain: number,
  ): Promise<{ readonly asks: readonly ShareAsk[]; readonly given: readonly string[] }> {
    const at = this.#at(domain);
    const [cursor, asks, given] = await this.#run(this.#scripts.asked, round, domain, [at.cursor, PAGE]);
    at.cursor = String(cursor);
    return {
      asks: pairs(asks).flatMap(([counter, json]) => readAsk(counter, json)),
      given: pairs(given).map(([counter]) => counter),
    };
  }

  async states(round: number, domain: number, counters: readonly string[]): Promise<readonly ShareState[]> {
    const found: unknown[] = [];
    for (const some of batchesOf(counters, COUNTERS_AT_ONCE)) {
      found.push(...(await this.#run(this.#scripts.states, round, domain, some)));
    }
    return found.map((one) => {
      const [settled, reserved, entry] = list(one);
      return { used: Number(settled), reserved: Number(reserved), given: readEntry(String(entry)) };
    });
  }

  async change(
    round: number,
    domain: number,
    how: 'lower' | 'raise',
    changes: readonly ShareChange[],
  ): Promise<readonly number[]> {
    const shares: number[] = [];
    for (const some of batchesOf(changes, COUNTERS_AT_ONCE)) {
      const args = [how, this.#domains.length, ...some.flatMap(changeArguments)];
      shares.push(...(await this.#run(this.#scripts.change, round, domain, args)).map(Number));
    }
    return shares;
  }

  async alert(sums: readonly { readonly ask: ShareAsk; readonly used: number }[]): Promise<void> {
    const { alerted, alerts } = this.#at(0).keys;
    for (const some of batchesOf(sums, COUNTERS_AT_ONCE)) {
      const args = some.flatMap(({ ask, used }) => {
        const { unit, limit, ends } = ask;
        return [whoOf(ask), unit, used, limit, ends, ask.alerts.join(' ')];
      });
      await this.#scripts.alert.run(
        this.#redis,
        [alerts, ...some.map(({ ask }) => alerted(ask.counter))],
        args,
      );
    }
  }

  #at(domain: number): Domain {
    const found = this.#domains[domain];
    if (found === undefined) throw new RangeError(`there is no limit domain ${domain}`);
    return found;
  }

  async #run(
    script: RedisScript,
    round: number,
    domain: number,
    args: readonly (string | number)[],
  ): Promise<readonly unknown[]> {
    const reply = await script.run(this.#redis, [this.#at(domain).keys.counters], [round, ...args]);
    if (!Array.isArray(reply)) throw new Error('a later round of the shares has begun');
    return reply;
  }
}

function changeArguments(change: ShareChange): readonly (string | number)[] {
  const { counter, limit, base, share, ends, others, atRest } = change;
  return [counter, limit, base, share, ends, others, atRest ? 1 : 0];
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function pairs(value: unknown): (readonly [string, string])[] {
  const texts = list(value).map(String);
  return texts.flatMap((text, index) => (index % 2 === 0 ? [[text, texts[index + 1] ?? ''] as const] : []));
}

function readAsk(counter: string, json: string): ShareAsk[] {
  const { limit, wanted, ends, unit, who, alerts } = askSchema.parse(JSON.parse(json));
  const [rule = '', subject = ''] = who.split(SEPARATOR);
  const thresholds = alerts === '' ? [] : alerts.split(' ').map(Number);
  return [{ counter, limit, wanted, ends, rule, subject, unit, alerts: thresholds }];
}

function readEntry(entry: string): ShareState['given'] {
  if (entry === '') return undefined;
  const [count = 0, limit = 0, share = 0, ends = 0, others = 0] = entry.split(' ').map(Number);
  return { count, limit, share, ends, others };
}
