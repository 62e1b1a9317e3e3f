import { rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { AggregatorRegistry, Gauge, type Registry } from 'prom-client';
import { z } from 'zod';

/** One process's metrics, as prom-client's JSON. */
export interface MetricsSource {
  readonly name: string;
  read(): Promise<readonly object[]>;
}

/** A process that does not tell its metrics within this time is left out of the answer. */
const SOURCE_TIMEOUT_MS = 1000;
/** Largest answer of one process. */
const MAX_BYTES = 16 * 1024 * 1024;

const metricsSchema = z.array(z.looseObject({ name: z.string(), aggregator: z.string() }));

/** Prometheus text's own content type. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** The metrics of this very process. */
export function ownMetrics(name: string, registry: Registry): MetricsSource {
  return { name, read: () => registry.getMetricsAsJSON() };
}

/** The metrics of another process on this machine, from the socket on which it runs `serveMetrics`. */
export function socketMetrics(name: string, socketPath: string): MetricsSource {
  return { name, read: async () => metricsSchema.parse(JSON.parse(await fetchText(socketPath))) };
}

function fetchText(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(SOURCE_TIMEOUT_MS);
    const call = request({ socketPath, path: '/metrics', agent: false, signal }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_BYTES) response.destroy(new Error('the metrics are too large'));
        chunks.push(chunk);
      });
      response.on('end', () => resolve(Buffer.concat(chunks).toString()));
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end();
  });
}

/** A running server of one process's metrics. */
export interface MetricsServer {
  close(): Promise<void>;
}

/** Serves this process's metrics, as JSON for `socketMetrics`, on a Unix socket; a stale one is replaced. */
export async function serveMetrics(registry: Registry, socketPath: string): Promise<MetricsServer> {
  const server = createServer((_request, response) => {
    registry.getMetricsAsJSON().then(
      (metrics) => response.setHeader('content-type', 'application/json').end(JSON.stringify(metrics)),
      () => response.writeHead(500).end(),
    );
  });
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * The metrics of several processes as one Prometheus text: counters and histograms summed, gauges as each says.
 * A process that does not answer is left out, and `limen_metrics_source_up` says so.
 */
export async function collectMetrics(sources: readonly MetricsSource[]): Promise<string> {
  const answers = await Promise.allSettled(sources.map((source) => source.read()));
  const told = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [[...answer.value]] : []));
  const registry = AggregatorRegistry.aggregate(told);
  const up = new Gauge({
    name: 'limen_metrics_source_up',
    help: 'The process told its metrics',
    labelNames: ['source'],
    registers: [registry],
  });
  answers.forEach((answer, index) => {
    up.set({ source: sources[index]?.name ?? '' }, answer.status === 'fulfilled' ? 1 : 0);
  });
  return registry.metrics();
}
