import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { PERMISSIONS, type Permission } from '../core/access.ts';
import { openPostgres } from '../store/postgres/database.ts';
import { createRevocationStore } from '../store/postgres/repositories/revocations.ts';
import { createUserStore } from '../store/postgres/repositories/users.ts';
import { createVirtualKeyStore } from '../store/postgres/repositories/virtual-keys.ts';
import type { AdminEvent } from './admin-event.ts';
import type { Caller } from './caller.ts';
import { createKeySchema, editUserSchema, listKeysSchema, userIdSchema } from './contract.ts';
import { AdminError } from './errors.ts';
import { createKeyService, type KeyService } from './key-service.ts';
import { createRevocationService, type RevocationService } from './revocation-service.ts';
import type { Rights } from './rights.ts';
import { createUserService, type UserService } from './user-service.ts';
import { hashKey } from './virtual-key.ts';

const DAY = 86_400_000;

let server: TestPostgres;
let keys: KeyService;
let users: UserService;
let revocations: RevocationService;
let hashesInForce: () => Promise<string[]>;
let told: AdminEvent[];
let now: number;

/** Whoever has the role `admin` may do everything; everybody else may use models. */
const rights: Rights = {
  ofRoles: (roles) => (roles.includes('admin') ? PERMISSIONS : []),
  ofUser: ({ roles }) => (roles.includes('admin') ? PERMISSIONS : ['models:use']),
  ofKey: ({ user, surfaces }) =>
    user === 'boss' && surfaces?.includes('admin') === true ? PERMISSIONS : ['models:use'],
  reachesNoFurther: () => true,
};

beforeAll(async () => {
  server = await startPostgres();
  return () => server.stop();
});

beforeEach(async () => {
  const connection = await openPostgres(await server.createDatabase(), () => undefined);
  const store = createVirtualKeyStore(connection.database);
  now = Date.UTC(2026, 0, 1);
  told = [];
  const common = {
    now: () => now,
    onEvent: (event: AdminEvent) => void told.push(event),
    onError: (error: unknown) => {
      throw error;
    },
  };
  keys = createKeyService({
    ...common,
    keys: store,
    keyPrefix: 'tw-',
    resources: () => [],
    rights,
    isMember: (team, user) => team === 'core' && ['ada', 'bob'].includes(user),
    purgeAfterMs: 30 * DAY,
  });
  users = createUserService({ ...common, users: createUserStore(connection.database), rights });
  revocations = createRevocationService({
    ...common,
    revocations: createRevocationStore(connection.database),
    longestLifetimeMs: () => DAY,
    isIssuer: (name) => name === 'corp',
  });
  hashesInForce = async () => (await store.listActive(now)).map(({ hash }) => hash);
  return () => connection.close();
});

function caller(
  user: string,
  permissions: readonly Permission[],
  managedTeams: readonly string[] = [],
): Caller {
  return { actor: user, user, permissions: new Set(permissions), managedTeams };
}

const ROOT = caller('root', PERMISSIONS);
const DEVELOPER = caller('ada', ['models:use', 'own-keys:write']);
const OTHER = caller('bob', ['models:use', 'own-keys:write']);
const MANAGER = caller('carol', ['models:use', 'own-keys:write'], ['core']);
const EVERYTHING = listKeysSchema.parse({});

/** Code of what an action is refused with. */
async function codeOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return 'done';
  } catch (error) {
    return error instanceof AdminError ? error.code : String(error);
  }
}

