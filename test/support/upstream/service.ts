import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Server as AnyServer } from 'node:net';
import type { Duplex } from 'node:stream';

/** A request as the service saw it. */
export interface ServedRequest {
  readonly method: string;
  /** Path and query, as they stood on the wire. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly rawHeaders: readonly string[];
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** Any HTTP service, such as a Backend stands for. It answers `ok` unless a test says otherwise, and echoes WebSockets. */
export class Service {
  readonly url: string;
  readonly requests: ServedRequest[] = [];
  /** Every WebSocket that was opened. */
  sockets: Duplex[] = [];
  handler: Handler = answerOk;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${String(portOf(server))}`;
    server.on('request', (request, response) => {
      this.#note(request);
      void Promise.resolve(this.handler(request, response)).catch(() => response.destroy());
    });
    server.on('upgrade', (request, socket) => {
      this.#note(request);
      this.sockets.push(socket);
      socket.on('error', () => undefined);
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n');
      socket.pipe(socket);
    });
  }

  static async start(): Promise<Service> {
    const server = createServer({ requestTimeout: 0, keepAliveTimeout: 0 });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Service(server);
  }

  /** The one request since the last `reset`. @throws where there are none or several */
  only(): ServedRequest {
    const [first, ...more] = this.requests;
    if (first === undefined || more.length > 0) throw new Error(`${this.requests.length} requests came`);
    return first;
  }

  reset(): void {
    this.requests.length = 0;
    this.sockets = [];
    this.handler = answerOk;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #note({ method = '', url = '', headers, rawHeaders }: IncomingMessage): void {
    this.requests.push({ method, url, headers, rawHeaders });
  }
}

/** The port that a server listens on. */
export function portOf(server: AnyServer): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
  return address.port;
}

function answerOk(request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  response.setHeader('content-type', 'text/plain');
  response.end('ok');
}
