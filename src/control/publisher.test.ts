import { describe, expect, it } from 'vitest';
import type { Snapshot } from '../core/snapshot.ts';
import { emptySnapshot } from '../core/testing/snapshot.ts';
import { createLogger } from '../telemetry/logger.ts';
import type { OrderedResult } from '../xds/ads/ordered-publisher.ts';
import { Publisher } from './publisher.ts';

const snapshot = (version: string): Snapshot => emptySnapshot({ version });

function setUp(answer: (call: number) => OrderedResult) {
  const log: string[] = [];
  let calls = 0;
  const publisher = new Publisher({
    envoy: {
      publish: async (_resources, prepareWorkers) => {
        calls += 1;
        log.push(`envoy ${calls}`);
        await prepareWorkers();
        return answer(calls);
      },
    },
    workers: {
      publishSnapshot: ({ version }) => log.push(`workers ${version}`),
      settled: async () => undefined,
    },
    build: () => ({ clusters: {}, secrets: {}, listeners: {}, routes: {} }),
    logger: createLogger('test', 'silent'),
    acknowledgeMs: 10,
  });
  return { publisher, log };
}

const inForce: OrderedResult = { state: 'in force', acknowledged: [], timedOut: [] };
const refused: OrderedResult = {
  state: 'refused',
  nacked: [{ node: 'e', kind: 'listeners', message: 'no' }],
};

describe('Publisher', () => {
  it('brings one configuration after the other into force, and skips those that were overtaken', async () => {
    const { publisher, log } = setUp(() => inForce);
    const all = ['a', 'b', 'c'].map((version) =>
      publisher.publish({ snapshot: snapshot(version), secrets: {} }),
    );
    await Promise.all(all);
    expect(log).toEqual(['workers a', 'envoy 1', 'workers a', 'envoy 2', 'workers c']);
    expect(publisher.inForce?.version).toBe('c');
  });

  it('takes back from the workers what an Envoy refused', async () => {
    const { publisher, log } = setUp((call) => (call === 2 ? refused : inForce));
    await publisher.publish({ snapshot: snapshot('a'), secrets: {} });
    await publisher.publish({ snapshot: snapshot('b'), secrets: {} });
    expect(log.slice(2)).toEqual(['workers a', 'envoy 2', 'workers b', 'workers a']);
    expect(publisher.inForce?.version).toBe('a');
    expect(publisher.refused).toHaveLength(1);
    await publisher.publish({ snapshot: snapshot('c'), secrets: {} });
    expect(publisher.refused).toEqual([]);
  });
});
