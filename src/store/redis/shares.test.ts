import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import {
  baseShare,
  type LimitCheck,
  type LimitHold,
  type ShareBook,
  type SettledAmounts,
} from '../../core/limits.ts';
import { ShareKeeper } from '../../ledger/share-keeper.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { createLedgerScripts } from './ledger-scripts.ts';
import { encodeCharges, encodeChecks, holdsOf, readVerdicts } from './limit-codec.ts';
import { RedisShareBook } from './share-book.ts';
import { createShareScripts } from './share-scripts.ts';
import { sampleCheck } from './testing/samples.ts';

const logger = createLogger('test', 'silent');
const START = 1_795_242_490_000;
/** Nothing lapses here: what is settled after that is an overrun, which no share can prevent. */
const LEASE_MS = 10_000_000_000;
/** More than in each run of the tests, to look for what is rare. */
const RUNS = Number(process.env['LIMEN_MODEL_RUNS'] ?? 40);
/** Of every domain by itself: servers' clocks differ. */
const CLOCK = `local now = tonumber(redis.call('GET', string.match(KEYS[1], '^{[^}]*}') .. ':clock'))`;
const SCRIPTS = createLedgerScripts(CLOCK);
const SHARE_SCRIPTS = createShareScripts(CLOCK);
/** What workers with an older and a newer configuration think the limits are. */
const LIMITS = [100, 60, 160];
const RULES: readonly Partial<LimitCheck>[] = [
  { counter: 'window', span: { kind: 'window', milliseconds: 60_000 } },
  {
    counter: 'period',
    span: { kind: 'calendar', starts: [START - 2e9, START - 1e9, START + 1e9, START + 2e9] },
  },
];
const COUNTERS = ['window/w60000', `period/p${START - 1e9}`];

let server: TestRedis;
let redis: Redis;
let installations = 0;

