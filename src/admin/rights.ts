import { isDeepStrictEqual } from 'node:util';
import type { Kind, Resource } from '../config/resources/index.ts';
import {
  DEFAULT_SURFACES,
  PERMISSIONS,
  type Permission,
  type Surface,
  type UserRecord,
} from '../core/access.ts';
import { CLIENT_PERMISSIONS, grants, listHas, membershipOf, permissionsOf, roleOf } from '../core/roles.ts';
import type { Snapshot, SnapshotRole } from '../core/snapshot.ts';
import { requireAtMostOwn, requirePermission, type Caller } from './caller.ts';
import { AdminError } from './errors.ts';

export interface RightsOptions {
  /** In force at present; nothing before the first. */
  readonly snapshot: () => Snapshot | undefined;
  readonly user: (id: string) => UserRecord | undefined;
}

/** What a key is to be able to do. */
export interface KeyToBe {
  readonly user: string;
  readonly team?: string | undefined;
  readonly tenant?: string | undefined;
  readonly surfaces?: readonly Surface[] | undefined;
  readonly permissions?: readonly Permission[] | undefined;
  readonly models?: readonly string[] | undefined;
  readonly tools?: readonly string[] | undefined;
}

/** What roles, users and keys may do, in whatever way they came to it: so that nobody hands on more than they have. */
export interface Rights {
  ofRoles(names: readonly string[]): readonly Permission[];
  /** Of a user as this record has it, with one of its keys. */
  ofUser(record: UserRecord): readonly Permission[];
  /** Of a key: what counts on the surfaces that it is for. */
  ofKey(key: KeyToBe): readonly Permission[];
  /** Whether a key has, by its user, no role, group or tenant that this other user has not in its team. */
  reachesNoFurther(key: KeyToBe, than: string): boolean;
}

export function createRights({ snapshot: present, user: userOf }: RightsOptions): Rights {
  // Before there is a configuration nobody knows what a role allows: it might be everything.
  const within = (look: (snapshot: Snapshot) => readonly Permission[]): readonly Permission[] => {
    const snapshot = present();
    return snapshot === undefined ? PERMISSIONS : look(snapshot);
  };
  const recordOf = (id: string): UserRecord => userOf(id) ?? { id, groups: [], roles: [] };
  const memberOf = (
    snapshot: Snapshot,
    record: UserRecord,
    { team, tenant }: Pick<KeyToBe, 'team' | 'tenant'> = {},
  ) => {
    const groups = [...new Set([...record.groups, ...(record.claimGroups ?? [])])];
    const rolesByDefault = snapshot.gateway.access.keyRoles;
    const member = { user: record.id, record, groups, team, tenant, roles: [], rolesByDefault };
    return { ...membershipOf(snapshot, member), groups };
  };
  const ofMember = (
    snapshot: Snapshot,
    record: UserRecord,
    key: Pick<KeyToBe, 'team' | 'permissions'> = {},
  ): readonly Permission[] => {
    const { roles } = memberOf(snapshot, record, key);
    return permissionsOf(snapshot, { roles, permissions: key.permissions });
  };
  return {
    ofRoles: (roles) => within((snapshot) => permissionsOf(snapshot, { roles })),
    ofUser: (record) => within((snapshot) => ofMember(snapshot, record)),
    ofKey: (key) =>
      within((snapshot) => {
        const all = ofMember(snapshot, recordOf(key.user), key);
        return isForAdmin(key) ? all : all.filter((permission) => CLIENT_PERMISSIONS.includes(permission));
      }),
    reachesNoFurther: (key, than) => {
      const snapshot = present();
      if (snapshot === undefined) return false;
      const theirs = memberOf(snapshot, recordOf(key.user), key);
      const own = memberOf(snapshot, recordOf(than), { team: key.team });
      const isOwn = (role: string): boolean =>
        own.roles.includes(role) ||
        (snapshot.gateway.access.keyRoles.includes(role) &&
          own.roles.some((name) => covers(roleOf(snapshot, name), roleOf(snapshot, role))));
      return (
        theirs.tenant === own.tenant &&
        theirs.groups.every((group) => own.groups.includes(group)) &&
        theirs.roles.every(isOwn)
      );
    },
  };
}

/** Whether who has a role may use everything that another one lets use. */
function covers(role: SnapshotRole | undefined, other: SnapshotRole | undefined): boolean {
  if (other === undefined) return true;
  return (
    role !== undefined &&
    other.permissions.every((permission) => grants(role.permissions, permission)) &&
    (['models', 'tools', 'backends'] as const).every(
      (patterns) => role[patterns] === undefined || isDeepStrictEqual(role[patterns], other[patterns]),
    )
  );
}

