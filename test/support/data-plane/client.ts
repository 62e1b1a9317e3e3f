import { once } from 'node:events';
import { request, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';

export interface CallOptions {
  readonly method?: string;
  /** As it is to stand on the wire. */
  readonly path?: string;
  /** Sent as `authorization: Bearer …`; none for undefined. */
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  /** In one piece with its length, or in pieces with chunked encoding. */
  readonly body?: Buffer | string | Iterable<Buffer | string> | AsyncIterable<Buffer | string>;
  readonly trailers?: Readonly<Record<string, string>>;
}

/** An answer that has been read to its end. */
export interface ClientAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly text: string;
  /** Whether the answer ended as HTTP wants it, rather than with a broken connection. */
  readonly complete: boolean;
  /** `performance.now()` at which the first byte of the body came. */
  readonly firstByteAt: number | undefined;
  json(): unknown;
}

/** An answer whose body is still to come. */
export interface OpenAnswer {
  readonly response: IncomingMessage;
  /** Reads the rest. */
  finish(): Promise<ClientAnswer>;
  /** Leaves, as a client does that closes its window. */
  leave(): void;
}

/** Sends a request on a connection of its own; resolves with the head of the answer. */
export async function openCall(port: number, options: CallOptions): Promise<OpenAnswer> {
  const { body, key, headers = {}, path = '/v1/chat/completions' } = options;
  const whole = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : undefined;
  const pieces = whole === undefined && typeof body === 'object' && !Buffer.isBuffer(body) ? body : undefined;
  const outgoing = request({
    host: '127.0.0.1',
    port,
    path,
    method: options.method ?? 'POST',
    agent: false,
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(whole === undefined ? {} : { 'content-length': Buffer.byteLength(whole) }),
      ...(options.trailers === undefined ? {} : { trailer: Object.keys(options.trailers).join(', ') }),
      ...headers,
    },
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', reject);
  });
  // Before `answered` is awaited, it may already have been rejected.
  answered.catch(() => undefined);
  if (pieces === undefined) outgoing.end(whole);
  else void sendPieces(outgoing, pieces, options.trailers);
  const response = await answered;
  return {
    response,
    finish: () => readAnswer(response),
    leave: () => {
      outgoing.destroy();
    },
  };
}

/** Sends a request on a connection of its own and reads the answer. */
export async function call(port: number, options: CallOptions): Promise<ClientAnswer> {
  const open = await openCall(port, options);
  const answer = await open.finish();
  open.leave();
  return answer;
}

async function sendPieces(
  outgoing: ClientRequest,
  pieces: Iterable<Buffer | string> | AsyncIterable<Buffer | string>,
  trailers: Readonly<Record<string, string>> | undefined,
): Promise<void> {
  const over = new AbortController();
  outgoing.once('close', () => over.abort());
  for await (const piece of pieces) {
    if (outgoing.destroyed || outgoing.closed) return;
    if (!outgoing.write(piece)) await once(outgoing, 'drain', { signal: over.signal }).catch(() => undefined);
  }
  if (trailers !== undefined) outgoing.addTrailers(trailers);
  outgoing.end();
}

async function readAnswer(response: IncomingMessage): Promise<ClientAnswer> {
  const chunks: Buffer[] = [];
  let firstByteAt: number | undefined;
  await new Promise<void>((resolve) => {
    response.on('data', (chunk: Buffer) => {
      firstByteAt ??= performance.now();
      chunks.push(chunk);
    });
    // It may have broken before anybody came to read.
    if (response.closed) resolve();
    response.resume();
    response.once('end', resolve);
    response.once('close', resolve);
    response.on('error', () => resolve());
  });
  const body = Buffer.concat(chunks);
  const text = body.toString('utf8');
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    body,
    text,
    complete: response.complete,
    firstByteAt,
    json: () => {
      const value: unknown = JSON.parse(text);
      return value;
    },
  };
}