beforeAll(async () => {
  server = await TestRedis.start();
  redis = connectRedis({ url: server.url, logger, commandTimeoutMs: 5000 });
  await redisReady(redis, 10_000);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function lists(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

interface Admitted {
  readonly domain: number;
  readonly id: string;
  readonly holds: readonly LimitHold[];
  readonly reserved: number;
  readonly outcome: string;
  readonly used: number;
  readonly resetMs: number;
}

/** An installation of so many domains, each with a clock of its own that the test moves. */
async function installed(count: number) {
  installations += 1;
  const names = Array.from({ length: count }, (_, index) => `s${installations}-${index}`);
  const domains = names.map((name) => ledgerKeys(name));
  const clocks = names.map(() => START);
  let batches = 0;
  const keysOf = (domain: number) => domains[domain] ?? ledgerKeys('');
  const wait = async (domain: number, ms: number): Promise<void> => {
    clocks[domain] = (clocks[domain] ?? START) + ms;
    await redis.set(`{limen:${names[domain] ?? ''}}:clock`, clocks[domain]);
  };
  for (const index of names.keys()) await wait(index, 0);
  return {
    count,
    wait,
    waitAll: async (ms: number): Promise<void> => {
      for (const index of names.keys()) await wait(index, ms);
    },
    book: () => new RedisShareBook(redis, names, SHARE_SCRIPTS),
    alerts: async () => (await redis.xrange(keysOf(0).alerts, '-', '+')).map(([, fields]) => fields[5]),
    admit: async (
      domain: number,
      rule: number,
      amount: number,
      over: Partial<LimitCheck> = {},
      outputTokens = 0,
    ): Promise<Admitted> => {
      const checks = [sampleCheck({ ...RULES[rule], fixed: amount, perOutputToken: 0, ...over })];
      const { intents, circuits, leases, reservations, counters, alerts } = keysOf(domain);
      const place = { index: domain, count };
      const reply = await SCRIPTS.admit.run(
        redis,
        [intents, circuits, leases, reservations, counters, alerts],
        ['r', '{}', 1_000_000, 1000, '', '', LEASE_MS, encodeChecks(checks, place), outputTokens, 1, 0, ''],
      );
      const [id, , , , checked] = lists(reply);
      const verdicts = readVerdicts(checked);
      const [first] = verdicts;
      return {
        domain,
        id: String(id),
        holds: holdsOf(checks, verdicts, place),
        reserved: first?.outcome.reserved ?? 0,
        outcome: first?.outcome.outcome ?? '',
        used: first?.outcome.used ?? 0,
        resetMs: first?.outcome.resetMs ?? 0,
      };
    },
    settle: async ({ domain, id, holds }: Admitted, tokens: number): Promise<void> => {
      batches += 1;
      const keys = keysOf(domain);
      const { rows, intents, leases, circuits, reservations, counters, alerts, batch, settledOnce } = keys;
      const amounts: SettledAmounts = { requests: 1, tokens, usd: 0 };
      const charges = encodeCharges(holds, amounts, 'openai');
      const limits = [1_000_000, 0, 0, batches, LEASE_MS];
      await SCRIPTS.settle.run(
        redis,
        [rows, intents, leases, circuits, reservations, counters, alerts, batch('w'), settledOnce],
        [...limits, 'row', '{}', id, '', charges, ''],
      );
    },
    /** By counter, what each domain may use by the reckoning of a worker that knows this limit. */
    shares: async (counter: string, limit: number): Promise<number[]> =>
      Promise.all(
        names.map(async (_, index) => {
          const base = baseShare(limit, index, count);
          const entry = await redis.hget(`${keysOf(index).counters}-shares`, counter);
          const [domainsThen, limitThen, share = 0] = (entry ?? '').split(' ').map(Number);
          if (entry === null) return base;
          return domainsThen === count && (limitThen ?? 0) <= limit ? share : Math.min(share, base);
        }),
      ),
    /** Settled and reserved over all domains, of the counter of the calendar period alone. */
    usedInPeriod: async (): Promise<number> => {
      const found = await Promise.all(
        names.map((_, index) =>
          redis.hmget(`${keysOf(index).counters}:${COUNTERS[1] ?? ''}`, 'settled', 'reserved'),
        ),
      );
      return found.flat().reduce((sum, amount) => sum + Number(amount), 0);
    },
    /** Settled and reserved, over all domains. */
    used: async (counter: string): Promise<number> => {
      const states = await Promise.all(
        names.map(async (_, index) => {
          const run = SHARE_SCRIPTS.states.run(redis, [keysOf(index).counters], [1e15, counter]);
          const [state] = lists(await run);
          return lists(state).slice(0, 2).map(Number);
        }),
      );
      // The look itself was a round later than all others: it is taken back.
      await Promise.all(names.map((_, index) => redis.del(`${keysOf(index).counters}-round`)));
      return states.flat().reduce((sum, amount) => sum + amount, 0);
    },
    given: async (): Promise<number> => {
      const lengths = await Promise.all(
        names.map((_, index) => redis.hlen(`${keysOf(index).counters}-shares`)),
      );
      return lengths.reduce((sum, length) => sum + length, 0);
    },
  };
}

/** A keeper all of whose calls wait until they are let go: each, or its reply, may get lost, or come late. */
class SteppedKeeper {
  readonly #waiting: { readonly run: () => Promise<void>; readonly drop: () => void }[] = [];
  readonly #keeper: ShareKeeper;
  #running = false;

  constructor(book: ShareBook, domains: number) {
    const gated = <Result>(call: () => Promise<Result>): Promise<Result> =>
      new Promise((resolve, reject) => {
        this.#waiting.push({
          run: () => call().then(resolve, reject),
          drop: () => reject(new Error('lost')),
        });
      });
    const stepped: ShareBook = {
      begin: (holdMs) => gated(() => book.begin(holdMs)),
      asked: (round, domain) => gated(() => book.asked(round, domain)),
      states: (round, domain, counters) => gated(() => book.states(round, domain, counters)),
      change: (round, domain, how, changes) => gated(() => book.change(round, domain, how, changes)),
      alert: (sums) => gated(() => book.alert(sums)),
    };
    // A role of one millisecond: that others have one never stops them here.
    this.#keeper = new ShareKeeper({ book: stepped, domains, logger, now: () => START, everyMs: 0.2 });
  }

  #begin(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#keeper
      .keep()
      .catch(() => undefined)
      .finally(() => {
        this.#running = false;
      });
  }

  /** Lets everything go until its round is over. */
  async finish(): Promise<void> {
    this.#begin();
    while (this.#running) await this.step(0, 'arrives');
  }

  async step(which: number, fate: 'arrives' | 'is lost' | 'reply is lost'): Promise<void> {
    this.#begin();
    const [call] = this.#waiting.splice(which % Math.max(1, this.#waiting.length), 1);
    if (fate === 'is lost') call?.drop();
    if (fate === 'reply is lost') {
      call?.drop();
      await call?.run();
    }
    if (fate === 'arrives') await call?.run();
    await new Promise(setImmediate);
  }
}

type Step =
  | { readonly do: 'wait'; readonly domain: number; readonly ms: number }
  | {
      readonly do: 'admit';
      readonly domain: number;
      readonly rule: number;
      readonly amount: number;
      readonly limit: number;
    }
  | { readonly do: 'settle'; readonly which: number; readonly part: number }
  | {
      readonly do: 'keep';
      readonly keeper: number;
      readonly which: number;
      readonly times: number;
      readonly fate: 'arrives' | 'is lost' | 'reply is lost';
    }
  /** While one is in the middle of its round, others ask, and another keeper may have a whole round of its own. */
  | {
      readonly do: 'overtake';
      readonly isOvertaken: boolean;
      readonly after: number;
      readonly domain: number;
      readonly rule: number;
      readonly amount: number;
    }
  | { readonly do: 'round' | 'die'; readonly keeper: number };

interface World {
  readonly all: Awaited<ReturnType<typeof installed>>;
  readonly open: Admitted[];
  /** Those that are dead have calls on their way. */
  readonly keepers: SteppedKeeper[];
  readonly limits: readonly number[];
  readonly seen: Set<string>;
}

async function take(step: Step, { all, open, keepers, limits, seen }: World): Promise<void> {
  if (step.do === 'wait') await all.wait(step.domain % all.count, step.ms);
  if (step.do === 'admit') {
    const limit = limits[step.limit % limits.length] ?? 0;
    const domain = step.domain % all.count;
    const admitted = await all.admit(domain, step.rule, step.amount, { limit });
    if (admitted.id !== '') open.push(admitted);
    if (admitted.id !== '' && admitted.reserved > baseShare(limit, domain, all.count)) seen.add('moved');
    if (admitted.outcome === 'refused') seen.add('refused');
  }
  if (step.do === 'settle') {
    const [request] = open.splice(step.which % Math.max(1, open.length), 1);
    if (request !== undefined) await all.settle(request, Math.floor(request.reserved * step.part));
  }
  if (step.do === 'keep') {
    const keeper = keepers[step.keeper % keepers.length];
    for (let times = 1; times < step.times; times += 1) await keeper?.step(step.which, 'arrives');
    await keeper?.step(step.which, step.fate);
    seen.add(step.fate);
  }
  if (step.do === 'round') await keepers[step.keeper]?.finish();
  if (step.do === 'overtake') {
    const [slow, fast] = keepers;
    for (let times = 0; times < step.after; times += 1) await slow?.step(0, 'arrives');
    await take({ ...step, do: 'admit', limit: 0 }, { all, open, keepers, limits, seen });
    await delay(2);
    if (step.isOvertaken) await fast?.finish();
    await take({ ...step, do: 'admit', limit: 0 }, { all, open, keepers, limits, seen });
    await slow?.finish();
    const other = step.domain + 1;
    await take({ ...step, do: 'admit', domain: other, limit: 0 }, { all, open, keepers, limits, seen });
  }
  if (step.do === 'die') keepers.push(new SteppedKeeper(all.book(), all.count));
}

/** What was too much in some step: nothing. */
async function play(count: number, limits: readonly number[], history: readonly Step[], seen: Set<string>) {
  const all = await installed(count);
  const keepers = [new SteppedKeeper(all.book(), count), new SteppedKeeper(all.book(), count)];
  const world: World = { all, open: [], keepers, limits, seen };
  const tooMuch: unknown[] = [];
  for (const step of history) {
    await take(step, world);
    const used = await all.usedInPeriod();
    if (used > Math.max(...limits)) tooMuch.push({ step, used });
    for (const counter of COUNTERS) {
      for (const limit of limits) {
        const shares = await all.shares(counter, limit);
        if (shares.reduce((sum, share) => sum + share, 0) > limit)
          tooMuch.push({ step, limit, counter, shares });
      }
    }
  }
  for (const counter of COUNTERS) {
    const used = await all.used(counter);
    if (used > Math.max(...limits)) tooMuch.push({ counter, used });
  }
  for (const request of world.open) await all.settle(request, request.reserved);
  for (const counter of COUNTERS) {
    const used = await all.used(counter);
    if (used > Math.max(...limits)) tooMuch.push({ counter, used });
  }
  return { all, tooMuch };
}

const stepOf: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('admit' as const),
      domain: fc.nat(2),
      rule: fc.nat(1),
      amount: fc.constantFrom(1, 5, 20, 45, 60, 90),
      limit: fc.nat(2),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which: fc.nat(6),
      part: fc.constantFrom(0, 0.5, 1, 1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      domain: fc.nat(2),
      ms: fc.constantFrom(1000, 7000, 30_000, 61_000),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant('keep' as const),
      keeper: fc.nat(3),
      which: fc.nat(2),
      times: fc.constantFrom(1, 1, 2, 5, 12),
      fate: fc.constantFrom(
        'arrives' as const,
        'arrives' as const,
        'is lost' as const,
        'reply is lost' as const,
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('overtake' as const),
      isOvertaken: fc.boolean(),
      after: fc.nat({ max: 10 }),
      domain: fc.nat(2),
      rule: fc.nat(1),
      amount: fc.constantFrom(20, 45, 60, 90),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('round' as const, 'round' as const, 'die' as const),
      keeper: fc.nat(1),
    }),
  },
);