function isForAdmin({ surfaces = DEFAULT_SURFACES }: KeyToBe): boolean {
  return surfaces.includes('admin');
}

/**
 * Whoever makes a key, or sees its secret anew, can do what the key can: now, and when its user may do more.
 *
 * @throws AdminError forbidden
 */
export function requireKeyWithin(caller: Caller, key: KeyToBe, rights: Rights): void {
  if (key.permissions !== undefined) requireAtMostOwn(caller, key.permissions);
  requireAtMostOwn(caller, rights.ofKey(key));
  const isAnothers = key.user !== caller.user;
  if (isAnothers && !caller.permissions.has('keys:write') && !reachesOwn(caller, key, rights)) {
    throw new AdminError(
      'forbidden',
      `${key.user} has roles, groups or a tenant that you have not: their keys need the permission keys:write.`,
    );
  }
  const mayGrow = isForAdmin(key) && key.permissions === undefined && isAnothers;
  if (mayGrow && !PERMISSIONS.every((permission) => caller.permissions.has(permission))) {
    throw new AdminError(
      'forbidden',
      'A key of somebody else that is for the admin API can do whatever they come to do: name its permissions.',
    );
  }
  requireWithinBound(caller.models, key.models, 'models');
  requireWithinBound(caller.tools, key.tools, 'tools');
}

function reachesOwn({ user }: Caller, key: KeyToBe, rights: Rights): boolean {
  return user !== undefined && rights.reachesNoFurther(key, user);
}

/** A key whose own patterns bound it makes none that has more. */
function requireWithinBound(
  bound: readonly string[] | undefined,
  wanted: readonly string[] | undefined,
  what: 'models' | 'tools',
): void {
  if (bound === undefined) return;
  // A pattern that another one has as a text has no name that the other one has not.
  if (wanted !== undefined && wanted.every((pattern) => listHas(bound, [pattern]))) return;
  throw new AdminError(
    'forbidden',
    `Nobody can give more than they have: the key with which you ask is bound to the ${what} ${bound.join(', ')}.`,
  );
}

/**
 * Whoever edits a user must have what that user may do, before and after.
 *
 * @throws AdminError forbidden
 */
export function requireUserWithin(
  caller: Caller,
  before: UserRecord | undefined,
  after: UserRecord,
  rights: Rights,
): void {
  if (before !== undefined) requireAtMostOwn(caller, rights.ofUser(before));
  requireAtMostOwn(caller, rights.ofUser(after));
  requireAtMostOwn(caller, rights.ofRoles(after.roles));
}

const WRITE_PERMISSIONS: Readonly<Partial<Record<Kind, Permission>>> = {
  Role: 'roles:write',
  Team: 'teams:write',
  LimitPolicy: 'limits:write',
  ApiKey: 'keys:write',
};

/** What changing a resource of a kind needs. */
export function writePermission(kind: string): Permission {
  return Object.entries(WRITE_PERMISSIONS).find(([known]) => known === kind)?.[1] ?? 'resources:write';
}

/** Every permission that lets its holder write some kind of resource. */
export const RESOURCE_WRITERS = [
  'resources:write',
  'roles:write',
  'teams:write',
  'limits:write',
  'keys:write',
] as const satisfies readonly Permission[];

/**
 * Whether a caller may put these resources into force: the permission for each kind, and nothing that gives anybody more
 * than the caller has.
 *
 * @throws AdminError forbidden
 */
export function requireResourcesWithin(caller: Caller, resources: readonly Resource[], rights: Rights): void {
  const declared = new Map(
    resources.flatMap((resource) =>
      resource.kind === 'Role' ? [[resource.metadata.name, resource.spec.permissions] as const] : [],
    ),
  );
  const requireRoles = (names: readonly string[]): void => {
    for (const name of names) requireAtMostOwn(caller, declared.get(name) ?? rights.ofRoles([name]));
  };
  for (const resource of resources) {
    requirePermission(caller, writePermission(resource.kind));
    switch (resource.kind) {
      case 'Role':
        requireAtMostOwn(caller, included(resource.spec.permissions));
        break;
      case 'Team':
        requireRoles(resource.spec.roles);
        break;
      case 'Gateway':
        requireRoles(resource.spec.access.keyRoles);
        break;
      case 'ApiKey':
        requireKeyWithin(caller, resource.spec, rights);
        break;
      case 'IdentityProvider':
        // Whose issuer it is can be anybody whom its tokens can name.
        requireAtMostOwn(caller, PERMISSIONS);
        break;
      default:
        break;
    }
  }
}

function included(permissions: readonly Permission[]): readonly Permission[] {
  return PERMISSIONS.filter((permission) => grants(permissions, permission));
}
