import type { Sample, Series } from './measure.ts';

/** A figure over all rounds. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** One variant under one workload, as medians with the lowest and highest round. */
export interface SummaryRow {
  readonly workload: string;
  readonly variant: string;
  readonly requestsPerSecond: Spread;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly firstByteP50Ms: Spread;
  readonly firstByteP99Ms: Spread;
  readonly cpuMicrosTotal: Spread;
  readonly cpuMicros: Readonly<Record<string, Spread>>;
  readonly rssMibTotal: Spread;
  /** CPU a request as a multiple of each other variant's, round by round; by that variant's name. */
  readonly cpuRatio: Readonly<Record<string, Spread>>;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? 0;
  const median = Number.isInteger(middle) ? ((sorted[middle - 1] ?? upper) + upper) / 2 : upper;
  return { median, low: sorted[0] ?? 0, high: sorted.at(-1) ?? 0 };
}

/** Ratios are of two samples of the same round, which saw the same machine. */
export function summarize(series: readonly Series[]): SummaryRow[] {
  return series.map(({ workload, variant, samples }) => {
    const figure = (pick: (sample: Sample) => number) => spreadOf(samples.map(pick));
    const roles = Object.keys(samples[0]?.cpuMicros ?? {});
    const others = series.filter((other) => other.workload === workload && other.variant !== variant);
    return {
      workload,
      variant,
      requestsPerSecond: figure((sample) => sample.requestsPerSecond),
      p50Ms: figure((sample) => sample.p50Ms),
      p99Ms: figure((sample) => sample.p99Ms),
      firstByteP50Ms: figure((sample) => sample.firstByteP50Ms),
      firstByteP99Ms: figure((sample) => sample.firstByteP99Ms),
      cpuMicrosTotal: figure((sample) => sample.cpuMicrosTotal),
      cpuMicros: Object.fromEntries(
        roles.map((role) => [role, figure((sample) => sample.cpuMicros[role] ?? 0)]),
      ),
      rssMibTotal: figure((sample) => sample.rssMibTotal),
      cpuRatio: Object.fromEntries(
        others.map((other) => [
          other.variant,
          spreadOf(
            samples.map(
              (sample, round) => sample.cpuMicrosTotal / (other.samples[round]?.cpuMicrosTotal ?? NaN),
            ),
          ),
        ]),
      ),
    };
  });
}

const number = (value: number) =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
const withSpread = ({ median, low, high }: Spread) => `${number(median)} (${number(low)}–${number(high)})`;

/** The summary as one Markdown table a workload; `baselines` name the variants whose ratios are columns. */
export function markdownTables(rows: readonly SummaryRow[], baselines: readonly string[]): string {
  const workloads = [...new Set(rows.map(({ workload }) => workload))];
  return workloads
    .map((workload) => {
      const header = [
        'variant',
        'requests/s',
        'p50 ms',
        'p99 ms',
        'first byte p50 ms',
        'CPU µs a request',
        'of which',
        ...baselines.map((name) => `× ${name}`),
        'MiB',
      ];
      const lines = rows
        .filter((row) => row.workload === workload)
        .map((row) => [
          row.variant,
          withSpread(row.requestsPerSecond),
          withSpread(row.p50Ms),
          withSpread(row.p99Ms),
          withSpread(row.firstByteP50Ms),
          withSpread(row.cpuMicrosTotal),
          Object.entries(row.cpuMicros)
            .map(([role, spread]) => `${role} ${number(spread.median)}`)
            .join(', '),
          ...baselines.map((name) => {
            const ratio = row.cpuRatio[name];
            return ratio ? withSpread(ratio) : '1';
          }),
          number(row.rssMibTotal.median),
        ]);
      const table = [header, header.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`);
      return `### ${workload}\n\n${table.join('\n')}\n`;
    })
    .join('\n');
}
