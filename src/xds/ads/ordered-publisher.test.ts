import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { TypedJson } from '../encode/encode.ts';
import { AggregatedDiscovery } from './aggregated-discovery.ts';
import { OrderedPublisher } from './ordered-publisher.ts';
import { typeUrlOf, type ResourceKind, type ResourceSets } from './resource-cache.ts';
import { scriptedDeltaEnvoy, type ScriptedEnvoy } from './testing/scripted-envoys.ts';

const GRACE_MS = 1000;
const TIMEOUT_MS = 500;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function named(kind: ResourceKind, name: string, fields: Record<string, unknown> = {}): TypedJson {
  return { '@type': typeUrlOf(kind), name, ...fields };
}

function configuration(cluster: string, statPrefix: string): ResourceSets {
  return {
    clusters: { [cluster]: named('clusters', cluster) },
    listeners: { gateway: named('listeners', 'gateway', { stat_prefix: statPrefix }) },
    routes: {
      main: named('routes', 'main', { virtual_hosts: [{ name: cluster, domains: ['*'] }] }),
    },
  };
}

/** An Envoy that answers by itself, noting what it was sent. */
class AnsweringEnvoy {
  readonly events: string[] = [];
  refuses: ResourceKind | undefined;
  readonly #envoy: ScriptedEnvoy;
  #seen = 0;

  /** @param clusters what it has from an earlier control plane */
  constructor(ads: AggregatedDiscovery, clusters: Readonly<Record<string, string>> = {}) {
    this.#envoy = scriptedDeltaEnvoy(ads);
    this.#envoy.subscribe('clusters', [], clusters);
    this.#envoy.subscribe('listeners');
    this.#envoy.subscribe('routes', ['main']);
  }

  /** Answers whatever has arrived, and what that leads to. */
  async answer(): Promise<void> {
    for (;;) {
      await vi.advanceTimersByTimeAsync(0);
      const response = this.#envoy.responses[this.#seen];
      if (response?.kind === undefined) return;
      this.#seen += 1;
      const what = [
        ...response.names.map((name) => `+${name}`),
        ...response.removed.map((name) => `-${name}`),
      ];
      this.events.push(`${response.kind} ${what.join(' ')}`);
      if (response.kind === this.refuses) this.#envoy.refuse(response.kind, 'no');
      else this.#envoy.accept(response.kind);
    }
  }
}

async function start() {
  const ads = new AggregatedDiscovery();
  const publisher = new OrderedPublisher(ads, { acknowledgeTimeoutMs: TIMEOUT_MS, graceMs: GRACE_MS });
  const envoy = new AnsweringEnvoy(ads);
  const publish = async (resources: ResourceSets) => {
    const result = publisher.publish(resources, async () => {
      envoy.events.push('workers');
    });
    await envoy.answer();
    return await result;
  };
  expect(await publish(configuration('a', '1'))).toMatchObject({ state: 'in force' });
  await vi.advanceTimersByTimeAsync(GRACE_MS);
  await envoy.answer();
  envoy.events.length = 0;
  return { ads, publisher, envoy, publish };
}

