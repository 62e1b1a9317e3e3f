import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
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
