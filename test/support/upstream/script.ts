import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { constants, Http2ServerResponse } from 'node:http2';
import type { RecordedRequest } from './recorded-request.ts';

/** What a script answers with: the same over HTTP/1.1 and HTTP/2. */
export interface Responder {
  /** Sends status and headers at once. */
  head(status: number, headers?: OutgoingHttpHeaders): void;
  /** Sends body bytes; resolves when the socket can take more. */
  write(bytes: Buffer | string): Promise<void>;
  end(bytes?: Buffer | string): void;
  /** Breaks off abruptly: a TCP reset, or an HTTP/2 stream reset. */
  reset(): void;
  /** Closes the connection in an orderly way, but without the end of the body. */
  cut(): void;
  /** Aborted as soon as the exchange is over, however it ended: waits in a script end with it. */
  readonly over: AbortSignal;
}

export interface Exchange {
  readonly request: RecordedRequest;
  readonly respond: Responder;
}

/** What an upstream does with one request. It may look at the request, and waits for its body itself. */
export type Script = (exchange: Exchange) => void | Promise<void>;

export type ScriptedResponse = ServerResponse | Http2ServerResponse;

export function responderFor(
  response: ScriptedResponse,
  over: AbortSignal,
  onBrokenOff: () => void,
): Responder {
  return {
    over,
    head(status, headers = {}) {
      if (over.aborted) return;
      if (response instanceof Http2ServerResponse) {
        response.stream.respond({ ':status': status, ...headers });
      } else {
        response.writeHead(status, headers);
        response.flushHeaders();
      }
    },
    async write(bytes) {
      if (over.aborted) return;
      const flushed = response instanceof Http2ServerResponse ? response.write(bytes) : response.write(bytes);
      if (!flushed) await once(response, 'drain', { signal: over }).catch(() => undefined);
    },
    end(bytes) {
      if (over.aborted) return;
      if (bytes === undefined) response.end();
      else response.end(bytes);
    },
    reset() {
      onBrokenOff();
      if (response instanceof Http2ServerResponse) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      else response.socket?.resetAndDestroy();
    },
    cut() {
      onBrokenOff();
      if (response instanceof Http2ServerResponse) response.stream.session?.destroy();
      // end() sends what is queued and then FIN, so that the peer gets every byte before the early end.
      else response.socket?.end();
    },
  };
}

/** Waits, but no longer than the exchange lasts. */
export function pause(milliseconds: number, over: AbortSignal): Promise<void> {
  if (milliseconds <= 0 || over.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    over.addEventListener('abort', done, { once: true });
    function done() {
      clearTimeout(timer);
      over.removeEventListener('abort', done);
      resolve();
    }
  });
}

/** Answers with these bytes once the whole request is there. */
export function answer(status: number, headers: OutgoingHttpHeaders, body: Buffer | string): Script {
  return async ({ request, respond }) => {
    await request.received;
    respond.head(status, { ...headers, 'content-length': Buffer.byteLength(body) });
    respond.end(body);
  };
}

/** Answers compressed, whatever the request's accept-encoding said. */
export function answerGzipped(status: number, headers: OutgoingHttpHeaders, body: Buffer | string): Script {
  return answer(status, { ...headers, 'content-encoding': 'gzip' }, gzipSync(body));
}

export interface StreamOptions {
  readonly headers: OutgoingHttpHeaders;
  /** Milliseconds between two chunks; 0 sends them one by one without a wait. */
  readonly paceMs?: number;
  /**
   * What follows the last chunk: a proper end, a reset, an end of the connection without the end of the body,
   * or silence until the peer leaves.
   */
  readonly ending?: 'end' | 'reset' | 'cut' | 'hang';
}

/** Streams the chunks, each in a write of its own. */
export function stream(chunks: readonly (Buffer | string)[], options: StreamOptions): Script {
  return async ({ request, respond }) => {
    await request.received;
    respond.head(200, options.headers);
    for (const [index, chunk] of chunks.entries()) {
      if (index > 0) await pause(options.paceMs ?? 0, respond.over);
      if (respond.over.aborted) return;
      await respond.write(chunk);
    }
    switch (options.ending ?? 'end') {
      case 'end':
        return respond.end();
      case 'reset':
        return respond.reset();
      case 'cut':
        return respond.cut();
      case 'hang':
        return;
    }
  };
}

/** Resets the connection once the request is there, before any answer. */
export function resetBeforeHeaders(): Script {
  return async ({ request, respond }) => {
    await request.received;
    respond.reset();
  };
}

/** Takes the request and never answers: the peer's timeout is to end it. */
export function silent(): Script {
  return async ({ request }) => {
    await request.received;
  };
}

/** Waits before the script begins, so that headers come late. */
export function delayed(milliseconds: number, script: Script): Script {
  return async (exchange) => {
    await exchange.request.received;
    await pause(milliseconds, exchange.respond.over);
    if (!exchange.respond.over.aborted) await script(exchange);
  };
}

/** A page as a misconfigured proxy sends it: status 200, but no JSON and no event stream. */
export function wrongContentType(): Script {
  const page = '<!doctype html><html><head><title>Welcome</title></head><body>It works.</body></html>';
  return answer(200, { 'content-type': 'text/html; charset=utf-8' }, page);
}
