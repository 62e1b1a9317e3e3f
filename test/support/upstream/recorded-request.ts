import { createHash } from 'node:crypto';

/** How the exchange over which a request came has ended. */
export interface Closing {
  /** `answered`: the upstream finished its answer; `upstream`: it broke it off; `peer`: the other side left. */
  readonly by: 'answered' | 'upstream' | 'peer';
  /** Milliseconds of the monotonic clock (`performance.now()`). */
  readonly at: number;
}

/** Everything a scripted upstream was sent in one request, as it was on the wire. */
export class RecordedRequest {
  readonly method: string;
  /** Path with the query, undecoded. */
  readonly path: string;
  readonly httpVersion: string;
  /** In the order of the wire; names as sent (lower case over HTTP/2). HTTP/2's pseudo headers are left out. */
  readonly rawHeaders: readonly (readonly [name: string, value: string])[];
  /** `performance.now()` when the headers had arrived. */
  readonly receivedAt = performance.now();
  /** Resolves with the whole body, or with the part that came before the peer left. */
  readonly received: Promise<Buffer>;
  /** Resolves when the exchange is over, however it ended. */
  readonly closed: Promise<Closing>;

  #body = Buffer.alloc(0);
  #complete = false;

  constructor(
    head: { method: string; path: string; httpVersion: string; rawHeaders: readonly string[] },
    received: Promise<{ body: Buffer; complete: boolean }>,
    closed: Promise<Closing>,
  ) {
    this.method = head.method;
    this.path = head.path;
    this.httpVersion = head.httpVersion;
    this.rawHeaders = pairs(head.rawHeaders);
    this.closed = closed;
    this.received = received.then(({ body, complete }) => {
      this.#body = Buffer.from(body);
      this.#complete = complete;
      return this.#body;
    });
  }

  /** The body so far known: empty until `received` has resolved. */
  get body(): Buffer {
    return this.#body;
  }

  /** Whether the whole body came. */
  get complete(): boolean {
    return this.#complete;
  }

  /** All values of a header, in order. Names compare without case. */
  headers(name: string): string[] {
    const wanted = name.toLowerCase();
    return this.rawHeaders.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value);
  }

  /** The header's value, several joined as HTTP joins them; undefined where it was not sent. */
  header(name: string): string | undefined {
    const values = this.headers(name);
    return values.length === 0 ? undefined : values.join(', ');
  }

  /** The body as JSON. @throws SyntaxError */
  json(): unknown {
    const value: unknown = JSON.parse(this.#body.toString('utf8'));
    return value;
  }

  /** SHA-256 of the body in lower-case hex. */
  bodyHash(): string {
    return createHash('sha256').update(this.#body).digest('hex');
  }
}

function pairs(flat: readonly string[]): [string, string][] {
  const result: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const name = flat[index] ?? '';
    if (!name.startsWith(':')) result.push([name, flat[index + 1] ?? '']);
  }
  return result;
}
