import type { KnownTeam, VirtualKey } from './snapshot.ts';

/** A resource as the database holds it: secrets sealed, checked again by whoever reads it. */
export interface StoredResource {
  readonly kind: string;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly spec: unknown;
  /** Counts the changes of this resource, from 1. */
  readonly generation: number;
  /** Unix time in milliseconds. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** One change of a resource; several are made together or not at all. */
export type ResourceChange =
  | {
      readonly action: 'put';
      readonly kind: string;
      readonly name: string;
      readonly labels?: Readonly<Record<string, string>> | undefined;
      readonly spec: unknown;
    }
  /** Of a Team: it is known no longer either, also where no resource of that name is left. */
  | { readonly action: 'delete'; readonly kind: string; readonly name: string };

/**
 * Teams that were in force, of whatever source, with whom they listed at last. One that vanishes from a file takes nobody's
 * bounds along as long as it is known here.
 */
export interface KnownTeamStore {
  list(): Promise<KnownTeam[]>;
  /** In the place of what was known of these. Not a change. */
  remember(teams: readonly KnownTeam[]): Promise<void>;
}

/** Resources that were made through the admin API. */
export interface ResourceStore {
  /** All that are not deleted, by kind and name. */
  list(): Promise<StoredResource[]>;
  /**
   * Makes all changes in one transaction.
   *
   * @param actor who asks for them, for the record of changes
   * @param expectedRevision the changes are made only if nothing was changed since this revision
   * @returns the new revision, or nothing where another change came first
   */
  change(
    changes: readonly ResourceChange[],
    actor: string,
    expectedRevision: number,
  ): Promise<number | undefined>;
  /** Counts the changes of everything in the database. */
  revision(): Promise<number>;
}

/** A virtual key as the database holds it. The key itself was shown once and is nowhere. */
export interface StoredKey extends VirtualKey {
  /** What the admin calls it. */
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** What the key begins with: `tw-`. */
  readonly prefix: string;
  /** The last four characters, to recognise it by. */
  readonly hint: string;
  /** Days without use after which it is revoked; absent: never. */
  readonly inactivityDays?: number | undefined;
  /** Unix time in milliseconds, as all times here. */
  readonly createdAt: number;
  /** To the minute. */
  readonly lastUsedAt?: number | undefined;
  readonly rotatedAt?: number | undefined;
  /** What it was before it was rotated, good until its grace ends. */
  readonly previous?: { readonly hash: string; readonly expiresAt: number } | undefined;
  readonly revokedAt?: number | undefined;
  readonly revokedReason?: string | undefined;
  /** Refused, and purged some time after. */
  readonly deletedAt?: number | undefined;
}

/** What keys are listed by; all that is there must be met. */
export interface KeyQuery {
  readonly limit: number;
  /** Id of the key that the page before ended with. */
  readonly after?: string | undefined;
  readonly user?: string | undefined;
  readonly team?: string | undefined;
  /** Part of its name, id, user or team, in whatever case. */
  readonly search?: string | undefined;
  /** With those that are deleted and not purged yet. */
  readonly deleted?: boolean | undefined;
}

/** A new secret for a key. */
export interface KeyRotation {
  readonly hash: string;
  readonly prefix: string;
  readonly hint: string;
  readonly at: number;
  /** Until when the secret before is good, too; `at` or earlier: no longer. */
  readonly graceUntil: number;
}

/** What of a key may be changed: everything but whose it is and its secret. */
export type KeySettings = Pick<
  StoredKey,
  | 'name'
  | 'description'
  | 'labels'
  | 'team'
  | 'tenant'
  | 'surfaces'
  | 'models'
  | 'tools'
  | 'scopes'
  | 'permissions'
  | 'expiresAt'
  | 'inactivityDays'
>;

/** Virtual keys that were made through the admin API. */
export interface VirtualKeyStore {
  create(key: StoredKey, actor: string): Promise<void>;
  /** Newest first. */
  list(query: KeyQuery): Promise<StoredKey[]>;
  /** Also one that is deleted and not purged yet. */
  get(id: string): Promise<StoredKey | undefined>;
  /**
   * Puts other settings in the place of all that the key has; nothing where it is not there, revoked or deleted.
   *
   * @param change of two changes at once the second one is handed what the first one made; what it throws is thrown
   */
  configure(
    id: string,
    change: (key: StoredKey) => KeySettings,
    actor: string,
  ): Promise<StoredKey | undefined>;
  /** Ends any grace of an earlier rotation; nothing where no such key is in force. */
  rotate(id: string, rotation: KeyRotation, actor: string): Promise<StoredKey | undefined>;
  /** The key with its time of revocation, which a second call does not change; nothing if there is no such key. */
  revoke(id: string, at: number, actor: string, reason?: string): Promise<StoredKey | undefined>;
  /** The same for its deletion. */
  remove(id: string, at: number, actor: string): Promise<StoredKey | undefined>;
  /** Undoes a deletion; nothing where the key is not deleted, or purged. */
  restore(id: string, actor: string): Promise<StoredKey | undefined>;
  /**
   * What workers are told: every key, and every one before a rotation within its grace, that is neither revoked nor
   * deleted nor expired.
   *
   * @param ids those alone; absent: all
   */
  listActive(now: number, ids?: readonly string[]): Promise<VirtualKey[]>;
  /** Notes that keys were used, to the minute. Not a change of the key. */
  touch(usedAt: Readonly<Record<string, number>>): Promise<void>;
  /** Those in force that expire within so long. */
  listExpiring(now: number, withinMs: number): Promise<StoredKey[]>;
  /** Those in force that were not used for as long as their inactivityDays say. */
  listInactive(now: number, limit: number): Promise<StoredKey[]>;
  /** Removes for good what was deleted at or before that time, some at a time; how many, 0 at last. */
  purgeDeleted(deletedBefore: number, actor: string): Promise<number>;
  /** Forgets secrets whose grace is over, some at a time; how many, 0 at last. */
  endGraces(now: number, actor: string): Promise<number>;
}

/** Something in the database was changed, by this control plane or by another. */
export interface StoreChange {
  readonly revision: number;
  /** `unknown`: changes may have been missed, so look at everything. */
  readonly entity: 'resource' | 'virtual_key' | 'user' | 'revocation' | 'unknown';
  /** Kind and name of the resource, or id of what else it is; absent: of very many, so look at all. */
  readonly id?: string | undefined;
}
