import { DurationHistogram, type DurationSummary } from './histogram.ts';
import { type FailureKind, LoadConnection } from './connection.ts';

export interface LoadOptions {
  /** `http://host:port`; the path stands in the request. */
  readonly url: string;
  /** Connections, each with one request at a time. */
  readonly connections: number;
  /** For how long new requests begin; those that began are awaited. */
  readonly durationMs: number;
  /** Ends it earlier, after this many requests. */
  readonly maxRequests?: number;
  /** Bytes of the whole request number `index` (from 0): see `httpRequest`. Give the same Buffer where you can. */
  readonly request: (index: number) => Buffer;
  /** Longest wait for a whole answer; default 60 s. */
  readonly timeoutMs?: number;
  /** Text that the last 256 bytes of every good answer must hold: `[DONE]`, `message_stop`. */
  readonly endMarker?: string;
  /** Leaves each answer in the middle once this many bytes of its body came. */
  readonly leaveAfterBytes?: number;
  /** Told of each request that failed or got a status of 400 or more, with what there is of its answer's end. */
  readonly onProblem?: (problem: LoadProblem) => void;
}

export interface LoadProblem {
  readonly index: number;
  readonly kind: FailureKind | 'status';
  /** 0 where no headers came. */
  readonly status: number;
  /** The last bytes of the answer's body. */
  readonly tail: string;
}

export interface LoadResult {
  readonly seconds: number;
  readonly started: number;
  /** Whole answers with a status below 400. */
  readonly completed: number;
  readonly completedPerSecond: number;
  /** Whole answers by status. */
  readonly statuses: Readonly<Record<number, number>>;
  readonly failures: Readonly<Partial<Record<FailureKind, number>>>;
  /** Answers that were left on purpose. */
  readonly left: number;
  /** From the first byte sent to the last one received, of completed answers. */
  readonly latencyMs: DurationSummary;
  /** From the first byte sent to the first byte of the answer's body, of completed answers. */
  readonly firstByteMs: DurationSummary;
  readonly bodyBytes: number;
}

/** How often waiting requests are checked for their timeout. */
const SWEEP_MS = 100;
const DEFAULT_TIMEOUT_MS = 60_000;

/** The bytes of an HTTP/1.1 request, built once and sent many times. */
export function httpRequest(request: {
  readonly path: string;
  readonly host: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}): Buffer {
  const body = Buffer.from(request.body ?? '');
  const headers = { host: request.host, ...request.headers, 'content-length': String(body.length) };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `${request.method ?? 'POST'} ${request.path} HTTP/1.1\r\n${lines.join('')}\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}

/** Puts load on a server and resolves when the last request has ended. Never rejects for what the server does. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { hostname, port } = new URL(options.url);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const latency = new DurationHistogram();
  const firstByte = new DurationHistogram();
  const statuses: Record<number, number> = {};
  const failures: Partial<Record<FailureKind, number>> = {};
  let started = 0;
  let completed = 0;
  let left = 0;
  let bodyBytes = 0;
  const begin = performance.now();
  const end = begin + options.durationMs;

  const connections = Array.from(
    { length: options.connections },
    () =>
      new LoadConnection(
        { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port === '' ? 80 : port), timeoutMs },
        { endMarker: options.endMarker, leaveAfterBytes: options.leaveAfterBytes },
      ),
  );
  const sweep = setInterval(() => {
    const now = performance.now();
    for (const connection of connections) connection.checkTimeout(now);
  }, SWEEP_MS);

  const drive = async (connection: LoadConnection): Promise<void> => {
    while (started < (options.maxRequests ?? Infinity) && performance.now() < end) {
      const index = started;
      started += 1;
      const exchange = await connection.send(options.request(index));
      bodyBytes += exchange.bodyBytes;
      if (exchange.outcome === 'left') left += 1;
      else if (exchange.outcome === 'answered') {
        statuses[exchange.status] = (statuses[exchange.status] ?? 0) + 1;
        if (exchange.status < 400) {
          completed += 1;
          latency.record(exchange.lastByteMs);
          firstByte.record(exchange.firstByteMs);
        }
      } else failures[exchange.outcome] = (failures[exchange.outcome] ?? 0) + 1;
      if (
        options.onProblem &&
        exchange.outcome !== 'left' &&
        (exchange.outcome !== 'answered' || exchange.status >= 400)
      ) {
        const kind = exchange.outcome === 'answered' ? 'status' : exchange.outcome;
        options.onProblem({ index, kind, status: exchange.status, tail: connection.tail() });
      }
    }
    connection.close();
  };
  await Promise.all(connections.map(drive));
  clearInterval(sweep);
  const seconds = (performance.now() - begin) / 1000;
  return {
    seconds,
    started,
    completed,
    completedPerSecond: completed / seconds,
    statuses,
    failures,
    left,
    latencyMs: latency.summary(),
    firstByteMs: firstByte.summary(),
    bodyBytes,
  };
}

/** Requests that did not get a whole answer with a status below 400, those left on purpose not counted. */
export function failedRequests(result: LoadResult): number {
  return result.started - result.completed - result.left;
}
