import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { SeenUser, UserRecord, VirtualKey } from '../core/access.ts';
import { LimenError } from '../core/errors.ts';
import type { Snapshot } from '../core/snapshot.ts';
import type { VerifiedToken } from '../core/verified-token.ts';
import { SNAPSHOT } from './__fixtures__/snapshot.ts';
import { identifiedLine, Identifier, readCredential } from './identify.ts';

const headers =
  (values: Record<string, string>) =>
  (name: string): string | undefined =>
    values[name];

describe('readCredential', () => {
  it.each([
    [{ authorization: 'Bearer tw-1' }, ''],
    [{ authorization: 'bearer   tw-1 ' }, ''],
    [{ 'x-api-key': 'tw-1' }, ''],
    [{ 'x-goog-api-key': 'tw-1' }, ''],
    [{ 'api-key': 'tw-1' }, ''],
    [{}, 'alt=sse&key=tw-1'],
    [{ authorization: 'Bearer tw-1', 'x-api-key': 'tw-1' }, 'key=tw-1'],
  ])('reads %j with query %j', (values, query) => {
    expect(readCredential(headers(values), query)).toBe('tw-1');
  });

  it.each([
    [{ authorization: 'Bearer tw-1', 'x-api-key': 'tw-2' }, ''],
    [{ authorization: 'Bearer a.b.c', 'x-api-key': 'tw-2' }, ''],
    [{ 'x-api-key': 'tw-1' }, 'key=tw-1x'],
    [{}, 'key=tw-1&key=tw-2'],
  ])('refuses two that differ: %j with query %j', (values, query) => {
    expect(() => readCredential(headers(values), query)).toThrow(
      expect.objectContaining({ code: 'conflicting_credentials', status: 400 }),
    );
  });

  it.each([
    [{}, ''],
    [{ authorization: '' }, ''],
    [{ 'x-api-key': ' ' }, 'key='],
  ])('refuses none: %j with query %j', (values, query) => {
    expect(() => readCredential(headers(values), query)).toThrow(
      expect.objectContaining({ code: 'missing_api_key', status: 401 }),
    );
  });
});

const HASH = createHash('sha256').update('tw-1').digest('hex');
const KEY: VirtualKey = { id: 'k1', hash: HASH, user: 'ada', expiresAt: 1_000_000 };
const TOKEN: VerifiedToken = {
  provider: 'corp',
  user: 'corp:ada',
  groups: ['staff'],
  roles: [],
  scopes: ['models'],
  features: ['plan:pro'],
  expiresAt: 2_000_000,
};

/** An identifier over one key and one token, with what it told of. */
function identifier(
  more: {
    key?: Partial<VirtualKey>;
    users?: readonly UserRecord[];
    token?: VerifiedToken | Promise<VerifiedToken>;
  } = {},
) {
  const clock = { now: 1000, generation: 0 };
  const key = { ...KEY, ...more.key };
  const users = new Map((more.users ?? []).map((user) => [user.id, user]));
  const used: [string, number][] = [];
  const seen: SeenUser[] = [];
  const made = new Identifier({
    directory: {
      key: (hash) => (hash === HASH ? key : undefined),
      user: (id) => users.get(id),
      issuerKeys: () => undefined,
      revocation: () => undefined,
      get generation() {
        return clock.generation;
      },
    },
    tokens: {
      verify: (text) => {
        if (text === 'good.token.x') return more.token ?? TOKEN;
        if (text === 'newer.token.x') return { ...TOKEN, groups: ['moved'] };
        throw new LimenError('invalid_token', 'This token is not valid here.');
      },
    },
    reports: { keyUsed: (id, at) => used.push([id, at]), userSeen: (user) => seen.push(user) },
    now: () => clock.now,
  });
  const identify = (credential = 'tw-1', snapshot: Snapshot = SNAPSHOT) =>
    made.identify(credential, snapshot);
  return { identify, clock, users, used, seen };
}

