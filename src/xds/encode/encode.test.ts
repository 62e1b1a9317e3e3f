import protobuf from 'protobufjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { Encoder, type TypedJson } from './encode.ts';
import { EncodeError } from './problems.ts';
import { Schema } from './schema.ts';

const TYPE = 'type.googleapis.com/';
const LISTENER = `${TYPE}envoy.config.listener.v3.Listener`;
const CLUSTER = `${TYPE}envoy.config.cluster.v3.Cluster`;

let schema: Schema;
let encoder: Encoder;
beforeAll(() => {
  schema = new Schema();
  encoder = new Encoder(schema);
});

/** What protobufjs, which shares no code with the encoder, reads out of the bytes. */
function decode(fullName: string, bytes: Uint8Array): Record<string, unknown> {
  const type = schema.messageType(fullName);
  if (type === undefined) throw new Error(`no type ${fullName}`);
  return type.toObject(type.decode(bytes), { enums: String, longs: Number, bytes: String });
}

function encodeAndDecode(fullName: string, json: Record<string, unknown>): Record<string, unknown> {
  return decode(fullName, encoder.encodeMessage(fullName, json));
}

function problemsOf(json: TypedJson, path = ''): readonly string[] {
  try {
    encoder.encodeAny(json, path);
  } catch (error) {
    if (error instanceof EncodeError) return error.problems.map((each) => `${each.path}: ${each.message}`);
    throw error;
  }
  return [];
}

describe('values', () => {
  test.each([
    ['5s', { seconds: 5 }],
    ['0.25s', { nanos: 250_000_000 }],
    ['-1.5s', { seconds: -1, nanos: -500_000_000 }],
    ['0s', {}],
    ['3600.000000001s', { seconds: 3600, nanos: 1 }],
  ])('duration %s', (text, expected) => {
    expect(encodeAndDecode('envoy.config.cluster.v3.Cluster', { connect_timeout: text })).toEqual({
      connect_timeout: expected,
    });
  });

  test('wrappers, enums, maps, repeated messages and scalars, nested messages', () => {
    expect(
      encodeAndDecode('envoy.config.cluster.v3.Cluster', {
        name: 'a',
        type: 'STRICT_DNS',
        per_connection_buffer_limit_bytes: 0,
        dns_lookup_family: 'V4_ONLY',
        typed_extension_protocol_options: { b: { '@type': `${TYPE}google.protobuf.Empty` } },
        circuit_breakers: { thresholds: [{ max_retries: 7, track_remaining: true }] },
      }),
    ).toEqual({
      name: 'a',
      type: 'STRICT_DNS',
      per_connection_buffer_limit_bytes: {},
      dns_lookup_family: 'V4_ONLY',
      typed_extension_protocol_options: { b: { type_url: `${TYPE}google.protobuf.Empty`, value: '' } },
      circuit_breakers: { thresholds: [{ max_retries: { value: 7 }, track_remaining: true }] },
    });
  });

  test('repeated numbers and enums', () => {
    expect(
      encodeAndDecode('envoy.config.route.v3.RetryPolicy', { retriable_status_codes: [429, 503] }),
    ).toEqual({
      retriable_status_codes: [429, 503],
    });
    expect(
      encodeAndDecode('envoy.extensions.transport_sockets.tls.v3.TlsParameters', {
        compliance_policies: ['FIPS_202205', 'CNSA1_202603'],
      }),
    ).toEqual({ compliance_policies: ['FIPS_202205', 'CNSA1_202603'] });
  });

  test('a member of a oneof is written even with its default value', () => {
    expect(encodeAndDecode('envoy.config.core.v3.SocketAddress', { address: 'x', port_value: 0 })).toEqual({
      address: 'x',
      port_value: 0,
    });
    expect(encodeAndDecode('envoy.config.core.v3.DataSource', { inline_string: '' })).toEqual({
      inline_string: '',
    });
  });

  test('bytes from base64 text and from a buffer', () => {
    const expected = { inline_bytes: Buffer.from('héllo').toString('base64') };
    const type = 'envoy.config.core.v3.DataSource';
    expect(encodeAndDecode(type, { inline_bytes: Buffer.from('héllo') })).toEqual(expected);
    expect(encodeAndDecode(type, expected)).toEqual(expected);
  });

  test('64-bit integers beyond 2^53 as text', () => {
    const decoded = encodeAndDecode('envoy.type.v3.Int64Range', { start: '-9007199254740993', end: 5 });
    expect(decoded).toEqual({ start: -9007199254740992, end: 5 });
  });

  test('JSON in google.protobuf.Struct', () => {
    const json = {
      text: 'x',
      number: 1.5,
      yes: true,
      nothing: null,
      list: [1, 'a', [{}]],
      deep: { a: { b: 0 } },
    };
    const { filter_metadata: metadata } = encodeAndDecode('envoy.config.core.v3.Metadata', {
      filter_metadata: { limen: json },
    });
    expect(metadata).toEqual({
      limen: {
        fields: {
          text: { stringValue: 'x' },
          number: { numberValue: 1.5 },
          yes: { boolValue: true },
          nothing: { nullValue: 'NULL_VALUE' },
          list: {
            listValue: {
              values: [
                { numberValue: 1 },
                { stringValue: 'a' },
                { listValue: { values: [{ structValue: {} }] } },
              ],
            },
          },
          deep: {
            structValue: {
              fields: { a: { structValue: { fields: { b: { numberValue: 0 } } } } },
            },
          },
        },
      },
    });
  });

  test('google.protobuf.Any inside, and well-known types inside an Any', () => {
    const { value } = encoder.encodeAny({
      '@type': `${TYPE}envoy.config.core.v3.TypedExtensionConfig`,
      name: 'x',
      typed_config: { '@type': `${TYPE}google.protobuf.Duration`, value: '2s' },
    });
    const decoded = decode('envoy.config.core.v3.TypedExtensionConfig', value);
    expect(decoded).toEqual({
      name: 'x',
      typed_config: {
        type_url: `${TYPE}google.protobuf.Duration`,
        value: Buffer.from(protobuf.Writer.create().uint32(8).int64(2).finish()).toString('base64'),
      },
    });
  });

  test('the same content in another order gives the same bytes', () => {
    const one = encoder.encodeAny({
      '@type': CLUSTER,
      name: 'a',
      connect_timeout: '1s',
      metadata: { filter_metadata: { a: { x: 1, y: 2 }, b: {} } },
    });
    const other = encoder.encodeAny({
      metadata: { filter_metadata: { b: {}, a: { y: 2, x: 1 } } },
      connect_timeout: '1s',
      name: 'a',
      '@type': CLUSTER,
    });
    expect(other).toEqual(one);
  });

  test('what is undefined is left out', () => {
    expect(encoder.encodeAny({ '@type': CLUSTER, name: 'a', type: undefined }).value).toEqual(
      encoder.encodeAny({ '@type': CLUSTER, name: 'a' }).value,
    );
  });
});

