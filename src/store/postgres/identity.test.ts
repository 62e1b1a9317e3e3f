import { randomBytes } from 'node:crypto';
import { sql } from 'drizzle-orm';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../../test/support/postgres.ts';
import type { SeenUser } from '../../core/access.ts';
import type { StoredKey, VirtualKeyStore } from '../../core/configuration-store.ts';
import type { EventStore, LimenEvent } from '../../core/events.ts';
import type { RevocationStore, UserStore } from '../../core/identity-store.ts';
import { openPostgres, type PostgresConnection } from './database.ts';
import { createEventStore } from './repositories/events.ts';
import { readRevision } from './repositories/revision.ts';
import { createRevocationStore } from './repositories/revocations.ts';
import { createUserStore } from './repositories/users.ts';
import { createVirtualKeyStore } from './repositories/virtual-keys.ts';

const DAY = 86_400_000;
const START = Date.UTC(2026, 0, 1);

let server: TestPostgres;
let connection: PostgresConnection;
let keys: VirtualKeyStore;
let users: UserStore;
let revocations: RevocationStore;
let events: EventStore;

beforeAll(async () => {
  server = await startPostgres();
  return () => server.stop();
});

beforeEach(async () => {
  connection = await openPostgres(await server.createDatabase(), () => undefined);
  keys = createVirtualKeyStore(connection.database);
  users = createUserStore(connection.database);
  revocations = createRevocationStore(connection.database);
  events = createEventStore(connection.database);
  return () => connection.close();
});

function hash(): string {
  return randomBytes(32).toString('hex');
}

async function newKey(id: string, more: Partial<StoredKey> = {}): Promise<StoredKey> {
  const key = { id, hash: hash(), prefix: 'tw-', hint: 'abcd', user: 'ada', createdAt: START, ...more };
  await keys.create(key, 'ada');
  return key;
}

const hashesInForce = async (now: number): Promise<string[]> =>
  (await keys.listActive(now)).map((key) => key.hash);

