import protobuf, { type Writer } from 'protobufjs';
import { joinPath, kindOf, Problems } from './problems.ts';
import { isDefault, toScalar, WIRE_TYPES, writeScalar } from './scalars.ts';
import { Schema } from './schema.ts';
import {
  byKey,
  WRAPPERS,
  writeDuration,
  writeListValue,
  writeStruct,
  writeTimestamp,
  writeValue,
} from './well-known.ts';

/** A message in protobuf's JSON form with snake-case field names, exactly as in Envoy's YAML documentation. */
export interface TypedJson {
  /** `type.googleapis.com/` and the message's full name. */
  readonly '@type': string;
  readonly [field: string]: unknown;
}

/** google.protobuf.Any. */
export interface EncodedAny {
  readonly type_url: string;
  readonly value: Buffer;
}

const TYPE_URL_PREFIX = 'type.googleapis.com/';
const WELL_KNOWN: Readonly<
  Record<string, (writer: Writer, value: unknown, path: string, problems: Problems) => void>
> = {
  'google.protobuf.Duration': writeDuration,
  'google.protobuf.Timestamp': writeTimestamp,
  'google.protobuf.Struct': writeStruct,
  'google.protobuf.Value': writeValue,
  'google.protobuf.ListValue': writeListValue,
};

/** How a field is written; made once a message type. */
interface FieldPlan {
  readonly name: string;
  readonly id: number;
  readonly scalar: string | undefined;
  readonly enumeration: Readonly<Record<string, number>> | undefined;
  readonly message: protobuf.Type | undefined;
  readonly repeated: boolean;
  readonly mapKey: string | undefined;
  readonly hasPresence: boolean;
}

interface MessagePlan {
  readonly fullName: string;
  /** By field number, the order on the wire. */
  readonly fields: readonly FieldPlan[];
  readonly names: ReadonlySet<string>;
  /** Member names of each real oneof. */
  readonly oneofs: readonly (readonly string[])[];
}

/**
 * Encodes Envoy resources from protobuf JSON, strictly: an unknown field, an unknown enum name, a wrong type
 * or two members of a oneof is an {@link EncodeError} that names every such path, because protobuf libraries
 * would drop most of these in silence. The same content gives the same bytes, whatever the order of its keys.
 */
export class Encoder {
  readonly #schema: Schema;
  readonly #plans = new Map<protobuf.Type, MessagePlan>();

  /** Reads no proto file yet: that happens with the first message of each package. */
  constructor(schema: Schema = new Schema()) {
    this.#schema = schema;
  }

  /** The message as google.protobuf.Any. `path` starts the paths in errors. */
  encodeAny(json: TypedJson, path = ''): EncodedAny {
    const problems = new Problems();
    const encoded = this.#any(json, path, problems);
    problems.throwIfAny();
    if (encoded === undefined) throw new Error('an encoding without problems has a value');
    return encoded;
  }

  /** The bytes of a message of a named type (`envoy.config.bootstrap.v3.Bootstrap`). */
  encodeMessage(fullName: string, json: Readonly<Record<string, unknown>>, path = ''): Buffer {
    const problems = new Problems();
    const writer = protobuf.Writer.create();
    const type = this.#schema.messageType(fullName);
    if (type === undefined) problems.add(path, `no message type ${fullName}`);
    else this.#message(writer, type, json, path, problems);
    problems.throwIfAny();
    return toBuffer(writer);
  }

