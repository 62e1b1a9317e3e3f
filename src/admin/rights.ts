import type { Kind, Resource } from '../config/resources/index.ts';
import {
  DEFAULT_SURFACES,
  PERMISSIONS,
  type Permission,
  type Surface,
  type UserRecord,
} from '../core/access.ts';
import { CLIENT_PERMISSIONS, grants, membershipOf, permissionsOf } from '../core/roles.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { requireAtMostOwn, requirePermission, type Caller } from './caller.ts';

export interface RightsOptions {
  /** In force at present; nothing before the first. */
  readonly snapshot: () => Snapshot | undefined;
  readonly user: (id: string) => UserRecord | undefined;
}

/** What a key is to be able to do. */
export interface KeyToBe {
  readonly user: string;
  readonly team?: string | undefined;
  readonly surfaces?: readonly Surface[] | undefined;
  readonly permissions?: readonly Permission[] | undefined;
}

/** What roles, users and keys may do, in whatever way they came to it: so that nobody hands on more than they have. */
export interface Rights {
  ofRoles(names: readonly string[]): readonly Permission[];
  /** Of a user as this record has it, with one of its keys. */
  ofUser(record: UserRecord): readonly Permission[];
  /** Of a key: what counts on the surfaces that it is for. */
  ofKey(key: KeyToBe): readonly Permission[];
}

export function createRights({ snapshot: present, user: userOf }: RightsOptions): Rights {
  // Before there is a configuration nobody knows what a role allows: it might be everything.
  const within = (look: (snapshot: Snapshot) => readonly Permission[]): readonly Permission[] => {
    const snapshot = present();
    return snapshot === undefined ? PERMISSIONS : look(snapshot);
  };
  const ofMember = (
    snapshot: Snapshot,
    record: UserRecord,
    key: Pick<KeyToBe, 'team' | 'permissions'> = {},
  ): readonly Permission[] => {
    const { roles } = membershipOf(snapshot, {
      user: record.id,
      record,
      groups: [...new Set([...record.groups, ...(record.claimGroups ?? [])])],
      team: key.team,
      roles: [],
      rolesByDefault: snapshot.gateway.access.keyRoles,
    });
    return permissionsOf(snapshot, { roles, permissions: key.permissions });
  };
  return {
    ofRoles: (roles) => within((snapshot) => permissionsOf(snapshot, { roles })),
    ofUser: (record) => within((snapshot) => ofMember(snapshot, record)),
    ofKey: (key) =>
      within((snapshot) => {
        const record = userOf(key.user) ?? { id: key.user, groups: [], roles: [] };
        const all = ofMember(snapshot, record, key);
        const isForAdmin = (key.surfaces ?? DEFAULT_SURFACES).includes('admin');
        return isForAdmin ? all : all.filter((permission) => CLIENT_PERMISSIONS.includes(permission));
      }),
  };
}

/**
 * Whoever makes a key, or sees its secret anew, can do what the key can.
 *
 * @throws AdminError forbidden
 */
export function requireKeyWithin(caller: Caller, key: KeyToBe, rights: Rights): void {
  if (key.permissions !== undefined) requireAtMostOwn(caller, key.permissions);
  requireAtMostOwn(caller, rights.ofKey(key));
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