describe('faults', () => {
  test('every one is named by its path, none by its value', () => {
    expect(
      problemsOf(
        {
          '@type': LISTENER,
          nam: 'secret-value',
          name: 5,
          traffic_direction: 'secret-value',
          address: {
            pipe: { path: 'x' },
            socket_address: { address: 'x', port_value: -1 },
          },
          per_connection_buffer_limit_bytes: 'secret-value',
          listener_filters_timeout: 'secret-value',
          metadata: { filter_metadata: { limen: [] } },
          filter_chains: [
            {},
            { filters: [{ name: 'a', typed_config: { '@type': `${TYPE}secret.v3.Value` } }] },
            { filters: [{ typed_config: { '@type': CLUSTER, nope: 1, name: null } }] },
            { filters: {} },
            'secret-value',
          ],
        },
        'listeners.main',
      ).toSorted(),
    ).toEqual(
      [
        'listeners.main.nam: no such field in envoy.config.listener.v3.Listener',
        'listeners.main.name: expected a string, got a number',
        'listeners.main.traffic_direction: expected one of UNSPECIFIED, INBOUND, OUTBOUND',
        'listeners.main.address: only one of socket_address, pipe may be set',
        'listeners.main.address.socket_address.port_value: expected uint32, from 0 to 4294967295',
        'listeners.main.per_connection_buffer_limit_bytes: expected an integer, got a string',
        'listeners.main.listener_filters_timeout: expected a duration such as "5s" or "0.25s", got a string',
        'listeners.main.metadata.filter_metadata["limen"]: expected a JSON object, got an array',
        `listeners.main.filter_chains[1].filters[0].typed_config["@type"]: no message type ${TYPE}secret.v3.Value`,
        'listeners.main.filter_chains[2].filters[0].typed_config.name: expected a string, got null',
        'listeners.main.filter_chains[2].filters[0].typed_config.nope: no such field in envoy.config.cluster.v3.Cluster',
        'listeners.main.filter_chains[3].filters: expected an array, got an object',
        'listeners.main.filter_chains[4]: expected an object (envoy.config.listener.v3.FilterChain), got a string',
      ].toSorted(),
    );
  });

  test.each([
    ['no type', {}, '["@type"]: expected "type.googleapis.com/" and a message type'],
    ['a type without prefix', { '@type': 'envoy.config.cluster.v3.Cluster' }, '["@type"]: expected'],
    ['a path in a type', { '@type': `${TYPE}../../x.Y` }, '["@type"]: no message type'],
    ['a package as type', { '@type': `${TYPE}envoy.config.cluster.v3` }, '["@type"]: no message type'],
  ])('%s', (_, json, message) => {
    // The type system asks for '@type'; what comes from elsewhere may lack it.
    expect(() => encoder.encodeAny(JSON.parse(JSON.stringify(json)))).toThrow(message);
  });

  test('a number where a fraction has no place, and base64 that is none', () => {
    expect(problemsOf({ '@type': CLUSTER, per_connection_buffer_limit_bytes: 1.5 })).toHaveLength(1);
    expect(
      problemsOf({ '@type': `${TYPE}envoy.config.core.v3.DataSource`, inline_bytes: 'not base64!' }),
    ).toEqual(['inline_bytes: expected base64 text']);
  });
});

test('the types of a gateway are read in well under the time that a start may take', () => {
  const start = process.cpuUsage();
  const fresh = new Encoder();
  fresh.encodeAny({ '@type': LISTENER, name: 'l' });
  fresh.encodeAny({
    '@type': `${TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
  });
  fresh.encodeAny({ '@type': CLUSTER, name: 'c' });
  const milliseconds = process.cpuUsage(start).user / 1000;
  process.stdout.write(`types of listener, connection manager and cluster: ${milliseconds.toFixed(0)} ms\n`);
  // About 100 ms on a quiet machine; the limit leaves room for a busy one.
  expect(milliseconds).toBeLessThan(2000);
});
