import { duration, typed, type ProtoMessage } from '../src/xds/resource.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';
const EXT_PROC = 'envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

function emptyProcessorFilter(): ProtoMessage {
  return {
    name: 'empty',
    typed_config: typed(EXT_PROC, {
      grpc_service: { envoy_grpc: { cluster_name: 'processor' } },
      processing_mode: {
        request_header_mode: 'SEND',
        request_body_mode: 'FULL_DUPLEX_STREAMED',
        request_trailer_mode: 'SEND',
        response_header_mode: 'SKIP',
        response_body_mode: 'NONE',
        response_trailer_mode: 'SKIP',
      },
    }),
  };
}

function processorCluster(socket: string): ProtoMessage {
  return {
    name: 'processor',
    type: 'STATIC',
    load_assignment: {
      cluster_name: 'processor',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: socket } } } }] }],
    },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: typed(HTTP_OPTIONS, { explicit_http_config: { http2_protocol_options: {} } }),
    },
  };
}

/** A static Envoy in front of one upstream; with a socket, every request passes the processor that listens there. */
export function benchEnvoy(options: {
  readonly port: number;
  readonly adminSocket: string;
  readonly upstreamPort: number;
  readonly processorSocket?: string;
}): ProtoMessage {
  const { processorSocket } = options;
  return {
    node: { id: 'bench', cluster: 'bench' },
    admin: { address: { pipe: { path: options.adminSocket } } },
    static_resources: {
      listeners: [
        {
          name: 'bench',
          address: { socket_address: { address: '127.0.0.1', port_value: options.port } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: typed(HCM, {
                    stat_prefix: 'bench',
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'bench',
                          domains: ['*'],
                          routes: [
                            { match: { prefix: '/' }, route: { cluster: 'upstream', timeout: duration(0) } },
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      ...(processorSocket === undefined ? [] : [emptyProcessorFilter()]),
                      { name: 'envoy.filters.http.router', typed_config: typed(ROUTER, {}) },
                    ],
                  }),
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'upstream',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'upstream',
            endpoints: [
              {
                lb_endpoints: [
                  {
                    endpoint: {
                      address: { socket_address: { address: '127.0.0.1', port_value: options.upstreamPort } },
                    },
                  },
                ],
              },
            ],
          },
        },
        ...(processorSocket === undefined ? [] : [processorCluster(processorSocket)]),
      ],
    },
  };
}
