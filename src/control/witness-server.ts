import { chmod, rm } from 'node:fs/promises';
import grpc from '@grpc/grpc-js';
import { ACCESS_LOG_PATH } from '../envoy-protocol/codecs.ts';

export interface WitnessServerOptions {
  /** Path of the Unix socket on which to listen; one that lies there from an earlier run is replaced. */
  readonly socketPath: string;
  /** Takes the bytes of a StreamAccessLogsMessage. Must not throw. */
  readonly onMessage: (bytes: Buffer) => void;
}

/** Envoy sends a message when it holds 128 KiB, with whatever the last entry has beyond; a request's head is bounded. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const FLOW_CONTROL_WINDOW_BYTES = 1_048_576;

const raw = (bytes: Buffer): Buffer => bytes;

/** Takes the copy of Envoy's access log that is for the control plane. */
export class WitnessServer {
  readonly #server: grpc.Server;

  private constructor(server: grpc.Server) {
    this.#server = server;
  }

  /** Starts to listen; the socket is for this user alone. */
  static async start({ socketPath, onMessage }: WitnessServerOptions): Promise<WitnessServer> {
    const server = new grpc.Server({
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    });
    server.addService(SERVICE, {
      streamAccessLogs: (
        call: grpc.ServerReadableStream<Buffer, Buffer>,
        reply: grpc.sendUnaryData<Buffer>,
      ) => {
        call.on('data', onMessage);
        call.on('end', () => reply(null, Buffer.alloc(0)));
        call.on('error', () => undefined);
      },
    });
    await rm(socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${socketPath}`, grpc.ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    await chmod(socketPath, 0o600);
    return new WitnessServer(server);
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

const SERVICE = {
  streamAccessLogs: {
    path: ACCESS_LOG_PATH,
    requestStream: true,
    responseStream: false,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  },
} as const;
