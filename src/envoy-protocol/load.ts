import { join } from 'node:path';
import protobuf from 'protobufjs';

/** Turns raw message bytes into a message and back. `bytes` fields are views into the bytes, not copies. */
export interface Codec<Message> {
  /** Throws where the bytes are not protobuf. */
  decode(bytes: Uint8Array): Message;
  encode(message: Message): Buffer;
}

const PROTO_FOLDER = join(import.meta.dirname, '../../proto/limen');
const EMPTY = Buffer.alloc(0);

/** The messages of some files of proto/limen, field names in camel case. */
export class ProtocolFiles {
  readonly #root = new protobuf.Root();

  /** Reads and parses the files: a few milliseconds each. */
  constructor(...names: readonly string[]) {
    this.#root.loadSync(names.map((name) => join(PROTO_FOLDER, name)));
    defaultBytesToEmptyBuffers(this.#root);
  }

  /**
   * The codec of a message, compiled now rather than with the first message. protobufjs knows shapes only at
   * run time: `Message` is what the caller states about the file, and tests hold both together.
   */
  codec<Message extends object>(fullName: string): Codec<Message> {
    const type = this.#root.lookupType(fullName).setup();
    const isMessage = (value: unknown): value is Message => value instanceof type.ctor;
    return {
      decode(bytes) {
        const message: unknown = type.decode(bytes);
        if (!isMessage(message)) throw new TypeError(`expected a ${fullName}`);
        return message;
      },
      encode(message) {
        const bytes = type.encode(message).finish();
        return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      },
    };
  }
}

/** protobufjs gives an absent `bytes` field an empty array as default, on which Buffer methods fail. */
function defaultBytesToEmptyBuffers(namespace: protobuf.NamespaceBase): void {
  for (const nested of namespace.nestedArray) {
    if (nested instanceof protobuf.Type) {
      for (const field of nested.fieldsArray) {
        field.resolve();
        if (field.bytes && !field.repeated) Object.assign(nested.ctor.prototype, { [field.name]: EMPTY });
      }
    }
    if (nested instanceof protobuf.Namespace) defaultBytesToEmptyBuffers(nested);
  }
}