describe('virtual keys', () => {
  it('are told of with each change, and the one before is good until its grace ends', async () => {
    const made = await keys.create({ user: 'ada' }, ROOT);
    const rotated = await keys.rotate(made.id, { graceSeconds: 3600 }, ROOT);
    expect(rotated).toMatchObject({ id: made.id, graceUntil: new Date(now + 3_600_000).toISOString() });
    expect(await hashesInForce()).toEqual([hashKey(rotated.key), hashKey(made.key)]);
    now += 3_600_000;
    expect(await hashesInForce()).toEqual([hashKey(rotated.key)]);
    expect((await keys.show(made.id, ROOT)).graceUntil).toBeUndefined();
    expect(told).toEqual([
      { type: 'key-changed', id: made.id },
      { type: 'key-changed', id: made.id },
    ]);
  });

  it('are refused once they are deleted, restorable until they are purged', async () => {
    const { id, key } = await keys.create({ user: 'ada' }, ROOT);
    expect(await keys.remove(id, ROOT)).toMatchObject({
      status: 'deleted',
      purgedAt: new Date(now + 30 * DAY).toISOString(),
    });
    expect(await hashesInForce()).toEqual([]);
    expect(await codeOf(keys.rotate(id, { graceSeconds: 0 }, ROOT))).toBe('conflict');
    expect(await keys.restore(id, ROOT)).toMatchObject({ status: 'active' });
    expect(await hashesInForce()).toEqual([hashKey(key)]);
    expect(await codeOf(keys.restore(id, ROOT))).toBe('conflict');
    expect(await keys.revoke(id, ROOT)).toMatchObject({ status: 'revoked' });
  });

  it('of others are not there for whoever may write but their own', async () => {
    const { id } = await keys.create({ user: 'bob' }, ROOT);
    const refused = await Promise.all(
      [
        keys.show(id, DEVELOPER),
        keys.rotate(id, { graceSeconds: 0 }, DEVELOPER),
        keys.revoke(id, DEVELOPER),
        keys.remove(id, DEVELOPER),
        keys.restore(id, DEVELOPER),
      ].map(codeOf),
    );
    expect(refused).toEqual(refused.map(() => 'not_found'));
    expect((await keys.list(EVERYTHING, DEVELOPER)).keys).toEqual([]);
    expect(await codeOf(keys.list({ ...EVERYTHING, user: 'bob' }, DEVELOPER))).toBe('forbidden');
    expect((await keys.list(EVERYTHING, OTHER)).keys).toHaveLength(1);
    expect(await keys.revoke(id, OTHER)).toMatchObject({ status: 'revoked' });
  });

  it('of one’s own are for oneself, in a team of one’s own, without tenant and scopes', async () => {
    for (const [request, code] of [
      [{ user: 'ada' }, 'done'],
      [{ user: 'ada', team: 'core' }, 'done'],
      [{ user: 'bob' }, 'forbidden'],
      [{ user: 'ada', team: 'rich' }, 'forbidden'],
      [{ user: 'ada', tenant: 'north' }, 'forbidden'],
      [{ user: 'ada', scopes: ['write'] }, 'forbidden'],
      [{ user: 'ada', permissions: ['keys:write'] }, 'forbidden'],
    ] as const) {
      expect(await codeOf(keys.create(createKeySchema.parse(request), DEVELOPER))).toBe(code);
    }
  });

  it('of a team are its manager’s, for its members alone', async () => {
    const { id } = await keys.create({ user: 'ada', team: 'core' }, MANAGER);
    expect((await keys.list({ ...EVERYTHING, team: 'core' }, MANAGER)).keys).toHaveLength(1);
    expect(await keys.revoke(id, MANAGER)).toMatchObject({ status: 'revoked' });
    expect(await codeOf(keys.create({ user: 'boss', team: 'core' }, MANAGER))).toBe('forbidden');
    expect(await codeOf(keys.create({ user: 'ada', team: 'other' }, MANAGER))).toBe('forbidden');
  });

  it('give nobody more than they have: at making, at rotation and at restoring', async () => {
    const writer = caller('writer', ['keys:read', 'keys:write', 'own-keys:write', 'models:use']);
    const strong = { user: 'boss', surfaces: ['admin' as const] };
    expect(await codeOf(keys.create(strong, writer))).toBe('forbidden');
    const { id } = await keys.create(strong, ROOT);
    expect(await codeOf(keys.rotate(id, { graceSeconds: 0 }, writer))).toBe('forbidden');
    expect(await keys.remove(id, writer)).toMatchObject({ status: 'deleted' });
    expect(await codeOf(keys.restore(id, writer))).toBe('forbidden');
  });
});

