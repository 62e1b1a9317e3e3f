import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GRPC_STATUS, GrpcServer, type GrpcCall } from './grpc-server.ts';

const MAX_BYTES = 3_000_000;
const same = (bytes: Buffer): Buffer => bytes;

let folder: string;
let socketPath: string;
let server: GrpcServer;
/** What the server was told, in order. */
let seen: string[];

/** Gives every message back, and ends with the client. */
function echo(call: GrpcCall): void {
  call.read({
    onMessage: (message) => {
      call.write(message);
      return undefined;
    },
    onEnd: () => call.end(),
    onClose: () => void seen.push('closed'),
  });
}

/** Takes a while for each message. */
function slow(call: GrpcCall): void {
  call.read({
    onMessage: async (message) => {
      seen.push(`begun ${message.toString()}`);
      await setTimeout(20);
      seen.push(`done ${message.toString()}`);
    },
    onEnd: () => {
      seen.push('end');
      call.write(Buffer.from('answer'));
      call.end();
    },
    onClose: () => undefined,
  });
}

/** Is never done with a message. */
function never(call: GrpcCall): void {
  call.read({
    onMessage: () => {
      seen.push('begun');
      return new Promise(() => undefined);
    },
    onEnd: () => undefined,
    onClose: () => void seen.push('closed'),
  });
}

/** Answers the first message with more than a client takes that reads nothing, and waits until it is taken. */
function flood(call: GrpcCall, ends: boolean): void {
  call.read({
    onMessage: async () => {
      seen.push('begun');
      const { promise, resolve } = Promise.withResolvers<void>();
      call.write(Buffer.alloc(1_000_000), () => {
        seen.push('freed');
        resolve();
      });
      if (ends) call.end();
      await promise;
    },
    onEnd: () => void seen.push('end'),
    onClose: () => void seen.push('closed'),
  });
}

/** Is done with the first message. */
function first(call: GrpcCall): void {
  call.read({
    onMessage: (message) => {
      seen.push(message.toString());
      call.end();
      return undefined;
    },
    onEnd: () => void seen.push('end'),
    onClose: () => void seen.push('closed'),
  });
}

function breakOff(call: GrpcCall): void {
  call.read({ onMessage: () => undefined, onEnd: () => undefined, onClose: () => void seen.push('closed') });
  call.write(Buffer.from(call.metadata('x-name')));
  call.fail(GRPC_STATUS.internal, 'broken off');
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'limen-grpc-'));
  socketPath = join(folder, 'server.sock');
  seen = [];
  server = new GrpcServer({
    maxMessageBytes: MAX_BYTES,
    methods: {
      '/test/Echo': echo,
      '/test/Slow': slow,
      '/test/Never': never,
      '/test/Flood': (one) => flood(one, false),
      '/test/FloodAndEnd': (one) => flood(one, true),
      '/test/First': first,
      '/test/BreakOff': breakOff,
    },
  });
  await server.listen(socketPath);
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly messages: readonly Buffer[];
  readonly code: number;
  readonly details: string;
}

