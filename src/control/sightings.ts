import { mergedSighting, type SeenUser, type Sighting } from '../core/access.ts';
import type { VirtualKeyStore } from '../core/configuration-store.ts';
import type { EventLog } from '../core/events.ts';
import type { StoredUser, UserStore } from '../core/identity-store.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface SightingsOptions {
  readonly keys: Pick<VirtualKeyStore, 'touch'>;
  readonly users: Pick<UserStore, 'see'>;
  readonly events: EventLog;
  readonly logger: Pick<Logger, 'warn'>;
  /** How long it waits before it tries again; 5 seconds unless told otherwise. */
  readonly againMs?: number;
}

const AGAIN_MS = 5000;
const AT_ONCE = 1000;
/** Bounds of what waits while the database is away; what is beyond them comes with the next sighting. */
const MOST_KEYS = 200_000;
const MOST_USERS = 50_000;

/** What workers saw of keys and users, on its way into the database. */
export class Sightings {
  readonly #options: SightingsOptions;
  /** Key id → Unix ms. */
  #keys = new Map<string, number>();
  #users = new Map<string, SeenUser>();
  #writing: Promise<void> | undefined;
  #again: NodeJS.Timeout | undefined;

  constructor(options: SightingsOptions) {
    this.#options = options;
  }

  /** Never throws; it is written soon. */
  take({ keys, users }: Sighting): void {
    for (const [id, at] of Object.entries(keys)) this.#takeKey(id, at);
    for (const user of users) this.#takeUser(user);
    this.#write();
  }

  /** Resolves when what could be written is. */
  async close(): Promise<void> {
    clearTimeout(this.#again);
    await this.#writing;
  }

  #takeKey(id: string, at: number): void {
    if (this.#keys.size >= MOST_KEYS && !this.#keys.has(id)) return;
    this.#keys.set(id, Math.max(at, this.#keys.get(id) ?? 0));
  }

  #takeUser(user: SeenUser): void {
    const before = this.#users.get(user.id);
    if (before === undefined && this.#users.size >= MOST_USERS) return;
    this.#users.set(user.id, before === undefined ? user : mergedSighting(before, user));
  }

  #write(): void {
    if (this.#again !== undefined) return;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    while (this.#keys.size + this.#users.size > 0) {
      const keys = this.#keys.entries().take(AT_ONCE).toArray();
      const users = this.#users.values().take(AT_ONCE).toArray();
      for (const [id] of keys) this.#keys.delete(id);
      for (const { id } of users) this.#users.delete(id);
      try {
        await this.#options.keys.touch(Object.fromEntries(keys));
        await this.#tell(await this.#options.users.see(users));
      } catch (error) {
        this.#options.logger.warn(
          { error },
          'what was seen of keys and users cannot be written; trying again',
        );
        for (const [id, at] of keys) this.#takeKey(id, at);
        for (const user of users) this.#takeUser(user);
        this.#again = setTimeout(() => {
          this.#again = undefined;
          this.#write();
        }, this.#options.againMs ?? AGAIN_MS).unref();
        return;
      }
    }
  }

  async #tell(made: readonly StoredUser[]): Promise<void> {
    await this.#options.events.record(
      made.map(({ id, provider, createdAt }) => ({
        time: createdAt,
        kind: 'user',
        severity: 'info',
        subject: id,
        message: `User ${id} came for the first time, with a token of ${provider}.`,
        detail: { provider },
        once: `user-created/${id}/${createdAt}`,
      })),
    );
  }
}