  #any(json: unknown, path: string, problems: Problems): EncodedAny | undefined {
    if (!isObject(json)) {
      problems.add(path, `expected an object with "@type", got ${kindOf(json)}`);
      return undefined;
    }
    const { '@type': typeUrl, ...fields } = json;
    if (typeof typeUrl !== 'string' || !typeUrl.startsWith(TYPE_URL_PREFIX)) {
      problems.add(joinPath(path, '@type'), `expected "${TYPE_URL_PREFIX}" and a message type`);
      return undefined;
    }
    const type = this.#schema.messageType(typeUrl.slice(TYPE_URL_PREFIX.length));
    if (type === undefined) {
      problems.add(joinPath(path, '@type'), `no message type ${typeUrl}`);
      return undefined;
    }
    const writer = protobuf.Writer.create();
    const fullName = type.fullName.slice(1);
    if (WELL_KNOWN[fullName] !== undefined || WRAPPERS[fullName] !== undefined) {
      // Messages with a JSON form of their own stand under "value" (protobuf JSON mapping, Any).
      const { value, ...others } = fields;
      for (const name of Object.keys(others))
        problems.add(joinPath(path, name), `no such field beside "value"`);
      this.#message(writer, type, value, joinPath(path, 'value'), problems);
    } else this.#message(writer, type, fields, path, problems);
    return { type_url: typeUrl, value: toBuffer(writer) };
  }

  #message(writer: Writer, type: protobuf.Type, json: unknown, path: string, problems: Problems): void {
    const fullName = type.fullName.slice(1);
    const wellKnown = WELL_KNOWN[fullName];
    if (wellKnown !== undefined) return wellKnown(writer, json, path, problems);
    const wrapped = WRAPPERS[fullName];
    if (wrapped !== undefined) {
      const scalar = toScalar(wrapped, json);
      if ('problem' in scalar) problems.add(path, scalar.problem);
      else if (!isDefault(scalar.value, wrapped)) {
        writer.uint32(tag(1, WIRE_TYPES[wrapped] ?? 2));
        writeScalar(writer, wrapped, scalar.value);
      }
      return;
    }
    if (fullName === 'google.protobuf.Any') {
      const any = this.#any(json, path, problems);
      if (any !== undefined) writer.uint32(10).string(any.type_url).uint32(18).bytes(any.value);
      return;
    }
    if (!isObject(json)) {
      problems.add(path, `expected an object (${fullName}), got ${kindOf(json)}`);
      return;
    }
    const plan = this.#planOf(type);
    for (const name of Object.keys(json)) {
      if (!plan.names.has(name)) problems.add(joinPath(path, name), `no such field in ${plan.fullName}`);
    }
    for (const members of plan.oneofs) {
      const set = members.filter((name) => json[name] !== undefined);
      if (set.length > 1) problems.add(path, `only one of ${set.join(', ')} may be set`);
    }
    for (const field of plan.fields) {
      const value = json[field.name];
      if (value !== undefined) this.#field(writer, field, value, joinPath(path, field.name), problems);
    }
  }

  #field(writer: Writer, field: FieldPlan, value: unknown, path: string, problems: Problems): void {
    if (field.mapKey !== undefined) {
      this.#map(writer, field, field.mapKey, value, path, problems);
    } else if (field.repeated) {
      if (Array.isArray(value)) this.#repeated(writer, field, value, path, problems);
      else problems.add(path, `expected an array, got ${kindOf(value)}`);
    } else this.#single(writer, field, field.id, field.hasPresence, value, path, problems);
  }

  #map(
    writer: Writer,
    field: FieldPlan,
    keyType: string,
    value: unknown,
    path: string,
    problems: Problems,
  ): void {
    if (!isObject(value)) {
      problems.add(path, `expected an object (a map), got ${kindOf(value)}`);
      return;
    }
    for (const [name, member] of Object.entries(value).sort(byKey)) {
      const memberPath = `${path}[${JSON.stringify(name)}]`;
      const key = toScalar(
        keyType,
        keyType === 'string' ? name : keyType === 'bool' ? name === 'true' : Number(name),
      );
      if ('problem' in key) {
        problems.add(memberPath, `key: ${key.problem}`);
        continue;
      }
      writer.uint32(tag(field.id, 2)).fork();
      writer.uint32(tag(1, WIRE_TYPES[keyType] ?? 2));
      writeScalar(writer, keyType, key.value);
      this.#single(writer, field, 2, true, member, memberPath, problems);
      writer.ldelim();
    }
  }

  #repeated(
    writer: Writer,
    field: FieldPlan,
    values: readonly unknown[],
    path: string,
    problems: Problems,
  ): void {
    // One tag a member, also for numbers: every parser takes the unpacked form, too.
    values.forEach((value, index) => {
      this.#single(writer, field, field.id, true, value, `${path}[${index}]`, problems);
    });
  }

  #single(
    writer: Writer,
    field: FieldPlan,
    id: number,
    hasPresence: boolean,
    value: unknown,
    path: string,
    problems: Problems,
  ): void {
    if (field.message !== undefined) {
      writer.uint32(tag(id, 2)).fork();
      this.#message(writer, field.message, value, path, problems);
      writer.ldelim();
    } else if (field.enumeration !== undefined) {
      const number = typeof value === 'string' ? field.enumeration[value] : undefined;
      if (number === undefined) {
        problems.add(path, `expected one of ${Object.keys(field.enumeration).join(', ')}`);
      } else if (number !== 0 || hasPresence) writer.uint32(tag(id, 0)).int32(number);
    } else if (field.scalar !== undefined) {
      const scalar = toScalar(field.scalar, value);
      if ('problem' in scalar) problems.add(path, scalar.problem);
      else if (hasPresence || !isDefault(scalar.value, field.scalar)) {
        writer.uint32(tag(id, WIRE_TYPES[field.scalar] ?? 2));
        writeScalar(writer, field.scalar, scalar.value);
      }
    }
  }

  #planOf(type: protobuf.Type): MessagePlan {
    const known = this.#plans.get(type);
    if (known !== undefined) return known;
    const fields = [...type.fieldsArray].sort((left, right) => left.id - right.id).map(planField);
    const plan: MessagePlan = {
      fullName: type.fullName.slice(1),
      fields,
      names: new Set(fields.map((field) => field.name)),
      oneofs: type.oneofsArray.filter((oneof) => oneof.oneof.length > 1).map((oneof) => oneof.oneof),
    };
    this.#plans.set(type, plan);
    return plan;
  }
}

function planField(field: protobuf.Field): FieldPlan {
  field.resolve();
  const { resolvedType } = field;
  return {
    name: field.name,
    id: field.id,
    scalar: resolvedType === null ? field.type : undefined,
    enumeration: resolvedType instanceof protobuf.Enum ? resolvedType.values : undefined,
    message: resolvedType instanceof protobuf.Type ? resolvedType : undefined,
    repeated: field.repeated,
    mapKey: field instanceof protobuf.MapField ? field.keyType : undefined,
    hasPresence: field.partOf !== null,
  };
}

function tag(id: number, wireType: number): number {
  return ((id << 3) | wireType) >>> 0;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

function toBuffer(writer: Writer): Buffer {
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
