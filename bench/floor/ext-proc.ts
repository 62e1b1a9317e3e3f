/**
 * The floor of the design: an ext_proc on grpc-js that gives every request back as it came and does nothing, in
 * the same message shape as Limen's front leg: request headers, body and trailers in, one answer to the headers
 * and one to the whole body out, then the call ends. `node bench/floor/ext-proc.ts --socket PATH`.
 */
import http2 from 'node:http2';
import { parseArgs } from 'node:util';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { headersResponse, readRequest, streamedBodyResponse } from './messages.ts';

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** Envoy resets a stream when its HTTP request ends; Node takes more than 1,000 of those at once for an attack. */
const RESETS_WITHOUT_LIMIT = 1e9;

type Call = ServerDuplexStream<Buffer, Buffer>;

/** grpc-js hands no options down to Node's server, so they are added where it is made. */
function liftResetLimit(): void {
  const original = http2.createServer;
  const limits = { streamResetBurst: RESETS_WITHOUT_LIMIT, streamResetRate: RESETS_WITHOUT_LIMIT };
  const lifted = (options: http2.ServerOptions, listener?: Parameters<typeof original>[1]) =>
    original({ ...options, ...limits }, listener);
  Object.assign(http2, { createServer: lifted });
}

function answerCall(call: Call): void {
  let pieces: Buffer[] = [];
  call.on('data', (message: Buffer) => {
    const request = readRequest(message);
    if (request.kind === 'headers' && request.endOfStream) {
      call.write(headersResponse());
      call.end();
    } else if (request.kind === 'body') {
      if (request.body.length > 0) pieces.push(request.body);
      if (!request.endOfStream) return;
      const body = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
      pieces = [];
      call.write(headersResponse());
      call.write(streamedBodyResponse(body));
      call.end();
    }
  });
  call.on('end', () => call.end());
  call.on('error', () => undefined);
}

/** Serves on a Unix socket; resolves when it listens. */
export function startFloor(socketPath: string): Promise<Server> {
  liftResetLimit();
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  });
  const same = (bytes: Buffer): Buffer => bytes;
  server.addService(
    {
      Process: {
        path: '/envoy.service.ext_proc.v3.ExternalProcessor/Process',
        requestStream: true,
        responseStream: true,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      },
    },
    { Process: answerCall },
  );
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error) reject(error);
      else resolve(server);
    });
  });
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { socket: { type: 'string' } } });
  if (values.socket === undefined) throw new Error('--socket PATH is needed.');
  await startFloor(values.socket);
  process.stdout.write('ready\n');
}
