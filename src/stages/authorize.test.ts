import { describe, expect, it } from 'vitest';
import type { Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotAccess, SnapshotRole } from '../core/snapshot.ts';
import type { TraceLine } from '../core/trace.ts';
import { modelOf, principal, SNAPSHOT } from './__fixtures__/snapshot.ts';
import { authorize, mayUseModel, useOfBackend, useOfModel } from './authorize.ts';

function role(name: string, more: Partial<SnapshotRole> = {}): SnapshotRole {
  return { name, permissions: ['models:use'], users: [], groups: [], ...more };
}

const snapshot: Snapshot = {
  ...SNAPSHOT,
  aliases: { quick: 'gpt-4o-mini', other: 'claude' },
  roles: {
    ...SNAPSHOT.roles,
    'mini-only': role('mini-only', { models: ['gpt-*-mini'] }),
    'by-alias': role('by-alias', { models: ['quick'] }),
    reader: role('reader', { permissions: ['models:use', 'requests:read'], models: [] }),
  },
  teams: {
    small: {
      name: 'small',
      members: [],
      groups: [],
      managers: [],
      roles: [],
      models: ['gpt-*'],
    },
  },
};

/** How the use of a model was decided: the line of its trace, and the error. */
function decide(
  who: Partial<Principal>,
  name = 'gpt-4o-mini',
  access?: SnapshotAccess,
): { line: TraceLine | undefined; error: unknown } {
  const trace: TraceLine[] = [];
  const model = modelOf(name, { access });
  try {
    authorize(snapshot, principal(who), useOfModel(snapshot, model), trace);
    return { line: trace[0], error: undefined };
  } catch (error) {
    return { line: trace[0], error };
  }
}

describe('the use of a model', () => {
  it('is allowed by a role, and the trace says which', () => {
    expect(decide({})).toEqual({
      line: ['authorize', 'role/developer', 'gpt-4o-mini', 'allowed', 'models:use'],
      error: undefined,
    });
    // Of several roles any one is enough.
    expect(decide({ roles: ['viewer', 'by-alias', 'mini-only'] }).line?.[1]).toBe('role/by-alias');
  });

  const refusals: readonly (readonly [string, Partial<Principal>, string, string, string])[] = [
    ['nobody has a role', { roles: [] }, 'roles', 'not_allowed', 'models:use'],
    ['roles are not there any more', { roles: ['gone'] }, 'roles', 'not_allowed', 'models:use'],
    ['no role has the permission', { roles: ['viewer'] }, 'roles', 'not_allowed', 'models:use'],
    ['a role is named like a member of Object', { roles: ['__proto__'] }, 'roles', 'not_allowed', 'models'],
    ['the credential is not for it', { surfaces: ['admin', 'mcp'] }, 'surfaces', 'not_allowed', 'model'],
    ['the key is bound', { permissions: ['mcp:connect'] }, 'key/k', 'not_allowed', 'models:use'],
    ['the key has a list', { models: ['claude'] }, 'key/k', 'model_not_allowed', "API key's list"],
    ['the list of the key is empty', { models: [] }, 'key/k', 'model_not_allowed', "API key's list"],
    ['the role has an empty list', { roles: ['reader'] }, 'role/reader', 'model_not_allowed', 'list'],
  ];
  it.each(refusals)('is refused where %s', (_case, who, rule, code, word) => {
    const { line, error } = decide(who);
    expect(line?.slice(0, 4)).toEqual(['authorize', rule, 'gpt-4o-mini', 'refused']);
    expect(error).toMatchObject({ code, status: 403, message: expect.stringContaining(word) });
  });

  it('needs the list of the role, of the key and of the team at once', () => {
    expect(decide({ roles: ['mini-only'], models: ['gpt-*'], team: 'small' }).error).toBeUndefined();
    expect(decide({ roles: ['mini-only'] }, 'claude').line?.[1]).toBe('role/mini-only');
    expect(decide({ team: 'small' }, 'claude').line?.[1]).toBe('team/small');
    // A team that no resource declares has no list.
    expect(decide({ team: 'undeclared' }, 'claude').error).toBeUndefined();
  });

  it('is bounded by a team that vanished, whatever else allows it', () => {
    const later = {
      ...snapshot,
      formerTeams: { red: { name: 'red', members: [], groups: [], models: ['claude*'] } },
    };
    const trace: TraceLine[] = [];
    const asked = useOfModel(later, modelOf('gpt-4o-mini'));
    expect(() => authorize(later, principal({ team: 'red', roles: ['super-admin'] }), asked, trace)).toThrow(
      expect.objectContaining({
        code: 'model_not_allowed',
        status: 403,
        message: expect.stringContaining('in the list of your team'),
      }),
    );
    expect(trace).toEqual([
      ['authorize', 'team/red', 'gpt-4o-mini', 'refused', expect.stringContaining('your team')],
    ]);
    expect(mayUseModel(later, principal({ team: 'red' }), modelOf('gpt-4o-mini'))).toBe(false);
    expect(mayUseModel(later, principal({ team: 'red' }), modelOf('claude'))).toBe(true);
    expect(mayUseModel(later, principal({ team: 'small' }), modelOf('gpt-4o-mini'))).toBe(true);
    expect(mayUseModel(later, principal({ team: 'a free label' }), modelOf('gpt-4o-mini'))).toBe(true);
  });

  it('is not given by the list of a team that vanished', () => {
    const red = { name: 'red', members: ['ann'], groups: ['staff'], models: ['*'] };
    const later = { ...snapshot, formerTeams: { red } };
    const model = modelOf('gpt-4o-mini', { access: { teams: ['red'] } });
    const mayUse = (user: string, groups: string[], inForce: Snapshot = later) =>
      mayUseModel(inForce, principal({ user, groups, team: 'red' }), model);
    const declared = { ...snapshot, teams: { red: { ...red, managers: [], roles: [] } } };
    expect([mayUse('ann', []), mayUse('bob', ['staff'])]).toEqual([false, false]);
    expect([mayUse('ann', [], declared), mayUse('bob', ['staff'], declared)]).toEqual([true, true]);
    expect(mayUse('bob', [])).toBe(true);
  });

  it('is decided anew by each configuration, for the same principal too', () => {
    const ada = principal({ roles: ['mini-only'] });
    const model = modelOf('gpt-4o-mini');
    expect(mayUseModel(snapshot, ada, model)).toBe(true);
    const { 'mini-only': _, ...others } = snapshot.roles;
    expect(mayUseModel({ ...snapshot, roles: others }, ada, model)).toBe(false);
    const emptied = role('mini-only', { permissions: ['backends:use'] });
    expect(mayUseModel({ ...snapshot, roles: { ...others, 'mini-only': emptied } }, ada, model)).toBe(false);
    expect(mayUseModel(snapshot, ada, model)).toBe(true);
  });

  it('takes an alias in a list for the model behind it, and for no other', () => {
    expect(decide({ models: ['quick'] }).error).toBeUndefined();
    expect(decide({ roles: ['by-alias'] }).error).toBeUndefined();
    expect(decide({ models: ['quick'] }, 'claude').error).toMatchObject({ code: 'model_not_allowed' });
  });

  it.each(['GPT-4o-mini', 'gpt-4o-mini ', 'gpt-4o-mіni', 'ｇpt-4o-mini', 'gpt-4o-mini\u200b'])(
    'has no other spelling: %j',
    (name) => {
      expect(decide({ models: ['gpt-4o-mini'] }, name).error).toMatchObject({ code: 'model_not_allowed' });
    },
  );
});

