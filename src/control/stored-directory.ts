import type { DirectoryEntry } from '../core/access.ts';
import type { StoreChange, VirtualKeyStore } from '../core/configuration-store.ts';
import type { RevocationStore, UserStore } from '../core/identity-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { DirectorySources } from './directory-sources.ts';

export interface StoredDirectoryOptions {
  readonly keys: Pick<VirtualKeyStore, 'listActive'>;
  readonly users: Pick<UserStore, 'records'>;
  readonly revocations: Pick<RevocationStore, 'listActive'>;
  readonly directory: Pick<DirectorySources, 'set' | 'change'>;
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** What is read of the database, in the order in which it is read: what refuses comes first. */
const STORED = ['revocations', 'keys', 'users'] as const;
type Stored = (typeof STORED)[number];

const AGAIN_MS = 2000;
/** Of more, everything is read. */
const MOST_IDS = 1000;

const STORED_AS: Readonly<Record<StoreChange['entity'], readonly Stored[]>> = {
  revocation: ['revocations'],
  virtual_key: ['keys'],
  user: ['users'],
  unknown: STORED,
  resource: [],
};

/**
 * Keys, users and revocations of the database, on their way to the workers. It has a line of its own, so that a
 * revocation never waits for an Envoy that is slow to take a configuration; what changes while it reads is read
 * together after that.
 */
export class StoredDirectory {
  readonly #options: StoredDirectoryOptions;
  /** Ids to be read; `all` where it is not known which. */
  #waiting = new Map<Stored, Set<string> | 'all'>();
  #work: Promise<void> = Promise.resolve();
  #again: NodeJS.Timeout | undefined;

  constructor(options: StoredDirectoryOptions) {
    this.#options = options;
  }

  /**
   * Reads everything for the first time.
   *
   * @throws what the store throws
   */
  async start(): Promise<void> {
    for (const stored of STORED) await this.#read(stored, undefined);
  }

  /** Something in the database has changed. Resolves when the workers have it, or took too long. */
  onChange({ entity, id }: Pick<StoreChange, 'entity' | 'id'>): Promise<void> {
    for (const stored of STORED_AS[entity]) {
      const waiting = this.#waiting.get(stored) ?? new Set();
      if (id === undefined || waiting === 'all' || waiting.size >= MOST_IDS) this.#waiting.set(stored, 'all');
      else this.#waiting.set(stored, waiting.add(id));
    }
    this.#work = this.#readAfter(this.#work);
    return this.#work;
  }

  async close(): Promise<void> {
    clearTimeout(this.#again);
    await this.#work;
  }

  async #readAfter(previous: Promise<void>): Promise<void> {
    await previous;
    const waiting = this.#waiting;
    this.#waiting = new Map();
    for (const stored of STORED) {
      const ids = waiting.get(stored);
      if (ids === undefined) continue;
      try {
        await this.#read(stored, ids === 'all' ? undefined : [...ids]);
      } catch (error) {
        this.#options.logger.error({ error, stored }, 'a change could not be brought into force');
        this.#waiting.set(stored, 'all');
        this.#readLater();
      }
    }
  }

  /** Nobody tells of the same change again. */
  #readLater(): void {
    this.#again ??= setTimeout(() => {
      this.#again = undefined;
      this.#work = this.#readAfter(this.#work);
    }, AGAIN_MS).unref();
  }

  async #read(stored: Stored, ids: readonly string[] | undefined): Promise<void> {
    const { directory } = this.#options;
    const entries = await this.#entries(stored, ids);
    await (ids === undefined ? directory.set(stored, entries) : directory.change(stored, ids, entries));
  }

  async #entries(stored: Stored, ids: readonly string[] | undefined): Promise<DirectoryEntry[]> {
    const { keys, users, revocations, now } = this.#options;
    switch (stored) {
      case 'keys':
        return (await keys.listActive(now(), ids)).map((key) => ({ type: 'key', key }));
      case 'users':
        return (await users.records(ids)).map((user) => ({ type: 'user', user }));
      case 'revocations':
        return (await revocations.listActive(now(), ids)).map((revocation) => ({
          type: 'revocation',
          revocation,
        }));
    }
  }
}
