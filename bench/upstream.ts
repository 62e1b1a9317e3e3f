/**
 * The upstream of benches: it answers as a provider would and costs next to nothing, so that what is measured is
 * what stands in front of it. A request with `"stream":true` gets as many chunks as its output limit says
 * (`max_tokens` or `max_completion_tokens`, whichever survived on the way), `--pace-ms` apart; any other gets a
 * small whole answer. The format follows from the path. `node bench/upstream.ts --port 0` prints its port.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { MessageReader } from './load/message-reader.ts';

const DEFAULT_PACE_MS = 2;
const DEFAULT_CHUNKS = 64;
const MOST_CHUNKS = 4096;

/** The frames of a stream: one write each. */
interface Frames {
  readonly first: Buffer;
  readonly chunk: Buffer;
  readonly last: Buffer;
}

function httpChunk(...parts: string[]): Buffer {
  const body = parts.join('');
  return Buffer.from(`${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n`);
}

const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n';
const LAST_CHUNK = '0\r\n\r\n';

function openaiFrames(chunks: number, includeUsage: boolean): Frames {
  const head = {
    id: 'chatcmpl-bench',
    object: 'chat.completion.chunk',
    created: 1_760_000_000,
    model: 'bench',
  };
  const nullUsage = includeUsage ? { usage: null } : {};
  const data = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
  const choice = (delta: object, finish: string | null) =>
    data({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...nullUsage });
  const usage = { prompt_tokens: 20, completion_tokens: chunks, total_tokens: 20 + chunks };
  return {
    first: httpChunk(choice({ role: 'assistant', content: '', refusal: null }, null)),
    chunk: httpChunk(choice({ content: ' word' }, null)),
    last: Buffer.concat([
      httpChunk(
        choice({}, 'stop'),
        ...(includeUsage ? [data({ ...head, choices: [], usage })] : []),
        'data: [DONE]\n\n',
      ),
      Buffer.from(LAST_CHUNK),
    ]),
  };
}

function anthropicFrames(chunks: number): Frames {
  const event = (value: { readonly type: string; readonly [field: string]: unknown }) =>
    `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`;
  const message = {
    id: 'msg_bench',
    type: 'message',
    role: 'assistant',
    model: 'bench',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: 20, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 1 },
  };
  const text = { type: 'text_delta', text: ' word' };
  return {
    first: httpChunk(
      event({ type: 'message_start', message }),
      event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
    ),
    chunk: httpChunk(event({ type: 'content_block_delta', index: 0, delta: text })),
    last: Buffer.concat([
      httpChunk(
        event({ type: 'content_block_stop', index: 0 }),
        event({
          type: 'message_delta',
          delta: { stop_reason: 'end_turn', stop_sequence: null },
          usage: { output_tokens: chunks },
        }),
        event({ type: 'message_stop' }),
      ),
      Buffer.from(LAST_CHUNK),
    ]),
  };
}

function wholeAnswer(body: object): Buffer {
  const json = JSON.stringify(body);
  const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}\r\n\r\n`;
  return Buffer.from(head + json);
}

const OPENAI_ANSWER = wholeAnswer({
  id: 'chatcmpl-bench',
  object: 'chat.completion',
  created: 1_760_000_000,
  model: 'bench',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: 'A few words of an answer.', refusal: null },
      logprobs: null,
      finish_reason: 'stop',
    },
  ],
  usage: { prompt_tokens: 20, completion_tokens: 6, total_tokens: 26 },
});
const ANTHROPIC_ANSWER = wholeAnswer({
  id: 'msg_bench',
  type: 'message',
  role: 'assistant',
  model: 'bench',
  content: [{ type: 'text', text: 'A few words of an answer.' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 20, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 6 },
});

const framesByKind = new Map<string, Frames>();

function framesFor(anthropic: boolean, chunks: number, includeUsage: boolean): Frames {
  const kind = `${anthropic} ${chunks} ${includeUsage}`;
  const known = framesByKind.get(kind);
  if (known) return known;
  const frames = anthropic ? anthropicFrames(chunks) : openaiFrames(chunks, includeUsage);
  framesByKind.set(kind, frames);
  return frames;
}

interface OpenStream {
  readonly socket: Socket;
  readonly frames: Frames;
  left: number;
}

/** All open streams advance on one timer: a timer for each would cost more than the writes. */
class StreamPacer {
  readonly #open = new Set<OpenStream>();
  readonly #paceMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(paceMs: number) {
    this.#paceMs = paceMs;
  }

  start(socket: Socket, frames: Frames, chunks: number): void {
    socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), frames.first]));
    if (this.#paceMs === 0) {
      socket.write(Buffer.concat([...Array.from({ length: chunks }, () => frames.chunk), frames.last]));
      return;
    }
    this.#open.add({ socket, frames, left: chunks });
    this.#timer ??= setInterval(() => this.#tick(), this.#paceMs);
  }

  #tick(): void {
    for (const stream of this.#open) {
      if (stream.socket.destroyed) this.#open.delete(stream);
      else if (stream.left === 0) {
        stream.socket.write(stream.frames.last);
        this.#open.delete(stream);
      } else {
        stream.left -= 1;
        stream.socket.write(stream.frames.chunk);
      }
    }
    if (this.#open.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}

function serve(socket: Socket, pacer: StreamPacer): void {
  let pieces: Buffer[] = [];
  const reader = new MessageReader('request', (piece) => pieces.push(piece));
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    let complete = reader.push(chunk);
    while (complete) {
      answer(socket, reader.startLine, pieces.length === 1 ? pieces[0] : Buffer.concat(pieces), pacer);
      pieces = [];
      reader.next();
      complete = reader.push(Buffer.alloc(0));
    }
  });
}

function answer(socket: Socket, startLine: string, body: Buffer | undefined, pacer: StreamPacer): void {
  const anthropic = startLine.includes('/messages');
  // Latin-1 is the cheapest way to search, and all that is searched for is ASCII.
  const text = body?.toString('latin1') ?? '';
  if (!/"stream": ?true/.test(text)) {
    socket.write(anthropic ? ANTHROPIC_ANSWER : OPENAI_ANSWER);
    return;
  }
  const limit = Number(/"max_(?:completion_)?tokens": ?(\d+)/.exec(text)?.[1] ?? DEFAULT_CHUNKS);
  const chunks = Math.min(MOST_CHUNKS, limit);
  pacer.start(socket, framesFor(anthropic, chunks, /"include_usage": ?true/.test(text)), chunks);
}

/** Starts it in this process and returns its port. For benches give it a process of its own. */
export async function startBenchUpstream(options: { readonly port?: number; readonly paceMs?: number } = {}) {
  const pacer = new StreamPacer(options.paceMs ?? DEFAULT_PACE_MS);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, pacer);
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The upstream has no port.');
  return {
    port: address.port,
    close: async (): Promise<void> => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '0' },
      'pace-ms': { type: 'string', default: String(DEFAULT_PACE_MS) },
    },
  });
  const { port } = await startBenchUpstream({ port: Number(values.port), paceMs: Number(values['pace-ms']) });
  process.stdout.write(`${port}\n`);
}
