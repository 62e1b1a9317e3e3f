import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { finished } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { messageOf } from '../../core/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { Engine } from './host-engine.ts';
import { LaneFullError } from './host-lanes.ts';
import { authenticate, HostError, readStatement } from './host-request.ts';

export interface ClickHouseHostOptions {
  /** Data folder of the engine, which locks it; made where it is missing. */
  readonly folder: string;
  /**
   * Where to listen and with which user and password: `http://user:password@127.0.0.1:8123`, the same text that
   * clients connect with. Port 0 asks the system for a free one.
   */
  readonly url: string;
  readonly logger: Logger;
}

/** A running host. */
export interface ClickHouseHost {
  /** What clients connect with, with the port that was really taken. */
  readonly url: string;
  /** Takes no more requests, lets those that run end, and closes the engine. */
  close(): Promise<void>;
}

/** Idle connections stay longer than clients keep theirs, so that none is closed under a request. */
const KEEP_ALIVE_MS = 30_000;

/**
 * Hosts the ClickHouse engine in this process and speaks as much of ClickHouse's HTTP interface as its ordinary
 * client needs: queries, commands, inserts, parameters, settings, compression, ping. What it lacks: sessions
 * across requests, roles, and progress while a query runs. SELECTs are streamed; every other output is held
 * whole.
 *
 * @throws Error where the folder or the port is taken
 */
export async function startClickHouseHost(options: ClickHouseHostOptions): Promise<ClickHouseHost> {
  const url = new URL(options.url);
  const expected = {
    user: decodeURIComponent(url.username) || 'default',
    password: decodeURIComponent(url.password),
  };
  const engine = Engine.open(options.folder);
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    void serve(request, response, engine, expected, options.logger);
  });
  try {
    await listen(server, Number(url.port || '8123'), url.hostname);
  } catch (error) {
    engine.close();
    throw error;
  }
  url.port = String(addressOf(server).port);
  return {
    url: url.href,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      await closed;
      engine.close();
    },
  };
}

function addressOf(server: Server): AddressInfo {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port');
  return address;
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  engine: Engine,
  expected: { readonly user: string; readonly password: string },
  logger: Logger,
): Promise<void> {
  const left = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) left.abort();
  });
  try {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (url.pathname === '/ping' || (url.pathname === '/' && request.method === 'GET' && url.search === '')) {
      response.setHeader('content-type', 'text/plain; charset=UTF-8').end('Ok.\n');
      return;
    }
    authenticate(request, url, expected);
    if (url.pathname !== '/') throw new HostError(1000, 'NOT_FOUND', `There is no handle ${url.pathname}`);
    await answer(request, response, url, engine, left.signal);
  } catch (error) {
    if (left.signal.aborted) return;
    refuse(request, response, error, logger);
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  engine: Engine,
  signal: AbortSignal,
): Promise<void> {
  const statement = await readStatement(request, url);
  const wantedId = url.searchParams.get('query_id') ?? '';
  const queryId = /^[\w.:-]+$/.test(wantedId) ? wantedId : randomUUID();
  const result = await engine.run(statement, signal);
  const summary = {
    read_rows: String(result.rows),
    read_bytes: String(result.bytes),
    written_rows: '0',
    written_bytes: '0',
    total_rows_to_read: '0',
    result_rows: '0',
    result_bytes: '0',
    elapsed_ns: '0',
  };
  const format = /\bFORMAT\s+(\w+)\s*;?\s*$/i.exec(statement.sql)?.[1] ?? statement.format;
  response.setHeader(
    'content-type',
    format.startsWith('JSON') ? 'application/json; charset=UTF-8' : 'text/plain; charset=UTF-8',
  );
  response.setHeader('x-clickhouse-query-id', queryId);
  response.setHeader('x-clickhouse-format', format);
  response.setHeader('x-clickhouse-timezone', 'UTC');
  response.setHeader('x-clickhouse-server-display-name', 'limen');
  response.setHeader('x-clickhouse-summary', JSON.stringify(summary));
  const packs = url.searchParams.get('enable_http_compression') === '1' && acceptsGzip(request);
  if (packs) response.setHeader('content-encoding', 'gzip');
  const output = packs ? createGzip() : response;
  if (output !== response) output.pipe(response);
  for await (const chunk of result.chunks) {
    if (signal.aborted) return;
    if (!output.write(chunk)) await drained(output, signal);
  }
  output.end();
  await finished(response);
}

function acceptsGzip(request: IncomingMessage): boolean {
  return /\bgzip\b/.test(String(request.headers['accept-encoding']));
}

function drained(output: NodeJS.WritableStream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      output.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    output.once('drain', done);
    signal.addEventListener('abort', done);
  });
}

/** Numbers of ClickHouse's errors whose HTTP status is not 500, as its own server answers them. */
const STATUS_BY_CODE: Readonly<Record<number, number>> = {
  6: 400,
  26: 400,
  27: 400,
  36: 400,
  38: 400,
  41: 400,
  43: 400,
  46: 404,
  47: 404,
  48: 501,
  53: 400,
  60: 404,
  62: 400,
  73: 404,
  81: 404,
  115: 404,
  117: 400,
  130: 400,
  159: 408,
  202: 503,
  396: 413,
  456: 400,
  516: 403,
  1000: 404,
};

function refuse(request: IncomingMessage, response: ServerResponse, error: unknown, logger: Logger): void {
  if (response.headersSent) {
    // The status has gone out as 200: only a broken answer can still say that it is not whole.
    logger.warn({ reason: textOf(error) }, 'a ClickHouse answer broke off');
    response.destroy();
    return;
  }
  const text = textOf(error);
  const code = Number(/Code: (\d+)/.exec(text)?.[1] ?? 1001);
  response.statusCode = STATUS_BY_CODE[code] ?? 500;
  response.setHeader('content-type', 'text/plain; charset=UTF-8');
  response.setHeader('x-clickhouse-exception-code', String(code));
  // What was not read of the request must not be taken for the next one.
  if (!request.complete) response.setHeader('connection', 'close');
  response.end(`${text}\n`);
}

function textOf(error: unknown): string {
  if (error instanceof LaneFullError) {
    return 'Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)';
  }
  const message = messageOf(error);
  return /Code: \d+/.test(message) ? message : `Code: 1001. DB::Exception: ${message} (STD_EXCEPTION)`;
}
