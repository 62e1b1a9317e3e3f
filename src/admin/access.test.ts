import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
import { createKnownTeamStore } from '../store/postgres/repositories/known-teams.ts';
import { createUserStore } from '../store/postgres/repositories/users.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';

const team = (name: string, spec: object) => ({
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'Team',
  metadata: { name },
  spec,
});
const TEAMS = [
  team('core', { members: ['alice'], managers: ['alice'], roles: ['developer'], models: ['demo*'] }),
  team('owners', { members: ['root'], managers: ['alice'], roles: ['super-admin'] }),
  team('others', { members: ['bob'], managers: ['bob'] }),
];

/** What heidi has is not in her own record. */
const FINANCE = {
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'Role',
  metadata: { name: 'finance' },
  spec: { permissions: ['models:use'], models: ['ledger-*'], users: ['heidi'] },
};

let postgres: TestPostgres;
let admin: TestAdmin;
let manager: string;

beforeAll(async () => {
  postgres = await startPostgres();
  return () => postgres.stop();
});

beforeEach(async () => {
  admin = await startAdmin(await postgres.createDatabase());
  await admin.call('PUT', '/api/v1/resources', { resources: TEAMS });
  await admin.configure(TEAMS.map((one) => JSON.stringify(one)).join('\n---\n'));
  admin.directory.setUser({ id: 'alice', groups: [], roles: ['team-manager'] });
  manager = admin.directory.addKey({ user: 'alice', surfaces: ['admin'] });
  return () => admin.close();
});

describe('a manager of a team', () => {
  const setMembers = (name: string, members: string[], credential = manager) =>
    admin.call('PUT', `/api/v1/teams/${name}/members`, { members }, credential);
  const stored = async (name: string) => (await admin.call('GET', `/api/v1/resources/Team/${name}`)).body;

  it('sets its members, and changes nothing else of it', async () => {
    expect((await setMembers('core', ['alice', 'carol'])).status).toBe(200);
    expect(await stored('core')).toMatchObject({
      spec: { members: ['alice', 'carol'], managers: ['alice'], roles: ['developer'], models: ['demo*'] },
    });
    const change = { resources: [team('core', { members: ['alice'], roles: ['admin'] })] };
    const refused = await admin.call('PUT', '/api/v1/resources', change, manager);
    expect(refused.status).toBe(403);
  });

  it('does not touch other teams', async () => {
    const { status, body } = await setMembers('others', ['alice']);
    expect(status).toBe(403);
    expect(JSON.stringify(body)).toContain('teams:write, or to be a manager of the team others');
    expect(await stored('others')).toMatchObject({ spec: { members: ['bob'] } });
  });

  it('brings nobody into a team that has more than the manager', async () => {
    expect((await setMembers('owners', ['root', 'alice'])).status).toBe(403);
    expect(await stored('owners')).toMatchObject({ spec: { members: ['root'] } });
    expect((await setMembers('owners', [])).status).toBe(200);
  });

  it('makes keys of its members, but of none who has a role, a group or a tenant that the manager has not', async () => {
    const members = ['alice', 'carol', 'erin', 'frank', 'grace', 'heidi'];
    await admin.configure(
      [team('core', { members, managers: ['alice'], roles: ['developer'] }), FINANCE]
        .map((one) => JSON.stringify(one))
        .join('\n---\n'),
    );
    admin.directory.setUser({ id: 'alice', groups: ['staff'], roles: ['team-manager'] });
    admin.directory.setUser({ id: 'carol', groups: [], claimGroups: ['staff'], roles: [] });
    admin.directory.setUser({ id: 'erin', groups: [], claimGroups: ['board'], roles: [] });
    admin.directory.setUser({ id: 'frank', groups: [], roles: ['finance'] });
    admin.directory.setUser({ id: 'grace', groups: [], roles: [], tenant: 'north' });
    const made: Record<string, number> = {};
    for (const user of members) {
      made[user] = (await admin.call('POST', '/api/v1/keys', { user, team: 'core' }, manager)).status;
    }
    expect(made).toEqual({ alice: 201, carol: 201, erin: 403, frank: 403, grace: 403, heidi: 403 });
    const { body } = await admin.call('POST', '/api/v1/keys', { user: 'erin', team: 'core' });
    const { id } = z.object({ id: z.string() }).parse(body);
    expect((await admin.call('POST', `/api/v1/keys/${id}/rotate`, {}, manager)).status).toBe(403);
    expect((await admin.call('POST', `/api/v1/keys/${id}/revoke`, {}, manager)).status).toBe(200);
  });

  it('is none with a key that may less than its user', async () => {
    const permissions = ['teams:read'] as const;
    const bound = admin.directory.addKey({ user: 'alice', surfaces: ['admin'], permissions });
    expect((await setMembers('core', ['alice', 'carol'], bound)).status).toBe(403);
  });
});