/** One call of a client that others have written. */
async function call(
  path: string,
  messages: readonly Buffer[],
  metadata = new grpc.Metadata(),
): Promise<Ended> {
  const client = new grpc.Client(`unix:${socketPath}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
  });
  const stream = client.makeBidiStreamRequest(path, same, same, metadata);
  const received: Buffer[] = [];
  stream.on('data', (message: Buffer) => received.push(message));
  stream.on('error', () => undefined);
  const status = new Promise<grpc.StatusObject>((resolve) => void stream.on('status', resolve));
  for (const message of messages) stream.write(message);
  stream.end();
  const { code, details } = await status;
  client.close();
  return { messages: received, code, details };
}

function connectRaw(): ClientHttp2Session {
  return connect('http://limen', { createConnection: () => createConnection(socketPath) });
}

/** What comes of bytes that a gRPC client would not send, or not so. */
async function raw(path: string, pieces: readonly Buffer[]): Promise<{ body: string; status: string }> {
  const session = connectRaw();
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc' });
  const trailers = once(stream, 'trailers');
  for (const piece of pieces) {
    stream.write(piece);
    await setTimeout(1);
  }
  stream.end();
  const body = await text(stream);
  const [told]: Record<string, unknown>[] = await trailers;
  session.destroy();
  return { body, status: String(told?.['grpc-status']) };
}

function frame(message: string, compressed = 0, length = message.length): Buffer {
  const prefix = Buffer.from([compressed, 0, 0, 0, 0]);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, Buffer.from(message)]);
}

function http2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header that is in no table. */
function header(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
}

/** Sends one message and resets the call without an error and without an end, as older Envoys do; Node's client can't. */
async function resetWithoutError(path: string): Promise<Socket> {
  const headers = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'limen'],
  ] as const;
  const socket = createConnection(socketPath).resume();
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(http2Frame(4, 0, 0, Buffer.alloc(0)));
  socket.write(http2Frame(1, 4, 1, Buffer.concat(headers.map(([name, value]) => header(name, value)))));
  socket.write(http2Frame(0, 0, 1, frame('x')));
  await expect.poll(() => seen).toContain('begun');
  // What the server writes is on its way, and waits for a window that never opens.
  await setTimeout(20);
  socket.write(http2Frame(3, 0, 1, Buffer.alloc(4)));
  return socket;
}

describe('gRPC server', () => {
  it('passes messages of every size both ways, in their order', async () => {
    const sizes = [0, 1, 16_384, 16_385, 65_536, 1_048_576, MAX_BYTES, 3];
    const messages = sizes.map((size, index) => Buffer.alloc(size, index));
    const ended = await call('/test/Echo', messages);
    expect(ended).toMatchObject({ code: GRPC_STATUS.ok });
    expect(ended.messages.map(({ length }) => length)).toEqual(sizes);
    expect(Buffer.concat(ended.messages)).toEqual(Buffer.concat(messages));
    expect(seen).toEqual(['closed']);
  });

  it('reads messages whatever pieces they come in', async () => {
    const bytes = Buffer.concat([frame('first'), frame(''), frame('second')]);
    const pieces = [...bytes].map((byte) => Buffer.from([byte]));
    expect(await raw('/test/Echo', pieces)).toEqual({ body: bytes.toString(), status: '0' });
    expect(await raw('/test/Echo', [bytes])).toEqual({ body: bytes.toString(), status: '0' });
  });

  it('takes the next message when the last one is done, and the end last', async () => {
    const messages = ['a', 'b', 'c'].map((one) => Buffer.from(one));
    const ended = await call('/test/Slow', messages);
    expect(seen).toEqual(['begun a', 'done a', 'begun b', 'done b', 'begun c', 'done c', 'end']);
    expect(ended.messages.map(String)).toEqual(['answer']);
  });

  it('ends with a status behind what was written, and tells metadata', async () => {
    const metadata = new grpc.Metadata();
    metadata.set('x-name', 'ada');
    const ended = await call('/test/BreakOff', [], metadata);
    expect(ended).toMatchObject({ code: GRPC_STATUS.internal, details: 'broken off' });
    expect(ended.messages.map(String)).toEqual(['ada']);
  });

  it('refuses a method that is not there, what is compressed and what is too large', async () => {
    expect(await call('/test/Other', [])).toMatchObject({ code: GRPC_STATUS.unimplemented });
    expect(await raw('/test/Echo', [frame('zip', 1)])).toMatchObject({ status: '12' });
    expect(await raw('/test/Echo', [frame('', 0, MAX_BYTES + 1)])).toMatchObject({ status: '8' });
  });

  it('stays silent about a client that resets its calls, and serves the others', async () => {
    const session = connectRaw();
    for (let count = 0; count < 1500; count += 1) {
      const stream = session.request({ ':method': 'POST', ':path': '/test/Echo' });
      stream.on('error', () => undefined);
      stream.write(frame('x'));
      await once(stream, 'response');
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
    await expect.poll(() => seen.length).toBe(1500);
    expect(session.closed).toBe(false);
    expect(await raw('/test/Echo', [frame('y')])).toEqual({ body: frame('y').toString(), status: '0' });
    expect(Error.stackTraceLimit).toBeGreaterThan(0);
    session.destroy();
  });

  it('is told at once of a call that is reset while its message is worked on', async () => {
    const session = connectRaw();
    const stream = session.request({ ':method': 'POST', ':path': '/test/Never' });
    stream.write(frame('x'));
    await expect.poll(() => seen).toEqual(['begun']);
    stream.write(frame('y'));
    await setTimeout(20);
    stream.close(constants.NGHTTP2_NO_ERROR);
    await expect.poll(() => seen).toEqual(['begun', 'closed']);
    session.destroy();
  });

  it.each(['/test/Flood', '/test/FloodAndEnd'])(
    'keeps nothing of a call that is reset before what was written is taken: %s',
    async (path) => {
      const socket = await resetWithoutError(path);
      await expect.poll(() => seen).toEqual(['begun', 'closed', 'freed']);
      socket.destroy();
      await setTimeout(20);
      expect(seen).toEqual(['begun', 'closed', 'freed']);
    },
  );

  it('reads nothing more of a call that it has ended', async () => {
    const pieces = [Buffer.concat([frame('one'), frame('two'), frame('zip', 1)])];
    expect(await raw('/test/First', pieces)).toEqual({ body: '', status: '0' });
    await expect.poll(() => seen).toEqual(['one', 'closed']);
  });

  it('sends no date, which would be that of its first call', async () => {
    const session = connectRaw();
    const stream = session.request({ ':method': 'POST', ':path': '/test/BreakOff' });
    const [headers] = await once(stream, 'response');
    expect(Object.keys(headers)).toEqual([':status', 'content-type']);
    session.destroy();
    await expect.poll(() => seen).toEqual(['closed']);
  });

  it('closes with the calls that are open', async () => {
    const session = connectRaw();
    const stream = session.request({ ':method': 'POST', ':path': '/test/Echo' });
    stream.on('error', () => undefined);
    stream.write(frame('x'));
    await once(stream, 'response');
    server.close();
    await expect.poll(() => session.closed && stream.closed).toBe(true);
    expect(seen).toEqual(['closed']);
  });
});