describe('shares of limits', () => {
  it('never add up to more than the limit, whenever a keeper dies, and are found again', async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(2, 3),
        fc.constantFrom([100], [100], LIMITS),
        fc.array(stepOf, { minLength: 10, maxLength: 50 }),
        async (count, limits, history) => {
          const { all, tooMuch } = await play(count, limits, history, seen);
          expect(tooMuch).toEqual([]);
          // Whatever was lost on the way is there for who asks, once nothing is in use.
          await all.waitAll(400_000);
          // No role of a keeper that died, by the clock of the server, keeps the next one from all of its rounds.
          await delay(2);
          const keeper = new ShareKeeper({
            book: all.book(),
            domains: count,
            logger,
            now: () => START,
            everyMs: 0.2,
          });
          const [limit = 0] = limits;
          let whole = await all.admit(count - 1, 0, limit, { limit });
          // In the first round, others may still get what they had asked for before.
          for (let rounds = 0; rounds < 3 && whole.id === ''; rounds += 1) {
            await keeper.keep();
            whole = await all.admit(count - 1, 0, limit, { limit });
          }
          expect(whole).toMatchObject({ outcome: 'allowed', reserved: limit });
          await all.settle(whole, 0);
        },
      ),
      { numRuns: RUNS },
    );
    expect([...seen].sort()).toEqual(['arrives', 'is lost', 'moved', 'refused', 'reply is lost']);
  });

  async function running(count = 2) {
    const all = await installed(count);
    const book = all.book();
    const keeper = new ShareKeeper({ book, domains: count, logger, now: () => START, everyMs: 0.2 });
    return { all, keeper, book };
  }

  it('go to where they are asked for, and back when nothing is in use', async () => {
    const { all, keeper } = await running();
    expect((await all.admit(0, 0, 51)).outcome).toBe('refused');
    expect(await all.shares('window/w60000', 100)).toEqual([50, 50]);
    await keeper.keep();
    expect(await all.shares('window/w60000', 100)).toEqual([91, 9]);
    const admitted = await all.admit(0, 0, 51);
    expect(admitted.outcome).toBe('allowed');
    await all.settle(admitted, 30);
    // The other one may have what is not in use.
    expect((await all.admit(1, 0, 60)).outcome).toBe('refused');
    await keeper.keep();
    const other = await all.admit(1, 0, 60);
    expect(other.outcome).toBe('allowed');
    expect((await all.admit(0, 0, 11)).outcome).toBe('refused');
    await all.settle(other, 60);
    await all.waitAll(120_000);
    await keeper.keep();
    await keeper.keep();
    expect(await all.shares('window/w60000', 100)).toEqual([50, 50]);
    expect(await all.given()).toBe(0);
  });

  it('tell the whole limit and the sum, and say to come again when there is room elsewhere', async () => {
    const { all, keeper } = await running();
    await all.settle(await all.admit(1, 1, 30), 30);
    const refused = await all.admit(0, 1, 60);
    expect(refused).toMatchObject({ outcome: 'refused', used: 0, resetMs: 1000 });
    await keeper.keep();
    const admitted = await all.admit(0, 1, 60);
    expect(admitted).toMatchObject({ outcome: 'allowed', used: 30 });
    const full = await all.admit(0, 1, 60);
    expect(full).toMatchObject({ outcome: 'refused', used: 30 });
    expect(full.resetMs).toBeGreaterThan(100_000_000);
  });

  it('alert by the sum over all domains, once', async () => {
    const { all, keeper } = await running();
    const spend = async (domain: number, amount: number): Promise<void> =>
      all.settle(await all.admit(domain, 1, amount, { alerts: [50, 80] }), amount);
    await spend(0, 30);
    await keeper.keep();
    expect(await all.alerts()).toEqual([]);
    await spend(1, 20);
    await keeper.keep();
    await spend(1, 5);
    await keeper.keep();

    expect(await all.alerts()).toEqual(['50']);
  });

  it('alert of all sums of a round in one call', async () => {
    const { all, book, keeper } = await running();
    const alert = vi.spyOn(book, 'alert');
    for (const counter of ['a', 'b', 'c']) {
      const admitted = await all.admit(0, 1, 45, { alerts: [10, 40], counter });
      await all.settle(admitted, 45);
    }
    const calls = vi.spyOn(redis, 'evalsha');
    await keeper.keep();
    const together = calls.mock.calls.length;
    calls.mockRestore();
    expect(await all.alerts()).toEqual(['10', '40', '10', '40', '10', '40']);
    expect(alert).toHaveBeenCalledOnce();
    // One to begin; to each domain what it asks, what it has, and less or more for it; the alerts (and in full, if unknown).
    expect(together).toBeLessThanOrEqual(1 + 4 * 2 + 1);
  });

  it('are not moved for what the whole limit has no room for', async () => {
    const { all, keeper } = await running();
    const shares = () => all.shares('window/w60000', 100);
    expect((await all.admit(0, 0, 1e15)).outcome).toBe('refused');
    expect((await all.admit(0, 0, 101, { onShortfall: 'clamp' })).outcome).toBe('refused');
    await keeper.keep();
    expect(await shares()).toEqual([50, 50]);
    expect(await all.given()).toBe(0);
    // What may be cut takes as much as there is.
    const admitted = await all.admit(0, 0, 1, { onShortfall: 'clamp', perOutputToken: 1 }, 1e15);
    expect(admitted).toMatchObject({ outcome: 'cut', reserved: 50 });
    await all.settle(admitted, 0);
    await keeper.keep();
    expect((await shares())[0]).toBeGreaterThan(90);
  });

  it('are never less than what is settled and reserved', async () => {
    const { all, book } = await running();
    await all.settle(await all.admit(0, 0, 10), 10);
    await all.admit(0, 0, 25);
    const round = (await book.begin(1)) ?? 0;
    const change = { counter: 'window/w60000', limit: 100, base: 50, ends: 0, others: 0, atRest: false };
    expect(await book.change(round, 0, 'lower', [{ ...change, share: 0 }])).toEqual([35]);
    expect(await book.change(round, 0, 'lower', [{ ...change, share: 80 }])).toEqual([35]);
    expect(await book.change(round, 0, 'raise', [{ ...change, share: 20 }])).toEqual([35]);
    expect(await all.shares('window/w60000', 100)).toEqual([35, 50]);
  });

  it('hold for a smaller limit, a larger one and another number of domains', async () => {
    const { all, book } = await running();
    const round = (await book.begin(1)) ?? 0;
    const change = { counter: 'window/w60000', limit: 100, base: 50, ends: 0, others: 0, atRest: false };
    await book.change(round, 0, 'lower', [{ ...change, share: 20 }]);
    await book.change(round, 1, 'raise', [{ ...change, share: 80 }]);
    expect((await all.admit(1, 0, 31, { limit: 60 })).outcome).toBe('refused');
    expect((await all.admit(1, 0, 81, { limit: 200 })).outcome).toBe('refused');
    expect((await all.admit(0, 0, 21, { limit: 200 })).outcome).toBe('refused');
    expect((await all.admit(1, 0, 80, { limit: 200 })).outcome).toBe('allowed');
  });

  it('are looked at a few hundred at a time', async () => {
    const calls = vi.spyOn(redis, 'evalsha');
    const { book } = await installed(2);
    const keeper = book();
    const round = (await keeper.begin(1000)) ?? 0;
    const counters = Array.from({ length: 1200 }, (_, index) => `many-${index}/p${START}`);
    calls.mockClear();
    expect(await keeper.states(round, 0, counters)).toHaveLength(1200);
    const changes = counters.map((counter, index) => ({
      counter,
      limit: 10_000,
      base: 5000,
      share: 5000 + index,
      ends: START + 1e9,
      others: 0,
      atRest: false,
    }));
    const shares = await keeper.change(round, 0, 'raise', changes);
    expect(shares).toEqual(changes.map(({ share }) => share));
    expect(calls).toHaveBeenCalledTimes(6);
    calls.mockRestore();
  });

  it('are none of another round once a later one has begun', async () => {
    const { all, book } = await running();
    const first = (await book.begin(1)) ?? 0;
    const change = { counter: 'x/w60000', limit: 100, base: 50, ends: 0, others: 0, atRest: false };
    await book.states(first + 1, 0, ['x/w60000']);
    await expect(book.change(first, 0, 'raise', [{ ...change, share: 99 }])).rejects.toThrow('later round');
    expect(await book.change(first + 1, 0, 'lower', [{ ...change, share: 20 }])).toEqual([20]);
    expect(await book.change(first, 1, 'raise', [{ ...change, share: 60 }])).toEqual([60]);
    expect(await all.shares('x/w60000', 100)).toEqual([20, 60]);
  });
});
