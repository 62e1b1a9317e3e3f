import { chmod, rm } from 'node:fs/promises';
import grpc from '@grpc/grpc-js';
import type { Codec } from '../../envoy-protocol/load.ts';
import type { AggregatedDiscovery, OpenStream } from './aggregated-discovery.ts';
import { DELTA_PATH, loadAdsProtocol, STATE_OF_THE_WORLD_PATH } from './protocol.ts';
import type { Send } from './xds-stream.ts';

/** What is told of a stream that broke; a broken stream is no fault of the control plane. */
export interface AdsServerEvents {
  readonly onStreamError?: (error: Error) => void;
}

export interface AdsServerOptions extends AdsServerEvents {
  /** Where to listen: `unix:/path/to/socket`, or `host:port` (port 0: the system chooses). */
  readonly address: string;
}

/** A request names every resource that a reconnecting Envoy has: 64 MiB hold about a million names. */
const MAX_REQUEST_BYTES = 64 * 1024 * 1024;
const UNIX = 'unix:';

/** The gRPC server in front of {@link AggregatedDiscovery}: bytes in, bytes out, backpressure passed on. */
export class AdsServer {
  readonly #server: grpc.Server;
  readonly #port: number;

  private constructor(server: grpc.Server, port: number) {
    this.#server = server;
    this.#port = port;
  }

  /**
   * Starts to listen. A Unix socket is for this user alone; a socket file that lies there from an earlier run
   * is replaced, so two control planes must not share a path.
   */
  static async start(discovery: AggregatedDiscovery, options: AdsServerOptions): Promise<AdsServer> {
    const server = new grpc.Server({ 'grpc.max_receive_message_length': MAX_REQUEST_BYTES });
    addAdsService(server, discovery, options);
    const socket = options.address.startsWith(UNIX) ? options.address.slice(UNIX.length) : undefined;
    if (socket !== undefined) await rm(socket, { force: true });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(options.address, grpc.ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    if (socket !== undefined) await chmod(socket, 0o600);
    return new AdsServer(server, port);
  }

  /** The TCP port; of no meaning for a Unix socket. */
  get port(): number {
    return this.#port;
  }

  /** Ends every stream and stops. Envoys keep what they have and come back to the next control plane. */
  stop(): void {
    this.#server.forceShutdown();
  }
}

/** Adds both variants of ADS to a gRPC server. */
export function addAdsService(
  server: grpc.Server,
  discovery: AggregatedDiscovery,
  events: AdsServerEvents = {},
): void {
  const protocol = loadAdsProtocol();
  const service = {
    stateOfTheWorld: method(STATE_OF_THE_WORLD_PATH, protocol.discoveryRequest, protocol.discoveryResponse),
    delta: method(DELTA_PATH, protocol.deltaDiscoveryRequest, protocol.deltaDiscoveryResponse),
  };
  server.addService(service, {
    stateOfTheWorld: serve((send) => discovery.openStateOfTheWorld(send), events),
    delta: serve((send) => discovery.openDelta(send), events),
  });
}

function method<Request, Response>(
  path: string,
  request: Codec<Request>,
  response: Codec<Response>,
): grpc.MethodDefinition<Request, Response> {
  return {
    path,
    requestStream: true,
    responseStream: true,
    requestDeserialize: (bytes) => request.decode(bytes),
    requestSerialize: (message) => request.encode(message),
    responseSerialize: (message) => response.encode(message),
    responseDeserialize: (bytes) => response.decode(bytes),
  };
}

function serve<Request, Response>(
  open: (send: Send<Response>) => OpenStream<Request>,
  { onStreamError }: AdsServerEvents,
): grpc.handleBidiStreamingCall<Request, Response> {
  return (call) => {
    let over = false;
    // A write on a stream that is over would be an error without a reader; the stream is closed instead.
    const stream = open((response) => over || call.write(response));
    const close = (): void => {
      over = true;
      stream.close();
    };
    call.on('data', (request: Request) => stream.handle(request));
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
  };
}
