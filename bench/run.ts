/**
 * `npm run bench`: plain Envoy, the floor of the design and Limen in one run on one machine, in interleaved
 * rounds, medians with their spread, as ratios. A difference within the spread is no finding.
 *
 *   node bench/run.ts --conversion [--rounds 7] [--json FILE]
 *   node bench/run.ts --scale [--rounds 7] [--changes 20] [--restarts 5]
 *   node bench/run.ts [--rounds 7] [--seconds 3] [--warmup 2] [--workers 1] [--pace-ms 2] [--only WORKLOAD]… [--json FILE]
 */
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
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

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '2' },
    workers: { type: 'string', default: '1' },
    'pace-ms': { type: 'string', default: '2' },
    only: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
    conversion: { type: 'boolean', default: false },
    scale: { type: 'boolean', default: false },
    changes: { type: 'string', default: '20' },
    restarts: { type: 'string', default: '5' },
  },
});

if (values.conversion) {
  process.stdout.write(`${machineName()}\n\n${benchConversion(Number(values.rounds), values.json)}`);
  process.exit(0);
}

if (values.scale) {
  const report = await benchScale({
    rounds: Number(values.rounds),
    secondsPerSample: Number(values.seconds),
    warmupSeconds: Number(values.warmup),
    changes: Number(values.changes),
    restarts: Number(values.restarts),
    onProgress,
  });
  process.stdout.write(`${machineName()}\n\n${report}`);
  process.exit(0);
}

const unknown = values.only.filter((name) => WORKLOADS.every((workload) => workload.name !== name));
if (unknown.length > 0) {
  throw new Error(
    `No workload ${unknown.join(', ')}; there are: ${WORKLOADS.map(({ name }) => name).join(', ')}.`,
  );
}
const workloads = WORKLOADS.filter(({ name }) => values.only.length === 0 || values.only.includes(name));
const upstream = await startSharedUpstream(Number(values['pace-ms']));
try {
  const variants: readonly Variant[] = [
    plainEnvoy(upstream.port),
    floor(upstream.port, Number(values.workers)),
    ...limen(upstream.port, Number(values.workers)),
  ];
  const series = await measure(variants, workloads, {
    rounds: Number(values.rounds),
    secondsPerSample: Number(values.seconds),
    warmupSeconds: Number(values.warmup),
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
