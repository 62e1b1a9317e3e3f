import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import { z } from 'zod';
import type { Logger } from '../telemetry/logger.ts';
import { createAuthentication, type Asking, type AuthenticationOptions } from './authentication.ts';
import { readBody } from './body.ts';
import { NOBODY, requirePermission, type Caller } from './caller.ts';
import { AdminError } from './errors.ts';
import { findRoute, Reply, type Access } from './router.ts';
import { adminRoutes, type AdminServices } from './routes.ts';

export interface AdminServerOptions extends AdminServices {
  /** Whoever has it may do everything. */
  readonly token: string;
  /** Who else is let in, and how. */
  readonly authentication: Omit<AuthenticationOptions, 'token'>;
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
/** Longer than Envoy keeps an idle connection: else it would now and then send a request on one that is just closing. */
const KEEP_ALIVE_MS = 3_700_000;
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
  const authentication = createAuthentication({ ...options.authentication, token: options.token });
  const routes = adminRoutes(options, authentication);

  const answer = async (request: IncomingMessage): Promise<Reply> => {
    const { path, query } = targetOf(request.url ?? '/');
    const asking = askingOf(request);
    const match = matchOrError(request.method ?? 'GET', path);
    // Before anything else, so that a stranger does not learn which paths there are.
    const isPublic = 'route' in match && match.route.permission === 'public';
    const caller = isPublic ? NOBODY : await authentication.authenticate(asking);
    if ('error' in match) throw match.error;
    const { route, params } = match;
    requireAccess(caller, route.permission);
    try {
      return await route.answer({
        params,
        query,
        readBody: (type, largestBytes) => readBody(request, type, largestBytes),
        caller,
        asking,
      });
    } catch (error) {
      if (route.errorReply === undefined) throw error;
      logUnexpected(error, request);
      return route.errorReply(toAdminError(error));
    }
  };

  const matchOrError = (method: string, path: string) => {
    try {
      return findRoute(routes, method, path);
    } catch (error) {
      return { error };
    }
  };

  const logUnexpected = (error: unknown, { method }: IncomingMessage): void => {
    if (!(error instanceof AdminError)) logger.error({ err: error, method }, 'admin request failed');
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const started = performance.now();
    let reply: Reply;
    try {
      reply = await answer(request);
    } catch (error) {
      logUnexpected(error, request);
      reply = errorReply(toAdminError(error));
    }
    send(request, response, reply);
    const path = (request.url ?? '').split('?')[0];
    const milliseconds = Math.round(performance.now() - started);
    logger.debug({ method: request.method, path, status: reply.status, milliseconds }, 'admin request');
  };

  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: 16_384,
    },
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

function errorReply(error: AdminError): Reply {
  const { code, message, details } = error;
  const wait = retryAfterOf(details);
  const allowed = allowedOf(details);
  return new Reply(
    error.status,
    { error: { code, message, details } },
    {
      headers: {
        ...(wait === undefined ? {} : { 'retry-after': String(wait) }),
        ...(allowed === undefined ? {} : { allow: allowed.join(', ') }),
      },
    },
  );
}

function allowedOf(details: unknown): readonly string[] | undefined {
  return z.object({ allowedMethods: z.array(z.string()) }).safeParse(details).data?.allowedMethods;
}

function retryAfterOf(details: unknown): number | undefined {
  return z.object({ retryAfterSeconds: z.number() }).safeParse(details).data?.retryAfterSeconds;
}

/**
 * Path and query as they were sent. Not by URL, which would read a host out of `//host/path`, resolve dots, and throw at
 * some: what Envoy let through is what is looked up.
 */
function targetOf(target: string): { readonly path: string; readonly query: URLSearchParams } {
  const mark = target.indexOf('?');
  return mark < 0
    ? { path: target, query: new URLSearchParams() }
    : { path: target.slice(0, mark), query: new URLSearchParams(target.slice(mark + 1)) };
}

/**
 * Who asks, as far as the connection tells. Envoy speaks over the socket: it says itself which client it trusts in
 * x-envoy-external-address, which it takes from nobody outside of `trust.internalRanges`; for those inside, its last word
 * in x-forwarded-for is what it saw. Who speaks over the socket without Envoy has no address. Over TCP nobody's header is
 * believed.
 */
function askingOf({ method, headers, socket }: IncomingMessage): Asking {
  const { remoteAddress } = socket;
  const forwarded = single(headers['x-envoy-external-address']) ?? single(headers['x-forwarded-for']);
  const address = remoteAddress ?? forwarded?.split(',').at(-1)?.trim();
  return { method: method ?? 'GET', headers, address };
}

function single(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}

/** @throws AdminError forbidden that names the permission */
function requireAccess(caller: Caller, access: Access): void {
  if (access === 'public' || access === 'authenticated') return;
  requirePermission(caller, ...(typeof access === 'string' ? [access] : access));
}

function send(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  const text = reply.text ?? `${JSON.stringify(reply.body)}\n`;
  response.writeHead(reply.status, {
    'content-type': 'application/json',
    ...(reply.status === 401 ? { 'www-authenticate': 'Bearer realm="limen admin"' } : {}),
    ...reply.headers,
    ...SECURITY_HEADERS,
    'content-length': Buffer.byteLength(text),
    // What is left of a body that nobody reads would be taken for the next request.
    ...(request.complete ? {} : { connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : text);
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
