/**
 * As much of envoy.service.ext_proc.v3 as an ext_proc needs that does nothing, read and written by hand: the
 * floor must not pay for decoding fields that nobody asks for. Field numbers are those of Envoy 1.40.
 */

/** ProcessingRequest.request_headers and .request_body; HttpHeaders.end_of_stream; HttpBody's fields. */
const REQUEST_HEADERS = 2;
const REQUEST_BODY = 4;
const HEADERS_END_OF_STREAM = 3;
const BODY_BYTES = 1;
const BODY_END_OF_STREAM = 2;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

export interface FloorRequest {
  readonly kind: 'headers' | 'body' | 'other';
  readonly body: Buffer;
  readonly endOfStream: boolean;
}

const EMPTY = Buffer.alloc(0);

/** One field of a message: the payload's bounds, or the value of a varint. */
interface Field {
  readonly number: number;
  readonly start: number;
  readonly end: number;
  readonly value: number;
}

function readVarint(bytes: Buffer, at: number): { value: number; next: number } {
  let value = 0;
  let factor = 1;
  let next = at;
  for (;;) {
    const byte = bytes[next] ?? 0;
    next += 1;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, next };
    factor *= 128;
  }
}

function* fieldsOf(bytes: Buffer, from: number, to: number): Generator<Field> {
  let at = from;
  while (at < to) {
    const tag = readVarint(bytes, at);
    const number = Math.floor(tag.value / 8);
    const type = tag.value % 8;
    if (type === VARINT) {
      const { value, next } = readVarint(bytes, tag.next);
      yield { number, start: tag.next, end: next, value };
      at = next;
    } else if (type === LENGTH_DELIMITED) {
      const { value, next } = readVarint(bytes, tag.next);
      yield { number, start: next, end: next + value, value: 0 };
      at = next + value;
    } else if (type === FIXED64 || type === FIXED32) at = tag.next + (type === FIXED64 ? 8 : 4);
    else throw new Error(`Wire type ${type} is not used by Envoy.`);
  }
}

/** Reads what kind of message it is, and of a body its bytes (a view, not a copy). */
export function readRequest(message: Buffer): FloorRequest {
  for (const field of fieldsOf(message, 0, message.length)) {
    if (field.number === REQUEST_HEADERS) {
      let endOfStream = false;
      for (const inner of fieldsOf(message, field.start, field.end)) {
        if (inner.number === HEADERS_END_OF_STREAM) endOfStream = inner.value === 1;
      }
      return { kind: 'headers', body: EMPTY, endOfStream };
    }
    if (field.number === REQUEST_BODY) {
      let endOfStream = false;
      let body: Buffer = EMPTY;
      for (const inner of fieldsOf(message, field.start, field.end)) {
        if (inner.number === BODY_BYTES) body = message.subarray(inner.start, inner.end);
        else if (inner.number === BODY_END_OF_STREAM) endOfStream = inner.value === 1;
      }
      return { kind: 'body', body, endOfStream };
    }
  }
  return { kind: 'other', body: EMPTY, endOfStream: false };
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  while (left >= 0x80) {
    bytes.push((left % 128) | 0x80);
    left = Math.floor(left / 128);
  }
  bytes.push(left);
  return bytes;
}

/** Tag and length of a length-delimited field. */
function opening(number: number, length: number): number[] {
  return [number * 8 + LENGTH_DELIMITED, ...varint(length)];
}

/** ProcessingResponse.request_headers = 1 with an empty CommonResponse. */
const HEADERS_RESPONSE = Buffer.from([...opening(1, 2), ...opening(1, 0)]);

/** The headers go on as they are. */
export function headersResponse(): Buffer {
  return HEADERS_RESPONSE;
}

/**
 * The whole body, as the one and last piece: ProcessingResponse.request_body = 3, BodyResponse.response = 1,
 * CommonResponse.body_mutation = 3, BodyMutation.streamed_response = 3, StreamedBodyResponse.body = 1 and
 * .end_of_stream = 2.
 */
export function streamedBodyResponse(body: Buffer): Buffer {
  const bodyField = opening(1, body.length);
  const endField = [2 * 8 + VARINT, 1];
  const streamed = bodyField.length + body.length + endField.length;
  const mutation = opening(3, streamed);
  const common = opening(3, mutation.length + streamed);
  const response = opening(1, common.length + mutation.length + streamed);
  const outer = opening(3, response.length + common.length + mutation.length + streamed);
  const head = Buffer.from([...outer, ...response, ...common, ...mutation, ...bodyField]);
  return Buffer.concat([head, body, Buffer.from(endField)]);
}
