import { entryName, sameEntry, type DirectoryEntry } from '../core/access.ts';

/**
 * Where entries come from, by precedence: where two have one name, the earlier source counts, so the configuration's
 * keys before the database's, as for every other resource.
 */
export const DIRECTORY_SOURCES = [
  'declared keys',
  'keys',
  'users',
  'issuer keys',
  'gateway keys',
  'revocations',
] as const;
export type DirectorySource = (typeof DIRECTORY_SOURCES)[number];

/** What may differ of the directory. */
export interface DirectoryChange {
  readonly upsert: readonly DirectoryEntry[];
  /** Names (entryName). */
  readonly remove: readonly string[];
}

/** Entries of one source by name, and the names of each id: a key that is rotated has two for a while. */
class Source {
  readonly entries = new Map<string, DirectoryEntry>();
  readonly namesOf = new Map<string, readonly string[]>();

  put(entry: DirectoryEntry): string {
    const name = entryName(entry);
    const id = idOf(entry);
    this.entries.set(name, entry);
    const names = this.namesOf.get(id);
    if (names === undefined) this.namesOf.set(id, [name]);
    else if (!names.includes(name)) this.namesOf.set(id, [...names, name]);
    return name;
  }

  removeId(id: string): readonly string[] {
    const names = this.namesOf.get(id) ?? [];
    this.namesOf.delete(id);
    for (const name of names) this.entries.delete(name);
    return names;
  }
}

/** Every entry of every source, and what a change of one of them changes in the whole. */
export class DirectorySources {
  readonly #publish: (change: DirectoryChange) => Promise<void>;
  #sources: Readonly<Record<DirectorySource, Source>> = {
    'declared keys': new Source(),
    keys: new Source(),
    users: new Source(),
    'issuer keys': new Source(),
    'gateway keys': new Source(),
    revocations: new Source(),
  };

  /** @param publish resolves when the workers have it in force, or took too long */
  constructor(publish: (change: DirectoryChange) => Promise<void>) {
    this.#publish = publish;
  }

  /** These are all entries of the source. Resolves when the workers have them. */
  async set(source: DirectorySource, entries: readonly DirectoryEntry[]): Promise<void> {
    const before = this.#sources[source];
    const next = new Source();
    for (const entry of entries) next.put(entry);
    this.#sources = { ...this.#sources, [source]: next };
    const names = new Set([...before.entries.keys(), ...next.entries.keys()]);
    await this.#tell(
      [...names].filter((name) => !sameEntry(before.entries.get(name), next.entries.get(name))),
    );
  }

  /** These are all entries of the source that have one of the ids: of a key, a user, a provider or a revocation. */
  async change(
    source: DirectorySource,
    ids: readonly string[],
    entries: readonly DirectoryEntry[],
  ): Promise<void> {
    const changed = this.#sources[source];
    const names = new Set(ids.flatMap((id) => changed.removeId(id)));
    for (const entry of entries) names.add(changed.put(entry));
    await this.#tell([...names]);
  }

  async #tell(names: readonly string[]): Promise<void> {
    const upsert: DirectoryEntry[] = [];
    const remove: string[] = [];
    for (const name of names) {
      const entry = this.#find(name);
      if (entry === undefined) remove.push(name);
      else upsert.push(entry);
    }
    if (names.length > 0) await this.#publish({ upsert, remove });
  }

  #find(name: string): DirectoryEntry | undefined {
    for (const source of DIRECTORY_SOURCES) {
      const entry = this.#sources[source].entries.get(name);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }
}

/** Id of what an entry is about. */
function idOf(entry: DirectoryEntry): string {
  switch (entry.type) {
    case 'key':
      return entry.key.id;
    case 'user':
      return entry.user.id;
    case 'issuer-keys':
      return entry.issuerKeys.provider;
    case 'revocation':
      return entry.revocation.id;
  }
}
