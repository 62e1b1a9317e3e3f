import { PERMISSIONS, type Permission, type UserRecord } from './access.ts';
import { compilePattern } from './pattern.ts';
import type { KnownTeam, Snapshot, SnapshotRole, SnapshotTeam } from './snapshot.ts';

/** What clients do on the gateway, as opposed to the admin API. */
export const CLIENT_PERMISSIONS: readonly Permission[] = [
  'models:use',
  'mcp:connect',
  'agents:use',
  'backends:use',
];

/** Roles that are always there; no Role resource may take their names. */
export const BUILT_IN_ROLES = {
  'super-admin': PERMISSIONS,
  // Who may write roles may give themselves every right.
  admin: PERMISSIONS.filter((permission) => permission !== 'roles:write'),
  // Keys and members of their own teams are theirs by being `managers` of them.
  'team-manager': [
    ...CLIENT_PERMISSIONS,
    'own-keys:write',
    'users:read',
    'teams:read',
    'roles:read',
    'limits:read',
    'resources:read',
    'status:read',
  ],
  developer: [...CLIENT_PERMISSIONS, 'own-keys:write'],
  viewer: PERMISSIONS.filter((permission) => permission.endsWith(':read')),
} as const satisfies Readonly<Record<string, readonly Permission[]>>;

export function isBuiltInRole(name: string): boolean {
  return Object.hasOwn(BUILT_IN_ROLES, name);
}

/** The built-in roles as a snapshot has them: for everybody to whom they are given by name. */
export function builtInRoles(): SnapshotRole[] {
  return Object.entries(BUILT_IN_ROLES).map(([name, permissions]) => ({
    name,
    permissions,
    users: [],
    groups: [],
  }));
}

/** Whether these permissions have one: `…:write` includes `…:read`. */
export function grants(permissions: readonly Permission[], wanted: Permission): boolean {
  if (permissions.includes(wanted)) return true;
  const [area, action] = wanted.split(':');
  return action === 'read' && permissions.some((permission) => permission === `${area}:write`);
}

/** Everything that a principal may do, whatever it is about: its roles', as far as its key's bound allows. */
export function permissionsOf(
  snapshot: Snapshot,
  {
    roles,
    permissions: bound,
  }: { readonly roles: readonly string[]; readonly permissions?: readonly Permission[] | undefined },
): readonly Permission[] {
  const granted = roles.flatMap((name) => roleOf(snapshot, name)?.permissions ?? []);
  return PERMISSIONS.filter(
    (permission) => grants(granted, permission) && (bound === undefined || grants(bound, permission)),
  );
}

/** A role by name; undefined for one that no resource declares (any more). */
export function roleOf(snapshot: Snapshot, name: string): SnapshotRole | undefined {
  return Object.hasOwn(snapshot.roles, name) ? snapshot.roles[name] : undefined;
}

function teamOf(snapshot: Snapshot, name: string): SnapshotTeam | undefined {
  return Object.hasOwn(snapshot.teams, name) ? snapshot.teams[name] : undefined;
}

/** What bounds those in a team: also one that was in force, is no longer, and that nobody has given up. */
export function boundsOfTeam(snapshot: Snapshot, name: string): KnownTeam | undefined {
  const { formerTeams = {} } = snapshot;
  return teamOf(snapshot, name) ?? (Object.hasOwn(formerTeams, name) ? formerTeams[name] : undefined);
}

/** Whether somebody is in their team only by the list of one that is in force no longer: what a team opens, that does not. */
export function isFormerMember(
  snapshot: Snapshot,
  {
    team,
    ...listed
  }: { readonly user: string; readonly groups: readonly string[]; readonly team?: string | undefined },
): boolean {
  return team !== undefined && teamListing(membershipsOf(snapshot).ofFormerTeams, listed) === team;
}

/** Whether somebody is in a team: by name, by a group, or by their own record. */
export function isMember(
  snapshot: Snapshot,
  team: string,
  user: string,
  record: UserRecord | undefined,
): boolean {
  if (record?.team === team) return true;
  const declared = teamOf(snapshot, team);
  if (declared === undefined) return false;
  const { members, groups } = declared;
  const ofUser = [...(record?.groups ?? []), ...(record?.claimGroups ?? [])];
  return members.includes(user) || groups.some((group) => ofUser.includes(group));
}

/** Whether a list of patterns has one of the names; a list that is not there has all. */
export function listHas(patterns: readonly string[] | undefined, names: readonly string[]): boolean {
  if (patterns === undefined) return true;
  const { plain, wild } = patternListOf(patterns);
  return names.some((name) => plain.has(name) || wild.some((fits) => fits(name)));
}

/** A list of patterns made ready: those without a wildcard are looked up, however many there are. */
interface PatternList {
  readonly plain: ReadonlySet<string>;
  readonly wild: readonly ((name: string) => boolean)[];
}

const patternLists = new WeakMap<readonly string[], PatternList>();

