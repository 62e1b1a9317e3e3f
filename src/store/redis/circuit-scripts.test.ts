import type { Redis } from 'ioredis';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { CircuitModel, LEASE_MS, OPEN_MS, THRESHOLD } from './__fixtures__/circuit-model.ts';
import { connectRedis, redisReady } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { createLedgerScripts } from './ledger-scripts.ts';

const logger = createLogger('test', 'silent');
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

type Step =
  | { readonly do: 'wait'; readonly ms: number }
  /** A request is admitted and stays open. */
  | { readonly do: 'admit' }
  /** One of the open requests has a failed try at a provider … */
  | { readonly do: 'fail'; readonly which: number; readonly provider: number; readonly pauseMs: number }
  /** … or ends, by that provider's answer. */
  | { readonly do: 'end'; readonly which: number; readonly provider: number; readonly good: boolean };

const PROVIDERS = ['a', 'b with space'];

/** The scripts on a clock that the test moves. */
function onClock() {
  domains += 1;
  const keys = ledgerKeys(`circuit-${domains}`);
  const clockKey = `${keys.circuits}:clock`;
  const scripts = createLedgerScripts(`local now = tonumber(redis.call('GET', '${clockKey}'))`);
  const { rows, intents, leases, circuits, reservations, counters, alerts } = keys;
  const settleKeys = [rows, intents, leases, circuits, reservations, counters, alerts];
  let batches = 0;
  const settle = (kind: string, intentId: string, lesson: string) =>
    scripts.settle.run(
      redis,
      [...settleKeys, keys.batch('worker'), keys.settledOnce],
      [1_000_000, THRESHOLD, OPEN_MS, (batches += 1), LEASE_MS, kind, '{}', intentId, lesson, '', ''],
    );
  return {
    at: (now: number) => redis.set(clockKey, now),
    admit: async (request: string): Promise<number[]> => {
      const reply = await scripts.admit.run(
        redis,
        [intents, circuits, leases, reservations, counters, alerts],
        [request, '{}', 1_000_000, LEASE_MS, '', '', LEASE_MS, '', 0, 0, 1, '', ...PROVIDERS],
      );
      const waits: unknown = Array.isArray(reply) ? reply[2] : undefined;
      // Nothing at all where every circuit is clean.
      return PROVIDERS.map((_, index) => Number((Array.isArray(waits) ? waits : [])[index] ?? 0));
    },
    settle,
    states: async (): Promise<string[]> => {
      const reply = await scripts.circuits.run(redis, [keys.circuits], []);
      const flat = Array.isArray(reply) ? reply.map(String) : [];
      const groups = Array.from({ length: flat.length / 4 }, (_, at) => flat.slice(at * 4, at * 4 + 4));
      return groups.sort(([left = ''], [right = '']) => (left < right ? -1 : 1)).flat();
    },
  };
}

/** What scripts and model say after each step of a history. */
async function play(history: readonly Step[], seen: { probes: number; reopened: number }) {
  const real = onClock();
  const model = new CircuitModel();
  await real.at(model.now);
  const open: { id: string; admitted: number; tries: number }[] = [];
  const said: { readonly real: unknown; readonly model: unknown }[] = [];
  let requests = 0;
  const admit = async () => {
    requests += 1;
    const id = `r${requests}`;
    const waits = model.admit(id, PROVIDERS);
    said.push({ real: await real.admit(id), model: waits });
    open.push({ id, admitted: model.now, tries: 0 });
    if (model.circuits.values().some(({ probe }) => probe === id)) seen.probes += 1;
  };
  for (const step of history) {
    const request = 'which' in step ? open.at(-1 - (step.which % Math.max(1, open.length))) : undefined;
    const provider = 'provider' in step ? (PROVIDERS[step.provider] ?? '') : '';
    if (step.do === 'wait') {
      model.now += step.ms;
      await real.at(model.now);
    } else if (step.do === 'admit') {
      await admit();
    } else if (step.do === 'fail' && request !== undefined) {
      request.tries += 1;
      const lesson = `failure ${step.pauseMs} ${request.id} ${request.tries} ${provider}`;
      // Told twice, by the try itself and by the request's end: it counts once.
      await real.settle('attempt', '', lesson);
      await real.settle('attempt', '', lesson);
      model.fail(provider, request.id, request.tries, step.pauseMs);
      if ((model.circuits.get(provider)?.length ?? 0) > OPEN_MS) seen.reopened += 1;
    } else if (step.do === 'end' && request !== undefined) {
      open.splice(open.indexOf(request), 1);
      const verdict = step.good ? 'success' : 'none';
      await real.settle('row', `${request.admitted}-0`, `${verdict} 0 ${request.id} 1 ${provider}`);
      model.end(provider, request.id, request.admitted, step.good);
    }
    said.push({ real: await real.states(), model: model.states() });
  }
  return said;
}

