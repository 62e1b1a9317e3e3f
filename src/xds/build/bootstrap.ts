import { duration, typed, type ProtoMessage } from '../resource.ts';
import { internalAddresses } from './listener.ts';
import { ADMIN_CLUSTER } from './routes.ts';

export interface BootstrapOptions {
  readonly nodeId: string;
  /** Envoy's own admin, a Unix socket. */
  readonly adminSocket: string;
  /** The control plane's ADS, a Unix socket. */
  readonly adsSocket: string;
  /** The control plane's HTTP server, a Unix socket. */
  readonly controlSocket: string;
  readonly consoleAddress: string;
  readonly consolePort: number;
  /** Bytes of heap at which Envoy stops taking requests. */
  readonly maxHeapBytes: number;
  readonly maxDownstreamConnections: number;
}

const ADS_CLUSTER = 'limen_ads';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

function socketCluster(name: string, path: string, http2: boolean): ProtoMessage {
  return {
    name,
    type: 'STATIC',
    connect_timeout: duration(1),
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path } } } }] }],
    },
    ...(http2
      ? {
          typed_extension_protocol_options: {
            [HTTP_OPTIONS]: typed(HTTP_OPTIONS, {
              explicit_http_config: {
                http2_protocol_options: {
                  connection_keepalive: { interval: duration(5), timeout: duration(3) },
                },
              },
            }),
          },
        }
      : {}),
  };
}

function adminListener(options: BootstrapOptions): ProtoMessage {
  return {
    name: 'admin',
    address: { socket_address: { address: options.consoleAddress, port_value: options.consolePort } },
    // However crowded the public listener is, the admin gets in.
    ignore_global_conn_limit: true,
    bypass_overload_manager: true,
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: typed(
              'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              {
                stat_prefix: 'admin',
                use_remote_address: true,
                internal_address_config: internalAddresses([]),
                // Everything goes to one place, which splits the path before it decodes it: ids may have slashes.
                normalize_path: true,
                path_with_escaped_slashes_action: 'KEEP_UNCHANGED',
                stream_idle_timeout: duration(300),
                request_headers_timeout: duration(10),
                local_reply_config: {
                  mappers: [
                    {
                      filter: {
                        status_code_filter: {
                          comparison: {
                            op: 'EQ',
                            value: { default_value: 503, runtime_key: 'limen.admin.503' },
                          },
                        },
                      },
                      body_format_override: {
                        json_format: {
                          error: {
                            code: 'unavailable',
                            message:
                              'The control plane is not running. The gateway goes on with what it has.',
                          },
                        },
                      },
                    },
                  ],
                },
                route_config: {
                  virtual_hosts: [
                    {
                      name: 'admin',
                      domains: ['*'],
                      routes: [
                        {
                          match: { path: '/health/live' },
                          direct_response: { status: 200, body: { inline_string: '{"status":"live"}\n' } },
                        },
                        { match: { prefix: '/' }, route: { cluster: ADMIN_CLUSTER, timeout: duration(60) } },
                      ],
                    },
                  ],
                },
                http_filters: [
                  {
                    name: 'envoy.filters.http.router',
                    typed_config: typed('envoy.extensions.filters.http.router.v3.Router', {
                      suppress_envoy_headers: true,
                    }),
                  },
                ],
              },
            ),
          },
        ],
      },
    ],
  };
}

/**
 * What Envoy starts from: ADS, the admin's way in and the health routes. The public listener and all behind
 * it come by ADS, so no bad push can lock the admin out.
 */
export function buildBootstrap(options: BootstrapOptions): ProtoMessage {
  // Without a control plane the admin's port opens after this time, with what the bootstrap has.
  const ads = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: duration(5) };
  return {
    node: { id: options.nodeId, cluster: 'limen' },
    admin: { address: { pipe: { path: options.adminSocket, mode: 0o600 } } },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [
          {
            envoy_grpc: {
              cluster_name: ADS_CLUSTER,
              // A control plane that comes back is found within a second; Envoy's own limit is half a minute.
              retry_policy: { retry_back_off: { base_interval: duration(0.1), max_interval: duration(1) } },
            },
          },
        ],
      },
      cds_config: ads,
      lds_config: ads,
    },
    static_resources: {
      listeners: [adminListener(options)],
      clusters: [
        socketCluster(ADS_CLUSTER, options.adsSocket, true),
        socketCluster(ADMIN_CLUSTER, options.controlSocket, false),
      ],
    },
    overload_manager: {
      refresh_interval: duration(0.25),
      resource_monitors: [
        {
          name: 'envoy.resource_monitors.fixed_heap',
          typed_config: typed('envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig', {
            max_heap_size_bytes: options.maxHeapBytes,
          }),
        },
        {
          name: 'envoy.resource_monitors.global_downstream_max_connections',
          typed_config: typed(
            'envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
            { max_active_downstream_connections: options.maxDownstreamConnections },
          ),
        },
      ],
      actions: [
        {
          name: 'envoy.overload_actions.shrink_heap',
          triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.9 } }],
        },
        {
          name: 'envoy.overload_actions.stop_accepting_requests',
          triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.95 } }],
        },
      ],
    },
  };
}
