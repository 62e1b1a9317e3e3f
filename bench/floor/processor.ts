/**
 * The floor of this design: an external processor on grpc-js that answers in the same message shape as Limen's
 * front leg and does nothing. It holds the request's body until it is whole, sends headers and body back and
 * ends the call. `node bench/floor/processor.ts SOCKET` prints `ready`.
 */
import { rmSync } from 'node:fs';
import { loadProcessorProtocol } from '../../src/envoy-protocol/codecs.ts';
import { Exchange, type LegHandler, type RawCall } from '../../src/processor/exchange.ts';
import { EXTERNAL_PROCESSOR_PATH } from '../../src/envoy-protocol/codecs.ts';
import { grpc } from '../../src/processor/grpc.ts';

const protocol = loadProcessorProtocol();

function emptyLeg(exchange: Exchange): LegHandler {
  const chunks: Buffer[] = [];
  return {
    onMessage: (message) => {
      if (message.requestBody === null) return undefined;
      chunks.push(message.requestBody.body);
      if (!message.requestBody.endOfStream) return undefined;
      void exchange.send({ requestHeaders: { response: {} } });
      void exchange.sendBody('requestBody', Buffer.concat(chunks), true);
      exchange.finish();
      return undefined;
    },
    onOver: () => undefined,
  };
}

const identity = (bytes: Buffer): Buffer => bytes;
const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
server.addService(
  {
    process: {
      path: EXTERNAL_PROCESSOR_PATH,
      requestStream: true,
      responseStream: true,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  },
  {
    process: (call: RawCall) => {
      const exchange = new Exchange(call, protocol);
      exchange.run(emptyLeg(exchange), (error) => process.stderr.write(`${String(error)}\n`));
    },
  },
);
const socket = process.argv[2] ?? '';
rmSync(socket, { force: true });
server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  process.stdout.write('ready\n');
});
