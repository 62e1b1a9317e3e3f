import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { composeAnswer } from './answer.ts';
import { chatWire } from './chat.ts';
import { messagesWire } from './messages.ts';
import { DemoError, type Wire } from './wire.ts';

/** The one model that the demo provider lists; it answers to any name. */
export const DEMO_MODEL = 'demo';

const LARGEST_BODY_BYTES = 256 * 1024 * 1024;
const DEFAULT_PACE_MS = 20;

export interface DemoProviderOptions {
  /** Address to listen on. */
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** Milliseconds between two chunks of a stream; default 20. */
  readonly paceMs?: number;
}

export interface DemoProvider {
  readonly port: number;
  /** Breaks off what is still being answered and frees the port. */
  close(): Promise<void>;
}

/**
 * Starts the provider that answers when no other is configured: `/v1/chat/completions`, `/v1/messages` and
 * `/v1/models`, whole and streamed, without any model behind it. It takes any credential or none.
 *
 * @throws the listen error where the port is taken
 */
export async function startDemoProvider(options: DemoProviderOptions): Promise<DemoProvider> {
  const paceMs = options.paceMs ?? DEFAULT_PACE_MS;
  let sequence = 0;
  // Envoy is the one to close an idle connection: closed from here, just as it sends on it, it would ask twice.
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    sequence += 1;
    void handle(request, response, sequence, paceMs);
  });
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The demo provider has no port.');
  return {
    port: address.port,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  sequence: number,
  paceMs: number,
): Promise<void> {
  const requestId = `req_demo_${sequence}`;
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  const isMessages = path.startsWith('/v1/messages') || request.headers['anthropic-version'] !== undefined;
  const wire = isMessages ? messagesWire : chatWire;
  response.setHeader(isMessages ? 'request-id' : 'x-request-id', requestId);
  // A client that leaves early needs no answer any more.
  response.on('error', () => undefined);
  try {
    if (request.method === 'GET' && path === '/v1/models')
      return sendJson(response, 200, modelsList(isMessages));
    if (request.method !== 'POST' || (path !== '/v1/chat/completions' && path !== '/v1/messages')) {
      throw new DemoError(404, `The demo provider has no ${request.method ?? ''} ${path}.`);
    }
    await answer(request, response, wire, sequence, paceMs);
  } catch (error) {
    if (response.headersSent || response.destroyed) return void response.destroy();
    const failure = error instanceof DemoError ? error : new DemoError(500, 'The demo provider failed.');
    sendJson(response, failure.status, wire.error(failure, requestId));
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  wire: Wire,
  sequence: number,
  paceMs: number,
): Promise<void> {
  const demoRequest = wire.parse(parseJson(await readBody(request)));
  const composed = composeAnswer(demoRequest);
  const identity = { sequence, created: Math.floor(Date.now() / 1000) };
  if (!demoRequest.stream) return sendJson(response, 200, wire.whole(composed, demoRequest, identity));

  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
  });
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  for (const event of wire.events(composed, demoRequest, identity)) {
    if (!response.write(event)) await once(response, 'drain', { signal: gone.signal });
    await pause(paceMs, gone.signal);
    if (gone.signal.aborted) return;
  }
  response.end();
}

function sendJson(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= LARGEST_BODY_BYTES) chunks.push(chunk);
  });
  await once(request, 'end');
  if (bytes > LARGEST_BODY_BYTES)
    throw new DemoError(413, `The body is larger than ${LARGEST_BODY_BYTES} bytes.`);
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    throw new DemoError(400, 'The body is not valid JSON.');
  }
}

function modelsList(anthropic: boolean): string {
  if (!anthropic) {
    const data = [{ id: DEMO_MODEL, object: 'model', created: 0, owned_by: 'limen' }];
    return JSON.stringify({ object: 'list', data });
  }
  const data = [
    {
      type: 'model',
      id: DEMO_MODEL,
      display_name: 'Limen demo provider',
      created_at: '1970-01-01T00:00:00Z',
    },
  ];
  return JSON.stringify({ data, has_more: false, first_id: DEMO_MODEL, last_id: DEMO_MODEL });
}

function pause(milliseconds: number, gone: AbortSignal): Promise<void> {
  if (milliseconds <= 0 || gone.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    gone.addEventListener('abort', done, { once: true });
    function done() {
      clearTimeout(timer);
      gone.removeEventListener('abort', done);
      resolve();
    }
  });
}