describe('a team', () => {
  const remove = async (name: string, query = '') => {
    const { status, body } = await admin.call('DELETE', `/api/v1/resources/Team/${name}${query}`);
    return `${status} ${JSON.stringify(body)}`;
  };
  const apply = (...resources: object[]) => admin.call('PUT', '/api/v1/resources', { resources });
  const makeKey = async (): Promise<string> => {
    const { body } = await admin.call('POST', '/api/v1/keys', { user: 'ada', team: 'red' });
    return z.object({ id: z.string() }).parse(body).id;
  };
  const issuer = (claims: object, more: object = {}) => ({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'IdentityProvider',
    metadata: { name: 'corp' },
    spec: { issuer: 'https://corp.example.com', audiences: ['limen'], claims, ...more },
  });

  beforeEach(async () => {
    await apply(team('red', { models: ['demo*'] }));
  });

  it('that nobody is in is deleted, and known no longer', async () => {
    const known = createKnownTeamStore(admin.connection.database);
    await known.remember([{ name: 'red', members: [], groups: [] }]);
    expect(await remove('red', '?dryRun=true')).toMatch(/^200 /);
    expect(await known.list()).toHaveLength(1);
    expect(await remove('red')).toMatch(/^200 /);
    expect(await known.list()).toEqual([]);
    expect(await remove('red')).toMatch(/^404 /);
  });

  it('is not deleted while a key that works, or can work again, names it', async () => {
    const ids = [await makeKey(), await makeKey()];
    const refused = await remove('red');
    expect(refused).toMatch(/^409 .*key: 2, key_.*, key_.*limen teams delete red --force/);
    for (const id of ids) expect(refused).toContain(id);
    expect(await remove('red', '?dryRun=true')).toMatch(/^409 /);
    const [first, second] = ids;
    // A deleted one can be restored.
    await admin.call('DELETE', `/api/v1/keys/${first}`);
    expect(await remove('red')).toMatch(/^409 .*key: 2/);
    await admin.call('POST', `/api/v1/keys/${first}/revoke`);
    await admin.call('PATCH', `/api/v1/keys/${second}`, { team: null });
    expect(await remove('red')).toMatch(/^200 /);
  });

  it('names a few of many', async () => {
    for (let count = 0; count < 7; count += 1) await makeKey();
    const refused = await remove('red');
    expect(refused).toMatch(/key: 7, (key_\w+, ){4}key_\w+ …\)/);
    expect(refused).toContain('"keys":{"count":7,"first":["key_');
  });

  it.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'a key of the configuration names it',
      () =>
        apply({
          apiVersion: 'limen.dev/v1alpha1',
          kind: 'ApiKey',
          metadata: { name: 'ci' },
          spec: { user: 'ci', team: 'red', secret: { env: 'CI_KEY' } },
        }),
      /key: 1, config\/ci/,
    ],
    [
      'a user is in it, disabled or not',
      async () => {
        const users = createUserStore(admin.connection.database);
        await users.edit('ada', { team: 'red', disabled: true }, Date.now(), 'test');
        await users.edit('bob', { team: 'red' }, Date.now(), 'test');
      },
      /user: 2, ada, bob/,
    ],
    ['it lists a member', () => apply(team('red', { members: ['eve'] })), /listed member: 1, eve/],
    ['it lists a group', () => apply(team('red', { groups: ['staff'] })), /listed group: 1, staff/],
    ['tokens may name it', () => apply(issuer({ team: 'team' })), /tokens may name it: 1, corp/],
    [
      'tokens may name it by a pattern',
      () => apply(issuer({ team: 'team' }, { allowedTeams: ['r*'] })),
      /tokens may name it: 1, corp/,
    ],
  ])('is not deleted while %s, but by force', async (_why, given, words) => {
    await given();
    expect(await remove('red')).toMatch(/^409 /);
    expect(await remove('red')).toMatch(words);
    expect(await remove('red', '?force=true')).toMatch(/^200 /);
  });

  it.each<[string, object]>([
    ['name other teams alone', issuer({ team: 'team' }, { allowedTeams: ['blue'] })],
    ['name none', issuer({})],
    ['are not taken', issuer({ team: 'team' }, { enabled: false })],
  ])('is deleted where tokens %s', async (_which, provider) => {
    await apply(provider);
    expect(await remove('red')).toMatch(/^200 /);
  });

  it('that is declared nowhere any more is given up by force alone', async () => {
    const known = createKnownTeamStore(admin.connection.database);
    await known.remember([{ name: 'vanished', members: ['ada'], groups: [] }]);
    expect(await remove('vanished')).toMatch(/^409 .*is no longer declared, and still bounds/);
    expect(await known.list()).toHaveLength(1);
    expect(await remove('vanished', '?force=true')).toMatch(/^200 .*"action":"deleted"/);
    expect(await known.list()).toEqual([]);
    expect(admin.events.at(-1)).toMatchObject({ type: 'resources-changed' });
  });

  it('is deleted here where the file declares it too: it goes on bounding', async () => {
    await makeKey();
    admin.setFile(JSON.stringify(team('red', { models: ['demo*'] })));
    expect(await remove('red')).toMatch(/^200 /);
    expect(await remove('red', '?force=true')).toMatch(/^409 .*read_only/);
  });

  it('is not given up by who may not write teams', async () => {
    const known = createKnownTeamStore(admin.connection.database);
    await known.remember([{ name: 'vanished', members: [], groups: [] }]);
    admin.directory.setUser({ id: 'limiter', groups: [], roles: ['limits-only'] });
    await admin.configure(
      JSON.stringify({
        apiVersion: 'limen.dev/v1alpha1',
        kind: 'Role',
        metadata: { name: 'limits-only' },
        spec: { permissions: ['limits:write'] },
      }),
    );
    const key = admin.directory.addKey({ user: 'limiter', surfaces: ['admin'] });
    for (const name of ['vanished', 'red']) {
      const path = `/api/v1/resources/Team/${name}?force=true`;
      expect((await admin.call('DELETE', path, undefined, key)).status).toBe(403);
    }
    expect(await known.list()).toHaveLength(1);
  });
});
