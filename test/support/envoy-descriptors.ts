import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import protobuf from 'protobufjs';

/** A field as the Envoy binary knows it. */
export interface BinaryField {
  readonly name: string;
  readonly number: number;
  /** Full name of the message or enum, or the scalar's name: `uint32`, `bytes` … */
  readonly type: string;
  readonly repeated: boolean;
  readonly oneof: string | undefined;
}

/** What one proto file inside the binary defines; keys are full names such as `envoy.config.route.v3.RetryPolicy`. */
export interface BinaryFile {
  readonly messages: ReadonlyMap<string, ReadonlyMap<string, BinaryField>>;
  readonly enums: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly package: string;
}

interface DescriptorField {
  name: string;
  number: number;
  label: number;
  type: number;
  typeName?: string;
  oneofIndex?: number;
  proto3Optional?: boolean;
}
interface DescriptorEnum {
  name: string;
  value?: { name: string; number: number }[];
}
interface DescriptorMessage {
  name: string;
  field?: DescriptorField[];
  nestedType?: DescriptorMessage[];
  enumType?: DescriptorEnum[];
  oneofDecl?: { name: string }[];
}
interface DescriptorFile {
  package?: string;
  messageType?: DescriptorMessage[];
  enumType?: DescriptorEnum[];
}

/** FieldDescriptorProto.Type by number; messages, groups and enums are named by `type_name`. */
const SCALARS: Readonly<Record<number, string>> = {
  1: 'double',
  2: 'float',
  3: 'int64',
  4: 'uint64',
  5: 'int32',
  6: 'fixed64',
  7: 'fixed32',
  8: 'bool',
  9: 'string',
  12: 'bytes',
  13: 'uint32',
  15: 'sfixed32',
  16: 'sfixed64',
  17: 'sint32',
  18: 'sint64',
};
const REPEATED = 3;
const LENGTH_DELIMITED_FILE_FIELDS = new Set([1, 2, 3, 4, 5, 6, 7, 8, 9, 12]);
const VARINT_FILE_FIELDS = new Set([10, 11, 14]);

/**
 * Reads the protobuf descriptors that are compiled into an Envoy binary: the truth about which messages and
 * field numbers this very Envoy understands. The binary is read once (about 110 MB).
 */
export class EnvoyDescriptors {
  readonly #binary: Buffer;
  readonly #fileDescriptor: protobuf.Type;

  constructor(envoyPath: string) {
    this.#binary = readFileSync(envoyPath);
    const descriptor: protobuf.INamespace = createRequire(import.meta.url)(
      'protobufjs/google/protobuf/descriptor.json',
    );
    this.#fileDescriptor = protobuf.Root.fromJSON(descriptor).lookupType(
      'google.protobuf.FileDescriptorProto',
    );
  }

  /** The file by its import path, or undefined where the binary does not have it. */
  file(path: string): BinaryFile | undefined {
    const bytes = this.#bytesOf(path);
    if (bytes === undefined) return undefined;
    const decoded = this.#fileDescriptor.decode(bytes);
    const file: DescriptorFile = this.#fileDescriptor.toObject(decoded, { defaults: false, enums: Number });
    const messages = new Map<string, Map<string, BinaryField>>();
    const enums = new Map<string, Map<string, number>>();
    const scope = file.package ?? '';
    for (const message of file.messageType ?? []) collect(message, scope, messages, enums);
    for (const definition of file.enumType ?? []) collectEnum(definition, scope, enums);
    return { messages, enums, package: scope };
  }

  #bytesOf(path: string): Buffer | undefined {
    const name = Buffer.from(path);
    const start = this.#binary.indexOf(Buffer.concat([Buffer.from([0x0a, name.length]), name]));
    if (start < 0) return undefined;
    let end = start;
    for (;;) {
      const [tag, afterTag] = this.#varint(end);
      const field = tag >>> 3;
      const wire = tag & 7;
      if (wire === 2 && LENGTH_DELIMITED_FILE_FIELDS.has(field)) {
        // Field 1 is the file's name: met again, it starts the next descriptor.
        if (field === 1 && end !== start) break;
        const [size, afterSize] = this.#varint(afterTag);
        end = afterSize + size;
      } else if (wire === 0 && VARINT_FILE_FIELDS.has(field)) {
        end = this.#varint(afterTag)[1];
      } else break;
    }
    return this.#binary.subarray(start, end);
  }

  #varint(offset: number): [value: number, next: number] {
    let value = 0;
    let scale = 1;
    for (let at = offset; ; at++) {
      const byte = this.#binary[at] ?? 0;
      value += (byte & 127) * scale;
      scale *= 128;
      if (byte < 128) return [value, at + 1];
    }
  }
}

function collect(
  message: DescriptorMessage,
  scope: string,
  messages: Map<string, Map<string, BinaryField>>,
  enums: Map<string, Map<string, number>>,
): void {
  const fullName = `${scope}.${message.name}`;
  const fields = new Map<string, BinaryField>();
  for (const field of message.field ?? []) {
    const inOneof = field.oneofIndex !== undefined && field.proto3Optional !== true;
    fields.set(field.name, {
      name: field.name,
      number: field.number,
      type: field.typeName?.replace(/^\./, '') ?? SCALARS[field.type] ?? `type ${field.type}`,
      repeated: field.label === REPEATED,
      oneof: inOneof ? message.oneofDecl?.[field.oneofIndex ?? 0]?.name : undefined,
    });
  }
  messages.set(fullName, fields);
  for (const nested of message.nestedType ?? []) collect(nested, fullName, messages, enums);
  for (const definition of message.enumType ?? []) collectEnum(definition, fullName, enums);
}

function collectEnum(
  definition: DescriptorEnum,
  scope: string,
  enums: Map<string, Map<string, number>>,
): void {
  enums.set(
    `${scope}.${definition.name}`,
    new Map((definition.value ?? []).map((value) => [value.name, value.number])),
  );
}
