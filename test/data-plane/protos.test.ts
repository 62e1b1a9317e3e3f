import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { promisify } from 'node:util';
import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Encoder } from '../../src/xds/encode/encode.ts';
import { EnvoyDescriptors, type BinaryField, type BinaryFile } from '../support/envoy-descriptors.ts';
import { envoyBinary, removeFolder, temporaryFolder } from '../support/running-envoy.ts';

const PROTO = join(import.meta.dirname, '../../proto');
const TYPE = 'type.googleapis.com/';

let descriptors: EnvoyDescriptors;
beforeAll(() => {
  descriptors = new EnvoyDescriptors(envoyBinary());
});

function parse(path: string): protobuf.Root {
  const root = new protobuf.Root();
  protobuf.parse(readFileSync(join(PROTO, path), 'utf8'), root, { keepCase: true });
  return root;
}

function protoFiles(folder: string): string[] {
  return readdirSync(join(PROTO, folder), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.proto'),
  );
}

function* definitions(namespace: protobuf.NamespaceBase): Generator<protobuf.Type | protobuf.Enum> {
  for (const nested of namespace.nestedArray) {
    if (nested instanceof protobuf.Type || nested instanceof protobuf.Enum) yield nested;
    if (nested instanceof protobuf.Namespace) yield* definitions(nested);
  }
}

/** A map field is a repeated entry message on the wire. */
function isRepeated(field: protobuf.Field): boolean {
  return field.repeated || field.map;
}

/** Whether the wire looks the same: our small files may read an enum as its number. */
function sameType(own: protobuf.Field, real: BinaryField): boolean {
  if (own.map) return real.type.endsWith('Entry');
  const name = (type: string): string => type.split('.').at(-1) ?? type;
  return name(own.type) === name(real.type) || (own.type === 'int32' && real.type.includes('.'));
}

function faultsOf(own: protobuf.Type, real: ReadonlyMap<string, BinaryField>): string[] {
  return own.fieldsArray.flatMap((field) => {
    const theirs = real.get(field.name);
    const name = `${own.fullName}.${field.name}`;
    if (theirs === undefined) return [`${name} is not in Envoy`];
    const faults: string[] = [];
    if (theirs.number !== field.id) faults.push(`${name} is ${theirs.number} in Envoy`);
    if (theirs.repeated !== isRepeated(field)) faults.push(`${name}: repeated differs`);
    if (!sameType(field, theirs)) faults.push(`${name} is ${theirs.type} in Envoy`);
    if ((field.partOf?.name ?? undefined) !== theirs.oneof)
      faults.push(`${name}: oneof ${theirs.oneof ?? 'none'}`);
    return faults;
  });
}

function enumFaults(own: protobuf.Enum, real: ReadonlyMap<string, number>): string[] {
  return Object.entries(own.values).flatMap(([name, value]) =>
    real.get(name) === value ? [] : [`${own.fullName}.${name} is ${real.get(name) ?? 'missing'} in Envoy`],
  );
}

describe('our proto files say what this Envoy says', () => {
  const files = [
    ...protoFiles('envoy').map((name) => ({ own: `envoy/${name}`, real: `envoy/${name}` })),
    ...protoFiles('amendments').map((name) => ({ own: `amendments/${name}`, real: name })),
  ];

  test('there are such files', () => expect(files.length).toBeGreaterThan(10));

  test.each(files)('$own', ({ own, real }) => {
    const file = descriptors.file(real);
    if (file === undefined) throw new Error(`${real} is not in this Envoy`);
    const faults = [...definitions(parse(own))].flatMap((definition) => {
      const name = definition.fullName.slice(1);
      if (definition instanceof protobuf.Enum)
        return enumFaults(definition, file.enums.get(name) ?? new Map());
      return faultsOf(definition, file.messages.get(name) ?? new Map());
    });
    expect(faults).toEqual([]);
  });
});

