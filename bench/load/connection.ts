import { connect, type Socket } from 'node:net';
import { MessageReader } from './message-reader.ts';

/** What can go wrong with a request beside a status of 400 or more. */
export type FailureKind =
  /** No connection came about. */
  | 'connect'
  /** The connection was reset. */
  | 'reset'
  /** The connection ended before the answer did. */
  | 'early_end'
  /** The answer's body did not have the expected ending. */
  | 'wrong_ending'
  /** The answer took longer than `timeoutMs`. */
  | 'timeout'
  /** The answer was no HTTP. */
  | 'protocol';

/** How one request went. */
export interface LoadExchange {
  readonly outcome: 'answered' | 'left' | FailureKind;
  /** 0 where no headers came. */
  readonly status: number;
  readonly bodyBytes: number;
  /** Milliseconds from sending to the first byte of the body; 0 where none came. */
  readonly firstByteMs: number;
  /** Milliseconds from sending to the end. */
  readonly lastByteMs: number;
}

interface Expectations {
  readonly endMarker: string | undefined;
  readonly leaveAfterBytes: number | undefined;
}

const TAIL_BYTES = 256;
/** After a failed connect, so that a server that is away is not hammered. */
const RECONNECT_PAUSE_MS = 20;

/** One connection that is opened when needed, kept while the server keeps it, and sends one request at a time. */
export class LoadConnection {
  readonly #server: { readonly host: string; readonly port: number; readonly timeoutMs: number };
  readonly #expected: Expectations;
  readonly #reader: MessageReader;
  #socket: Socket | undefined;
  #finish: ((outcome: LoadExchange['outcome']) => void) | undefined;
  #sentAt = 0;
  #firstByteAt = 0;
  #tail: Buffer[] = [];
  #tailBytes = 0;

  constructor(server: { host: string; port: number; timeoutMs: number }, expected: Expectations) {
    this.#server = server;
    this.#expected = expected;
    this.#reader = new MessageReader('response', (piece) => this.#onBody(piece));
  }

  /** Sends a request and waits for the end of its answer. Never rejects. */
  async send(request: Buffer): Promise<LoadExchange> {
    this.#reader.next();
    this.#tail = [];
    this.#tailBytes = 0;
    this.#firstByteAt = 0;
    this.#sentAt = performance.now();
    const socket = this.#socket ?? (await this.#connect());
    if (!socket) {
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE_MS));
      return this.#exchange('connect');
    }
    const outcome = await new Promise<LoadExchange['outcome']>((resolve) => {
      this.#finish = resolve;
      socket.write(request);
    });
    this.#finish = undefined;
    // A server may answer before it has read the whole request; such a connection is of no more use.
    if (outcome !== 'answered' || !this.#reader.keepAlive || socket.writableLength > 0) this.close();
    return this.#exchange(outcome);
  }

  checkTimeout(now: number): void {
    if (this.#finish && now - this.#sentAt > this.#server.timeoutMs) this.#finish('timeout');
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** The last bytes of the latest answer's body. */
  tail(): string {
    return Buffer.concat(this.#tail).subarray(-TAIL_BYTES).toString('utf8');
  }

  #exchange(outcome: LoadExchange['outcome']): LoadExchange {
    const { startLine, status, bodyBytes } = this.#reader;
    const now = performance.now();
    return {
      outcome,
      status: startLine === '' ? 0 : status,
      bodyBytes,
      firstByteMs: this.#firstByteAt === 0 ? 0 : this.#firstByteAt - this.#sentAt,
      lastByteMs: now - this.#sentAt,
    };
  }

  #connect(): Promise<Socket | undefined> {
    return new Promise((resolve) => {
      const socket = connect({ host: this.#server.host, port: this.#server.port, noDelay: true });
      let open = false;
      socket.once('connect', () => {
        open = true;
        this.#socket = socket;
        resolve(socket);
      });
      socket.on('data', (chunk: Buffer) => this.#onData(socket, chunk));
      socket.on('end', () => this.#onClosed(socket, this.#reader.end() ? 'answered' : 'early_end'));
      socket.on('error', () => {
        if (!open) resolve(undefined);
        else this.#onClosed(socket, 'reset');
      });
      socket.on('close', () => this.#onClosed(socket, 'early_end'));
    });
  }

  #onClosed(socket: Socket, outcome: LoadExchange['outcome']): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    socket.destroy();
    this.#end(outcome);
  }

  #onData(socket: Socket, chunk: Buffer): void {
    if (socket !== this.#socket || !this.#finish) return;
    try {
      if (this.#reader.push(chunk)) this.#end('answered');
    } catch {
      this.#end('protocol');
    }
  }

  #onBody(piece: Buffer): void {
    if (this.#firstByteAt === 0) this.#firstByteAt = performance.now();
    if (piece.length >= TAIL_BYTES) {
      this.#tail = [piece];
      this.#tailBytes = piece.length;
    } else {
      this.#tail.push(piece);
      this.#tailBytes += piece.length;
      while (this.#tailBytes - (this.#tail[0]?.length ?? 0) >= TAIL_BYTES) {
        this.#tailBytes -= this.#tail.shift()?.length ?? 0;
      }
    }
    const { leaveAfterBytes } = this.#expected;
    if (leaveAfterBytes !== undefined && this.#reader.bodyBytes >= leaveAfterBytes) this.#finish?.('left');
  }

  #end(outcome: LoadExchange['outcome']): void {
    const { endMarker } = this.#expected;
    const wrong = outcome === 'answered' && endMarker !== undefined && this.#reader.status < 400;
    this.#finish?.(wrong && !this.tail().includes(endMarker) ? 'wrong_ending' : outcome);
  }
}
