import { randomUUID } from 'node:crypto';
import { chmod, rm } from 'node:fs/promises';
import grpc from '@grpc/grpc-js';
import { DistributionHub, type OpenWorkerStream, type WorkerReportListener } from './hub.ts';
import { SUBSCRIBE_PATH } from './messages.ts';

export interface DistributionServerOptions {
  /** Where to listen: `unix:/path/to/socket`, or `host:port` (port 0: the system chooses). */
  readonly address: string;
  /** A stream that broke, or a worker that sent what nobody understands. */
  readonly onStreamError?: (error: Error) => void;
  readonly listener?: WorkerReportListener;
}

const UNIX = 'unix:';
const CHANNEL_OPTIONS = {
  // A dead worker behind a network is noticed within about this time.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5000,
  // 1,000 users with many groups each.
  'grpc.max_receive_message_length': 32 * 1024 * 1024,
};

/**
 * The control plane's end of the stream that brings snapshots and the directory to the workers. Whoever can reach it
 * can read the configuration, and the secrets that issuers share with Limen (not those of providers): it belongs on a
 * Unix socket or a private network.
 */
export class DistributionServer extends DistributionHub {
  readonly #server: grpc.Server;
  #port = 0;

  private constructor(server: grpc.Server, listener: WorkerReportListener) {
    super({ epoch: randomUUID(), now: Date.now, listener });
    this.#server = server;
  }

  /**
   * Starts to listen. A Unix socket is for this user alone; a socket file that lies there from an earlier run
   * is replaced, so two control planes must not share a path.
   */
  static async start(options: DistributionServerOptions): Promise<DistributionServer> {
    const server = new grpc.Server(CHANNEL_OPTIONS);
    const socket = options.address.startsWith(UNIX) ? options.address.slice(UNIX.length) : undefined;
    if (socket !== undefined) await rm(socket, { force: true });
    const distribution = new DistributionServer(server, options.listener ?? {});
    server.addService(SERVICE, {
      subscribe: (call: grpc.ServerDuplexStream<Buffer, Buffer>) =>
        serve(call, distribution, options.onStreamError),
    });
    distribution.#port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(options.address, grpc.ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    if (socket !== undefined) await chmod(socket, 0o600);
    return distribution;
  }

  /** The TCP port; of no meaning for a Unix socket. */
  get port(): number {
    return this.#port;
  }

  /** Ends every stream and stops. Workers keep what they have and come back to the next control plane. */
  stop(): void {
    this.#server.forceShutdown();
  }
}

const raw = (bytes: Buffer): Buffer => bytes;
const SERVICE = {
  subscribe: {
    path: SUBSCRIBE_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  },
} as const;

function serve(
  call: grpc.ServerDuplexStream<Buffer, Buffer>,
  hub: DistributionHub,
  onStreamError: ((error: Error) => void) | undefined,
): void {
  let over = false;
  const stream: OpenWorkerStream = hub.open((bytes) => over || call.write(bytes));
  const close = (): void => {
    over = true;
    stream.close();
  };
  call.on('data', (bytes: Buffer) => {
    try {
      stream.handle(bytes);
    } catch (error) {
      close();
      call.end();
      onStreamError?.(error instanceof Error ? error : new Error(String(error)));
    }
  });
  call.on('drain', () => stream.resume());
  call.on('end', () => {
    close();
    call.end();
  });
  call.on('error', (error) => {
    close();
    onStreamError?.(error);
  });
  call.on('cancelled', close);
  call.on('close', close);
}
