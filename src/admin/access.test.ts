import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
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

  it('is none with a key that may less than its user', async () => {
    const permissions = ['teams:read'] as const;
    const bound = admin.directory.addKey({ user: 'alice', surfaces: ['admin'], permissions });
    expect((await setMembers('core', ['alice', 'carol'], bound)).status).toBe(403);
  });
});