describe('virtual keys', () => {
  it('come back as they were made, and go to workers with every bound', async () => {
    const bounds = {
      team: 'core',
      tenant: 'north',
      surfaces: ['model', 'admin'],
      models: ['gpt-*'],
      tools: ['github__*'],
      scopes: ['read'],
      permissions: ['models:use'],
      expiresAt: START + DAY,
    } as const;
    const made = await newKey('k', {
      ...bounds,
      name: 'ci',
      description: 'of the build',
      labels: { tier: 'one' },
      inactivityDays: 30,
    });
    expect(await keys.get('k')).toEqual(made);
    expect(await keys.listActive(START)).toEqual([{ id: 'k', hash: made.hash, user: 'ada', ...bounds }]);
    expect(await keys.listActive(START, ['other'])).toEqual([]);
    expect(await keys.listActive(START, ['k'])).toHaveLength(1);
  });

  it('are found by user, team and parts of their names', async () => {
    await newKey('key_1', { team: 'core', name: 'Nightly build' });
    await newKey('key_2', { user: 'bob', createdAt: START + 1 });
    await newKey('key_3', { user: 'bob%', createdAt: START + 2 });
    const found = async (query: Partial<Parameters<typeof keys.list>[0]>) =>
      (await keys.list({ limit: 10, ...query })).map(({ id }) => id);
    expect(await found({ user: 'bob' })).toEqual(['key_2']);
    expect(await found({ team: 'core' })).toEqual(['key_1']);
    expect(await found({ search: 'NIGHT' })).toEqual(['key_1']);
    expect(await found({ search: 'ob%' })).toEqual(['key_3']);
    expect(await found({ search: '_' })).toEqual(['key_3', 'key_2', 'key_1']);
    expect(await found({ limit: 1, after: 'key_3' })).toEqual(['key_2']);
  });

  it('have two secrets while a rotation has its grace, and one after it', async () => {
    const made = await newKey('k', { expiresAt: START + 10 * DAY });
    const second = hash();
    const rotation = { hash: second, prefix: 'tw-', hint: 'wxyz', at: START, graceUntil: START + DAY };
    expect(await keys.rotate('k', rotation, 'ada')).toMatchObject({
      hash: second,
      hint: 'wxyz',
      rotatedAt: START,
      previous: { hash: made.hash, expiresAt: START + DAY },
    });
    expect(await keys.listActive(START)).toMatchObject([
      { id: 'k', hash: second, expiresAt: START + 10 * DAY },
      { id: 'k', hash: made.hash, expiresAt: START + DAY },
    ]);
    expect(await hashesInForce(START + DAY)).toEqual([second]);
    expect(await keys.endGraces(START + DAY - 1, 'limen')).toBe(0);
    expect(await keys.endGraces(START + DAY, 'limen')).toBe(1);
    expect((await keys.get('k'))?.previous).toBeUndefined();
  });

  it('lose the older secret with a second rotation, and any at once without a grace', async () => {
    await newKey('k');
    const [second, third, fourth] = [hash(), hash(), hash()];
    const rotate = (to: string, grace: number) =>
      keys.rotate('k', { hash: to, prefix: 'tw-', hint: 'x', at: START, graceUntil: START + grace }, 'ada');
    await rotate(second, DAY);
    await rotate(third, DAY);
    expect(await hashesInForce(START)).toEqual([third, second]);
    await rotate(fourth, 0);
    expect(await hashesInForce(START)).toEqual([fourth]);
  });

  it('are not rotated once they are revoked, deleted or expired', async () => {
    const rotation = { hash: hash(), prefix: 'tw-', hint: 'x', at: START, graceUntil: START };
    await newKey('revoked');
    await keys.revoke('revoked', START, 'ada');
    await newKey('deleted');
    await keys.remove('deleted', START, 'ada');
    await newKey('expired', { expiresAt: START });
    for (const id of ['revoked', 'deleted', 'expired', 'nothing']) {
      expect(await keys.rotate(id, rotation, 'ada')).toBeUndefined();
    }
  });

  it('are refused once they are deleted, also by a version that knows of revocations alone', async () => {
    const made = await newKey('k');
    expect(await keys.remove('k', START + 1, 'ada')).toEqual({ ...made, deletedAt: START + 1 });
    expect(await hashesInForce(START + 1)).toEqual([]);
    const { rows } = await connection.database.execute(
      sql`select count(*)::int as count from virtual_keys where revoked_at is null`,
    );
    expect(rows).toEqual([{ count: 0 }]);
    expect(await keys.list({ limit: 10 })).toEqual([]);
    expect(await keys.list({ limit: 10, deleted: true })).toHaveLength(1);
    expect(await keys.restore('k', 'ada')).toEqual(made);
    expect(await hashesInForce(START + 1)).toEqual([made.hash]);
    expect(await keys.restore('k', 'ada')).toBeUndefined();
  });

  it('stay revoked when they are restored', async () => {
    await newKey('k');
    await keys.revoke('k', START + 1, 'ada', 'lost');
    await keys.remove('k', START + 2, 'ada');
    expect(await keys.restore('k', 'ada')).toMatchObject({ revokedAt: START + 1, revokedReason: 'lost' });
    expect(await hashesInForce(START + 2)).toEqual([]);
  });

  it('are gone for good once they are purged', async () => {
    await newKey('k');
    await keys.remove('k', START, 'ada');
    expect(await keys.purgeDeleted(START - 1, 'limen')).toBe(0);
    expect(await keys.purgeDeleted(START, 'limen')).toBe(1);
    expect(await keys.get('k')).toBeUndefined();
    expect(await keys.restore('k', 'ada')).toBeUndefined();
  });

  it('know when they were used, to the minute, which is no change', async () => {
    await newKey('k');
    const revision = await readRevision(connection.database);
    await keys.touch({ k: START + 90_000, 'config/declared': START });
    await keys.touch({ k: START + 30_000 });
    expect((await keys.get('k'))?.lastUsedAt).toBe(START + 60_000);
    expect(await readRevision(connection.database)).toBe(revision);
  });

  it('are inactive by their last use, their rotation or their making, whichever was last', async () => {
    await newKey('never', { inactivityDays: 10 });
    await newKey('used', { inactivityDays: 10 });
    await newKey('rotated', { inactivityDays: 10 });
    await newKey('free');
    await keys.touch({ used: START + 5 * DAY });
    const rotation = { prefix: 'tw-', hint: 'x', at: START + 5 * DAY, graceUntil: START };
    await keys.rotate('rotated', { ...rotation, hash: hash() }, 'ada');
    const inactive = async (day: number) =>
      (await keys.listInactive(START + day * DAY + 1, 10)).map(({ id }) => id).sort();
    expect(await inactive(9)).toEqual([]);
    expect(await inactive(10)).toEqual(['never']);
    expect(await inactive(15)).toEqual(['never', 'rotated', 'used']);
  });
});

