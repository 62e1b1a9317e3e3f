import type { IssuerKeys, Revocation, SeenUser, UserRecord } from './access.ts';

/** What a console or the admin API says of a user, apart from what tokens claim. */
export interface UserEdit {
  readonly email?: string | null | undefined;
  readonly name?: string | null | undefined;
  readonly groups?: readonly string[] | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly team?: string | null | undefined;
  readonly tenant?: string | null | undefined;
  readonly disabled?: boolean | undefined;
}

/** A user as the database holds one. */
export interface StoredUser {
  /** Canonical subject. */
  readonly id: string;
  /** Name of the IdentityProvider whose token made it; absent for one that the admin API made. */
  readonly provider?: string | undefined;
  /** As the last verified token said it. */
  readonly claimed: {
    readonly email?: string | undefined;
    readonly name?: string | undefined;
    readonly groups: readonly string[];
    readonly tenant?: string | undefined;
  };
  /** As it was set here; goes before what is claimed, groups beside it. */
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  readonly roles: readonly string[];
  readonly team?: string | undefined;
  readonly tenant?: string | undefined;
  readonly disabled: boolean;
  /** Unix time in milliseconds. */
  readonly createdAt: number;
  readonly lastSeenAt?: number | undefined;
}

/** What workers know of a user. */
export function recordOf(user: StoredUser): UserRecord {
  const { claimed } = user;
  return {
    id: user.id,
    email: user.email ?? claimed.email,
    name: user.name ?? claimed.name,
    groups: user.groups,
    claimGroups: claimed.groups.length === 0 ? undefined : claimed.groups,
    roles: user.roles,
    team: user.team,
    tenant: user.tenant ?? claimed.tenant,
    disabled: user.disabled || undefined,
  };
}

/** What users are listed by; all that is there must be met. */
export interface UserQuery {
  readonly limit: number;
  /** Id of the user that the page before ended with. */
  readonly after?: string | undefined;
  /** Part of the id, the email or the name, in whatever case. */
  readonly search?: string | undefined;
  readonly provider?: string | undefined;
  readonly team?: string | undefined;
  readonly group?: string | undefined;
  readonly disabled?: boolean | undefined;
}

export interface UserStore {
  /** By id. */
  list(query: UserQuery): Promise<StoredUser[]>;
  get(id: string): Promise<StoredUser | undefined>;
  /** Changes what is set here (null: nothing any more); makes the user where there is none. */
  edit(id: string, edit: UserEdit, at: number, actor: string): Promise<StoredUser>;
  /**
   * Notes whom verified tokens named: makes users, and takes over claims that differ.
   *
   * @returns those that were made
   */
  see(users: readonly SeenUser[]): Promise<readonly StoredUser[]>;
  /** Forgets who signed in before that time, in the record of changes; how many there were. Users stay. */
  purgeSignIns(before: number): Promise<number>;
  /**
   * What workers are told.
   *
   * @param ids those alone; absent: all
   */
  records(ids?: readonly string[]): Promise<UserRecord[]>;
}

export interface StoredRevocation extends Revocation {
  readonly reason?: string | undefined;
  readonly actor: string;
  /** Unix time in milliseconds. */
  readonly createdAt: number;
}

export interface RevocationStore {
  create(revocation: StoredRevocation): Promise<void>;
  /** Newest first; also those that are over and not purged yet. */
  list(page: { readonly limit: number; readonly after?: string | undefined }): Promise<StoredRevocation[]>;
  /** Takes it back; nothing where there is none. */
  remove(id: string, actor: string): Promise<StoredRevocation | undefined>;
  /**
   * What workers are told: those that are not over.
   *
   * @param ids those alone; absent: all
   */
  listActive(now: number, ids?: readonly string[]): Promise<Revocation[]>;
  /** Removes those that were over by then, some at a time; how many, 0 at last. */
  purge(now: number, actor: string): Promise<number>;
}

/** The last good public keys of one issuer. */
export interface KeptIssuerKeys {
  /** Issuer and source in words: keys of another issuer, or from another place, are not its own. */
  readonly declared: string;
  readonly keys: IssuerKeys['keys'];
  /** Unix time in milliseconds. */
  readonly fetchedAt: number;
}

/** The last good public keys of issuers, for a control plane that starts while an issuer is away. */
export interface IssuerKeyStore {
  /** By name of the IdentityProvider; without what cannot be used. */
  read(): Promise<ReadonlyMap<string, KeptIssuerKeys>>;
  /** In the place of what was fetched before. */
  write(provider: string, kept: KeptIssuerKeys): Promise<void>;
}

/** The private keys that all control planes of a database sign with, in one sealed text. */
export interface SigningKeyStore {
  /** Undefined where there are none yet. */
  read(): Promise<string | undefined>;
  /**
   * Writes them in the place of exactly what was read.
   *
   * @param before undefined: there were none
   * @returns false where another control plane has changed them since: nothing was written
   */
  replace(before: string | undefined, sealed: string): Promise<boolean>;
}
