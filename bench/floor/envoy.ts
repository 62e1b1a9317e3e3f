import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { findEnvoy } from '../../src/up/binaries.ts';
import { eventually, get } from '../../test/support/running-envoy.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const TYPES = 'type.googleapis.com/envoy';
const BODY_LIMIT_BYTES = 32 * 1024 * 1024;
/** The same for every variant: two cores, of which the others need one. */
const CONCURRENCY = 1;

export interface BenchEnvoyOptions {
  readonly listenPort: number;
  readonly upstreamPort: number;
  readonly adminSocket: string;
  /** Sockets of ext_proc workers; none: plain Envoy. */
  readonly processorSockets: readonly string[];
}

const http2Protocol = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': `${TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions`,
    explicit_http_config: { http2_protocol_options: {} },
  },
};

/** The message shape of Limen's front leg: the request in full duplex, nothing of the response. */
const processorFilter = {
  name: 'envoy.filters.http.ext_proc',
  typed_config: {
    '@type': `${TYPES}.extensions.filters.http.ext_proc.v3.ExternalProcessor`,
    grpc_service: { envoy_grpc: { cluster_name: 'processor' } },
    processing_mode: {
      request_header_mode: 'SEND',
      request_body_mode: 'FULL_DUPLEX_STREAMED',
      request_trailer_mode: 'SEND',
      response_header_mode: 'SKIP',
      response_body_mode: 'NONE',
      response_trailer_mode: 'SKIP',
    },
  },
};

function cluster(name: string, addresses: readonly object[], extra: object = {}): object {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '5s',
    per_connection_buffer_limit_bytes: BODY_LIMIT_BYTES,
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: addresses.map((address) => ({ endpoint: { address } })) }],
    },
    ...extra,
  };
}

/** A static Envoy in front of one upstream, with an ext_proc between or without. */
export function benchEnvoyConfig(options: BenchEnvoyOptions): object {
  const hasProcessor = options.processorSockets.length > 0;
  const loopback = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } });
  const pipes = options.processorSockets.map((path) => ({ pipe: { path } }));
  return {
    admin: { address: { pipe: { path: options.adminSocket } } },
    static_resources: {
      listeners: [
        {
          name: 'bench',
          address: loopback(options.listenPort),
          per_connection_buffer_limit_bytes: BODY_LIMIT_BYTES,
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type': `${TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
                    stat_prefix: 'bench',
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'all',
                          domains: ['*'],
                          routes: [{ match: { prefix: '/' }, route: { cluster: 'upstream', timeout: '0s' } }],
                        },
                      ],
                    },
                    http_filters: [
                      ...(hasProcessor ? [processorFilter] : []),
                      {
                        name: 'envoy.filters.http.router',
                        typed_config: { '@type': `${TYPES}.extensions.filters.http.router.v3.Router` },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        cluster('upstream', [loopback(options.upstreamPort)]),
        ...(hasProcessor
          ? [cluster('processor', pipes, { typed_extension_protocol_options: http2Protocol })]
          : []),
      ],
    },
  };
}

export interface BenchEnvoy {
  readonly pid: number;
  readonly stop: () => Promise<void>;
}

/** Starts Envoy on a configuration of `benchEnvoyConfig` and resolves when it serves. */
export async function startBenchEnvoy(folder: string, options: BenchEnvoyOptions): Promise<BenchEnvoy> {
  const file = join(folder, 'envoy.json');
  writeFileSync(file, JSON.stringify(benchEnvoyConfig(options)));
  const binary = findEnvoy(ROOT, process.env['LIMEN_ENVOY'], process.env);
  const child: ChildProcess = spawn(
    binary,
    ['-c', file, '--concurrency', String(CONCURRENCY), '--disable-hot-restart', '-l', 'warn'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let output = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString('utf8')).slice(-10_000);
  });
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null;
  await eventually(async () => {
    if (ended()) return true;
    return (await get({ socketPath: options.adminSocket }, '/ready')).status === 200 ? true : undefined;
  });
  if (ended() || child.pid === undefined) throw new Error(`Envoy ended: ${output}`);
  return {
    pid: child.pid,
    stop: async () => {
      if (ended()) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
