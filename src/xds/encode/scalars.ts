import type { Writer } from 'protobufjs';
import { kindOf } from './problems.ts';

/** A scalar as it goes to the writer, or what is wrong with it. */
export type Scalar =
  { readonly value: boolean | number | string | Uint8Array } | { readonly problem: string };

const INTEGER_RANGES: Readonly<Record<string, readonly [minimum: bigint, maximum: bigint]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  sint32: [-(2n ** 31n), 2n ** 31n - 1n],
  sfixed32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  fixed32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  sint64: [-(2n ** 63n), 2n ** 63n - 1n],
  sfixed64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  fixed64: [0n, 2n ** 64n - 1n],
};
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;

/** Wire types of the scalar protobuf types (protobuf encoding, "Message structure"). */
export const WIRE_TYPES: Readonly<Record<string, 0 | 1 | 2 | 5>> = {
  int32: 0,
  sint32: 0,
  uint32: 0,
  int64: 0,
  sint64: 0,
  uint64: 0,
  bool: 0,
  fixed64: 1,
  sfixed64: 1,
  double: 1,
  string: 2,
  bytes: 2,
  fixed32: 5,
  sfixed32: 5,
  float: 5,
};

/** Checks a JSON value against a scalar type: integers in range, bytes as base64 text or as bytes. */
export function toScalar(type: string, value: unknown): Scalar {
  const range = INTEGER_RANGES[type];
  if (range !== undefined) return toInteger(type, range, value);
  switch (type) {
    case 'bool':
      return typeof value === 'boolean' ? { value } : expected('true or false', value);
    case 'string':
      return typeof value === 'string' ? { value } : expected('a string', value);
    case 'bytes':
      if (value instanceof Uint8Array) return { value };
      if (typeof value !== 'string') return expected('bytes or base64 text', value);
      if (!BASE64.test(value)) return { problem: 'expected base64 text' };
      return { value: Buffer.from(value, 'base64') };
    default:
      if (typeof value === 'number') return { value };
      if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return { value: Number(value) };
      return expected('a number', value);
  }
}

function toInteger(type: string, [minimum, maximum]: readonly [bigint, bigint], value: unknown): Scalar {
  let integer: bigint;
  if (typeof value === 'number' && Number.isSafeInteger(value)) integer = BigInt(value);
  else if (typeof value === 'bigint') integer = value;
  else if (typeof value === 'string' && type.endsWith('64') && /^-?\d{1,20}$/.test(value))
    integer = BigInt(value);
  else return expected('an integer', value);
  if (integer < minimum || integer > maximum) {
    return { problem: `expected ${type}, from ${minimum} to ${maximum}` };
  }
  return { value: type.endsWith('64') ? integer.toString() : Number(integer) };
}

function expected(what: string, value: unknown): Scalar {
  return { problem: `expected ${what}, got ${kindOf(value)}` };
}

/** Whether proto3 leaves the value out where the field has no presence. */
export function isDefault(value: boolean | number | string | Uint8Array, type: string): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  if (value === '0') return type.endsWith('64');
  return value === false || value === '' || Object.is(value, 0);
}

/** Writes a scalar that {@link toScalar} has accepted. */
export function writeScalar(
  writer: Writer,
  type: string,
  value: boolean | number | string | Uint8Array,
): void {
  if (typeof value === 'boolean') writer.bool(value);
  else if (value instanceof Uint8Array) writer.bytes(value);
  else if (typeof value === 'string') {
    if (type === 'int64') writer.int64(value);
    else if (type === 'uint64') writer.uint64(value);
    else if (type === 'sint64') writer.sint64(value);
    else if (type === 'fixed64') writer.fixed64(value);
    else if (type === 'sfixed64') writer.sfixed64(value);
    else writer.string(value);
  } else if (type === 'int32') writer.int32(value);
  else if (type === 'uint32') writer.uint32(value);
  else if (type === 'sint32') writer.sint32(value);
  else if (type === 'fixed32') writer.fixed32(value);
  else if (type === 'sfixed32') writer.sfixed32(value);
  else if (type === 'float') writer.float(value);
  else writer.double(value);
}
