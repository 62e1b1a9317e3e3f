import type { Permission, Surface } from '../core/access.ts';
import { LimenError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { boundsOfTeam, grants, isFormerMember, listHas, roleOf } from '../core/roles.ts';
import type { Snapshot, SnapshotAccess, SnapshotModel, SnapshotRole } from '../core/snapshot.ts';
import { LONGEST_TRACED_NAME, type TraceLine } from '../core/trace.ts';

/** Names that a refusal repeats: a list in a resource may have a thousand. */
const MOST_NAMED = 10;

/** What is asked for: a right that roles give, on one thing. */
export interface AskedRight {
  readonly surface: Surface;
  readonly permission: Permission;
  /** Which patterns of roles are about it. */
  readonly list: 'models' | 'tools' | 'backends';
  /** Its name, and further names under which patterns may have it. */
  readonly names: readonly [string, ...string[]];
  /** In words: `the model "fast"`. */
  readonly what: string;
  /** Of the refusal, where no list has it; `not_allowed` where a whole right is missing. */
  readonly code: 'model_not_allowed' | 'not_allowed';
  /** What it asks for itself. */
  readonly access?: SnapshotAccess | undefined;
}

/** How it was decided, and by what. */
export type Ruling =
  | { readonly allowed: true; readonly role: string }
  | {
      readonly allowed: false;
      /** What refused: `role/developer`, `key/k1`, `team/red`, `surfaces`, `access/scopes`. */
      readonly rule: string;
      /** What is missing, in words. */
      readonly missing: string;
      readonly code: 'model_not_allowed' | 'not_allowed' | 'insufficient_scope';
      /** All that would be needed, where one of them is missing. */
      readonly scopes?: readonly string[] | undefined;
    };
type Refusal = Ruling & { readonly allowed: false };

/** Judges whether somebody has a right on something: deny by default, and every list must have it. */
export function judge(snapshot: Snapshot, principal: Principal, asked: AskedRight): Ruling {
  const { surface, permission, names, what } = asked;
  if (!principal.surfaces.includes(surface)) {
    return refused(asked, 'surfaces', `the surface ${surface}`, 'not_allowed');
  }
  if (principal.permissions !== undefined && !grants(principal.permissions, permission)) {
    return refused(asked, `key/${principal.keyId}`, `the permission ${permission}`, 'not_allowed');
  }
  const roles = rolesWith(snapshot, principal, permission);
  if (roles.length === 0) {
    return refused(
      asked,
      'roles',
      `the permission ${permission}, which no role of yours gives`,
      'not_allowed',
    );
  }
  const role = roles.find((one) => listHas(listOf(one, asked), names));
  if (role === undefined) {
    const had = named(
      roles.map(({ name }) => name),
      ', ',
    );
    return refused(asked, `role/${had}`, `a role whose list of ${asked.list} has ${what}`);
  }
  if (!listHas(asked.list === 'backends' ? undefined : principal[asked.list], names)) {
    return refused(asked, `key/${principal.keyId}`, `${what} in this API key's list`);
  }
  const team = principal.team === undefined ? undefined : boundsOfTeam(snapshot, principal.team);
  if (asked.list === 'models' && !listHas(team?.models, names)) {
    return refused(asked, `team/${principal.team}`, `${what} in the list of your team`);
  }
  return judgeAccess(snapshot, principal, asked) ?? { allowed: true, role: role.name };
}

interface KnownRoles {
  readonly snapshot: Snapshot;
  readonly byPermission: Map<Permission, readonly SnapshotRole[]>;
}

const knownRoles = new WeakMap<Principal, KnownRoles>();

/** Those of somebody's roles that give a right, found once: groups may bring hundreds of roles. */
function rolesWith(
  snapshot: Snapshot,
  principal: Principal,
  permission: Permission,
): readonly SnapshotRole[] {
  let known = knownRoles.get(principal);
  if (known?.snapshot !== snapshot) {
    known = { snapshot, byPermission: new Map() };
    knownRoles.set(principal, known);
  }
  let roles = known.byPermission.get(permission);
  if (roles === undefined) {
    roles = principal.roles
      .flatMap((name) => roleOf(snapshot, name) ?? [])
      .filter((role) => grants(role.permissions, permission));
    known.byPermission.set(permission, roles);
  }
  return roles;
}

function listOf(role: SnapshotRole, { list }: AskedRight): readonly string[] | undefined {
  return role[list];
}

function refused(
  asked: AskedRight,
  rule: string,
  missing: string,
  code: Refusal['code'] = asked.code,
  scopes?: readonly string[],
): Refusal {
  return { allowed: false, rule, missing, code, scopes };
}

function refusalError({ what, list }: AskedRight, { missing, code, scopes }: Refusal): LimenError {
  return new LimenError(code, `You may not use ${what}: ${missing} is missing.`, {
    ...(list === 'models' ? { param: 'model' } : {}),
    ...(scopes === undefined ? {} : { scopes }),
  });
}

/** Names of a list of any length, the first few of them. */
function named(names: readonly string[], separator: string): string {
  const first = names.slice(0, MOST_NAMED).join(separator);
  return names.length > MOST_NAMED ? `${first} …` : first;
}

/** What a thing asks for itself; undefined where all of it is met. */
function judgeAccess(snapshot: Snapshot, principal: Principal, asked: AskedRight): Refusal | undefined {
  const { access } = asked;
  if (access === undefined) return undefined;
  const { tenant } = principal;
  const team = access.teams === undefined || isFormerMember(snapshot, principal) ? undefined : principal.team;
  const lists = [
    ['roles', access.roles, principal.roles, 'the role'],
    ['groups', access.groups, principal.groups, 'the group'],
    ['teams', access.teams, team === undefined ? [] : [team], 'the team'],
    ['tenants', access.tenants, tenant === undefined ? [] : [tenant], 'the tenant'],
    ['features', access.features, principal.features, 'the feature'],
  ] as const;
  for (const [list, wanted, had, word] of lists) {
    if (wanted === undefined || hasAny(wanted, had)) continue;
    return refused(asked, `access/${list}`, `${word} ${named(wanted, ' or ')}`, 'not_allowed');
  }
  const scopes = access.scopes ?? [];
  const missing = scopes.filter((scope) => !principal.scopes.includes(scope));
  if (missing.length === 0) return undefined;
  const words = `the scope ${named(missing, ' and ')}`;
  return refused(asked, 'access/scopes', words, 'insufficient_scope', scopes);
}

const wantedNames = new WeakMap<readonly string[], ReadonlySet<string>>();

/** To the letter: a star in these lists is a star. They may be long, and stay the same within a snapshot. */
function hasAny(wanted: readonly string[], had: readonly string[]): boolean {
  const names = wantedNames.get(wanted) ?? new Set(wanted);
  wantedNames.set(wanted, names);
  return had.some((name) => names.has(name));
}

/** The decision as a line of the trace. */
export function authorizedLine(asked: AskedRight, ruling: Ruling): TraceLine {
  const subject = asked.names[0].slice(0, LONGEST_TRACED_NAME);
  return ruling.allowed
    ? ['authorize', `role/${ruling.role}`, subject, 'allowed', asked.permission]
    : ['authorize', ruling.rule, subject, 'refused', `${ruling.missing} is missing`];
}

/** Decides, writes the decision down, and throws what refuses: not_allowed, model_not_allowed, insufficient_scope. */
export function authorize(
  snapshot: Snapshot,
  principal: Principal,
  asked: AskedRight,
  trace: TraceLine[],
): void {
  const ruling = judge(snapshot, principal, asked);
  trace.push(authorizedLine(asked, ruling));
  if (!ruling.allowed) throw refusalError(asked, ruling);
}

const aliases = new WeakMap<Snapshot, ReadonlyMap<string, readonly string[]>>();

/** The aliases of each Model, made once for each snapshot. */
function aliasesOf(snapshot: Snapshot, model: string): readonly string[] {
  let known = aliases.get(snapshot);
  if (known === undefined) {
    const pairs = Map.groupBy(Object.entries(snapshot.aliases), ([, name]) => name);
    known = new Map([...pairs].map(([name, own]) => [name, own.map(([alias]) => alias)]));
    aliases.set(snapshot, known);
  }
  return known.get(model) ?? [];
}

/** The use of a model: lists may have its name, or one of its aliases. */
export function useOfModel(snapshot: Snapshot, { name, access }: SnapshotModel): AskedRight {
  return {
    surface: 'model',
    permission: 'models:use',
    list: 'models',
    names: [name, ...aliasesOf(snapshot, name)],
    what: `the model "${name}"`,
    code: 'model_not_allowed',
    access,
  };
}

/** The use of a backend, by the access that it, or one of its routes, asks for. */
export function useOfBackend(name: string, access: SnapshotAccess | undefined): AskedRight {
  return {
    surface: 'backend',
    permission: 'backends:use',
    list: 'backends',
    names: [name],
    what: `the backend "${name}"`,
    code: 'not_allowed',
    access,
  };
}

export function mayUseModel(snapshot: Snapshot, principal: Principal, model: SnapshotModel): boolean {
  return judge(snapshot, principal, useOfModel(snapshot, model)).allowed;
}