describe('the small files of the hot path say what this Envoy says', () => {
  const sources: Readonly<Record<string, readonly string[]>> = {
    'ext_proc.proto': [
      'envoy/service/ext_proc/v3/external_processor.proto',
      'envoy/config/core/v3/base.proto',
      'envoy/type/v3/http_status.proto',
      'envoy/extensions/router/cluster_specifiers/priority_group/v3/priority_group.proto',
      'google/protobuf/wrappers.proto',
    ],
    'access_log.proto': [
      'envoy/service/accesslog/v3/als.proto',
      'envoy/data/accesslog/v3/accesslog.proto',
      'envoy/config/core/v3/base.proto',
      'envoy/data/ai/v3/token_usage.proto',
      'google/protobuf/wrappers.proto',
    ],
    'discovery.proto': [
      'envoy/service/discovery/v3/discovery.proto',
      'envoy/config/core/v3/base.proto',
      'google/rpc/status.proto',
    ],
  };

  /** The one definition of that last name in the files, in their order; nested ones count, too. */
  function find<Definition>(
    files: readonly BinaryFile[],
    pick: (file: BinaryFile) => ReadonlyMap<string, Definition>,
    name: string,
  ): Definition | undefined {
    for (const file of files) {
      for (const [fullName, definition] of pick(file)) {
        if (fullName === name || fullName.endsWith(`.${name}`)) return definition;
      }
    }
    return undefined;
  }

  test.each(Object.entries(sources))('%s', (own, paths) => {
    const files = paths.flatMap((path) => descriptors.file(path) ?? []);
    expect(files).toHaveLength(paths.length);
    const faults = [...definitions(parse(`limen/${own}`))].flatMap((definition) => {
      const missing = [`${definition.name} is not in ${paths.join(', ')}`];
      if (definition instanceof protobuf.Enum) {
        const real = find(files, (file) => file.enums, definition.name);
        return real === undefined ? missing : enumFaults(definition, real);
      }
      const real = find(files, (file) => file.messages, definition.name);
      return real === undefined ? missing : faultsOf(definition, real);
    });
    expect(faults).toEqual([]);
  });
});

