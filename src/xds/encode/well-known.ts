import type { Writer } from 'protobufjs';
import { joinPath, kindOf, type Problems } from './problems.ts';

/** Full names of the wrapper messages and the scalar that each wraps in field 1. */
export const WRAPPERS: Readonly<Record<string, string>> = {
  'google.protobuf.BoolValue': 'bool',
  'google.protobuf.BytesValue': 'bytes',
  'google.protobuf.DoubleValue': 'double',
  'google.protobuf.FloatValue': 'float',
  'google.protobuf.Int32Value': 'int32',
  'google.protobuf.Int64Value': 'int64',
  'google.protobuf.StringValue': 'string',
  'google.protobuf.UInt32Value': 'uint32',
  'google.protobuf.UInt64Value': 'uint64',
};

const DURATION = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/;
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d{1,9}))?(?:Z|[+-]\d\d:\d\d)$/;

/** The protobuf-JSON form of a duration: `5s`, `0.25s`, `-1.5s`. */
export function writeDuration(writer: Writer, value: unknown, path: string, problems: Problems): void {
  const parts = typeof value === 'string' ? DURATION.exec(value) : null;
  if (parts === null) {
    problems.add(path, `expected a duration such as "5s" or "0.25s", got ${kindOf(value)}`);
    return;
  }
  const [, sign, whole = '0', fraction = ''] = parts;
  writeSecondsAndNanos(writer, Number(whole), Number(fraction.padEnd(9, '0')), sign === '-' ? -1 : 1);
}

/** The protobuf-JSON form of a point in time: RFC 3339. */
export function writeTimestamp(writer: Writer, value: unknown, path: string, problems: Problems): void {
  const parts = typeof value === 'string' ? TIMESTAMP.exec(value) : null;
  const milliseconds = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (parts === null || Number.isNaN(milliseconds)) {
    problems.add(path, `expected a time such as "2026-01-31T12:00:00Z", got ${kindOf(value)}`);
    return;
  }
  const nanos = Number((parts[1] ?? '').padEnd(9, '0'));
  writeSecondsAndNanos(writer, Math.floor(milliseconds / 1000), nanos, 1);
}

function writeSecondsAndNanos(writer: Writer, seconds: number, nanos: number, sign: 1 | -1): void {
  if (seconds !== 0) writer.uint32(8).int64(seconds * sign);
  if (nanos !== 0) writer.uint32(16).int32(nanos * sign);
}

/** google.protobuf.Struct from a plain JSON object. */
export function writeStruct(writer: Writer, value: unknown, path: string, problems: Problems): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    problems.add(path, `expected a JSON object, got ${kindOf(value)}`);
    return;
  }
  for (const [key, member] of Object.entries(value).sort(byKey)) {
    if (member === undefined) continue;
    writer.uint32(10).fork().uint32(10).string(key).uint32(18).fork();
    writeValue(writer, member, joinPath(path, key), problems);
    writer.ldelim().ldelim();
  }
}

/** google.protobuf.Value from any JSON value. */
export function writeValue(writer: Writer, value: unknown, path: string, problems: Problems): void {
  if (value === null) writer.uint32(8).int32(0);
  else if (typeof value === 'number') writer.uint32(17).double(value);
  else if (typeof value === 'string') writer.uint32(26).string(value);
  else if (typeof value === 'boolean') writer.uint32(32).bool(value);
  else if (Array.isArray(value)) {
    writer.uint32(50).fork();
    writeListValue(writer, value, path, problems);
    writer.ldelim();
  } else {
    writer.uint32(42).fork();
    writeStruct(writer, value, path, problems);
    writer.ldelim();
  }
}

/** google.protobuf.ListValue from a JSON array. */
export function writeListValue(writer: Writer, value: unknown, path: string, problems: Problems): void {
  if (!Array.isArray(value)) {
    problems.add(path, `expected an array, got ${kindOf(value)}`);
    return;
  }
  value.forEach((member: unknown, index) => {
    writer.uint32(10).fork();
    writeValue(writer, member, `${path}[${index}]`, problems);
    writer.ldelim();
  });
}

/** Order of map entries on the wire: the same content always gives the same bytes, and so the same hash. */
export function byKey([left]: readonly [string, unknown], [right]: readonly [string, unknown]): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
