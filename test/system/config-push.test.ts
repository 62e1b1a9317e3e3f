import { Agent } from 'node:http';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startBenchUpstream } from '../../bench/upstream.ts';
import { createdKeySchema } from '../../src/admin/contract.ts';
import {
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { systemResources } from '../support/system.ts';
import { limen } from '../support/system/command.ts';
import { exchange, type Outcome } from '../support/system/exchange.ts';
import { rowsOf, settled } from '../support/system/ledger-watch.ts';
import { seenIn, startRevealingUpstream } from '../support/system/revealing-upstream.ts';
import { isGood, type Lane, Traffic } from '../support/system/traffic.ts';
import { endMarker, TRAFFIC_KIND_NAMES, trafficBody, trafficKind } from '../support/system/traffic-kinds.ts';
import type { ScriptedUpstream } from '../support/upstream/index.ts';

const DRILL = process.env['LIMEN_DRILL'] === '1';
const PUSHES = DRILL ? 500 : 100;
const OPEN_STREAMS = 50;
const STREAM_PACE_MS = 50;
/** Eight seconds each. */
const STREAM_CHUNKS = 160;
const IN_FORCE_WITHIN_MS = 1000;

let streams: Awaited<ReturnType<typeof startBenchUpstream>>;
let revealing: ScriptedUpstream;
let gateway: TestGateway;
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

beforeAll(async () => {
  [streams, revealing] = await Promise.all([
    startBenchUpstream({ paceMs: STREAM_PACE_MS }),
    startRevealingUpstream(),
  ]);
  gateway = await startGateway({ config: configuration({}) });
});
afterAll(async () => {
  agent.destroy();
  await gateway.stop();
  await Promise.all([streams.close(), revealing.close()]);
});

/** What a push may change. */
interface Wanted {
  /** Number of the push: part of every credential. */
  readonly credential?: number;
  /** More models on provider `probe`: name → the provider's own name. */
  readonly models?: Readonly<Record<string, string>>;
  /** More providers, each with a model `on-NAME`. */
  readonly providers?: readonly string[];
  /** Provider `leaving` of the slow upstream, and its model. */
  readonly leaving?: boolean;
  /** Where model `pair` goes. */
  readonly pair?: 'left' | 'right';
  readonly price?: number;
}

function configuration(wanted: Wanted): ResourceObject[] {
  const { credential = 0, models = {}, providers = [], pair = 'left', price = 1, leaving = false } = wanted;
  const revealed = (name: string, type: string) =>
    providerResource(name, {
      type,
      baseUrl: `${revealing.url}/${name}/v1`,
      credential: `sk-of-${name}-${credential}`,
    });
  return [
    ...systemResources(streams.port, credential),
    revealed('probe', 'openai-compatible'),
    revealed('left', 'openai-compatible'),
    revealed('right', 'anthropic'),
    ...(leaving
      ? [
          providerResource('leaving', {
            type: 'openai-compatible',
            baseUrl: `http://127.0.0.1:${streams.port}/v1`,
            credential: 'sk-of-leaving',
          }),
          modelResource('leaving', [{ provider: 'leaving' }]),
        ]
      : []),
    modelResource('pair', [{ provider: pair, model: `model-of-${pair}` }]),
    modelResource('probe', [{ provider: 'probe', model: 'probe' }], {
      price: { input: price, output: price },
    }),
    ...Object.entries(models).map(([name, model]) => modelResource(name, [{ provider: 'probe', model }])),
    ...providers.flatMap((name) => [
      revealed(name, 'openai-compatible'),
      modelResource(`on-${name}`, [{ provider: name, model: 'any' }]),
    ]),
  ];
}

function ask(model: string, key = gateway.key): Promise<Outcome> {
  return exchange({
    url: gateway.url,
    path: '/v1/chat/completions',
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Which?' }] }),
    agent,
  });
}

async function snapshotVersion(): Promise<string> {
  const { body } = await exchange({ url: gateway.url, method: 'GET', path: '/health/ready', agent });
  return z.object({ snapshot: z.string() }).parse(JSON.parse(body)).snapshot;
}

/** Changes of each kind in turn, and how to tell from the outside that one is in force. */
function* pushes(): Generator<{ name: string; wanted: Wanted; inForce: () => Promise<boolean> }> {
  let wanted: Wanted = {};
  const served = async (model: string) => (await ask(model)).status === 200;
  const gone = async (model: string) => (await ask(model)).status === 404;
  for (let index = 1; ; index += 1) {
    wanted = { ...wanted, credential: index };
    yield {
      name: 'rotate credentials',
      wanted,
      inForce: async () => seenIn((await ask('probe')).body).credential === `sk-of-probe-${index}`,
    };
    wanted = { ...wanted, models: { [`added-${index}`]: 'first' } };
    yield { name: 'add a model', wanted, inForce: () => served(`added-${index}`) };
    wanted = { ...wanted, models: { [`renamed-${index}`]: 'first' } };
    yield {
      name: 'rename a model',
      wanted,
      inForce: async () => (await served(`renamed-${index}`)) && (await gone(`added-${index}`)),
    };
    wanted = { ...wanted, pair: index % 2 === 0 ? 'left' : 'right' };
    const pair = wanted.pair ?? 'left';
    yield {
      name: 'change a target',
      wanted,
      inForce: async () => seenIn((await ask('pair')).body).provider === pair,
    };
    wanted = { ...wanted, models: {} };
    yield { name: 'remove a model', wanted, inForce: () => gone(`renamed-${index}`) };
    wanted = { ...wanted, providers: [`extra-${index}`] };
    yield { name: 'add a provider', wanted, inForce: () => served(`on-extra-${index}`) };
    wanted = { ...wanted, providers: [] };
    yield { name: 'remove a provider', wanted, inForce: () => gone(`on-extra-${index}`) };
    wanted = { ...wanted, price: index + 1 };
    let before = '';
    yield {
      name: 'change a price',
      wanted,
      inForce: async () => {
        const version = await snapshotVersion();
        before ||= version;
        return version !== before;
      },
    };
  }
}

describe('pushes of configuration', () => {
  it(
    `${PUSHES} of them are in force in under a second each, and break nothing`,
    { timeout: PUSHES * 2000 + 120_000 },
    async () => {
      const kinds = TRAFFIC_KIND_NAMES.filter((name) => trafficKind(name).stream);
      const lanes = Array.from({ length: OPEN_STREAMS }, (_, index): Lane => ({
        kind: kinds[index % kinds.length] ?? 'chat native stream',
        chunks: STREAM_CHUNKS,
        long: true,
      }));
      const traffic = new Traffic({ url: gateway.url, key: gateway.key, lanes });
      await eventually(() => (traffic.openStreams.length === OPEN_STREAMS ? true : undefined));

      // Model `pair` goes to one provider or the other: what arrives must be of one piece.
      const pairs = { stopped: false, mixed: [] as string[], failed: [] as string[], count: 0 };
      const askForPairs = async (): Promise<void> => {
        while (!pairs.stopped) {
          const { status, body } = await ask('pair');
          pairs.count += 1;
          if (status !== 200) pairs.failed.push(`${status} ${body}`);
          else {
            const { provider, credential, model } = seenIn(body);
            if (model !== `model-of-${provider}` || !credential.startsWith(`sk-of-${provider}-`))
              pairs.mixed.push(body);
          }
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      };
      const pairLanes = [askForPairs(), askForPairs()];

      const took: { name: string; milliseconds: number }[] = [];
      for (const { name, wanted, inForce } of pushes()) {
        if (took.length === PUSHES) break;
        if (name === 'change a price') await inForce();
        const begun = performance.now();
        gateway.writeConfig(configuration(wanted));
        await eventually(async () => ((await inForce()) ? true : undefined), 30_000).catch(
          (error: unknown) => {
            throw new Error(`push ${took.length}, ${name}, is not in force`, { cause: error });
          },
        );
        took.push({ name, milliseconds: performance.now() - begun });
      }
      pairs.stopped = true;
      await Promise.all(pairLanes);
      await traffic.stop();

      const sorted = took.toSorted((one, other) => one.milliseconds - other.milliseconds);
      const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1];
      process.stdout.write(
        `  ${PUSHES} pushes: median ${at(0.5)?.milliseconds.toFixed(0)} ms, p99 ${at(0.99)?.milliseconds.toFixed(0)} ms, ` +
          `longest ${at(1)?.milliseconds.toFixed(0)} ms (${at(1)?.name}); ${traffic.outcomes.length} streams, ${pairs.count} requests\n`,
      );
      expect(
        traffic.outcomes
          .filter((outcome) => !isGood(outcome))
          .map(({ kind, status, ending }) => ({ kind, status, ending })),
      ).toEqual([]);
      expect(traffic.outcomes.length).toBeGreaterThanOrEqual(OPEN_STREAMS);
      expect(pairs.failed).toEqual([]);
      expect(pairs.mixed).toEqual([]);
      expect(at(0.99)?.milliseconds, JSON.stringify(sorted.slice(-5))).toBeLessThan(IN_FORCE_WITHIN_MS);
    },
  );

  it('a request that straddles one sees one version', async () => {
    gateway.writeConfig(configuration({ credential: 1000, pair: 'left' }));
    await eventually(async () =>
      seenIn((await ask('pair')).body).credential === 'sk-of-left-1000' ? true : undefined,
    );
    const before = await snapshotVersion();
    const user = 'straddler';
    const key = await gateway.createKey({ user });
    const body = JSON.stringify({ model: 'pair', messages: [{ role: 'user', content: 'x'.repeat(4096) }] });
    const begun = Promise.withResolvers<void>();
    const pushed = Promise.withResolvers<void>();
    const straddling = exchange({
      url: gateway.url,
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${key}`, 'content-length': String(body.length) },
      upload: async (write) => {
        write(body.slice(0, 2048));
        begun.resolve();
        await pushed.promise;
        write(body.slice(2048));
      },
    });
    await begun.promise;
    // A request that came later has been served: so the first half of this one has arrived.
    await ask('pair');
    gateway.writeConfig(configuration({ credential: 1001, pair: 'right' }));
    await eventually(async () => (seenIn((await ask('pair')).body).provider === 'right' ? true : undefined));
    pushed.resolve();
    const { status, body: answer } = await straddling;
    expect(status, answer).toBe(200);
    expect(seenIn(answer)).toMatchObject({ provider: 'left', model: 'model-of-left' });
    await settled(gateway);
    expect(await rowsOf(gateway, user)).toMatchObject([
      { provider: 'left', provider_model: 'model-of-left', snapshot: before, status: 200 },
    ]);
  });

  // Longer than the minute for which a removed provider stays reachable, so a drill alone can see it.
  it.each(DRILL ? [90] : [])(
    'streams of a removed provider go on for %i s',
    { timeout: 180_000 },
    async (seconds) => {
      gateway.writeConfig(configuration({ credential: 1500, leaving: true }));
      await eventually(async () => ((await ask('leaving')).status === 200 ? true : undefined));
      const kinds = ['chat native stream', 'chat strip stream', 'messages converted stream'] as const;
      const begun = kinds.map(() => Promise.withResolvers<void>());
      const open = kinds.map((name, index) => {
        const kind = trafficKind(name);
        return exchange({
          url: gateway.url,
          path: kind.path,
          headers: { authorization: `Bearer ${gateway.key}` },
          body: trafficBody(kind, { chunks: (seconds * 1000) / STREAM_PACE_MS, model: 'leaving' }),
          timeoutMs: 150_000,
          onFirstByte: () => begun[index]?.resolve(),
        });
      });
      await Promise.all(begun.map(({ promise }) => promise));
      gateway.writeConfig(configuration({ credential: 1501 }));
      await eventually(async () => ((await ask('leaving')).status === 404 ? true : undefined));
      // The secret stays as long as a stream of its cluster does; the clusters themselves go after a minute.
      await eventually(async () => {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const clusters = /"name": ?"provider\/leaving(\/converted)?"/;
        return clusters.test(await gateway.configDump()) ? undefined : true;
      }, 80_000);
      const outcomes = await Promise.all(open);
      expect(outcomes.map(({ status, ending }) => [status, ending])).toEqual(kinds.map(() => [200, 'clean']));
      outcomes.forEach(({ body }, index) => {
        expect(body).toContain(endMarker(trafficKind(kinds[index] ?? 'chat native stream')));
      });
    },
  );

  it('a bad file is told with file, line, field, value and what is allowed, and changes nothing', async () => {
    const good = configuration({ credential: 2000 });
    gateway.writeConfig(good);
    await eventually(async () =>
      seenIn((await ask('probe')).body).credential === 'sk-of-probe-2000' ? true : undefined,
    );
    const before = await snapshotVersion();
    const text = good.map((resource) => JSON.stringify(resource)).join('\n---\n');
    writeFileSync(
      gateway.configFile,
      `${text}\n---\napiVersion: limen.dev/v1alpha1\nkind: Model\nmetadata: {name: wrong}\nspec:\n  targets:\n    - provider: probe\n      weight: 0\n`,
    );
    const issuesSchema = z.object({
      configuration: z.object({ issues: z.array(z.record(z.string(), z.unknown())) }),
    });
    const issues = async () => issuesSchema.parse(await gateway.admin('GET', '/status')).configuration.issues;
    const [issue, ...more] = await eventually(async () => {
      const found = await issues();
      return found.length > 0 ? found : undefined;
    });
    expect(more).toEqual([]);
    const line = (good.length - 1) * 2 + 1 + 8;
    expect(issue).toMatchObject({
      file: expect.stringContaining('limen.yaml'),
      line,
      resource: 'Model/wrong',
      path: 'spec.targets[0].weight',
      value: '0',
    });
    expect(JSON.stringify(issue)).toMatch(/1/);
    const doctor = await limen(['doctor'], { env: gateway.environment, cwd: gateway.dataFolder });
    expect(doctor.stdout).toContain(`limen.yaml:${line}`);
    expect(doctor.stdout).toContain('spec.targets[0].weight');
    expect(await snapshotVersion()).toBe(before);
    expect(seenIn((await ask('probe')).body).credential).toBe('sk-of-probe-2000');

    gateway.writeConfig(configuration({ credential: 2001 }));
    await eventually(async () =>
      seenIn((await ask('probe')).body).credential === 'sk-of-probe-2001' ? true : undefined,
    );
    await eventually(async () => ((await issues()).length === 0 ? true : undefined));
  });

  it('a revoked key is refused by every worker within a second', async () => {
    const took: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const created = createdKeySchema.parse(
        await gateway.admin('POST', '/keys', { user: `round-${round}` }),
      );
      const many = () => Promise.all(Array.from({ length: 40 }, () => ask('probe', created.key)));
      // Both workers have seen it, at once.
      expect((await many()).map(({ status }) => status)).toEqual(Array.from({ length: 40 }, () => 200));
      const begun = performance.now();
      await gateway.admin('DELETE', `/keys/${created.id}`);
      took.push(performance.now() - begun);
      const after = await many();
      expect(after.map(({ status }) => status)).toEqual(Array.from({ length: 40 }, () => 401));
    }
    // The best of a few: what else the machine does makes some of them late.
    expect(Math.min(...took)).toBeLessThan(1000);
  });
});