function patternListOf(patterns: readonly string[]): PatternList {
  let list = patternLists.get(patterns);
  if (list === undefined) {
    const plain = new Set(patterns.filter((pattern) => !pattern.includes('*')));
    list = { plain, wild: patterns.filter((pattern) => pattern.includes('*')).map(compilePattern) };
    patternLists.set(patterns, list);
  }
  return list;
}

/** Who has which role and is in which team, turned around: made once for each snapshot. */
interface Memberships {
  readonly rolesOfUser: ReadonlyMap<string, readonly string[]>;
  readonly rolesOfGroup: ReadonlyMap<string, readonly string[]>;
  /** The first team by name that has them. */
  readonly ofTeams: Listed;
  readonly ofFormerTeams: Listed;
}

/** Whom teams list. */
interface Listed {
  readonly teamOfUser: ReadonlyMap<string, string>;
  readonly teamOfGroup: ReadonlyMap<string, string>;
}

const memberships = new WeakMap<Snapshot, Memberships>();

function membershipsOf(snapshot: Snapshot): Memberships {
  const known = memberships.get(snapshot);
  if (known !== undefined) return known;
  const rolesOfUser = new Map<string, string[]>();
  const rolesOfGroup = new Map<string, string[]>();
  const give = (map: Map<string, string[]>, member: string, role: string): void => {
    const roles = map.get(member);
    if (roles === undefined) map.set(member, [role]);
    else roles.push(role);
  };
  for (const { name, users, groups } of Object.values(snapshot.roles)) {
    for (const user of users) give(rolesOfUser, user, name);
    for (const group of groups) give(rolesOfGroup, group, name);
  }
  const made = {
    rolesOfUser,
    rolesOfGroup,
    ofTeams: listedBy(snapshot.teams),
    ofFormerTeams: listedBy(snapshot.formerTeams ?? {}),
  };
  memberships.set(snapshot, made);
  return made;
}

function listedBy(teams: Readonly<Record<string, KnownTeam>>): Listed {
  const teamOfUser = new Map<string, string>();
  const teamOfGroup = new Map<string, string>();
  for (const { name, members, groups } of Object.values(teams).sort((a, b) => byCodeUnit(a.name, b.name))) {
    for (const user of members) if (!teamOfUser.has(user)) teamOfUser.set(user, name);
    for (const group of groups) if (!teamOfGroup.has(group)) teamOfGroup.set(group, name);
  }
  return { teamOfUser, teamOfGroup };
}

/** By name before by group; of several groups the first team by name. */
function teamListing(
  { teamOfUser, teamOfGroup }: Listed,
  { user, groups }: Pick<Member, 'user' | 'groups'>,
): string | undefined {
  return (
    teamOfUser.get(user) ??
    groups
      .flatMap((group) => teamOfGroup.get(group) ?? [])
      .sort(byCodeUnit)
      .at(0)
  );
}

function byCodeUnit(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** What is known of somebody before roles are counted together. */
export interface Member {
  readonly user: string;
  /** As the directory has it. */
  readonly record: UserRecord | undefined;
  readonly groups: readonly string[];
  /** That the credential itself names. */
  readonly team?: string | undefined;
  readonly tenant?: string | undefined;
  /** That the credential itself brings. */
  readonly roles: readonly string[];
  /** Where there would be none. */
  readonly rolesByDefault: readonly string[];
}

export interface Membership {
  readonly team: string | undefined;
  readonly tenant: string | undefined;
  /** Sorted, each once. */
  readonly roles: readonly string[];
}

/**
 * Team, tenant and roles of somebody. A team is the credential's, else the user's, else the first by name whose members
 * or groups have the user, a former team only where no other has; a tenant is the credential's, else the user's, else the
 * team's.
 */
export function membershipOf(snapshot: Snapshot, member: Member): Membership {
  const { user, record, groups } = member;
  const index = membershipsOf(snapshot);
  const team =
    member.team ??
    record?.team ??
    teamListing(index.ofTeams, member) ??
    teamListing(index.ofFormerTeams, member);
  const declared = team === undefined ? undefined : teamOf(snapshot, team);
  const bounds = team === undefined ? undefined : boundsOfTeam(snapshot, team);
  const roles = [
    ...member.roles,
    ...(record?.roles ?? []),
    ...(index.rolesOfUser.get(user) ?? []),
    ...groups.flatMap((group) => index.rolesOfGroup.get(group) ?? []),
    ...(declared?.roles ?? []),
  ];
  // What a team gave in place of these may have been less: who was in it must not get more when it vanishes.
  const byDefault = member.rolesByDefault.filter((role) => bounds?.defaultRoles?.includes(role) ?? true);
  return {
    team,
    tenant: member.tenant ?? record?.tenant ?? bounds?.tenant,
    roles: [...new Set(roles.length > 0 ? roles : byDefault)].sort(byCodeUnit),
  };
}
