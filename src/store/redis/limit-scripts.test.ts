import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import type { LimitCheck, LimitHold, SettledAmounts } from '../../core/limits.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { LEASE_MS, LimitModel } from './__fixtures__/limit-model.ts';
import { connectRedis, redisReady } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { createLedgerScripts } from './ledger-scripts.ts';
import { createLimitBookScripts } from './limit-book-scripts.ts';
import { encodeCharges, encodeChecks, holdsOf, readVerdicts } from './limit-codec.ts';
import { sampleCheck } from './testing/samples.ts';

const logger = createLogger('test', 'silent');
const START = 1_795_242_490_000;
/** Calendar periods of the test. */
const PERIOD_MS = 200_000;
const PROVIDERS = ['a', 'b'];
/** More than in each run of the tests, to look for what is rare. */
const RUNS = Number(process.env['LIMEN_MODEL_RUNS'] ?? 60);
let server: TestRedis;
let redis: Redis;
let domains = 0;

beforeAll(async () => {
  server = await TestRedis.start();
  redis = connectRedis({ url: server.url, logger, commandTimeoutMs: 5000 });
  await redisReady(redis, 10_000);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

interface Admitted {
  readonly id: string;
  readonly holds: readonly LimitHold[];
  readonly outcomes: readonly unknown[];
  readonly output: number;
}

/** The scripts on a clock that the test moves. */
function onClock() {
  domains += 1;
  const keys = ledgerKeys(`limit-${domains}`);
  const clockKey = `${keys.counters}-clock`;
  const clock = `local now = tonumber(redis.call('GET', '${clockKey}'))`;
  const scripts = createLedgerScripts(clock);
  const book = createLimitBookScripts(clock);
  const { rows, intents, leases, circuits, reservations, counters, alerts, batch, settledOnce, kept } = keys;
  const lists = (reply: unknown): readonly unknown[] => (Array.isArray(reply) ? reply : []);
  return {
    at: (now: number) => redis.set(clockKey, now),
    keep: () => redis.set(kept('answer'), 'answer'),
    admit: async (
      checks: readonly LimitCheck[],
      providers: readonly string[],
      asked: number,
      isAnswered: boolean,
    ): Promise<Admitted> => {
      const reply = await scripts.admit.run(
        redis,
        [intents, circuits, leases, reservations, counters, alerts, ...(isAnswered ? [kept('answer')] : [])],
        ['r', '{}', 1_000_000, 1000, '', '', LEASE_MS, encodeChecks(checks), asked, 1, 0, '', ...providers],
      );
      const [id, , , output, checked] = lists(reply);
      const verdicts = readVerdicts(checked);
      return {
        id: String(id),
        holds: holdsOf(checks, verdicts),
        outcomes: verdicts.map(({ outcome }) => outcome),
        output: Number(output),
      };
    },
    settle: async (number: number, kind: 'row' | 'attempt', id: string, charges: string) => {
      const names = [
        rows,
        intents,
        leases,
        circuits,
        reservations,
        counters,
        alerts,
        batch('worker'),
        settledOnce,
      ];
      const limits = [1_000_000, 0, 0, number, LEASE_MS];
      return scripts.settle.run(redis, names, [...limits, kind, '{}', id, '', charges, '']);
    },
    renew: (id: string) =>
      scripts.renew.run(redis, [intents, leases, reservations, counters], [LEASE_MS, id]),
    close: (id: string) => {
      const names = [rows, intents, leases, reservations, counters];
      return scripts.close.run(redis, names, [-1e15, 1_000_000, '{}', id]);
    },
    states: async (): Promise<string[]> => {
      const [, ...found] = lists(await book.usage.run(redis, [counters], ['0', 10_000, '', '']));
      return found
        .map((one) => lists(one))
        .map((one) => [9, 4, 5, 6].map((index) => String(one[index])).join(' '))
        .sort();
    },
    alerts: async (): Promise<string[]> =>
      (await redis.xrange(alerts, '-', '+')).map(([, fields]) => {
        const [, who = '', , , , percent, , , , , , , , ends] = fields;
        return `${who.split('\u001F')[0]} ${Number(ends) - PERIOD_MS} ${percent}`;
      }),
    /** Of the last entry of the rows stream. */
    overrun: async (): Promise<unknown> => {
      const [last] = await redis.xrevrange(rows, '+', '-', 'COUNT', 1);
      return JSON.parse(last?.[1][3] ?? '[]');
    },
  };
}

const window = (milliseconds: number): LimitCheck['span'] => ({ kind: 'window', milliseconds });
const CALENDAR: LimitCheck['span'] = { kind: 'calendar', starts: [0, 0, 0, 0] };
const ALERTS = [50, 80, 100];

const RULES: readonly Partial<LimitCheck>[] = [
  { unit: 'requests', limit: 6, span: window(60_000), mode: 'hard' },
  { unit: 'requests', limit: 20, span: CALENDAR, mode: 'soft', alerts: ALERTS },
  { unit: 'tokens', limit: 200, span: window(60_000) },
  { unit: 'tokens', limit: 300, span: window(300_000), onShortfall: 'cutOff' },
  { unit: 'usd', limit: 1000, span: CALENDAR, onShortfall: 'clamp', alerts: ALERTS },
  { unit: 'usd', limit: 700, span: CALENDAR },
  { unit: 'tokens', limit: 150, span: CALENDAR, mode: 'soft', alerts: ALERTS },
  { unit: 'tokens', limit: 90, span: window(60_000), mode: 'soft' },
  { unit: 'usd', limit: 80, span: CALENDAR, shadow: true, alerts: ALERTS },
  { unit: 'tokens', limit: 90, span: window(60_000), shadow: true, onShortfall: 'clamp' },
  { unit: 'tokens', limit: 120, span: window(60_000), providers: ['a'] },
  { unit: 'requests', limit: 3, span: window(60_000), providers: ['b'] },
  { unit: 'usd', limit: 400, span: CALENDAR, providers: ['b'], onShortfall: 'clamp', alerts: ALERTS },
  { unit: 'tokens', limit: 200, span: window(300_000), providers: ['a', 'b'], onShortfall: 'cutOff' },
  { unit: 'tokens', limit: 100, span: CALENDAR, providers: ['a', 'b'], mode: 'soft' },
  { unit: 'usd', limit: 300, span: window(300_000), providers: ['a'], counter: 'shared' },
  { unit: 'usd', limit: 300, span: window(300_000), providers: ['b'], counter: 'shared' },
];

interface Ask {
  readonly rules: readonly number[];
  readonly fixed: number;
  readonly perOutputToken: number;
  readonly asked: number;
  readonly providers: number;
  readonly isAnswered: boolean;
  /** Of the worker's clock, in periods. */
  readonly skew: number;
}

type Step =
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'to an edge'; readonly of: number; readonly past: number }
  | { readonly do: 'admit'; readonly ask: Ask }
  | {
      readonly do: 'row' | 'attempt';
      readonly which: number;
      readonly provider: number;
      readonly tokens: number;
      readonly usd: number;
      readonly again: boolean;
    }
  | { readonly do: 'renew' | 'close'; readonly which: number };

function checksOf({ rules, fixed, perOutputToken, skew }: Ask, now: number): LimitCheck[] {
  const present = (Math.floor(now / PERIOD_MS) + skew) * PERIOD_MS;
  const starts = [present - PERIOD_MS, present, present + PERIOD_MS, present + 2 * PERIOD_MS] as const;
  return [...rules]
    .sort((one, other) => one - other)
    .map((index) => {
      const rule = RULES[index] ?? {};
      const span = rule.span?.kind === 'calendar' ? { kind: 'calendar' as const, starts } : rule.span;
      const bound = rule.unit === 'requests' ? { fixed: 1, perOutputToken: 0 } : { fixed, perOutputToken };
      const spent =
        rule.mode === 'soft' && rule.unit !== 'requests' ? { fixed: 0, perOutputToken: 0 } : bound;
      return sampleCheck({
        ...rule,
        rule: `r${index}`,
        counter: rule.counter ?? `r${index}`,
        ...(span && { span }),
        ...spent,
      });
    });
}

/** What scripts and model say in each step of a history, and by what rules too much was spent: none. */
async function play(history: readonly Step[], seen: Set<string>) {
  const real = onClock();
  const model = new LimitModel(START);
  const said: { readonly real: unknown; readonly model: unknown }[] = [];
  await real.at(model.now);
  await real.keep();
  const admitted: { readonly id: string; readonly holds: readonly LimitHold[] }[] = [];
  let batches = 0;
  for (const step of history) {
    const request =
      'which' in step ? admitted.at(-1 - (step.which % Math.max(1, admitted.length))) : undefined;
    if (step.do === 'wait') {
      model.now += step.ms;
      await real.at(model.now);
    } else if (step.do === 'to an edge') {
      model.now = (Math.floor(model.now / step.of) + 1) * step.of + step.past;
      await real.at(model.now);
    } else if (step.do === 'admit') {
      const { asked, isAnswered } = step.ask;
      const checks = checksOf(step.ask, model.now);
      const providers = PROVIDERS.slice(0, step.ask.providers);
      const admission = await real.admit(checks, providers, asked, isAnswered);
      const expected = model.admit(admission.id, checks, providers, asked, isAnswered);
      const { id, holds, outcomes, output } = admission;
      said.push({ real: { outcomes, output, refused: id === '' }, model: expected });
      if (id !== '') admitted.push({ id, holds });
    } else if (step.do === 'renew' && request !== undefined) {
      await real.renew(request.id);
      model.renew(request.id);
    } else if (step.do === 'close' && request !== undefined) {
      said.push({ real: await real.close(request.id), model: model.close(request.id) ? 1 : 0 });
    } else if ((step.do === 'row' || step.do === 'attempt') && request !== undefined) {
      batches += 1;
      const provider = PROVIDERS[step.provider] ?? '';
      const amounts: SettledAmounts = { requests: 1, tokens: step.tokens, usd: step.usd };
      const charges = encodeCharges(request.holds, amounts, provider);
      // A reply may get lost, and the batch comes again as it was.
      for (let times = step.again ? 2 : 1; times > 0; times -= 1) {
        said.push({ real: await real.settle(batches, step.do, request.id, charges), model: [[], 0] });
      }
      const overrun = model.settle(request.id, provider, amounts, step.do === 'row');
      said.push({ real: await real.overrun(), model: overrun });
    }
    said.push({ real: await real.states(), model: model.states() });
    said.push({ real: [], model: model.overspent() });
  }
  said.push({ real: (await real.alerts()).sort(), model: [...model.alerts].sort() });
  for (const what of model.seen) seen.add(what);
  if (model.alerts.length > 0) seen.add('alert');
  return said;
}

describe('limit scripts', () => {
  it('do what the model does and never overspend, on any history', async () => {
    const which = fc.nat(6);
    const ask: fc.Arbitrary<Ask> = fc.record({
      rules: fc.oneof(
        fc.uniqueArray(fc.nat(RULES.length - 1), { minLength: 1, maxLength: 4 }),
        fc.subarray([4, 11, 12, 13, 15, 16], { minLength: 2 }),
        fc.uniqueArray(fc.nat(RULES.length - 1), { minLength: 5, maxLength: RULES.length }),
      ),
      fixed: fc.nat(60),
      perOutputToken: fc.constantFrom(0, 0.3, 1, 1.1, 2.5),
      asked: fc.constantFrom(0, 5, 30, 30, 80, 1000),
      providers: fc.nat(2),
      isAnswered: fc.constantFrom(false, false, false, true),
      skew: fc.constantFrom(0, 0, 0, 0, -1, 1, 2),
    });
    const step: fc.Arbitrary<Step> = fc.oneof(
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constant('wait' as const),
          ms: fc.constantFrom(1, 1000, 1000, 7000, 29_999, 30_000, 61_000, 301_000, -1, -5000, -70_000),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constant('to an edge' as const),
          of: fc.constantFrom(1000, 5000, PERIOD_MS),
          past: fc.constantFrom(-1, 0),
        }),
      },
      { weight: 8, arbitrary: fc.record({ do: fc.constant('admit' as const), ask }) },
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constantFrom('row' as const, 'row' as const, 'attempt' as const),
          which,
          provider: fc.nat(2),
          tokens: fc.oneof(fc.nat(80), fc.constantFrom(0, 30, 60)),
          usd: fc.nat(200),
          again: fc.boolean(),
        }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('renew' as const, 'close' as const), which }) },
    );
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 80, size: 'max' }), async (history) => {
        for (const { real, model } of await play(history, seen)) expect(real).toEqual(model);
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 90_000 },
    );
    // The histories went where it matters.
    const ends = ['allowed', 'refused', 'left out', 'would refuse', 'cut', 'cut for a provider'];
    expect([...seen].sort()).toEqual([...ends, 'shared counter', 'lapse', 'overrun', 'alert'].sort());
  }, 120_000);
});
