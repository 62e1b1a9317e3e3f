import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import type { Logger } from '../telemetry/logger.ts';
import { METRICS_CONTENT_TYPE } from '../telemetry/collect-metrics.ts';
import { readJson } from './body.ts';
import { AdminError } from './errors.ts';
import { findRoute, type AdminResponse } from './router.ts';
import { adminRoutes, type AdminServices } from './routes.ts';
import { createTokenCheck } from './token.ts';

export interface AdminServerOptions extends AdminServices {
  /** Whoever has it may do everything. */
  readonly token: string;
  readonly logger: Logger;
}

export interface AdminServer {
  /**
   * @param address path of a Unix socket, which only this user may open, or a TCP port on 127.0.0.1 (0: any)
   * @returns the port, or 0 for a socket
   * @throws where another process serves that socket or port
   */
  listen(address: string | number): Promise<number>;
  /** Lets running requests end, for a second at most. */
  close(): Promise<void>;
}

const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 1_000;

/** Nothing here is to be cached, framed, sniffed or to load anything else (OWASP REST security, HTTP headers). */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

/** The admin API over HTTP, for Envoy's console listener and the command line. */
export function createAdminServer(options: AdminServerOptions): AdminServer {
  const { logger } = options;
  const routes = adminRoutes(options);
  const hasToken = createTokenCheck(options.token);

  const answer = async (request: IncomingMessage): Promise<AdminResponse> => {
    const url = new URL(request.url ?? '/', 'http://admin');
    const match = matchOrError(request.method ?? 'GET', url.pathname);
    const isPublic = 'route' in match && match.route.isPublic === true;
    // Before anything else, so that a stranger does not learn which paths there are.
    if (!isPublic && !hasToken(request.headers.authorization)) {
      throw new AdminError('unauthorized', 'The admin token is missing or wrong.');
    }
    if ('error' in match) throw match.error;
    return match.route.handle({
      params: match.params,
      query: url.searchParams,
      actor: 'admin token',
      json: () => readJson(request),
      headers: request.headers,
    });
  };

  const matchOrError = (method: string, path: string) => {
    try {
      return findRoute(routes, method, path);
    } catch (error) {
      return { error };
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const started = performance.now();
    let result: AdminResponse;
    try {
      result = await answer(request);
    } catch (error) {
      if (!(error instanceof AdminError)) {
        logger.error({ err: error, method: request.method }, 'admin request failed');
      }
      result = errorResponse(toAdminError(error));
    }
    send(request, response, result);
    const path = (request.url ?? '').split('?')[0];
    const milliseconds = Math.round(performance.now() - started);
    logger.debug({ method: request.method, path, status: result.status, milliseconds }, 'admin request');
  };

  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: HEADERS_TIMEOUT_MS, maxHeaderSize: 16_384 },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        logger.error({ err: error }, 'admin answer failed');
        response.destroy();
      });
    },
  );

  return { listen: (address) => listen(server, address), close: () => close(server) };
}

/** Codes of a server that is not there or going away: Node's, and Postgres's classes 08 and 57P. */
const CONNECTION_LOST = /^(ECONN|ENOENT|EPIPE|ETIMEDOUT|EHOSTUNREACH|08|57P)/;

function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (CONNECTION_LOST.test(code) || /timeout|terminated|Connection ended/i.test(error.message)) return true;
  return isConnectionLost(error.cause);
}

/** What the admin is told: never the cause, which may hold addresses and values. */
function toAdminError(error: unknown): AdminError {
  if (error instanceof AdminError) return error;
  if (isConnectionLost(error)) {
    return new AdminError('unavailable', 'The database cannot be reached at this moment; try again.');
  }
  return new AdminError('internal_error', 'The control plane failed to do this; its log says why.');
}

function errorResponse(error: AdminError): AdminResponse {
  const { code, message, details } = error;
  return { status: error.status, body: { error: { code, message, details } } };
}

function send(request: IncomingMessage, response: ServerResponse, result: AdminResponse): void {
  const text = result.html ?? result.metrics ?? `${JSON.stringify(result.body)}\n`;
  response.writeHead(result.status, {
    ...SECURITY_HEADERS,
    'content-type': contentType(result),
    'content-length': Buffer.byteLength(text),
    ...(result.status === 401 ? { 'www-authenticate': 'Bearer realm="limen admin"' } : {}),
    // What is left of a body that nobody reads would be taken for the next request.
    ...(request.complete ? {} : { connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : text);
}

function contentType({ html, metrics }: AdminResponse): string {
  if (html !== undefined) return 'text/html; charset=utf-8';
  return metrics === undefined ? 'application/json' : METRICS_CONTENT_TYPE;
}

async function listen(server: Server, address: string | number): Promise<number> {
  if (typeof address === 'string') {
    if (await isServed(address)) throw new Error(`Another process serves ${address}.`);
    // Left by one that was killed.
    rmSync(address, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const ready = () => {
      server.off('error', reject);
      resolve();
    };
    if (typeof address === 'string') server.listen(address, ready);
    else server.listen(address, '127.0.0.1', ready);
  });
  if (typeof address === 'string') chmodSync(address, 0o600);
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const finish = (served: boolean) => {
      socket.destroy();
      resolve(served);
    };
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const force = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
  await closed;
  clearTimeout(force);
}
