const HEADER_END = Buffer.from('\r\n\r\n');
const CRLF = Buffer.from('\r\n');
const MAX_HEADER_BYTES = 64 * 1024;

/** The other side sent what is no HTTP/1.1 message. */
export class MessageError extends Error {
  override readonly name = 'MessageError';
}

/**
 * Reads HTTP/1.1 messages of one connection, one after the other (RFC 9112): the start line as text, the body in
 * pieces as they arrive, by length, in chunks or up to the end of the connection. It knows only the three headers
 * that say where a message ends; anything more would cost the measured process its share of the CPU.
 */
export class MessageReader {
  readonly #isResponse: boolean;
  readonly #onBody: (piece: Buffer) => void;
  #state: 'head' | 'length' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailers' | 'to-end' | 'done' = 'head';
  #held: Buffer = Buffer.alloc(0);
  #left = 0;
  #startLine = '';
  #keepAlive = true;
  #bodyBytes = 0;

  constructor(kind: 'request' | 'response', onBody: (piece: Buffer) => void) {
    this.#isResponse = kind === 'response';
    this.#onBody = onBody;
  }

  /** `POST /v1/messages HTTP/1.1`, or `HTTP/1.1 200 OK`. */
  get startLine(): string {
    return this.#startLine;
  }

  /** Of a response. */
  get status(): number {
    return Number(this.#startLine.slice(9, 12));
  }

  /** Whether another message may follow on this connection. */
  get keepAlive(): boolean {
    return this.#keepAlive;
  }

  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  /** Makes ready for the next message; what came behind the last one is kept. */
  next(): void {
    this.#state = 'head';
    this.#startLine = '';
    this.#bodyBytes = 0;
  }

  /**
   * Takes what the socket brought. Returns whether the message is complete; then call `next` before more.
   * @throws MessageError
   */
  push(chunk: Buffer): boolean {
    let data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    while (this.#state !== 'done') {
      const rest = this.#step(data);
      if (rest === undefined) {
        this.#held = data;
        return false;
      }
      data = rest;
    }
    this.#held = data;
    return true;
  }

  /** The connection has ended. Returns whether that was a proper end of the message. */
  end(): boolean {
    return this.#state === 'to-end' || this.#state === 'done';
  }

  /** Goes one step on and returns what is left; undefined where more bytes are needed. */
  #step(data: Buffer): Buffer | undefined {
    switch (this.#state) {
      case 'head':
        return this.#head(data);
      case 'chunk-size':
        return this.#chunkSize(data);
      case 'chunk-end':
        if (data.length < CRLF.length) return undefined;
        this.#state = 'chunk-size';
        return data.subarray(CRLF.length);
      case 'trailers':
        return this.#trailers(data);
      case 'length':
      case 'chunk':
        return this.#counted(data);
      case 'to-end':
        if (data.length > 0) this.#body(data);
        return data.length > 0 ? data.subarray(data.length) : undefined;
      case 'done':
        return data;
    }
  }

  #head(data: Buffer): Buffer | undefined {
    const end = data.indexOf(HEADER_END);
    if (end === -1) {
      if (data.length > MAX_HEADER_BYTES) throw new MessageError('The headers are too long.');
      return undefined;
    }
    const head = data.toString('latin1', 0, end);
    const rest = data.subarray(end + HEADER_END.length);
    const lineEnd = head.indexOf('\r\n');
    this.#startLine = lineEnd === -1 ? head : head.slice(0, lineEnd);
    if (this.#isResponse && !/^HTTP\/1\.[01] \d{3}/.test(this.#startLine)) {
      throw new MessageError(`No HTTP response: ${this.#startLine.slice(0, 40)}`);
    }
    // Interim answers such as 100 Continue have no body, and the real one follows.
    if (this.#isResponse && this.status < 200) return rest;
    this.#keepAlive = !/\r\nconnection: *close/i.test(head);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    const chunked = /\r\ntransfer-encoding: *chunked/i.test(head);
    const empty = this.#isResponse
      ? this.status === 204 || this.status === 304
      : !chunked && length === undefined;
    this.#left = length === undefined ? 0 : Number(length);
    if (chunked) this.#state = 'chunk-size';
    else if (empty || (length !== undefined && this.#left === 0)) this.#state = 'done';
    else if (length === undefined) {
      this.#state = 'to-end';
      this.#keepAlive = false;
    } else this.#state = 'length';
    return rest;
  }

  #counted(data: Buffer): Buffer | undefined {
    if (data.length === 0) return undefined;
    const taken = Math.min(data.length, this.#left);
    this.#body(taken === data.length ? data : data.subarray(0, taken));
    this.#left -= taken;
    if (this.#left === 0) this.#state = this.#state === 'chunk' ? 'chunk-end' : 'done';
    return data.subarray(taken);
  }

  #chunkSize(data: Buffer): Buffer | undefined {
    const end = data.indexOf(CRLF);
    if (end === -1) return undefined;
    this.#left = Number.parseInt(data.toString('latin1', 0, end), 16);
    if (!Number.isFinite(this.#left)) throw new MessageError('A chunk has no size.');
    this.#state = this.#left === 0 ? 'trailers' : 'chunk';
    return data.subarray(end + CRLF.length);
  }

  #trailers(data: Buffer): Buffer | undefined {
    const end = data.indexOf(CRLF);
    if (end === -1) return undefined;
    if (end === 0) this.#state = 'done';
    return data.subarray(end + CRLF.length);
  }

  #body(piece: Buffer): void {
    this.#bodyBytes += piece.length;
    this.#onBody(piece);
  }
}