describe('circuit scripts', () => {
  it('do what the model does, on any history', async () => {
    const provider = fc.nat(PROVIDERS.length - 1);
    const which = fc.nat(5);
    const step = fc.oneof(
      { weight: 2, arbitrary: fc.constantFrom(100, 5000, 10_000, 10_000, 30_000, 40_000, 700_000) },
      { weight: 4, arbitrary: fc.constant('admit' as const) },
      {
        weight: 6,
        arbitrary: fc.record({ which, provider, pauseMs: fc.constantFrom(0, 0, 0, 4000, 60_000) }),
      },
      { weight: 3, arbitrary: fc.record({ which, provider, good: fc.boolean() }) },
    );
    const steps = fc.array(
      step.map((made): Step => {
        if (typeof made === 'number') return { do: 'wait', ms: made };
        if (made === 'admit') return { do: 'admit' };
        return 'good' in made ? { do: 'end', ...made } : { do: 'fail', ...made };
      }),
      { minLength: 30, maxLength: 80, size: 'max' },
    );
    const seen = { probes: 0, reopened: 0 };
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        for (const { real, model } of await play(history, seen)) expect(real).toEqual(model);
      }),
      { numRuns: 80 },
    );
    // The histories went where it matters.
    expect(seen.probes).toBeGreaterThan(5);
    expect(seen.reopened).toBeGreaterThan(0);
  }, 60_000);

  it('let exactly one of many at once through, and another one once that is lost', async () => {
    const real = onClock();
    await real.at(1_000_000);
    for (const name of ['x', 'y']) await real.settle('attempt', '', `failure 0 ${name} 1 a`);
    expect(await real.admit('early')).toEqual([OPEN_MS, 0]);
    await real.at(1_000_000 + OPEN_MS);
    const many = await Promise.all(Array.from({ length: 20 }, (_, index) => real.admit(`r${index}`)));
    expect(many.filter(([wait]) => wait === 0)).toHaveLength(1);
    expect(many.filter(([wait]) => wait === LEASE_MS)).toHaveLength(19);
    await real.at(1_000_000 + OPEN_MS + LEASE_MS);
    expect(await real.admit('next')).toEqual([0, 0]);
    expect(await real.admit('later')).toEqual([LEASE_MS, 0]);
  });

  it.each(['no JSON', '1', '{}', '{"open":"soon"}'])('go on where another version left %s', async (text) => {
    const real = onClock();
    await real.at(1_000_000);
    await redis.hset(ledgerKeys(`circuit-${domains}`).circuits, 'a', text);
    expect(await real.admit('first')).toEqual([0, 0]);
    expect(await real.states()).toEqual([]);
    for (const name of ['x', 'y']) await real.settle('attempt', '', `failure 0 ${name} 1 a`);
    await real.settle('row', '', 'success 0 first 1 b with space');
    expect(await real.admit('second')).toEqual([OPEN_MS, 0]);
  });

  it('do not close for the late success of a request from before', async () => {
    const real = onClock();
    await real.at(1_000_000);
    for (const name of ['x', 'y']) await real.settle('attempt', '', `failure 0 ${name} 1 a`);
    await real.at(1_000_000 + OPEN_MS + 1);
    await real.settle('row', '999000-0', 'success 0 old 1 a');
    expect(await real.states()).toEqual(['a', 'probing', '2', '0']);
    expect(await real.admit('probe')).toEqual([0, 0]);
    // A stream longer than its lease: another probe went after it, and its success still counts.
    await real.at(1_000_000 + OPEN_MS + LEASE_MS + 1);
    expect(await real.admit('second')).toEqual([0, 0]);
    await real.settle('row', `${1_000_000 + OPEN_MS + 1}-0`, 'success 0 probe 1 a');
    expect(await real.states()).toEqual([]);
  });
});
