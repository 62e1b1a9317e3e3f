/**
 * `npm run bench`: plain Envoy, the floor of the design and Limen in one run on one machine, in interleaved
 * rounds, medians with their spread, as ratios. A difference within the spread is no finding.
 */
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { benchConversion } from './conversion.ts';
import { limen } from './limen.ts';
import { measure, type Variant, type Workload } from './measure.ts';
import { benchScale } from './scale.ts';
import { markdownTables, summarize } from './statistics.ts';
import { floor, plainEnvoy, startSharedUpstream } from './variants.ts';

const WORKLOADS: readonly Workload[] = [
  { name: 'small', path: '/v1/chat/completions', connections: 16, promptBytes: 32, chunks: 0 },
  { name: '16 KB', path: '/v1/chat/completions', connections: 16, promptBytes: 16_384, chunks: 0 },
  { name: 'stream of 64', path: '/v1/chat/completions', connections: 16, promptBytes: 32, chunks: 64 },
  { name: 'stream of 512', path: '/v1/chat/completions', connections: 16, promptBytes: 32, chunks: 512 },
];

const values = new Command('npm run bench --')
  .description(
    'Times plain Envoy, an empty external processor and Limen in one run, as ratios of CPU a request.',
  )
  .option('--rounds <number>', 'rounds of all variants in turns', positive, 7)
  .option('--seconds <number>', 'length of each measurement', positive, 3)
  .option('--warmup <number>', 'seconds before the first one of a variant', positive, 2)
  .option('--workers <number>', 'threads of Envoy, and workers of Limen', positive, 1)
  .option('--pace-ms <number>', 'between two chunks of a stream; 0: as fast as it goes', notNegative, 2)
  .addOption(
    new Option('--only <workload...>', 'only these workloads')
      .choices(WORKLOADS.map(({ name }) => name))
      .default([]),
  )
  .option('--json <file>', 'writes everything that was measured there as well')
  .option('--conversion', 'times the converters alone, without Envoy', false)
  .option('--scale', 'times 15,000 users, 50,000 keys and 2,000 rules instead', false)
  .option('--changes <number>', 'with --scale: changes of which the time to force is taken', positive, 20)
  .option('--restarts <number>', 'with --scale: starts of a worker', positive, 5)
  .addHelpText(
    'after',
    `
Examples:
  npm run bench                                          all of it, some 20 minutes
  npm run bench -- --rounds 3 --only small "16 KB"       two workloads, a first impression
  npm run bench -- --scale
  npm run bench -- --conversion --json conversion.json`,
  )
  .parse()
  .opts<{
    readonly rounds: number;
    readonly seconds: number;
    readonly warmup: number;
    readonly workers: number;
    readonly paceMs: number;
    readonly only: readonly string[];
    readonly json?: string;
    readonly conversion: boolean;
    readonly scale: boolean;
    readonly changes: number;
    readonly restarts: number;
  }>();

function notNegative(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('It must be a number.');
  return value;
}

function positive(text: string): number {
  const value = notNegative(text);
  if (value === 0) throw new InvalidArgumentError('It must be above 0.');
  return value;
}

if (values.conversion) {
  process.stdout.write(`${machineName()}\n\n${benchConversion(values.rounds, values.json)}`);
  process.exit(0);
}

if (values.scale) {
  const report = await benchScale({
    rounds: values.rounds,
    secondsPerSample: values.seconds,
    warmupSeconds: values.warmup,
    changes: values.changes,
    restarts: values.restarts,
    onProgress,
  });
  process.stdout.write(`${machineName()}\n\n${report}`);
  process.exit(0);
}

const workloads = WORKLOADS.filter(({ name }) => values.only.length === 0 || values.only.includes(name));
const upstream = await startSharedUpstream(values.paceMs);
try {
  const variants: readonly Variant[] = [
    plainEnvoy(upstream.port),
    floor(upstream.port, values.workers),
    ...limen(upstream.port, values.workers),
  ];
  const series = await measure(variants, workloads, {
    rounds: values.rounds,
    secondsPerSample: values.seconds,
    warmupSeconds: values.warmup,
    onProgress,
  });
  const summary = summarize(series);
  const machine = machineName();
  process.stdout.write(`${machine}\n\n${markdownTables(summary, ['plain Envoy', 'floor'])}`);
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ machine, options: values, summary, series }, null, 2)}\n`);
  }
} finally {
  await upstream.stop();
}

function onProgress(text: string): void {
  process.stderr.write(`  ${text}\n`);
}

function machineName(): string {
  return `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
}
