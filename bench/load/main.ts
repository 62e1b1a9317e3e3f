/**
 * Load from the command line:
 *
 *   node bench/load/main.ts --url http://127.0.0.1:3000 --key tw-… --model demo --connections 64 --seconds 60 --stream
 */
import { parseArgs } from 'node:util';
import { failedRequests, httpRequest, type LoadProblem, runLoad } from './load.ts';

const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:3000' },
    path: { type: 'string', default: '/v1/chat/completions' },
    key: { type: 'string', default: process.env['LIMEN_API_KEY'] ?? '' },
    header: { type: 'string', multiple: true, default: [] },
    model: { type: 'string', default: 'demo' },
    connections: { type: 'string', default: '16' },
    seconds: { type: 'string', default: '10' },
    'prompt-bytes': { type: 'string', default: '32' },
    'max-tokens': { type: 'string', default: '64' },
    stream: { type: 'boolean', default: false },
    'leave-after-bytes': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

const isMessages = values.path.endsWith('/messages');
const headers = Object.fromEntries(
  values.header.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
  }),
);
const request = httpRequest({
  path: values.path,
  host: new URL(values.url).host,
  headers: {
    'content-type': 'application/json',
    ...(values.key === '' ? {} : { authorization: `Bearer ${values.key}` }),
    ...headers,
  },
  body: JSON.stringify({
    model: values.model,
    max_tokens: Number(values['max-tokens']),
    stream: values.stream,
    messages: [{ role: 'user', content: 'x'.repeat(Number(values['prompt-bytes'])) }],
  }),
});

const problems: LoadProblem[] = [];
const leaveAfterBytes = values['leave-after-bytes'];
const result = await runLoad({
  url: values.url,
  connections: Number(values.connections),
  durationMs: Number(values.seconds) * 1000,
  request: () => request,
  ...(values.stream ? { endMarker: isMessages ? 'message_stop' : '[DONE]' } : {}),
  ...(leaveAfterBytes === undefined ? {} : { leaveAfterBytes: Number(leaveAfterBytes) }),
  onProblem: (problem) => {
    if (problems.length < 5) problems.push(problem);
  },
});

if (values.json) process.stdout.write(`${JSON.stringify({ ...result, problems }, null, 2)}\n`);
else {
  const { latencyMs, firstByteMs } = result;
  const row = (name: string, { p50, p90, p99, max }: typeof latencyMs) =>
    `  ${name.padEnd(11)} p50 ${p50.toFixed(2)}  p90 ${p90.toFixed(2)}  p99 ${p99.toFixed(2)}  max ${max.toFixed(2)} ms\n`;
  process.stdout.write(
    `  ${result.completed} of ${result.started} completed in ${result.seconds.toFixed(1)} s: ${result.completedPerSecond.toFixed(1)} a second\n` +
      `  statuses    ${JSON.stringify(result.statuses)}  failures ${JSON.stringify(result.failures)}  left ${result.left}\n` +
      row('first byte', firstByteMs) +
      row('whole', latencyMs),
  );
  for (const { index, kind, status, tail } of problems) {
    process.stdout.write(`  request ${index}: ${kind} ${status} ${tail.slice(-200)}\n`);
  }
}
process.exitCode = failedRequests(result) === 0 ? 0 : 1;