const seen = (id: string, more: Partial<SeenUser> = {}): SeenUser => ({
  id,
  provider: 'corp',
  email: `${id}@example.com`,
  groups: ['staff'],
  seenAt: START,
  ...more,
});

describe('users', () => {
  it('are made when they are seen first, and keep what was set here apart from claims', async () => {
    expect(await users.see([seen('corp:ada')])).toMatchObject([
      { id: 'corp:ada', provider: 'corp', createdAt: START, lastSeenAt: START },
    ]);
    await users.edit('corp:ada', { groups: ['pilots'], roles: ['admin'], team: 'core' }, START, 'root');
    expect(
      await users.see([seen('corp:ada', { groups: ['guests'], tenant: 'north', seenAt: START + 1 })]),
    ).toEqual([]);
    expect(await users.get('corp:ada')).toEqual({
      id: 'corp:ada',
      provider: 'corp',
      claimed: { email: 'corp:ada@example.com', groups: ['guests'], tenant: 'north' },
      groups: ['pilots'],
      roles: ['admin'],
      team: 'core',
      disabled: false,
      createdAt: START,
      lastSeenAt: START + 1,
    });
    await users.edit('corp:ada', { tenant: 'south', email: null, team: null }, START, 'root');
    expect(await users.records()).toEqual([
      {
        id: 'corp:ada',
        email: 'corp:ada@example.com',
        groups: ['pilots'],
        claimGroups: ['guests'],
        roles: ['admin'],
        tenant: 'south',
      },
    ]);
  });

  it('that are seen again as they are cost no change, and are told of as seen', async () => {
    await users.see([seen('corp:ada'), seen('corp:bob')]);
    const revision = await readRevision(connection.database);
    await users.see([seen('corp:ada', { seenAt: START + 5 }), seen('corp:bob', { seenAt: START - 5 })]);
    expect(await readRevision(connection.database)).toBe(revision);
    expect((await users.get('corp:ada'))?.lastSeenAt).toBe(START + 5);
    expect((await users.get('corp:bob'))?.lastSeenAt).toBe(START);
  });

  it('keep what their latest token said where an earlier one is told of after it', async () => {
    await users.see([seen('corp:ada', { groups: [], seenAt: START + 29_000 })]);
    await users.see([seen('corp:ada', { groups: ['finance'], seenAt: START + 1000 })]);
    const both = [
      users.see([seen('corp:bob', { groups: [], seenAt: START + 29_000 })]),
      users.see([seen('corp:bob', { groups: ['finance'], seenAt: START + 1000 })]),
    ];
    await Promise.all(both);
    expect(await users.records()).toMatchObject([
      { id: 'corp:ada', claimGroups: undefined },
      { id: 'corp:bob', claimGroups: undefined },
    ]);
    expect((await users.get('corp:ada'))?.lastSeenAt).toBe(START + 29_000);
  });

  it('are what their latest token says, whichever of two is used last, and change no more for it', async () => {
    const young = seen('corp:ada', { groups: [], issuedAt: START - 1000 });
    const old = seen('corp:ada', { groups: ['finance'], issuedAt: START - 60_000 });
    await users.see([old]);
    await users.see([{ ...old, seenAt: START + 1 }, young]);
    const revision = await readRevision(connection.database);
    await users.see([{ ...old, seenAt: START + 5000 }]);
    await users.see([
      { ...old, seenAt: START + 6000 },
      { ...young, seenAt: START + 5500 },
    ]);
    expect(await readRevision(connection.database)).toBe(revision);
    expect(await users.get('corp:ada')).toMatchObject({ claimed: { groups: [] }, lastSeenAt: START + 6000 });
  });

  it('leave no record of sign-ins for ever, and all of what was changed here', async () => {
    await users.edit('corp:ada', { roles: ['admin'] }, START, 'root');
    await users.see([seen('corp:ada'), seen('corp:bob')]);
    expect(await users.purgeSignIns(Date.now() - DAY)).toBe(0);
    expect(await users.purgeSignIns(Date.now() + DAY)).toBe(2);
    const { rows } = await connection.database.execute(sql`select action from changes`);
    expect(rows).toEqual([{ action: 'put' }]);
  });

  it('are made by an edit, and disabled', async () => {
    await users.edit('ada', { disabled: true }, START, 'root');
    expect(await users.records(['ada'])).toEqual([{ id: 'ada', groups: [], roles: [], disabled: true }]);
    await users.edit('ada', {}, START, 'root');
    expect((await users.get('ada'))?.disabled).toBe(true);
  });

  it('are made once where two control planes see them at the same time', async () => {
    const made = await Promise.all([users.see([seen('corp:ada')]), users.see([seen('corp:ada')])]);
    expect(made.flat()).toHaveLength(1);
  });

  it('are listed and searched by pages, 15,000 of them, with one query each', async () => {
    const many = Array.from({ length: 15_000 }, (_, number) =>
      seen(`corp:user-${String(number).padStart(5, '0')}`, { groups: [`group-${number % 100}`] }),
    );
    for (let at = 0; at < many.length; at += 1000) await users.see(many.slice(at, at + 1000));
    const page = await users.list({ limit: 1000, after: 'corp:user-04999' });
    expect(page).toHaveLength(1000);
    expect(page[0]?.id).toBe('corp:user-05000');
    const started = performance.now();
    expect(await users.list({ limit: 10, search: 'USER-1499' })).toHaveLength(10);
    expect(await users.list({ limit: 200, group: 'group-7' })).toHaveLength(150);
    expect(await users.records()).toHaveLength(15_000);
    expect(performance.now() - started).toBeLessThan(5000);
  }, 60_000);
});

