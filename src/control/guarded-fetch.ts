import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import {
  checkedAddresses,
  checkedUrl,
  FetchRefusedError,
  type AddressPolicy,
  type ResolvedAddress,
} from './addresses.ts';

export interface GuardedRequest {
  readonly method: 'GET' | 'POST' | 'PATCH';
  /** Lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Bound of the answer's body; 1 MiB unless told otherwise. */
  readonly maxBytes?: number;
  /** Bound of all of it, from the name to the last byte; 10 s unless told otherwise. */
  readonly timeoutMs?: number;
}

export interface GuardedResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** @throws FetchRefusedError for a URL that must not be asked; Error for one that does not answer as it should */
export type GuardedFetch = (url: string, request: GuardedRequest) => Promise<GuardedResponse>;

const DEFAULT_MAX_BYTES = 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Makes the one way in which the control plane fetches URLs that somebody configured: it must not become a way into
 * the network that it stands in. https to public addresses only, but for the ranges that were allowed. A name is
 * resolved once and the connection goes to what was checked, so that a second answer of its name server changes
 * nothing. Redirects are not followed: they are answers like any other.
 */
export function createGuardedFetch(policy: AddressPolicy): GuardedFetch {
  return async (text, { method, headers = {}, body, ...bounds }) => {
    const url = checkedUrl(text);
    const { maxBytes = DEFAULT_MAX_BYTES, timeoutMs = DEFAULT_TIMEOUT_MS } = bounds;
    const signal = AbortSignal.timeout(timeoutMs);
    const addresses = await within(signal, checkedAddresses(url, policy));
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const response = await new Promise<IncomingMessage>((resolved, rejected) => {
      send(
        url,
        {
          method,
          // No connection of an earlier request: that one's address was checked for its own URL.
          agent: false,
          lookup: pinned(addresses),
          signal,
          headers: {
            'accept-encoding': 'identity',
            ...headers,
            ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
          },
        },
        resolved,
      )
        .on('error', rejected)
        .end(body);
    });
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: await readBounded(response, maxBytes),
    };
  };
}

/** Why a fetch has failed, as a sentence for operators. */
export function whyNotFetched(error: unknown, host: string): string {
  if (error instanceof FetchRefusedError) return error.message;
  const code =
    error instanceof Error && 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : '';
  return `${host} cannot be reached${code}.`;
}

function pinned(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_name, options, callback) => {
    const [first] = addresses;
    if (options.all === true || first === undefined) callback(null, [...addresses]);
    else callback(null, first.address, first.family);
  };
}

async function within<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  return Promise.race([work, promise]);
}

async function readBounded(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('A response without an encoding gives buffers.');
    size += chunk.length;
    if (size > maxBytes) {
      response.destroy();
      throw new Error(`The answer is larger than ${maxBytes} bytes.`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
