import type {
  Directory,
  DirectoryEntry,
  IssuerKeys,
  Revocation,
  UserRecord,
  VirtualKey,
} from '../core/access.ts';
import type { DirectoryPosition } from './messages.ts';

/** Every entry of a directory by what it is looked up by. */
export class DirectoryContent {
  readonly keys = new Map<string, VirtualKey>();
  readonly users = new Map<string, UserRecord>();
  readonly issuerKeys = new Map<string, IssuerKeys>();
  /** By id. */
  readonly #revocations = new Map<string, Revocation>();
  /** Name → by id; mostly one. */
  readonly #byName = new Map<string, Map<string, Revocation>>();
  /** What is revoked under one name: that of several ids that reaches furthest. */
  readonly #revoked = new Map<string, Revocation>();

  get size(): number {
    return this.keys.size + this.users.size + this.issuerKeys.size + this.#revocations.size;
  }

  revocation(kind: Revocation['kind'], value: string): Revocation | undefined {
    return this.#revoked.get(revokedName({ kind, value }));
  }

  put(entry: DirectoryEntry): void {
    switch (entry.type) {
      case 'key':
        this.keys.set(entry.key.hash, entry.key);
        return;
      case 'user':
        this.users.set(entry.user.id, entry.user);
        return;
      case 'issuer-keys':
        this.issuerKeys.set(entry.issuerKeys.provider, entry.issuerKeys);
        return;
      case 'revocation':
        this.#putRevocation(entry.revocation);
    }
  }

  /** @param name as entryName makes it */
  remove(name: string): void {
    const slash = name.indexOf('/');
    const id = name.slice(slash + 1);
    switch (name.slice(0, slash)) {
      case 'key':
        this.keys.delete(id);
        return;
      case 'user':
        this.users.delete(id);
        return;
      case 'issuer-keys':
        this.issuerKeys.delete(id);
        return;
      case 'revocation':
        this.#removeRevocation(id);
    }
  }

  #putRevocation(revocation: Revocation): void {
    this.#removeRevocation(revocation.id);
    const name = revokedName(revocation);
    const others = this.#byName.get(name) ?? new Map<string, Revocation>();
    this.#revocations.set(revocation.id, revocation);
    this.#byName.set(name, others.set(revocation.id, revocation));
    this.#revoked.set(name, furthest(revocation, this.#revoked.get(name)));
  }

  /** Looks at those of its name alone: thousands are purged at a time, while requests wait. */
  #removeRevocation(id: string): void {
    const removed = this.#revocations.get(id);
    if (removed === undefined) return;
    const name = revokedName(removed);
    const others = this.#byName.get(name);
    this.#revocations.delete(id);
    this.#revoked.delete(name);
    others?.delete(id);
    if (others?.size === 0) this.#byName.delete(name);
    for (const other of others?.values() ?? []) {
      this.#revoked.set(name, furthest(other, this.#revoked.get(name)));
    }
  }
}

function revokedName({ kind, value }: Pick<Revocation, 'kind' | 'value'>): string {
  return `${kind}/${value}`;
}

/** Of two with one name: all that either of them refuses. */
function furthest(one: Revocation, other: Revocation | undefined): Revocation {
  if (other === undefined) return one;
  return {
    ...one,
    before: Math.max(one.before, other.before),
    until: Math.max(one.until, other.until),
  };
}

/** A worker's directory: each lookup is one in a map. */
export class DirectoryTable implements Directory {
  #content = new DirectoryContent();
  #position: DirectoryPosition | undefined;
  #generation = 0;

  /** Undefined until a whole directory has arrived: until then the worker knows nobody and is not ready. */
  get position(): DirectoryPosition | undefined {
    return this.#position;
  }

  get size(): number {
    return this.#content.size;
  }

  get generation(): number {
    return this.#generation;
  }

  key(hash: string): VirtualKey | undefined {
    return this.#content.keys.get(hash);
  }

  user(id: string): UserRecord | undefined {
    return this.#content.users.get(id);
  }

  issuerKeys(provider: string): IssuerKeys | undefined {
    return this.#content.issuerKeys.get(provider);
  }

  revocation(kind: Revocation['kind'], value: string): Revocation | undefined {
    return this.#content.revocation(kind, value);
  }

  /** Takes the place of everything at once: no request sees a part of the directory. */
  replace(content: DirectoryContent, position: DirectoryPosition): void {
    this.#content = content;
    this.#position = position;
    this.#generation += 1;
  }

  /** @param remove names, as entryName makes them */
  change(upsert: readonly DirectoryEntry[], remove: readonly string[], position: DirectoryPosition): void {
    for (const name of remove) this.#content.remove(name);
    for (const entry of upsert) this.#content.put(entry);
    this.#position = position;
    const keysAlone =
      upsert.every(({ type }) => type === 'key') && remove.every((name) => name.startsWith('key/'));
    if (!keysAlone) this.#generation += 1;
  }
}
