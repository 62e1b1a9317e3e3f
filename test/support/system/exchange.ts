import { type Agent, request } from 'node:http';

/** How an exchange ended: a proper end, a break in mid-answer, no answer at all, or the client's own patience. */
export type Ending = 'clean' | 'broken' | 'no answer' | 'timeout';

/** One request and what came of it, on the monotonic clock (`performance.now()`). */
export interface Outcome {
  /** 0 where no headers came. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  readonly ending: Ending;
  readonly startedAt: number;
  /** Of the body's first byte; 0 where none came. */
  readonly firstByteAt: number;
  readonly endedAt: number;
}

export interface ExchangeOptions {
  readonly url: string;
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
  /** Sends the body itself, in its own time, instead of `body`. */
  readonly upload?: (write: (bytes: Buffer | string) => void) => Promise<void>;
  /** Longest wait for the whole answer. */
  readonly timeoutMs?: number;
  readonly agent?: Agent;
  readonly onFirstByte?: () => void;
}

const DEFAULT_TIMEOUT_MS = 60_000;

/** Sends a request and waits for its end, whatever that is. Never rejects. */
export function exchange(options: ExchangeOptions): Promise<Outcome> {
  const { hostname, port } = new URL(options.url);
  const startedAt = performance.now();
  const chunks: Buffer[] = [];
  let status = 0;
  let headers: Outcome['headers'] = {};
  let firstByteAt = 0;
  return new Promise((resolve) => {
    let settled = false;
    const settle = (ending: Ending): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      resolve({
        status,
        headers,
        body: Buffer.concat(chunks).toString('utf8'),
        ending,
        startedAt,
        firstByteAt,
        endedAt: performance.now(),
      });
    };
    const call = request(
      {
        host: hostname,
        port,
        method: options.method ?? 'POST',
        path: options.path,
        agent: options.agent ?? false,
        headers: {
          ...(options.method === 'GET' ? {} : { 'content-type': 'application/json' }),
          ...(options.body === undefined ? {} : { 'content-length': Buffer.byteLength(options.body) }),
          ...options.headers,
        },
      },
      (response) => {
        status = response.statusCode ?? 0;
        headers = response.headers;
        response.on('data', (chunk: Buffer) => {
          if (firstByteAt === 0) {
            firstByteAt = performance.now();
            options.onFirstByte?.();
          }
          chunks.push(chunk);
        });
        response.once('end', () => settle(response.complete ? 'clean' : 'broken'));
        response.once('error', () => settle('broken'));
        response.once('close', () => settle(response.complete ? 'clean' : 'broken'));
      },
    );
    const timer = setTimeout(() => {
      settle('timeout');
      call.destroy();
    }, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    // A server that answers before it has read everything may also reset: its answer counts.
    call.on('error', () => {
      if (status === 0) settle('no answer');
    });
    call.once('close', () => {
      if (status === 0) settle('no answer');
    });
    if (options.upload) {
      void options
        .upload((bytes) => void call.write(bytes))
        .then(
          () => void call.end(),
          () => call.destroy(),
        );
    } else call.end(options.body);
  });
}