describe('a name', () => {
  it.each(['a\nb', 'a\u0000', '\u001b[2J', 'a\u0085'])('has no control character: %j', (user) => {
    expect(createKeySchema.safeParse({ user }).success).toBe(false);
    expect(editUserSchema.safeParse({ groups: [user] }).success).toBe(false);
    expect(userIdSchema.safeParse({ id: user }).success).toBe(false);
    expect(createKeySchema.safeParse({ user: 'Ädä 😀' }).success).toBe(true);
  });
});

describe('a key that makes keys', () => {
  it('makes none for other models or tools than its own', async () => {
    const bound: Caller = { ...DEVELOPER, models: ['gpt-*', 'mini'], tools: ['github__*'] };
    const tools = ['github__read'];
    const make = (models?: string[], more?: string[]) =>
      codeOf(keys.create({ user: 'ada', models, tools: more }, bound));
    expect(await make(['gpt-4*', 'mini'], tools)).toBe('done');
    expect(await make(undefined, tools)).toBe('forbidden');
    expect(await make(['gpt-4', '*'], tools)).toBe('forbidden');
    expect(await make(['gpt*'], tools)).toBe('forbidden');
    expect(await make(['mini'])).toBe('forbidden');
    const { id } = await keys.create({ user: 'ada' }, DEVELOPER);
    expect(await codeOf(keys.rotate(id, { graceSeconds: 0 }, bound))).toBe('forbidden');
    const narrow = await keys.create({ user: 'ada', models: ['mini'], tools }, bound);
    expect(await codeOf(keys.update(narrow.id, { models: null }, bound))).toBe('forbidden');
  });

  it('makes none of somebody else for the admin API that would grow with what they may do', async () => {
    const most = caller(
      'writer',
      PERMISSIONS.filter((permission) => permission !== 'roles:write'),
    );
    const surfaces = ['admin' as const];
    expect(await codeOf(keys.create({ user: 'bob', surfaces }, most))).toBe('forbidden');
    expect(await codeOf(keys.create({ user: 'bob', surfaces, permissions: ['keys:read'] }, most))).toBe(
      'done',
    );
    expect(await codeOf(keys.create({ user: 'writer', surfaces }, most))).toBe('done');
    expect(await codeOf(keys.create({ user: 'bob' }, most))).toBe('done');
    const { id } = await keys.create({ user: 'bob', surfaces }, ROOT);
    expect(await codeOf(keys.rotate(id, { graceSeconds: 0 }, most))).toBe('forbidden');
  });
});

