import { describe, expect, it } from 'vitest';
import { PERMISSIONS } from './access.ts';
import {
  BUILT_IN_ROLES,
  builtInRoles,
  grants,
  listHas,
  membershipOf,
  permissionsOf,
  boundsOfTeam,
} from './roles.ts';
import type { Snapshot } from './snapshot.ts';
import { emptySnapshot } from './testing/snapshot.ts';

const snapshot: Snapshot = emptySnapshot({
  gateway: { access: { keyRoles: [] } },
  roles: Object.fromEntries(builtInRoles().map((role) => [role.name, role])),
});

describe('built-in roles', () => {
  it('go from all to reading', () => {
    expect(BUILT_IN_ROLES['super-admin']).toEqual(PERMISSIONS);
    // Who may write roles may give themselves every right.
    expect(BUILT_IN_ROLES.admin).not.toContain('roles:write');
    expect(BUILT_IN_ROLES.developer).not.toContain('requests:read');
    expect(BUILT_IN_ROLES.viewer.every((permission) => permission.endsWith(':read'))).toBe(true);
    expect(BUILT_IN_ROLES['team-manager'].filter((one) => one.endsWith(':write'))).toEqual([
      'own-keys:write',
    ]);
  });
});

describe('permissions', () => {
  it('of writing include those of reading, and not the other way round', () => {
    expect(grants(['keys:write'], 'keys:read')).toBe(true);
    expect(grants(['keys:read'], 'keys:write')).toBe(false);
    expect(grants(['own-keys:write'], 'keys:read')).toBe(false);
    expect(grants([], 'models:use')).toBe(false);
  });

  it('are those of all roles together, as far as a key allows', () => {
    expect(permissionsOf(snapshot, { roles: ['developer', 'gone', '__proto__'] })).toEqual(
      PERMISSIONS.filter((permission) => BUILT_IN_ROLES.developer.some((one) => one === permission)),
    );
    const bound = { roles: ['super-admin'], permissions: ['keys:write', 'models:use'] as const };
    expect(permissionsOf(snapshot, bound)).toEqual(['models:use', 'keys:read', 'keys:write']);
    expect(permissionsOf(snapshot, { roles: ['viewer'], permissions: ['keys:write'] })).toEqual([
      'keys:read',
    ]);
    expect(permissionsOf(snapshot, { roles: [] })).toEqual([]);
  });
});

describe('a list of patterns', () => {
  it('has what one of them fits, a list that is not there has all, and an empty one nothing', () => {
    const list = ['exact', 'gpt-*', '*-mini', '__proto__'];
    const has = (name: string) => listHas(list, [name]);
    expect(['exact', 'gpt-5', 'x-mini', '__proto__'].filter(has)).toHaveLength(4);
    expect(['Exact', 'exact2', 'xgpt-5', 'constructor', '', 'gpt'].filter(has)).toEqual([]);
    expect(listHas(list, ['none', 'exact'])).toBe(true);
    expect(listHas(undefined, ['none'])).toBe(true);
    expect(listHas([], ['none'])).toBe(false);
  });
});

describe('a membership', () => {
  const team = { members: [], groups: [], managers: [], roles: [] };
  const teams = {
    zeta: { ...team, name: 'zeta', members: ['ada'], groups: ['staff'] },
    alpha: { ...team, name: 'alpha', groups: ['staff'], tenant: 'acme', roles: ['viewer'] },
    beta: { ...team, name: 'beta', members: ['ada', 'bob'] },
  };
  const of = (user: string, more: { team?: string; groups?: string[] } = {}) =>
    membershipOf(
      { ...snapshot, teams },
      {
        user,
        record: undefined,
        groups: more.groups ?? [],
        team: more.team,
        roles: [],
        rolesByDefault: ['developer'],
      },
    );

  it('is in the first team by name, members before groups, the credential before both', () => {
    expect(of('ada', { groups: ['staff'] }).team).toBe('beta');
    expect(of('eve', { groups: ['staff'] })).toEqual({ team: 'alpha', tenant: 'acme', roles: ['viewer'] });
    expect(of('ada', { team: 'zeta' }).team).toBe('zeta');
    expect(of('eve')).toEqual({ team: undefined, tenant: undefined, roles: ['developer'] });
  });

  it('is in a former team where no other has the user, and has its tenant, but no roles', () => {
    const former = { name: 'former', tenant: 'old', members: ['eve', 'ada'], groups: ['left', 'staff'] };
    const older = { name: 'older', members: [], groups: ['left'] };
    const later = { ...snapshot, teams, formerTeams: { former, older } };
    const inLater = (user: string, groups: string[] = []) =>
      membershipOf(later, { user, record: undefined, groups, roles: [], rolesByDefault: [] }).team;
    expect(['eve', 'ada', 'grace'].map((user) => inLater(user))).toEqual(['former', 'beta', undefined]);
    expect([inLater('grace', ['left']), inLater('grace', ['left', 'staff'])]).toEqual(['former', 'alpha']);
    expect(
      membershipOf(later, {
        user: 'eve',
        record: undefined,
        groups: [],
        roles: [],
        rolesByDefault: ['viewer'],
      }),
    ).toEqual({ team: 'former', tenant: 'old', roles: ['viewer'] });
    expect(boundsOfTeam(later, 'older')).toBe(older);
    expect(boundsOfTeam({ ...later, formerTeams: { beta: older } }, 'beta')).toBe(teams.beta);
    expect(boundsOfTeam(snapshot, 'older')).toBeUndefined();
    expect(boundsOfTeam(later, '__proto__')).toBeUndefined();
  });

  it('has no default role that a former team had put others in place of', () => {
    const later = (defaultRoles?: string[]) => ({
      ...snapshot,
      formerTeams: { former: { name: 'former', members: ['eve'], groups: [], defaultRoles } },
    });
    const rolesOf = (defaultRoles: string[] | undefined, roles: string[] = [], team?: string) =>
      membershipOf(later(defaultRoles), {
        ...{ user: team === undefined ? 'eve' : 'bob', record: undefined, groups: [], team, roles },
        rolesByDefault: ['developer', 'viewer'],
      }).roles;
    expect(rolesOf(['small'])).toEqual([]);
    expect(rolesOf(['small'], [], 'former')).toEqual([]);
    expect(rolesOf(['small', 'viewer'])).toEqual(['viewer']);
    expect(rolesOf(['small'], ['admin'])).toEqual(['admin']);
    expect(rolesOf(undefined)).toEqual(['developer', 'viewer']);
    expect(rolesOf(['small'], [], 'another')).toEqual(['developer', 'viewer']);
  });

  it('has no role of a team that is only named like one', () => {
    expect(of('eve', { team: '__proto__' }).roles).toEqual(['developer']);
  });
});