describe('what a model asks for itself', () => {
  const met: Partial<Principal> = {
    roles: ['developer'],
    groups: ['red'],
    team: 'a',
    tenant: 't',
    features: ['plan:pro'],
    scopes: ['use', 'more', 'extra'],
  };
  const access: SnapshotAccess = {
    roles: ['admin', 'developer'],
    groups: ['red', 'blue'],
    teams: ['a', 'b'],
    tenants: ['t'],
    features: ['plan:pro', 'plan:max'],
    scopes: ['use', 'more'],
  };

  it('must all be met', () => {
    expect(decide(met, 'm', access).error).toBeUndefined();
  });

  it.each([
    ['roles', { roles: ['mini-only', 'team-manager'] }, 'not_allowed', 'the role admin or developer'],
    ['groups', { groups: ['Red'] }, 'not_allowed', 'the group red or blue'],
    ['teams', { team: undefined }, 'not_allowed', 'the team a or b'],
    ['tenants', { tenant: 'T' }, 'not_allowed', 'the tenant t'],
    ['features', { features: ['plan'] }, 'not_allowed', 'the feature plan:pro or plan:max'],
    ['scopes', { scopes: ['use'] }, 'insufficient_scope', 'the scope more'],
  ] as const)('is refused without its %s, in words', (list, without, code, words) => {
    const { line, error } = decide({ ...met, ...without }, 'm', access);
    expect(line?.slice(0, 4)).toEqual(['authorize', `access/${list}`, 'm', 'refused']);
    expect(error).toMatchObject({ code, status: 403, message: expect.stringContaining(words) });
  });

  it('is compared to the letter: a star stands for itself', () => {
    const stars = { groups: ['*'], roles: ['dev*'] };
    expect(
      decide({ groups: ['red'], roles: ['developer'] }, 'm', { groups: stars.groups }).error,
    ).toBeDefined();
    expect(decide({ roles: ['developer'] }, 'm', { roles: stars.roles }).error).toBeDefined();
    expect(
      decide({ groups: ['*'], roles: ['developer'] }, 'm', { groups: stars.groups }).error,
    ).toBeUndefined();
  });

  it('names all scopes that would do, for the client to ask for', () => {
    expect(decide({ ...met, scopes: [] }, 'm', access).error).toMatchObject({ scopes: ['use', 'more'] });
  });

  it('repeats a few names of a long list', () => {
    const long = Array.from({ length: 1000 }, (_, index) => `group-${String(index)}`);
    const { line, error } = decide(met, 'm', { groups: long });
    expect(JSON.stringify([line, String(error)]).length).toBeLessThan(500);
    expect(String(error)).toContain('group-0 or group-1');
  });

  it('hides what may not be used from lists', () => {
    expect(mayUseModel(snapshot, principal(met), modelOf('m', { access }))).toBe(true);
    expect(mayUseModel(snapshot, principal(), modelOf('m', { access }))).toBe(false);
  });
});

describe('the use of a backend', () => {
  const narrow: Snapshot = {
    ...snapshot,
    roles: { narrow: role('narrow', { permissions: ['backends:use'], backends: ['wiki'] }) },
  };
  const decideBackend = (who: Partial<Principal>, name: string) => () =>
    authorize(narrow, principal({ roles: ['narrow'], ...who }), useOfBackend(name, undefined), []);

  it('needs its right on the backend, whatever the lists of models say', () => {
    expect(decideBackend({ models: [] }, 'wiki')).not.toThrow();
    expect(decideBackend({}, 'calendar')).toThrow(expect.objectContaining({ code: 'not_allowed' }));
    expect(decideBackend({ surfaces: ['model'] }, 'wiki')).toThrow();
    expect(decideBackend({ roles: [] }, 'wiki')).toThrow();
  });
});
