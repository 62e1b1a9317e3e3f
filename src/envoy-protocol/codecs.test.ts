import { describe, expect, test } from 'vitest';
import { loadProcessorProtocol } from './codecs.ts';
import { durationMilliseconds, headerText, jsonToStruct, structToJson, toNumber } from './values.ts';

const protocol = loadProcessorProtocol();

describe('ext_proc messages', () => {
  test('a body message without a body has an empty Buffer, not an array', () => {
    // request_body { end_of_stream: true }
    const message = protocol.processingRequest.decode(Buffer.from([0x22, 0x02, 0x10, 0x01]));
    expect(message.request).toBe('requestBody');
    expect(message.requestBody?.endOfStream).toBe(true);
    expect(Buffer.isBuffer(message.requestBody?.body)).toBe(true);
    expect(message.requestBody?.body).toHaveLength(0);
    expect(message.requestHeaders).toBeNull();
    expect(message.metadataContext).toBeNull();
    expect(message.attributes).toEqual({});
  });

  test('a body is a view into the message', () => {
    const bytes = Buffer.from([0x22, 0x05, 0x0a, 0x03, 0x61, 0x62, 0x63]);
    const { requestBody } = protocol.processingRequest.decode(bytes);
    expect(requestBody?.body.toString()).toBe('abc');
    expect(requestBody?.body.buffer).toBe(bytes.buffer);
  });

  test('headers come as raw bytes or as text', () => {
    const header = { key: 'x', value: '', rawValue: Buffer.from([0x63, 0x61, 0x66, 0xe9]) };
    expect(headerText(header)).toBe('café');
    expect(headerText({ key: 'x', value: 'plain', rawValue: Buffer.alloc(0) })).toBe('plain');
  });

  test('what Envoy sends and this file does not declare is skipped', () => {
    // observability_mode (10) and protocol_config (11) beside an empty header message.
    const bytes = Buffer.from([0x12, 0x00, 0x50, 0x01, 0x5a, 0x02, 0x08, 0x04]);
    const message = protocol.processingRequest.decode(bytes);
    expect(message.request).toBe('requestHeaders');
    expect(message.requestHeaders?.headers).toBeNull();
  });

  test('an answer is encoded as Envoy reads it', () => {
    const bytes = protocol.processingResponse.encode({
      requestBody: {
        response: { bodyMutation: { streamedResponse: { body: Buffer.from('hi'), endOfStream: true } } },
      },
    });
    expect(bytes.toString('hex')).toBe('1a0c0a0a1a081a060a0268691001');
  });

  test('bytes that are no message throw', () => {
    expect(() => protocol.processingRequest.decode(Buffer.from([0x22, 0x7f]))).toThrow();
  });
});

describe('values', () => {
  test('JSON survives google.protobuf.Struct', () => {
    const json = {
      id: 'r1',
      n: 1.5,
      zero: 0,
      no: false,
      none: null,
      empty: '',
      list: [1, ['x'], {}],
      deep: { a: 'b' },
    };
    const encoded = protocol.processingResponse.encode({ dynamicMetadata: jsonToStruct(json) });
    const { dynamicMetadata } = protocol.processingResponse.decode(encoded);
    expect(dynamicMetadata).toBeDefined();
    expect({ ...structToJson(dynamicMetadata ?? { fields: {} }), deep: { a: 'b' } }).toEqual(json);
  });

  test('a member named __proto__ is a member', () => {
    const json = JSON.parse('{"__proto__": {"admin": "yes"}}');
    const back = structToJson(jsonToStruct(json));
    expect(Object.keys(back)).toEqual(['__proto__']);
    expect(Reflect.get({}, 'admin')).toBeUndefined();
  });

  test('durations and 64-bit integers are numbers', () => {
    expect(durationMilliseconds({ seconds: 1, nanos: 500_000 })).toBe(1000.5);
    expect(durationMilliseconds(null)).toBeUndefined();
    expect(toNumber({ toNumber: () => 7 })).toBe(7);
    // value: 2^40, as a varint in field 1
    const usage = protocol.tokenUsage.decode(
      Buffer.from([0x1a, 0x07, 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]),
    );
    expect(toNumber(usage.inputTokens?.value ?? 0)).toBe(2 ** 40);
    expect(usage.outputTokens).toBeNull();
  });
});