describe('revocations', () => {
  const revocation = (id: string, until: number) => ({
    id,
    kind: 'subject' as const,
    value: 'corp:ada',
    before: START,
    until,
    reason: 'left',
    actor: 'root',
    createdAt: START,
  });

  it('are told of while they last, taken back, and purged once they are over', async () => {
    await revocations.create(revocation('a', START + DAY));
    await revocations.create(revocation('b', START + 2 * DAY));
    expect(await revocations.list({ limit: 10 })).toMatchObject([{ id: 'b', reason: 'left' }, { id: 'a' }]);
    expect(await revocations.list({ limit: 10, after: 'b' })).toMatchObject([{ id: 'a' }]);
    expect(await revocations.listActive(START + DAY)).toEqual([
      { id: 'b', kind: 'subject', value: 'corp:ada', before: START, until: START + 2 * DAY },
    ]);
    expect(await revocations.listActive(START, ['a'])).toHaveLength(1);
    expect(await revocations.purge(START + DAY, 'limen')).toBe(1);
    expect(await revocations.purge(START + DAY, 'limen')).toBe(0);
    expect(await revocations.remove('b', 'root')).toMatchObject({ id: 'b' });
    expect(await revocations.remove('b', 'root')).toBeUndefined();
  });
});

describe('events', () => {
  const event = (more: Partial<LimenEvent> = {}): LimenEvent => ({
    time: START,
    kind: 'key',
    severity: 'warning',
    subject: 'k',
    message: 'Something.',
    ...more,
  });

  it('are recorded once under one name, by whomever', async () => {
    const once = event({ once: 'warning/k', detail: { days: 7 } });
    const recorded = await Promise.all([events.record([once]), events.record([once]), events.record([])]);
    expect(recorded.flat()).toHaveLength(1);
    expect(recorded.flat()[0]).toMatchObject(once);
    expect(await events.record([event(), event()])).toHaveLength(2);
  });

  it('are recorded however many there are at once', async () => {
    const many = Array.from({ length: 20_000 }, (_, number) => event({ once: `expiry/${number % 15_000}` }));
    expect(await events.record(many)).toHaveLength(15_000);
    expect(await events.record(many)).toHaveLength(0);
  });

  it('are listed by kind, subject and time, newest first, page by page, and purged', async () => {
    await events.record([
      event({ subject: 'a' }),
      event({ subject: 'b', time: START + 1 }),
      event({ kind: 'limit', subject: 'a', time: START + 2 }),
    ]);
    const subjects = async (query: Partial<Parameters<typeof events.list>[0]>) =>
      (await events.list({ limit: 10, ...query })).map(({ kind, subject }) => `${kind} ${subject}`);
    expect(await subjects({})).toEqual(['limit a', 'key b', 'key a']);
    expect(await subjects({ kind: 'key' })).toEqual(['key b', 'key a']);
    expect(await subjects({ subject: 'a' })).toEqual(['limit a', 'key a']);
    expect(await subjects({ from: START + 1, to: START + 2 })).toEqual(['key b']);
    const [first] = await events.list({ limit: 1 });
    expect(await subjects({ after: first?.id })).toEqual(['key b', 'key a']);
    expect(await events.purge(START + 1)).toBe(1);
    expect(await subjects({})).toEqual(['limit a', 'key b']);
  });
});
