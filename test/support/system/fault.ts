import { dirname, join } from 'node:path';
import { z } from 'zod';
import { socketMetrics } from '../../../src/telemetry/collect-metrics.ts';
import type { TestGateway } from '../gateway.ts';
import { eventually } from '../running-envoy.ts';
import { isGood, type Lane, Traffic, type TrafficOutcome } from './traffic.ts';
import { trafficKind, TRAFFIC_KIND_NAMES, type TrafficKind } from './traffic-kinds.ts';

/** What happened around one fault, as far as clients could tell. */
export interface FaultReport {
  /** Everything that was sent, before, during and after. */
  readonly outcomes: readonly TrafficOutcome[];
  /** Requests that began after the fault, or had no answer yet when it came. */
  readonly requests: readonly TrafficOutcome[];
  readonly failedRequests: readonly TrafficOutcome[];
  /** Streams that were open when the fault came. */
  readonly openStreams: readonly TrafficOutcome[];
  /** From the fault until the last request had failed; 0 where none did. */
  readonly recoverySeconds: number;
  /** The longest wait of a client for a failure, in seconds. */
  readonly longestFailureSeconds: number;
}

const SHORT_CHUNKS = 3;
/** Five seconds at the pace of 50 ms. */
const LONG_CHUNKS = 100;
const LONG_KINDS = TRAFFIC_KIND_NAMES.filter((name) => trafficKind(name).stream);

/** One lane of short requests for each kind, and two of long streams for most: 16 in all. */
const LANES: readonly Lane[] = [
  ...TRAFFIC_KIND_NAMES.map((kind): Lane => ({ kind, chunks: SHORT_CHUNKS, long: false })),
  ...[...LONG_KINDS, ...LONG_KINDS]
    .slice(0, 8)
    .map((kind): Lane => ({ kind, chunks: LONG_CHUNKS, long: true })),
];

export const FAULT_PACE_MS = 50;

export interface FaultOptions {
  readonly gateway: TestGateway;
  readonly key: string;
  /** Brings the fault about. */
  readonly inject: () => Promise<void> | void;
  /** Resolves when what was broken is there again. */
  readonly repaired: () => Promise<unknown>;
}

/** Puts a fault into the midst of traffic, waits until all is well again, and tells how it was for the clients. */
export async function underFault(options: FaultOptions): Promise<FaultReport> {
  const traffic = new Traffic({
    url: options.gateway.url,
    key: options.key,
    lanes: LANES,
    timeoutMs: 45_000,
  });
  try {
    // In mid-stream: every long lane has got something for a while.
    const longLanes = LANES.filter(({ long }) => long).length;
    await eventually(() => {
      const old = traffic.openStreams.filter(({ startedAt }) => performance.now() - startedAt > 700);
      return old.length === longLanes ? true : undefined;
    }, 30_000);
    await options.inject();
    const at = performance.now();
    await options.repaired();
    await everyLaneServes(traffic, performance.now());
    await traffic.stop();
    return report(traffic.outcomes, at);
  } finally {
    await traffic.stop();
  }
}

/** Waits until every lane has had a whole answer to a request that it began after `since`. */
async function everyLaneServes(traffic: Traffic, since: number): Promise<void> {
  await eventually(() => {
    const good = traffic.outcomes.filter((outcome) => outcome.startedAt > since && isGood(outcome));
    const lanes = LANES.every(({ kind, long }) =>
      good.some((outcome) => outcome.kind === kind && outcome.long === long),
    );
    return lanes ? true : undefined;
  }, 60_000);
}

function report(outcomes: readonly TrafficOutcome[], at: number): FaultReport {
  const affected = outcomes.filter(({ endedAt }) => endedAt > at);
  const wasOpen = (outcome: TrafficOutcome) =>
    outcome.long && outcome.firstByteAt > 0 && outcome.firstByteAt < at;
  const requests = affected.filter((outcome) => !wasOpen(outcome));
  const failedRequests = requests.filter((outcome) => !isGood(outcome));
  return {
    outcomes,
    requests,
    failedRequests,
    openStreams: affected.filter(wasOpen),
    recoverySeconds: Math.max(0, ...failedRequests.map(({ endedAt }) => endedAt - at)) / 1000,
    longestFailureSeconds:
      Math.max(0, ...failedRequests.map(({ startedAt, endedAt }) => endedAt - Math.max(startedAt, at))) /
      1000,
  };
}

/** Answers that look whole and are not: there must never be one. */
export function falselyWhole(outcomes: readonly TrafficOutcome[]): readonly TrafficOutcome[] {
  return outcomes.filter(
    (outcome) => outcome.status === 200 && outcome.ending === 'clean' && !isGood(outcome),
  );
}

const chatErrorSchema = z.object({
  error: z.object({ message: z.string(), type: z.string(), code: z.string() }),
});
const messagesErrorSchema = z.object({
  type: z.literal('error'),
  error: z.object({ type: z.string(), message: z.string() }),
});

/** Whether an error has the shape of the API that the client called. */
export function inClientFormat({ path }: TrafficKind, body: string): boolean {
  try {
    const schema = path === '/v1/messages' ? messagesErrorSchema : chatErrorSchema;
    return schema.safeParse(JSON.parse(body)).success;
  } catch {
    return false;
  }
}

/** How a failed request looked to its client: its status, or how the connection went. */
export function failureOf({ status, ending }: TrafficOutcome): string {
  if (status >= 400) return String(status);
  return ending === 'clean' ? 'false end' : ending;
}

const gaugeSchema = z.array(z.object({ name: z.string(), values: z.array(z.object({ value: z.number() })) }));

/** The worker through which the most streams pass at the moment: `processor-0` … */
export async function busiestWorker(gateway: TestGateway): Promise<string> {
  const { processors } = gateway.state().endpoints.sockets;
  const open = await Promise.all(
    processors.map(async (socket, index) => {
      const metrics = await socketMetrics('', join(dirname(socket), `metrics-${index}.sock`)).read();
      const gauges = metrics.flatMap((metric) => gaugeSchema.safeParse([metric]).data ?? []);
      const exchanges = gauges.find(({ name }) => name === 'limen_open_exchanges')?.values[0]?.value ?? 0;
      return { name: `processor-${index}`, exchanges };
    }),
  );
  return open.reduce((busiest, worker) => (worker.exchanges > busiest.exchanges ? worker : busiest)).name;
}
