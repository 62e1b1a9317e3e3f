import { recordOf, type StoredUser, type UserStore } from '../core/identity-store.ts';
import { tell, type AdminListener } from './admin-event.ts';
import type { Caller } from './caller.ts';
import type { EditUserRequest, ListUsersRequest, UserList, UserView } from './contract.ts';
import { AdminError } from './errors.ts';
import { iso, readPage } from './page.ts';
import { requireUserWithin, type Rights } from './rights.ts';

export interface UserServiceOptions extends AdminListener {
  readonly users: Pick<UserStore, 'list' | 'get' | 'edit'>;
  readonly rights: Rights;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** Users: whom tokens named, and whom somebody entered here. */
export interface UserService {
  list(request: ListUsersRequest): Promise<UserList>;
  /** @throws AdminError not_found */
  show(id: string): Promise<UserView>;
  /**
   * Changes what is set here; makes the user where there is none.
   *
   * @throws AdminError forbidden where the user may do, or would come to do, what the caller may not
   */
  edit(id: string, request: EditUserRequest, caller: Caller): Promise<UserView>;
}

export function createUserService(options: UserServiceOptions): UserService {
  const { users, rights, now } = options;
  return {
    async list({ limit, ...query }) {
      const page = await readPage(limit, (most) => users.list({ ...query, limit: most }));
      return { users: page.items.map(view), next: page.next };
    },

    async show(id) {
      const user = await users.get(id);
      if (user === undefined) throw new AdminError('not_found', `There is no user ${JSON.stringify(id)}.`);
      return view(user);
    },

    async edit(id, edit, caller) {
      const before = await users.get(id);
      const after = applied(before ?? newUser(id, now()), edit);
      requireUserWithin(caller, before && recordOf(before), recordOf(after), rights);
      const edited = await users.edit(id, edit, now(), caller.actor);
      await tell(options, { type: 'user-changed', id });
      return view(edited);
    },
  };
}

function newUser(id: string, createdAt: number): StoredUser {
  return { id, claimed: { groups: [] }, groups: [], roles: [], disabled: false, createdAt };
}

function applied(user: StoredUser, edit: EditUserRequest): StoredUser {
  const { email, name, team, tenant } = edit;
  return {
    ...user,
    email: email === undefined ? user.email : (email ?? undefined),
    name: name === undefined ? user.name : (name ?? undefined),
    team: team === undefined ? user.team : (team ?? undefined),
    tenant: tenant === undefined ? user.tenant : (tenant ?? undefined),
    groups: edit.groups ?? user.groups,
    roles: edit.roles ?? user.roles,
    disabled: edit.disabled ?? user.disabled,
  };
}

function view(user: StoredUser): UserView {
  const { email, name, team, tenant } = recordOf(user);
  return {
    id: user.id,
    provider: user.provider,
    email,
    name,
    groups: [...user.groups],
    claimedGroups: [...user.claimed.groups],
    roles: [...user.roles],
    team,
    tenant,
    disabled: user.disabled,
    createdAt: iso(user.createdAt),
    lastSeenAt: iso(user.lastSeenAt),
  };
}
