import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';
import protobuf from 'protobufjs';

/** Proto files of our own: whole files that npm lacks, and amendments to files that npm has in an older state. */
const OWN_PROTO_FOLDER = join(import.meta.dirname, '../../../proto');
const AMENDMENTS_FOLDER = join(OWN_PROTO_FOLDER, 'amendments');

/** Files that only define options (validation rules, annotations): without meaning on the wire, so never read. */
const OPTION_FILES = /^(validate\/|(envoy|udpa|xds)\/annotations\/|google\/api\/)/;

const TYPE_NAME = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.[A-Z][A-Za-z0-9]*)+$/;

/**
 * The protobuf types of Envoy's API, read from `.proto` files when they are first asked for.
 *
 * A type's file is found by its package, because Envoy's folders follow its packages:
 * `envoy.config.listener.v3.Listener` is in some file of `envoy/config/listener/v3/`. Folders are searched in
 * this order: our `proto/`, then what `@grpc/grpc-js-xds` carries. A file at the same path in
 * `proto/amendments/` adds the fields, messages and enum values that the carried copy is too old to have.
 */
export class Schema {
  readonly #root = new protobuf.Root();
  readonly #folders: readonly string[];
  readonly #loadedPackages = new Set<string>();
  readonly #amendments: Set<string>;

  constructor() {
    const carried = join(
      dirname(createRequire(import.meta.url).resolve('@grpc/grpc-js-xds/package.json')),
      'deps',
    );
    this.#folders = [
      OWN_PROTO_FOLDER,
      join(carried, 'envoy-api'),
      join(carried, 'xds'),
      join(carried, 'googleapis'),
    ];
    this.#amendments = new Set(
      readdirSync(AMENDMENTS_FOLDER, { recursive: true, encoding: 'utf8' }).filter((path) =>
        path.endsWith('.proto'),
      ),
    );
    this.#root.resolvePath = (_origin, target) => this.#resolvePath(target);
  }

  /**
   * The message type by its full name (`envoy.config.listener.v3.Listener`), fields in snake case, or
   * undefined where no file has it.
   */
  messageType(fullName: string): protobuf.Type | undefined {
    const known = this.#lookup(fullName);
    if (known !== undefined || !TYPE_NAME.test(fullName)) return known;
    this.#loadPackage(fullName.replace(/(\.[A-Z][A-Za-z0-9]*)+$/, ''));
    return this.#lookup(fullName);
  }

  #lookup(fullName: string): protobuf.Type | undefined {
    const found = this.#root.lookup(`.${fullName}`);
    return found instanceof protobuf.Type ? found : undefined;
  }

  #loadPackage(packageName: string): void {
    if (this.#loadedPackages.has(packageName)) return;
    this.#loadedPackages.add(packageName);
    const folder = packageName.replaceAll('.', '/');
    const files = new Set<string>();
    for (const base of this.#folders) {
      const candidate = join(base, folder);
      if (!existsSync(candidate)) continue;
      for (const name of readdirSync(candidate)) if (name.endsWith('.proto')) files.add(`${folder}/${name}`);
    }
    this.#load([...files].sort());
  }

  #load(files: string[]): void {
    if (files.length === 0) return;
    this.#root.loadSync(files, { keepCase: true });
    for (const path of [...this.#amendments]) {
      if (!this.#isLoaded(path)) continue;
      this.#amendments.delete(path);
      this.#amend(join(AMENDMENTS_FOLDER, path));
    }
  }

  #isLoaded(path: string): boolean {
    return this.#root.files.some((file) => file.endsWith(`/${path}`));
  }

  #amend(file: string): void {
    const additions = new protobuf.Root();
    const { imports } = protobuf.parse(readFileSync(file, 'utf8'), additions, { keepCase: true });
    this.#load(imports ?? []);
    merge(additions, this.#root);
  }

  #resolvePath(target: string): string | null {
    if (OPTION_FILES.test(target)) return null;
    if (isAbsolute(target)) return target;
    for (const base of this.#folders) {
      const path = join(base, target);
      if (existsSync(path)) return path;
    }
    // google/protobuf/*.proto: protobufjs knows the well-known types itself.
    return target;
  }
}

/** Adds what `from` defines and `into` lacks; definitions that both have must agree, which a test checks. */
function merge(from: protobuf.NamespaceBase, into: protobuf.NamespaceBase): void {
  for (const addition of from.nestedArray) {
    const existing = into.nested?.[addition.name];
    if (existing === undefined) {
      from.remove(addition);
      into.add(addition);
    } else if (addition instanceof protobuf.Enum && existing instanceof protobuf.Enum) {
      for (const [name, value] of Object.entries(addition.values)) {
        if (existing.values[name] === undefined) existing.add(name, value);
      }
    } else if (addition instanceof protobuf.Namespace && existing instanceof protobuf.Namespace) {
      if (addition instanceof protobuf.Type && existing instanceof protobuf.Type)
        mergeFields(addition, existing);
      merge(addition, existing);
    }
  }
}

function mergeFields(from: protobuf.Type, into: protobuf.Type): void {
  for (const field of from.fieldsArray) {
    if (into.fields[field.name] !== undefined) continue;
    const oneof = field.partOf;
    from.remove(field);
    if (oneof === null) into.add(field);
    else {
      const target = into.oneofs?.[oneof.name];
      if (target === undefined) into.add(new protobuf.OneOf(oneof.name, [field.name]));
      into.add(field);
      if (target !== undefined) target.add(field);
    }
  }
}
