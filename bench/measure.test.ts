import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { cpuMicros, measure, residentMib, type Series, type Variant } from './measure.ts';
import { markdownTables, spreadOf, summarize } from './statistics.ts';
import { startBenchUpstream } from './upstream.ts';

const ticks = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

test('reads CPU time and memory of a process', () => {
  const before = cpuMicros(process.pid, ticks);
  const { user, system } = process.cpuUsage();
  // Both clocks count the same time; one of them in ticks.
  expect(Math.abs(before - (user + system))).toBeLessThan(200_000);
  // It counts in ticks, and only while this process has a processor.
  const until = performance.now() + 10_000;
  while (performance.now() < until && cpuMicros(process.pid, ticks) <= before) void 0;
  expect(cpuMicros(process.pid, ticks)).toBeGreaterThan(before);
  expect(residentMib(process.pid)).toBeGreaterThan(20);
  expect(() => cpuMicros(2 ** 30, ticks)).toThrow('ENOENT');
});

test('measures in interleaved rounds, each variant as often', async () => {
  const started: string[] = [];
  const stopped: string[] = [];
  const variant = (name: string): Variant => ({
    name,
    start: async () => {
      started.push(name);
      const upstream = await startBenchUpstream({ paceMs: 1 });
      return {
        url: `http://127.0.0.1:${upstream.port}`,
        headers: {},
        model: 'bench',
        pids: { both: [process.pid] },
        stop: async () => {
          stopped.push(name);
          await upstream.close();
        },
      };
    },
  });
  const workloads = [
    { name: 'whole', path: '/v1/chat/completions', connections: 2, promptBytes: 10, chunks: 0 },
    { name: 'streamed', path: '/v1/messages', connections: 2, promptBytes: 10, chunks: 4 },
  ] as const;
  const progress: string[] = [];
  const series = await measure([variant('a'), variant('b')], workloads, {
    rounds: 3,
    secondsPerSample: 0.2,
    warmupSeconds: 0.2,
    onProgress: (text) => progress.push(text),
  });
  expect([started, stopped]).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ]);
  expect(series.map(({ workload, variant: name, samples }) => [workload, name, samples.length])).toEqual([
    ['whole', 'a', 3],
    ['whole', 'b', 3],
    ['streamed', 'a', 3],
    ['streamed', 'b', 3],
  ]);
  expect(series.every(({ samples }) => samples.every((sample) => sample.requestsPerSecond > 0))).toBe(true);
  expect(progress).toContain('streamed: round 3 of 3');
});

test('a failed request spoils the measurement, and everything is stopped', async () => {
  let stops = 0;
  const broken: Variant = {
    name: 'broken',
    start: () =>
      Promise.resolve({
        url: 'http://127.0.0.1:1',
        headers: {},
        model: 'm',
        pids: {},
        stop: () => {
          stops += 1;
          return Promise.resolve();
        },
      }),
  };
  const workload = { name: 'w', path: '/v1/messages', connections: 1, promptBytes: 1, chunks: 0 } as const;
  const options = { rounds: 1, secondsPerSample: 0.05, warmupSeconds: 0.05 };
  await expect(measure([broken], [workload], options)).rejects.toThrow('requests failed');
  expect(stops).toBe(1);
});

test('medians, spreads and ratios of the same round', () => {
  expect(spreadOf([3, 1, 2])).toEqual({ median: 2, low: 1, high: 3 });
  expect(spreadOf([4, 1, 2, 3])).toEqual({ median: 2.5, low: 1, high: 4 });
  const seriesOf = (variant: string, totals: readonly number[]): Series => ({
    workload: 'w',
    variant,
    samples: totals.map((cpu) => ({
      requestsPerSecond: 100,
      p50Ms: 1,
      p99Ms: 2,
      firstByteP50Ms: 1,
      firstByteP99Ms: 2,
      cpuMicros: { envoy: cpu },
      cpuMicrosTotal: cpu,
      rssMib: { envoy: 50 },
      rssMibTotal: 50,
    })),
  });
  // The machine was twice as slow in the second round: the ratio does not mind.
  const rows = summarize([seriesOf('plain', [100, 200, 100]), seriesOf('floor', [400, 800, 410])]);
  expect(rows[1]?.cpuRatio).toEqual({ plain: { median: 4, low: 4, high: 4.1 } });
  const table = markdownTables(rows, ['plain']);
  expect(table).toContain('### w');
  expect(table).toContain('| floor | 100 (100–100) |');
  expect(table).toContain('4.00 (4.00–4.10)');
});