describe('a publication', () => {
  test('brings clusters, then workers, then listeners and routes, and removes in reverse after the grace', async () => {
    const { envoy, publish } = await start();
    expect(await publish(configuration('b', '2'))).toEqual({
      state: 'in force',
      acknowledged: ['envoy-1'],
      timedOut: [],
    });
    expect(envoy.events).toEqual(['clusters +b', 'workers', 'listeners +gateway', 'routes +main']);
    await vi.advanceTimersByTimeAsync(GRACE_MS - 1);
    await envoy.answer();
    expect(envoy.events).toHaveLength(4);
    await vi.advanceTimersByTimeAsync(1);
    await envoy.answer();
    expect(envoy.events.slice(4)).toEqual(['clusters -a']);
  });

  test('that is refused leaves everything as it was, and the next one goes through', async () => {
    const { envoy, publish } = await start();
    envoy.refuses = 'listeners';
    const refused = publish(configuration('b', '2'));
    expect(await refused).toEqual({
      state: 'refused',
      nacked: [{ node: 'envoy-1', kind: 'listeners', message: 'no' }],
    });
    envoy.refuses = undefined;
    await envoy.answer();
    // Back to what was in force, for this Envoy and for one that connects now.
    expect(envoy.events.slice(-2)).toEqual(['clusters -b', 'listeners +gateway']);
    envoy.events.length = 0;
    expect(await publish(configuration('c', '3'))).toMatchObject({ state: 'in force' });
    expect(envoy.events).toEqual(['clusters +c', 'workers', 'listeners +gateway', 'routes +main']);
  });

  test('whose workers fail brings no routes', async () => {
    const { publisher, envoy } = await start();
    const failed = publisher.publish(configuration('b', '2'), async () => {
      throw new Error('no worker');
    });
    const outcome = failed.catch((error: unknown) => error);
    await envoy.answer();
    expect(await outcome).toMatchObject({ message: 'no worker' });
    await envoy.answer();
    expect(envoy.events).toEqual(['clusters +b', 'clusters -b']);
  });

  test('that is the first of a control plane takes nothing away from an Envoy that was there before', async () => {
    const ads = new AggregatedDiscovery();
    const publisher = new OrderedPublisher(ads, { acknowledgeTimeoutMs: TIMEOUT_MS, graceMs: GRACE_MS });
    const envoy = new AnsweringEnvoy(ads, { old: 'version' });
    envoy.refuses = 'listeners';
    const refused = publisher.publish(configuration('new', '1'), async () => undefined);
    await envoy.answer();
    expect(await refused).toMatchObject({ state: 'refused' });
    await vi.advanceTimersByTimeAsync(GRACE_MS);
    await envoy.answer();
    expect(envoy.events).toEqual(['clusters +new', 'listeners +gateway']);

    envoy.refuses = undefined;
    envoy.events.length = 0;
    const taken = publisher.publish(configuration('newer', '2'), async () => undefined);
    await envoy.answer();
    expect(await taken).toMatchObject({ state: 'in force' });
    expect(envoy.events).toEqual(['clusters +newer', 'listeners +gateway', 'routes +main']);
    await vi.advanceTimersByTimeAsync(GRACE_MS);
    await envoy.answer();
    expect(envoy.events.at(-1)).toBe('clusters -old -new');
  });

  test('with a fault in it publishes nothing', async () => {
    const { publisher, envoy } = await start();
    const bad = { ...configuration('b', '2'), routes: { main: named('routes', 'main', { nonsense: 1 }) } };
    await expect(publisher.publish(bad, async () => undefined)).rejects.toThrow(/routes\.main\.nonsense/);
    await envoy.answer();
    expect(envoy.events).toEqual([]);
  });

  test('does not wait for ever for an Envoy that is silent', async () => {
    const { ads, publisher } = await start();
    const silent = scriptedDeltaEnvoy(ads, { node: 'silent' });
    silent.subscribe('clusters');
    const result = publisher.publish(configuration('a', '1'), async () => undefined);
    await vi.advanceTimersByTimeAsync(3 * TIMEOUT_MS);
    expect(await result).toEqual({
      state: 'in force',
      acknowledged: ['envoy-1'],
      timedOut: ['silent'],
    });
  });

  test('within the grace of another one takes over its removals', async () => {
    const { envoy, publish } = await start();
    await publish(configuration('b', '2'));
    await vi.advanceTimersByTimeAsync(GRACE_MS / 2);
    await publish(configuration('c', '3'));
    await vi.advanceTimersByTimeAsync(GRACE_MS - 1);
    await envoy.answer();
    expect(envoy.events.filter((event) => event.includes('-'))).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    await envoy.answer();
    expect(envoy.events.at(-1)).toBe('clusters -a -b');
  });

  test('runs after the one before it', async () => {
    const { publisher, envoy } = await start();
    const steps: string[] = [];
    const first = publisher.publish(configuration('b', '2'), async () => {
      steps.push('first');
    });
    const second = publisher.publish(configuration('c', '3'), async () => {
      steps.push(`second after ${envoy.events.at(-1)}`);
    });
    await envoy.answer();
    await Promise.all([first, second]);
    expect(steps).toEqual(['first', 'second after clusters +c']);
  });
});