describe('a virtual key that is changed', () => {
  it('has what was asked for, loses what was taken away, and keeps the rest', async () => {
    const { id, key } = await keys.create(
      { user: 'ada', name: 'ci', models: ['gpt-*'], expiresAt: new Date(now + DAY).toISOString() },
      ROOT,
    );
    expect(
      await keys.update(id, { models: null, tools: ['github__*'], inactivityDays: 9 }, ROOT),
    ).toMatchObject({
      name: 'ci',
      models: undefined,
      tools: ['github__*'],
      inactivityDays: 9,
      expiresAt: new Date(now + DAY).toISOString(),
    });
    expect(await keys.update(id, { expiresAt: null }, ROOT)).toMatchObject({ expiresAt: undefined });
    expect(await hashesInForce()).toEqual([hashKey(key)]);
    const over = new Date(now).toISOString();
    expect(await codeOf(keys.update(id, { expiresAt: over }, ROOT))).toBe('invalid_request');
    await keys.revoke(id, ROOT);
    expect(await codeOf(keys.update(id, { name: 'x' }, ROOT))).toBe('conflict');
  });

  it('loses nothing to another change at the same time', async () => {
    const { id } = await keys.create({ user: 'ada' }, ROOT);
    await Promise.all([
      keys.update(id, { models: ['mini'] }, ROOT),
      keys.update(id, { name: 'ci' }, ROOT),
      keys.update(id, { tools: ['github__*'] }, ROOT),
    ]);
    expect(await keys.show(id, ROOT)).toMatchObject({ models: ['mini'], name: 'ci', tools: ['github__*'] });
  });

  it('becomes no more than whoever changes it could make', async () => {
    const own = await keys.create({ user: 'ada' }, DEVELOPER);
    expect(await codeOf(keys.update(own.id, { name: 'mine', team: 'core' }, DEVELOPER))).toBe('done');
    for (const request of [
      { team: 'rich' },
      { tenant: 'north' },
      { scopes: ['write'] },
      { permissions: ['keys:write' as const] },
    ]) {
      expect(await codeOf(keys.update(own.id, request, DEVELOPER))).toBe('forbidden');
    }
    expect(await codeOf(keys.update(own.id, { name: 'x' }, OTHER))).toBe('not_found');
    const writer = caller('writer', ['keys:read', 'keys:write', 'own-keys:write', 'models:use']);
    const { id } = await keys.create({ user: 'boss' }, ROOT);
    expect(await codeOf(keys.update(id, { surfaces: ['admin'] }, writer))).toBe('forbidden');
  });
});

describe('users', () => {
  it('are made, changed and told of; what they were given stays apart', async () => {
    expect(await users.edit('ada', { roles: ['developer'], team: 'core' }, ROOT)).toMatchObject({
      roles: ['developer'],
      team: 'core',
      claimedGroups: [],
    });
    expect(await users.edit('ada', { team: null, disabled: true }, ROOT)).toMatchObject({
      roles: ['developer'],
      disabled: true,
    });
    expect((await users.show('ada')).team).toBeUndefined();
    expect((await users.list({ limit: 10 })).users).toHaveLength(1);
    expect(await codeOf(users.show('nobody'))).toBe('not_found');
    expect(told).toEqual(Array.from({ length: 2 }, () => ({ type: 'user-changed', id: 'ada' })));
  });

  it('with more rights than the caller cannot be made, nor touched', async () => {
    const writer = caller('writer', ['users:write', 'users:read', 'models:use']);
    expect(await codeOf(users.edit('ada', { roles: ['admin'] }, writer))).toBe('forbidden');
    await users.edit('boss', { roles: ['admin'] }, ROOT);
    expect(await codeOf(users.edit('boss', { disabled: true }, writer))).toBe('forbidden');
    expect(await codeOf(users.edit('boss', { roles: [] }, writer))).toBe('forbidden');
  });
});

describe('revocations', () => {
  it('last as long as a token may be alive, and are taken back', async () => {
    const made = await revocations.create({ kind: 'subject', value: 'corp:ada', reason: 'left' }, ROOT);
    expect(made).toMatchObject({
      before: new Date(now).toISOString(),
      until: new Date(now + DAY).toISOString(),
      actor: 'root',
    });
    expect((await revocations.list({ limit: 10 })).revocations).toEqual([made]);
    expect(await revocations.remove(made.id, ROOT)).toEqual(made);
    expect(await codeOf(revocations.remove(made.id, ROOT))).toBe('not_found');
    expect(told).toHaveLength(2);
  });

  it('name an issuer that there is, and a time to come', async () => {
    expect(await codeOf(revocations.create({ kind: 'issuer', value: 'nobody' }, ROOT))).toBe(
      'invalid_request',
    );
    expect(await codeOf(revocations.create({ kind: 'issuer', value: 'corp' }, ROOT))).toBe('done');
    const until = new Date(now).toISOString();
    expect(await codeOf(revocations.create({ kind: 'jti', value: 'x', until }, ROOT))).toBe(
      'invalid_request',
    );
  });
});