describe('Envoy reads what we encode', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await temporaryFolder();
  });
  afterAll(async () => await removeFolder(folder));

  function typed(name: string, fields: Record<string, unknown> = {}) {
    return { '@type': `${TYPE}${name}`, ...fields };
  }

  const grpcService = {
    envoy_grpc: { cluster_name: 'processor' },
    initial_metadata: [{ key: 'leg', value: 'x' }],
  };
  const httpFilters = (last: Record<string, unknown>) => [
    {
      name: 'processor',
      typed_config: typed('envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor', {
        grpc_service: grpcService,
        processing_mode: {
          request_header_mode: 'SEND',
          request_body_mode: 'FULL_DUPLEX_STREAMED',
          request_trailer_mode: 'SEND',
          response_header_mode: 'SKIP',
          response_body_mode: 'NONE',
          response_trailer_mode: 'SKIP',
        },
        request_attributes: ['xds.cluster_name'],
        message_timeout: '2s',
        send_body_without_waiting_for_header_response: false,
        allowed_override_modes: [{ request_header_mode: 'SEND' }],
        status_on_error: { code: 'ServiceUnavailable' },
        allow_content_length_header: true,
        emit_client_span: false,
        metadata_options: {
          forwarding_namespaces: { untyped: ['limen'], typed: ['ai'] },
          receiving_namespaces: { untyped: ['limen'], typed: ['route'] },
          cluster_metadata_forwarding_namespaces: { untyped: ['limen'] },
        },
      }),
    },
    {
      name: 'mutation',
      typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
        mutations: {
          request_mutations: [
            { remove: 'x-a' },
            { append: { header: { key: 'x-b', value: '1' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } },
            { remove_on_match: { key_matcher: { prefix: 'x-limen-' } } },
          ],
          query_parameter_mutations: [{ remove: 'key' }],
          response_trailers_mutations: [{ remove: 'x-c' }],
          request_trailers_mutations: [{ remove: 'x-d' }],
        },
      }),
    },
    {
      name: 'credential',
      typed_config: typed('envoy.extensions.filters.http.credential_injector.v3.CredentialInjector', {
        overwrite: true,
        credential: {
          name: 'generic',
          typed_config: typed('envoy.extensions.http.injected_credentials.generic.v3.Generic', {
            credential: { name: 'key' },
            header: 'authorization',
            header_value_prefix: 'Bearer ',
          }),
        },
      }),
    },
    last,
  ];

  const connectionManager = typed(
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    {
      stat_prefix: 'gateway',
      max_request_headers_kb: 96,
      http1_safe_max_connection_duration: true,
      stream_flush_timeout: '30s',
      forward_proto_config: { https_destination_ports: [443], http_destination_ports: [80] },
      drain_timeout_jitter: { value: 10 },
      record_route_resolution_stats: true,
      tracing: { operation: '%REQ(:METHOD)%', upstream_operation: 'try', no_context_propagation: true },
      forward_client_cert_details: 'SANITIZE_SET',
      set_current_client_cert_details: { format: 'JSON', issuer: true, uri: true },
      common_http_protocol_options: {
        max_connection_duration: '3600s',
        max_connection_duration_jitter: { value: 5 },
      },
      http2_protocol_options: {
        max_metadata_size: 1_048_576,
        enable_huffman_encoding: true,
        max_header_field_size_kb: 64,
        disallow_obs_text: true,
        stream_reset_burst: 1000,
        stream_reset_rate: 100,
      },
      early_header_mutation_extensions: [
        {
          name: 'early',
          typed_config: typed(
            'envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation',
            {
              mutations: [
                { remove: 'x-limen-a' },
                { remove_on_match: { key_matcher: { prefix: 'x-limen-' } } },
              ],
            },
          ),
        },
      ],
      local_reply_config: {
        mappers: [
          {
            filter: {
              status_code_filter: {
                comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'k' } },
              },
            },
            headers_to_add: [{ header: { key: 'content-type', value: 'application/json' } }],
            body_format_override: { json_format: { error: { message: '%LOCAL_REPLY_BODY%' } } },
          },
        ],
      },
      access_log: [
        {
          name: 'grpc',
          typed_config: typed('envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig', {
            common_config: {
              log_name: 'limen',
              transport_api_version: 'V3',
              buffer_flush_interval: '0.1s',
              grpc_service: { envoy_grpc: { cluster_name: 'processor' } },
            },
          }),
        },
        {
          name: 'file',
          typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
            path: '/dev/null',
            log_format: { text_format_source: { inline_string: '%RESPONSE_CODE%\n' } },
          }),
        },
      ],
      route_config: {
        name: 'main',
        virtual_hosts: [
          {
            name: 'all',
            domains: ['*'],
            request_body_buffer_limit: 33_554_432,
            routes: [
              {
                match: {
                  prefix: '/v1/',
                  dynamic_metadata: [
                    {
                      filter: 'limen',
                      path: [{ key: 'route' }],
                      value: { string_match: { exact: 'native' } },
                    },
                  ],
                  cookies: [{ name: 'session', string_match: { exact: 'x' }, invert_match: true }],
                  filter_state: [{ key: 'limen', string_match: { exact: 'x' } }],
                },
                request_body_buffer_limit: 33_554_432,
                route: {
                  inline_cluster_specifier_plugin: {
                    extension: {
                      name: 'groups',
                      typed_config: typed(
                        'envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier',
                        {
                          override_metadata_namespace: 'limen.route',
                          use_hash_policy: false,
                          priority_groups: [
                            { name: 'first', clusters: [{ cluster_name: 'upstream', weight: 1 }] },
                          ],
                        },
                      ),
                    },
                  },
                  retry_policy: { retry_on: '5xx,reset', num_retries: 3, refresh_cluster_on_retry: true },
                  timeout: '0s',
                  flush_timeout: '30s',
                  host_rewrite: '%REQ(x-host)%',
                },
                typed_per_filter_config: {
                  processor: typed('envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute', {
                    overrides: { failure_mode_allow: false, emit_client_span: false },
                  }),
                  ai: typed(
                    'envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManagerPerRoute',
                    {
                      request: { llm_protocol: 'OPENAI_CHAT_COMPLETIONS' },
                      response: { llm_protocol: 'ANTHROPIC_MESSAGES' },
                    },
                  ),
                },
              },
              {
                match: { prefix: '/rewritten' },
                route: { cluster: 'upstream', path_rewrite: '/other' },
              },
              {
                match: { prefix: '/' },
                direct_response: { status: 404, body_format: { json_format: { path: '%REQ(:PATH)%' } } },
              },
            ],
          },
        ],
      },
      http_filters: [
        {
          name: 'cors',
          typed_config: typed('envoy.extensions.filters.http.cors.v3.Cors'),
        },
        {
          name: 'ai',
          typed_config: typed('envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager', {
            request_handling: {
              parse_unconfigured_routes: false,
              reserialize_body: 'DISABLE',
              limits: { inline_string_threshold_bytes: 1024 },
            },
            response_handling: {
              token_usage: {
                include_unconfigured_routes: true,
                default_llm_protocol: 'GEMINI_GENERATE_CONTENT',
                metadata_namespace: 'ai',
                usage_signal: 'SYNTHESIZE_TRAILERS',
                limits: {
                  max_sse_event_size: 65_536,
                  max_json_body_size: 1_048_576,
                  max_parsed_sse_events: 10_000,
                },
              },
            },
          }),
        },
        ...httpFilters({
          name: 'envoy.filters.http.router',
          typed_config: typed('envoy.extensions.filters.http.router.v3.Router', {
            suppress_envoy_headers: true,
            reject_connect_request_early_data: true,
          }),
        }),
      ],
    },
  );

  function httpOptions(fields: Record<string, unknown>) {
    const name = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
    return { [name]: typed(name, fields) };
  }

  function staticCluster(name: string, fields: Record<string, unknown>) {
    const address = { socket_address: { address: '127.0.0.1', port_value: 9 } };
    return {
      name,
      type: 'STATIC',
      load_assignment: {
        cluster_name: name,
        endpoints: [{ lb_endpoints: [{ endpoint: { address, observability_name: 'nine' } }] }],
      },
      ...fields,
    };
  }

  const bootstrap = {
    node: { id: 'test', cluster: 'test' },
    admin: {
      address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
      allow_paths: [{ prefix: '/stats' }],
    },
    memory_allocator_manager: {
      soft_memory_limit_bytes: 536_870_912,
      max_per_cpu_cache_size_bytes: 1_048_576,
    },
    static_resources: {
      secrets: [
        { name: 'key', generic_secret: { secret: { inline_string: 'value' } } },
        { name: 'several', generic_secret: { secrets: { one: { inline_string: '1' } } } },
      ],
      listeners: [
        {
          name: 'gateway',
          address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
          tcp_keepalive: { keepalive_time: 30 },
          per_connection_buffer_high_watermark_timeout: '60s',
          filter_chains: [{ filters: [{ name: 'http', typed_config: connectionManager }] }],
        },
      ],
      clusters: [
        staticCluster('processor', {
          typed_extension_protocol_options: httpOptions({
            explicit_http_config: { http2_protocol_options: {} },
          }),
        }),
        staticCluster('upstream', {
          per_connection_buffer_high_watermark_timeout: '60s',
          outlier_detection: { consecutive_5xx: 5, detect_degraded_hosts: true },
          circuit_breakers: {
            thresholds: [{ retry_budget: { budget_percent: { value: 20 }, budget_interval: '1s' } }],
          },
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
              sni: 'example.com',
              auto_sni_san_validation: true,
              auto_host_sni: true,
              common_tls_context: {
                tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
                validation_context: {
                  trusted_ca: { inline_string: rootCertificates[0] },
                  suppress_client_ca_list: true,
                },
              },
            }),
          },
          typed_extension_protocol_options: httpOptions({
            auto_config: {},
            common_http_protocol_options: { max_response_headers_kb: 64 },
            outlier_detection: {
              error_matcher: {
                http_response_headers_match: {
                  headers: [{ name: ':status', string_match: { prefix: '5' } }],
                },
              },
            },
            retry_policy: { retry_on: 'reset', num_retries: 1, refresh_cluster_on_retry: false },
            hash_policy: [{ header: { header_name: 'x-session' } }],
            request_mirror_policies: [{ cluster: 'processor' }],
            http_filters: httpFilters({
              name: 'envoy.filters.http.upstream_codec',
              typed_config: typed('envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'),
            }).filter(({ name }) => name !== 'processor'),
          }),
        }),
      ],
    },
  };

  test('every field of ours that a configuration can have', async () => {
    const file = join(folder, 'bootstrap.pb');
    await writeFile(file, new Encoder().encodeMessage('envoy.config.bootstrap.v3.Bootstrap', bootstrap));
    // A field under a wrong number would be an unknown field, which Envoy refuses in static configuration.
    const { stdout, stderr } = await promisify(execFile)(envoyBinary(), [
      '--mode',
      'validate',
      '-c',
      file,
    ]).catch((error: { stdout: string; stderr: string }) => error);
    expect(`${stdout}${stderr}`).toMatch(/configuration '.*' OK/);
  });
});
