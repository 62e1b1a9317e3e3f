import type { VirtualKey } from './snapshot.ts';

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
  | { readonly action: 'delete'; readonly kind: string; readonly name: string };

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
  /** What the key begins with: `tw-`. */
  readonly prefix: string;
  /** The last four characters, to recognise it by. */
  readonly hint: string;
  /** Unix time in milliseconds. */
  readonly createdAt: number;
  readonly revokedAt?: number | undefined;
}

/** Virtual keys that were made through the admin API. */
export interface VirtualKeyStore {
  create(key: StoredKey, actor: string): Promise<void>;
  /** Newest first, at most `limit`, after the key of that id. */
  list(page: { readonly limit: number; readonly after?: string | undefined }): Promise<StoredKey[]>;
  get(id: string): Promise<StoredKey | undefined>;
  /** The key with its time of revocation, which a second call does not change; nothing if there is no such key. */
  revoke(id: string, at: number, actor: string): Promise<StoredKey | undefined>;
  /** Every key that is neither revoked nor expired: what workers are told. */
  listActive(now: number): Promise<VirtualKey[]>;
}

/** Something in the database was changed, by this control plane or by another. */
export interface StoreChange {
  readonly revision: number;
  /** `unknown`: changes may have been missed, so look at everything. */
  readonly entity: 'resource' | 'virtual_key' | 'unknown';
  /** Kind and name of the resource, or id of the key. */
  readonly id?: string | undefined;
}
