import {
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';

/**
 * gRPC for one client, Envoy, on Node's own HTTP/2: messages of raw bytes, no compression, no deadlines (Envoy resets
 * what takes it too long). The streams, metadata and interceptors of grpc-js were a fifth of a worker's CPU.
 */

/** gRPC status codes. */
export const GRPC_STATUS = { ok: 0, resourceExhausted: 8, unimplemented: 12, internal: 13 } as const;
type GrpcStatus = (typeof GRPC_STATUS)[keyof typeof GRPC_STATUS];

/** Before each message: one byte that says whether it is compressed, four of its length. */
const PREFIX_BYTES = 5;
/** A larger message is not copied behind its prefix. */
const LARGEST_COPIED_BYTES = 16_384;

const RESPONSE_HEADERS = [':status', '200', 'content-type', 'application/grpc'];
/** Node would put the date of the first call into the array above, for all that follow. */
const RESPONSE_OPTIONS = { waitForTrailers: true, sendDate: false };

/**
 * Envoy resets each exchange when its request ends. Node takes that for an attack beyond 1,000 at once and 33 a second,
 * and kills the connection. The only client is Envoy, on a socket that nobody else can open; for the same reason what a
 * connection holds is bounded by the flow control of its streams alone.
 */
const HTTP2_OPTIONS = {
  streamResetBurst: 1_000_000_000,
  streamResetRate: 1_000_000_000,
  maxSessionMemory: Number.MAX_SAFE_INTEGER,
};

class ProtocolFault extends Error {
  readonly status: GrpcStatus;

  constructor(status: GrpcStatus, message: string) {
    super(message);
    this.status = status;
  }
}

/** Cuts the bytes of a call into its messages. */
class MessageReader {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  /** The next message, in memory of its own; undefined until it is whole. Throws a ProtocolFault. */
  next(): Buffer | undefined {
    if (this.#length < PREFIX_BYTES) return undefined;
    const prefix = this.#first(PREFIX_BYTES);
    if (prefix[0] !== 0)
      throw new ProtocolFault(GRPC_STATUS.unimplemented, 'messages must not be compressed');
    const end = PREFIX_BYTES + prefix.readUInt32BE(1);
    if (end > this.#maxBytes)
      throw new ProtocolFault(GRPC_STATUS.resourceExhausted, 'the message is too large');
    if (this.#length < end) return undefined;
    const isJoined = this.#pieces.length > 1 && this.#length === end;
    const bytes = this.#first(end);
    // What is kept of a message must not keep all that was read from the socket at once.
    const message = isJoined
      ? bytes.subarray(PREFIX_BYTES)
      : Buffer.copyBytesFrom(bytes, PREFIX_BYTES, end - PREFIX_BYTES);
    this.#pieces =
      bytes.length === end ? this.#pieces.slice(1) : [bytes.subarray(end), ...this.#pieces.slice(1)];
    this.#length -= end;
    return message;
  }

  /** The first piece, which holds so many bytes at least. */
  #first(bytes: number): Buffer {
    const [first] = this.#pieces;
    if (first !== undefined && first.length >= bytes) return first;
    const whole = Buffer.concat(this.#pieces, this.#length);
    this.#pieces = [whole];
    return whole;
  }
}

/**
 * Node makes an error of each stream that is reset, and Envoy resets every exchange that a worker has ended. A stack trace
 * of that says nothing, and was a fifteenth of a worker's CPU: none is made while a stream is taken down.
 */
function leaveOutStackTrace(stream: ServerHttp2Stream): void {
  const destroy = stream._destroy.bind(stream);
  stream._destroy = (error, callback) => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
      destroy(error, callback);
    } finally {
      Error.stackTraceLimit = limit;
    }
  };
}

/** What becomes of the messages of a call. */
export interface CallReader {
  /** One message; the next one is read when the promise is settled, which must not reject. */
  onMessage(message: Buffer): Promise<void> | undefined;
  /** The client has sent all it will; called when its messages were read, unless the call was ended before. */
  onEnd(): void;
  /** The call is over, however it came about. Called once. */
  onClose(): void;
}

/** One call: messages as raw bytes, both ways. */
export class GrpcCall {
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #messages: MessageReader;
  #status: GrpcStatus = GRPC_STATUS.ok;
  #details = '';
  /** Whether what the client sends is of interest: until the call is ended, or over. */
  #reads = true;
  #busy = false;
  #corked = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, maxMessageBytes: number) {
    this.#stream = stream;
    this.#headers = headers;
    this.#messages = new MessageReader(maxMessageBytes + PREFIX_BYTES);
    stream.on('wantTrailers', () => this.#sendStatus());
    // That it was reset shows when it closes.
    stream.on('error', () => undefined);
    leaveOutStackTrace(stream);
  }

  /** A value of the client's metadata, by its lower-case name; empty where there is none. */
  metadata(name: string): string {
    return String(this.#headers[name] ?? '');
  }

  /** Reads until the call is ended, or over. */
  read(reader: CallReader): void {
    const stream = this.#stream;
    let ended = false;
    const readOn = (): void => {
      try {
        while (this.#reads && !this.#busy) {
          const message = this.#messages.next();
          if (message === undefined) break;
          const pending = reader.onMessage(message);
          if (pending !== undefined && this.#reads) void this.#pauseFor(pending, readOn);
        }
      } catch (error) {
        if (!(error instanceof ProtocolFault)) throw error;
        this.fail(error.status, error.message);
      }
      if (ended && this.#reads && !this.#busy) reader.onEnd();
    };
    stream.on('data', (piece: Buffer) => {
      if (!this.#reads) return;
      this.#messages.push(piece);
      readOn();
    });
    stream.on('end', () => {
      ended = true;
      readOn();
      // Closed from both sides, or reset without an error, as older Envoys do (1.40: INTERNAL_ERROR). Node would wait for
      // what was written to be taken, and after a reset it never is.
      if (stream.closed) stream.destroy();
    });
    let isOpen = true;
    const onClose = (): void => {
      this.#reads = false;
      if (isOpen) reader.onClose();
      isOpen = false;
    };
    // The client has reset it. Without an error Node would wait for what is not read yet, and for what was written.
    stream.on('aborted', () => {
      onClose();
      stream.destroy();
    });
    stream.on('close', () => {
      onClose();
      // Node's session keeps streams that are over reachable for a while (the tables that its Map has outgrown): without
      // this, all that a request was made of lived until the next collection of old objects, and caused most of these.
      stream.removeAllListeners();
    });
  }

  async #pauseFor(pending: Promise<void>, readOn: () => void): Promise<void> {
    this.#busy = true;
    this.#stream.pause();
    await pending;
    this.#busy = false;
    this.#stream.resume();
    readOn();
  }

  /**
   * Writes one message. What is written in one turn leaves together.
   *
   * @param onTaken called when the connection has taken it; not always where the call is over before
   */
  write(message: Buffer, onTaken?: () => void): void {
    const stream = this.#stream;
    if (!this.#begin()) return;
    const isCopied = message.length <= LARGEST_COPIED_BYTES;
    const frame = Buffer.allocUnsafe(isCopied ? PREFIX_BYTES + message.length : PREFIX_BYTES);
    frame[0] = 0;
    frame.writeUInt32BE(message.length, 1);
    if (isCopied) {
      message.copy(frame, PREFIX_BYTES);
      stream.write(frame, onTaken);
    } else {
      stream.write(frame);
      stream.write(message, onTaken);
    }
  }

  /** Ends the call with OK, behind what was written; what the client still sends is not read. */
  end(): void {
    if (!this.#begin()) return;
    this.#stream.end();
    this.#reads = false;
    // From here on Node tells of a reset without an error where the call's bytes end, which a paused one never reaches.
    this.#stream.resume();
  }

  /** Ends the call with another status, behind what was written. */
  fail(status: GrpcStatus, details: string): void {
    this.#status = status;
    this.#details = details;
    this.end();
  }

  /** Whether anything can be sent at all. */
  #begin(): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed || stream.writableEnded) return false;
    if (!stream.headersSent) stream.respond(RESPONSE_HEADERS, RESPONSE_OPTIONS);
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      process.nextTick(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    return true;
  }

  #sendStatus(): void {
    if (this.#stream.destroyed || this.#stream.closed) return;
    this.#stream.sendTrailers({
      'grpc-status': String(this.#status),
      ...(this.#details === '' ? {} : { 'grpc-message': this.#details }),
    });
  }
}

export interface GrpcServerOptions {
  /** Largest message of a client. */
  readonly maxMessageBytes: number;
  /** By the path of the method: takes each call of it. */
  readonly methods: Readonly<Record<string, (call: GrpcCall) => void>>;
}

/** Serves the methods to all who can open its socket. */
export class GrpcServer {
  readonly #server = createServer(HTTP2_OPTIONS);
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor({ maxMessageBytes, methods }: GrpcServerOptions) {
    const byPath = new Map(Object.entries(methods));
    this.#server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('close', () => this.#sessions.delete(session));
      // One that breaks shows in its calls.
      session.on('error', () => undefined);
    });
    this.#server.on('stream', (stream, headers) => {
      const call = new GrpcCall(stream, headers, maxMessageBytes);
      const method = byPath.get(headers[':path'] ?? '');
      if (method !== undefined) {
        method(call);
        return;
      }
      stream.resume();
      call.fail(GRPC_STATUS.unimplemented, 'no such method');
    });
  }

  /** Listens on a Unix socket. */
  listen(socketPath: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(socketPath, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /** Closes at once, with all calls that are open. */
  close(): void {
    this.#server.close();
    for (const session of this.#sessions) session.destroy();
  }
}