describe('a virtual key', () => {
  it('is found by its hash alone, and has the roles of keys where its user has none', async () => {
    const principal = await identifier().identify();
    expect(principal).toMatchObject({
      user: 'ada',
      keyId: 'k1',
      kind: 'key',
      roles: ['developer'],
      surfaces: ['model', 'mcp', 'a2a', 'backend'],
      scopes: [],
      expiresAt: 1_000_000,
    });
    expect(identifiedLine(principal)).toEqual(['identify', 'key/k1', 'ada', 'allowed', 'roles developer']);
  });

  it.each([
    ['an unknown key', 'tw-2', 999],
    ['an expired key', 'tw-1', 1_000_000],
    ['a key that is the hash itself', HASH, 999],
    ['a huge key', 'x'.repeat(10_000), 999],
  ])('refuses %s with the same words', (_case, credential, now) => {
    const { identify, clock } = identifier();
    clock.now = now;
    expect(() => identify(credential)).toThrow(
      expect.objectContaining({
        code: 'invalid_api_key',
        message: expect.stringContaining('is not valid here'),
      }),
    );
  });

  it("has its user's roles, those of the user's groups and of its team, each once, and no default beside", async () => {
    const snapshot: Snapshot = {
      ...SNAPSHOT,
      roles: {
        ...SNAPSHOT.roles,
        named: { name: 'named', permissions: ['models:use'], users: ['ada'], groups: [] },
        grouped: { name: 'grouped', permissions: ['models:use'], users: [], groups: ['red', 'blue'] },
      },
      teams: {
        core: {
          name: 'core',
          members: [],
          groups: ['blue'],
          managers: [],
          roles: ['viewer'],
          tenant: 'acme',
        },
      },
    };
    const users = [{ id: 'ada', groups: ['red'], claimGroups: ['blue'], roles: ['admin', 'named'] }];
    expect(await identifier({ users }).identify('tw-1', snapshot)).toMatchObject({
      roles: ['admin', 'grouped', 'named', 'viewer'],
      groups: ['red', 'blue'],
      team: 'core',
      tenant: 'acme',
    });
  });

  it('names team and tenant before its user and the team do', async () => {
    const users = [{ id: 'ada', groups: [], roles: [], team: 'user-team', tenant: 'user-tenant' }];
    expect(await identifier({ users }).identify()).toMatchObject({
      team: 'user-team',
      tenant: 'user-tenant',
    });
    const key = { team: 'key-team', tenant: 'key-tenant' };
    expect(await identifier({ users, key }).identify()).toMatchObject(key);
  });

  it('of a disabled user is refused, whatever else is good', () => {
    const users = [{ id: 'ada', groups: [], roles: ['super-admin'], disabled: true }];
    expect(() => identifier({ users }).identify()).toThrow(
      expect.objectContaining({ code: 'user_disabled', status: 403 }),
    );
  });

  it('is made a principal once for each snapshot and generation of the directory', async () => {
    const { identify, clock, users } = identifier();
    const first = await identify();
    expect(await identify()).toBe(first);
    users.set('ada', { id: 'ada', groups: [], roles: ['viewer'] });
    clock.generation += 1;
    expect(await identify()).toMatchObject({ roles: ['viewer'] });
    expect(await identify('tw-1', { ...SNAPSHOT })).not.toBe(first);
  });

  it('is told of once a minute', async () => {
    const { identify, clock, used } = identifier();
    for (const now of [1000, 2000, 60_999, 61_000]) {
      clock.now = now;
      await identify();
    }
    expect(used).toEqual([
      ['k1', 1000],
      ['k1', 61_000],
    ]);
  });
});

describe('a token', () => {
  it('has no right but those that it or somebody gave its user', async () => {
    expect(await identifier().identify('good.token.x')).toMatchObject({
      user: 'corp:ada',
      keyId: 'token/corp',
      kind: 'token',
      roles: [],
      groups: ['staff'],
      scopes: ['models'],
      features: ['plan:pro'],
      expiresAt: 2_000_000,
    });
  });

  it('brings its own groups, and has those that its user was given here', async () => {
    const users = [{ id: 'corp:ada', groups: ['given'], claimGroups: ['left'], roles: [] }];
    expect(await identifier({ users }).identify('good.token.x')).toMatchObject({
      groups: ['given', 'staff'],
    });
  });

  it('is none of a key: its user has nothing of the user of a key with the same name', async () => {
    const users = [{ id: 'ada', groups: [], roles: ['super-admin'] }];
    expect(await identifier({ users }).identify('good.token.x')).toMatchObject({ roles: [] });
  });

  it('may have to be waited for', async () => {
    const waiting = identifier({ token: Promise.resolve(TOKEN) }).identify('good.token.x');
    expect(waiting).toBeInstanceOf(Promise);
    expect(await waiting).toMatchObject({ user: 'corp:ada' });
    const users = [{ id: 'corp:ada', groups: [], roles: [], disabled: true }];
    const refused = identifier({ users, token: Promise.resolve(TOKEN) });
    await expect(refused.identify('good.token.x')).rejects.toMatchObject({ code: 'user_disabled' });
  });

  it('that nobody vouches for is refused as a token', () => {
    expect(() => identifier().identify('bad.token.x')).toThrow(
      expect.objectContaining({ code: 'invalid_token', status: 401 }),
    );
  });

  it('of an application that acts for a user tells of nobody who is known: it says less of them', async () => {
    const { identify, seen, users } = identifier({ token: { ...TOKEN, groups: [], isExchanged: true } });
    users.set('corp:ada', { id: 'corp:ada', groups: [], claimGroups: ['staff'], roles: [], tenant: 'north' });
    await identify('good.token.x');
    expect(seen).toEqual([]);
    users.delete('corp:ada');
    await identify('good.token.x');
    expect(seen).toMatchObject([{ id: 'corp:ada' }]);
  });

  it('is told of again some time later: when its user was seen last is known then, and what was lost is mended', async () => {
    const { identify, seen, clock } = identifier();
    for (const now of [1000, 300_999, 301_000]) {
      clock.now = now;
      await identify('good.token.x');
    }
    expect(seen.map(({ seenAt }) => seenAt)).toEqual([1000, 301_000]);
  });

  it('is told of when it is new or says something else', async () => {
    const { identify, seen } = identifier();
    await identify('good.token.x');
    await identify('good.token.x');
    expect(seen).toMatchObject([{ id: 'corp:ada', provider: 'corp', groups: ['staff'], seenAt: 1000 }]);
    await identify('newer.token.x');
    expect(seen.slice(1)).toMatchObject([{ id: 'corp:ada', groups: ['moved'] }]);
  });
});
