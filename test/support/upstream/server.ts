import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import {
  constants,
  createServer as createHttp2Server,
  type Http2Server,
  type Http2ServerRequest,
  Http2ServerResponse,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { expectCredential, expectNotSent } from './assertions.ts';
import { type Closing, RecordedRequest } from './recorded-request.ts';
import { responderFor, type Script, type ScriptedResponse } from './script.ts';

export interface UpstreamOptions {
  /** `http1` (default), or `h2c`: HTTP/2 with prior knowledge. */
  readonly protocol?: 'http1' | 'h2c';
  /** Port; default: a free one. */
  readonly port?: number;
}

/**
 * A server that does what the test says and keeps everything it was sent. Scripts queued with `next` serve one
 * request each, in order; when there is none, the one set with `always` does.
 */
export class ScriptedUpstream {
  readonly port: number;
  /** `http://127.0.0.1:PORT`, without a path. */
  readonly url: string;
  readonly #server: Server | Http2Server;
  readonly #sockets: ReadonlySet<Socket>;
  #requests: RecordedRequest[] = [];
  #queue: Script[] = [];
  #always: Script | undefined;
  #failure: unknown;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  private constructor(server: Server | Http2Server, sockets: ReadonlySet<Socket>, port: number) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(options: UpstreamOptions = {}): Promise<ScriptedUpstream> {
    const sockets = new Set<Socket>();
    const handle = (request: IncomingMessage | Http2ServerRequest, response: ScriptedResponse) => {
      upstream.#handle(request, response);
    };
    // A connection that Node closes for idleness just as Envoy sends on it would be a try more than a test counts.
    const server =
      options.protocol === 'h2c' ? createHttp2Server(handle) : createServer({ keepAliveTimeout: 0 }, handle);
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      // A peer that resets is an ordinary event here; the exchange's own close tells it.
      socket.on('error', () => undefined);
    });
    if ('requestTimeout' in server) server.requestTimeout = 0;
    server.listen(options.port ?? 0, '127.0.0.1');
    await once(server, 'listening');
    const upstream = new ScriptedUpstream(server, sockets, listeningPort(server));
    return upstream;
  }

  /** What was sent so far, in order of arrival. Bodies are complete once the request's `received` resolved. */
  get requests(): readonly RecordedRequest[] {
    return this.#requests;
  }

  /** The one request there was. @throws when there were none or several */
  only(): RecordedRequest {
    const [request, ...more] = this.#requests;
    if (!request || more.length > 0) throw new Error(`Expected one request, got ${this.#requests.length}.`);
    return request;
  }

  /** The latest request. @throws when there was none */
  last(): RecordedRequest {
    const request = this.#requests.at(-1);
    if (!request) throw new Error('No request was received.');
    return request;
  }

  /** Serves every request that no queued script serves. */
  always(script: Script): this {
    this.#always = script;
    return this;
  }

  /** Queues scripts, each for one request. */
  next(...scripts: Script[]): this {
    this.#queue.push(...scripts);
    return this;
  }

  /** Forgets scripts and requests, between two tests. @throws what a script threw since the last reset */
  reset(): void {
    const failure = this.#failure;
    this.#requests = [];
    this.#queue = [];
    this.#always = undefined;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** Resolves with the request number `count` (from 1) as soon as its headers are there. */
  async waitForRequest(count = 1, timeoutMs = 30_000): Promise<RecordedRequest> {
    if (this.#requests.length < count) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new Error(`Request ${count} did not come within ${timeoutMs} ms.`)),
          timeoutMs,
        );
        this.#waiting.push({
          count,
          resolve: () => {
            clearTimeout(timer);
            resolve();
          },
        });
      });
    }
    const request = this.#requests[count - 1];
    if (!request) throw new Error(`Request ${count} was forgotten by a reset.`);
    return request;
  }

  /** See `expectNotSent` in assertions.ts: over all requests so far. */
  expectNotSent(...secrets: string[]): void {
    expectNotSent(this.#requests, secrets);
  }

  /** See `expectCredential` in assertions.ts: over all requests so far. */
  expectCredential(header: string, value: string): void {
    expectCredential(this.#requests, header, value);
  }

  /** Closes every connection at once and stops to listen. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #handle(incoming: IncomingMessage | Http2ServerRequest, response: ScriptedResponse): void {
    const over = new AbortController();
    let brokenOff = false;
    const http2Stream = response instanceof Http2ServerResponse ? response.stream : undefined;
    const closed = new Promise<Closing>((resolve) => {
      (http2Stream ?? response).once('close', () => {
        // An HTTP/2 stream tells no finish, but the code with which it closed.
        const answered = http2Stream
          ? http2Stream.writableEnded && http2Stream.rstCode === constants.NGHTTP2_NO_ERROR
          : response.writableFinished;
        resolve({ by: brokenOff ? 'upstream' : answered ? 'answered' : 'peer', at: performance.now() });
        over.abort();
      });
    });
    response.on('error', () => undefined);
    const request = new RecordedRequest(
      {
        method: incoming.method ?? '',
        path: incoming.url ?? '',
        httpVersion: incoming.httpVersion,
        rawHeaders: incoming.rawHeaders,
      },
      readBody(incoming),
      closed,
    );
    this.#requests.push(request);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => {
      if (this.#requests.length < count) return true;
      resolve();
      return false;
    });
    const respond = responderFor(response, over.signal, () => {
      brokenOff = true;
    });
    void this.#run(this.#queue.shift() ?? this.#always ?? noScript, { request, respond });
  }

  async #run(script: Script, exchange: Parameters<Script>[0]): Promise<void> {
    try {
      await script(exchange);
    } catch (error) {
      this.#failure ??= error;
      exchange.respond.reset();
    }
  }
}

/** Starts a scripted upstream on a free loopback port. */
export function startUpstream(options: UpstreamOptions = {}): Promise<ScriptedUpstream> {
  return ScriptedUpstream.start(options);
}

/** A loopback URL at which nothing listens: connections are refused. */
export async function refusedUrl(): Promise<string> {
  const upstream = await startUpstream();
  await upstream.close();
  return upstream.url;
}

const noScript: Script = ({ request }) => {
  throw new Error(`No script for ${request.method} ${request.path}.`);
};

function readBody(
  incoming: IncomingMessage | Http2ServerRequest,
): Promise<{ body: Buffer; complete: boolean }> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const finish = (complete: boolean) => resolve({ body: Buffer.concat(chunks), complete });
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.once('end', () => finish(true));
    incoming.once('error', () => finish(false));
    incoming.once('close', () => finish(false));
  });
}

function listeningPort(server: Server | Http2Server): number {
  const address = server.address();
  if (!isAddress(address)) throw new Error('The upstream listens on no port.');
  return address.port;
}

function isAddress(address: string | AddressInfo | null): address is AddressInfo {
  return typeof address === 'object' && address !== null;
}
