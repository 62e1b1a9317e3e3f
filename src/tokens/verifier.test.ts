import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LimenError } from '../core/errors.ts';
import type { SnapshotIdentityProvider } from '../core/snapshot.ts';
import type { VerifiedToken } from '../core/verified-token.ts';
import { looksLikeToken } from '../core/verified-token.ts';
import { ASK_INTERVAL_MS, KEY_WAIT_MS } from './missing-keys.ts';
import { testIssuer } from './testing/issuer.ts';
import { entry, snapshotOf, verifierOf } from './testing/verifier.ts';

/** What became of it, at once or later. */
async function outcome(result: () => VerifiedToken | Promise<VerifiedToken>): Promise<string> {
  try {
    return (await result()).user;
  } catch (error) {
    return error instanceof LimenError ? error.code : String(error);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-11-21T12:00:00Z') });
});

afterEach(() => {
  vi.useRealTimers();
});

describe('claims', () => {
  const issuer = testIssuer('EdDSA');
  const full = entry({
    claims: {
      user: 'app.login',
      email: 'email',
      name: 'name',
      groups: 'realm."https://example.com/groups"',
      roles: 'roles',
      tenant: 'org.id',
      team: 'team',
      scopes: 'scp',
      features: {
        plan: 'app.plan',
        beta: 'app.beta',
        seats: 'app.seats',
        old: 'app.old',
        flags: 'app.flags',
      },
    },
    roleMapping: { 'limen-admin': ['admin', 'developer'], 'limen-user': ['developer'] },
    defaultRoles: ['viewer'],
  });

  it('become what the gateway knows, by the mapping of the entry', () => {
    const token = issuer.token({
      app: { login: 'ada', plan: 'pro', beta: true, seats: 5, old: false, flags: ['a', 'b'] },
      email: 'ada@example.com',
      name: 'Ada L.',
      realm: { 'https://example.com/groups': ['staff', 'math', 'staff'] },
      roles: ['limen-admin', 'limen-user', 'unknown', 'constructor', '__proto__'],
      org: { id: 'acme' },
      team: 'research',
      scp: ['models:use', 'extra wide'],
    });
    const now = Date.now();
    expect(verifierOf(issuer).verifier.verify(token, snapshotOf(full))).toEqual({
      provider: 'corp',
      user: 'corp:ada',
      email: 'ada@example.com',
      name: 'Ada L.',
      groups: ['staff', 'math'],
      roles: ['admin', 'developer', 'viewer'],
      tenant: 'acme',
      team: 'research',
      scopes: ['models:use', 'extra wide'],
      features: ['plan:pro', 'beta', 'seats:5', 'flags:a', 'flags:b'],
      expiresAt: now + 630_000,
      issuedAt: now,
      id: 'id-1',
    });
  });

  it('that are not there give nothing, and nothing is taken that no entry maps', () => {
    const token = issuer.token({
      groups: ['admins'],
      roles: ['super-admin'],
      tenant: 'acme',
      scope: 'a b  c',
    });
    expect(verifierOf(issuer).verifier.verify(token, snapshotOf(entry()))).toMatchObject({
      user: 'corp:ada',
      groups: [],
      roles: [],
      tenant: undefined,
      scopes: ['a', 'b', 'c'],
      features: [],
    });
  });

  it.each([
    [{ app: { login: 5 } }, 'app.login'],
    [{ app: {} }, 'app.login'],
    [{ app: 'ada' }, 'app.login'],
    [{ org: { id: 42 } }, 'org.id'],
    [{ org: { id: '' } }, 'org.id'],
    [{ realm: { 'https://example.com/groups': { admins: true } } }, 'realm."https://example.com/groups"'],
    [{ roles: ['limen-user', 7] }, 'roles'],
    [{ team: 'a\nb' }, 'team'],
    [{ app: { login: 'ada', plan: {} } }, 'app.plan'],
  ])('of another type are refused by name: %j', (claims, path) => {
    const { verifier } = verifierOf(issuer);
    const token = issuer.token({ app: { login: 'ada' }, ...claims });
    expect(() => verifier.verify(token, snapshotOf(full))).toThrow(`The claim '${path}' of this token`);
  });

  describe('within the bounds of the entry:', () => {
    const mapped = entry({
      claims: { ...entry().claims, groups: 'groups', team: 'team', tenant: 'org.id' },
      groupPrefix: 'corp-',
      allowedGroups: ['eng-*', 'staff'],
      allowedTeams: ['core', 'lab-*'],
      allowedTenants: ['acme'],
    });
    const verify = (claims: object, bounded = mapped) =>
      verifierOf(issuer).verifier.verify(issuer.token(claims), snapshotOf(bounded));

    it('groups have its prefix, and those that it may not name are left out', () => {
      const groups = ['eng-a', 'finance', 'staff', 'Staff', 'staff2', 'corp-staff', '*', 'eng-*'];
      expect(verify({ groups })).toMatchObject({
        groups: ['corp-eng-a', 'corp-staff', 'corp-eng-*'],
      });
      expect(verify({ groups: 'finance' })).toMatchObject({ groups: [] });
      expect(verify({ groups }, { ...mapped, allowedGroups: [] })).toMatchObject({ groups: [] });
    });

    it('a team or tenant that it may name is taken, and so is none', () => {
      expect(verify({ team: 'lab-7', org: { id: 'acme' } })).toMatchObject({ team: 'lab-7', tenant: 'acme' });
      expect(verify({})).toMatchObject({ team: undefined, tenant: undefined });
    });

    it.each([
      ['a tenant', { org: { id: 'other' } }, 'org.id'],
      ['a tenant in capitals', { org: { id: 'ACME' } }, 'org.id'],
      ['a tenant with more to it', { org: { id: 'acme2' } }, 'org.id'],
      ['a team', { team: 'finance' }, 'team'],
      ['a team that is a pattern of the list', { team: '*' }, 'team'],
    ])('%s outside the list makes the token be refused, with the claim named', (_what, claims, path) => {
      expect(() => verify(claims)).toThrow(
        expect.objectContaining({
          code: 'invalid_token',
          status: 401,
          message: `The claim '${path}' of this token names what its issuer may not name here.`,
        }),
      );
    });

    it('an empty list of tenants or teams takes none', () => {
      expect(() => verify({ org: { id: 'acme' } }, { ...mapped, allowedTenants: [] })).toThrow(LimenError);
      expect(() => verify({ team: 'core' }, { ...mapped, allowedTeams: [] })).toThrow(LimenError);
    });
  });

  it('give no e-mail address that the issuer has not verified, and no user of that name', () => {
    const { verifier } = verifierOf(issuer);
    const byMail = entry({ claims: { ...entry().claims, user: 'email' } });
    const unproved = issuer.token({ email: 'root@example.com', email_verified: false });
    expect(verifier.verify(unproved, snapshotOf(entry()))).toMatchObject({ email: undefined });
    expect(() => verifier.verify(unproved, snapshotOf(byMail))).toThrow('was not verified');
    const proved = issuer.token({ email: 'ada@example.com', email_verified: true });
    expect(verifier.verify(proved, snapshotOf(byMail))).toMatchObject({ user: 'corp:ada@example.com' });
  });
});

describe('a token that was verified', () => {
  it('is remembered: the same object again, without another look', () => {
    const issuer = testIssuer();
    const { verifier } = verifierOf(issuer);
    const token = issuer.token();
    const first = verifier.verify(token, snapshotOf(entry()));
    expect(verifier.verify(token, snapshotOf(entry()))).toBe(first);
  });

  it('is refused from the moment on that it expires', () => {
    const issuer = testIssuer();
    const { verifier } = verifierOf(issuer);
    const token = issuer.token();
    const verify = () => verifier.verify(token, snapshotOf(entry()));
    expect(verify()).toMatchObject({ user: 'corp:ada' });
    vi.advanceTimersByTime(629_999);
    expect(verify()).toMatchObject({ user: 'corp:ada' });
    vi.advanceTimersByTime(1);
    expect(verify).toThrow(expect.objectContaining({ code: 'token_expired' }));
    expect(verify).toThrow(expect.objectContaining({ code: 'token_expired' }));
  });

  it('is refused as soon as its key is gone, its entry has changed or is gone', async () => {
    const issuer = testIssuer();
    const { verifier, directory } = verifierOf(issuer);
    const token = issuer.token();
    const under = (...entries: readonly SnapshotIdentityProvider[]) =>
      outcome(() => verifier.verify(token, snapshotOf(...entries)));
    expect(await under(entry())).toBe('corp:ada');
    expect(await under()).toBe('invalid_token');
    expect(await under(entry({ audiences: ['other'] }))).toBe('invalid_token');
    expect(await under(entry({ algorithms: ['ES256'] }))).toBe('invalid_token');
    expect(await under(entry({ userPrefix: 'staff:' }))).toBe('staff:ada');
    expect(await under(entry())).toBe('corp:ada');
    directory.keys.set('corp', testIssuer().keys);
    expect(await under(entry())).toBe('invalid_token');
  });

  it('that is revoked by its jti is refused although the clock of its issuer is ahead', () => {
    const issuer = testIssuer();
    const { verifier, directory } = verifierOf(issuer);
    const snapshot = snapshotOf(entry());
    const token = issuer.token({ jti: 'stolen', iat: Math.floor(Date.now() / 1000) + 20 });
    const other = issuer.token({ jti: 'other' });
    expect(verifier.verify(token, snapshot)).toMatchObject({ user: 'corp:ada' });
    const before = Date.now();
    directory.revocations.push({ id: 'r', kind: 'jti', value: 'stolen', before, until: before + 1e9 });
    expect(() => verifier.verify(token, snapshot)).toThrow('revoked');
    expect(verifier.verify(other, snapshot)).toMatchObject({ user: 'corp:ada' });
  });

  it.each([
    ['subject', 'corp:ada'],
    ['issuer', 'corp'],
  ] as const)('is refused when it was revoked by its %s, and one issued later is not', (kind, value) => {
    const issuer = testIssuer();
    const { verifier, directory } = verifierOf(issuer);
    const snapshot = snapshotOf(entry());
    const old = issuer.token();
    const timeless = issuer.token({ iat: undefined });
    expect(verifier.verify(old, snapshot)).toMatchObject({ user: 'corp:ada' });
    expect(verifier.verify(timeless, snapshot)).toMatchObject({ user: 'corp:ada' });
    const before = Date.now();
    directory.revocations.push({ id: 'r', kind, value, before, until: before + 1e9 });
    vi.advanceTimersByTime(1000);
    expect(() => verifier.verify(old, snapshot)).toThrow('revoked');
    expect(() => verifier.verify(timeless, snapshot)).toThrow('revoked');
    expect(verifier.verify(issuer.token(), snapshot)).toMatchObject({ user: 'corp:ada' });
  });

  it('is forgotten when ten thousand others were used since', () => {
    const issuer = testIssuer('HS256');
    const { verifier } = verifierOf(issuer);
    const snapshot = snapshotOf(entry({ algorithms: ['HS256'] }));
    const token = issuer.token({ jti: 'kept' });
    const other = issuer.token({ jti: 'lost' });
    const first = verifier.verify(token, snapshot);
    const lost = verifier.verify(other, snapshot);
    const use = (from: number, to: number) => {
      for (let index = from; index < to; index += 1) {
        void verifier.verify(issuer.token({ jti: String(index) }), snapshot);
      }
    };
    use(0, 5000);
    expect(verifier.verify(token, snapshot)).toBe(first);
    use(5000, 9999);
    expect(verifier.verify(token, snapshot)).toBe(first);
    expect(verifier.verify(other, snapshot)).not.toBe(lost);
  });
});

describe('a key that nobody has yet', () => {
  it('is asked for once, and all who need it wait for it', async () => {
    const before = testIssuer('RS256', 'old');
    const after = testIssuer('RS256', 'new');
    const { verifier, directory, keyMissing } = verifierOf(before);
    const snapshot = snapshotOf(entry());
    const waiting = Array.from({ length: 20 }, (_, index) =>
      outcome(() => verifier.verify(after.token({ sub: `u${index}` }), snapshot)),
    );
    await vi.advanceTimersByTimeAsync(500);
    directory.keys.set('corp', { ...after.keys, keys: [...before.keys.keys, ...after.keys.keys] });
    await vi.advanceTimersByTimeAsync(50);
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 20 }, (_, index) => `corp:u${index}`));
    expect(keyMissing.mock.calls).toEqual([['corp', 'new']]);
    expect(verifier.verify(before.token(), snapshot)).toMatchObject({ user: 'corp:ada' });
  });

  it('is given up after two seconds', async () => {
    const { verifier } = verifierOf(testIssuer('RS256', 'old'));
    const result = outcome(() => verifier.verify(testIssuer('RS256', 'new').token(), snapshotOf(entry())));
    let settled = false;
    void result.then(() => (settled = true));
    await vi.advanceTimersByTimeAsync(KEY_WAIT_MS - 50);
    expect(settled).toBe(false);
    await vi.advanceTimersByTimeAsync(50);
    expect(await result).toBe('invalid_token');
  });

  it('cannot be made up to flood the issuer: one question in half a minute, whatever tokens name', async () => {
    const issuer = testIssuer('EdDSA');
    const { verifier, keyMissing } = verifierOf(issuer);
    const snapshot = snapshotOf(entry());
    const flood = async (count: number, name: string) => {
      const results = Array.from({ length: count }, (_, index) =>
        outcome(() => verifier.verify(issuer.token({}, { kid: `${name}-${index}` }), snapshot)),
      );
      await vi.advanceTimersByTimeAsync(KEY_WAIT_MS);
      expect(new Set(await Promise.all(results))).toEqual(new Set(['invalid_token']));
    };
    await flood(1000, 'first');
    expect(keyMissing).toHaveBeenCalledTimes(1);
    await flood(1000, 'second');
    expect(keyMissing).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(ASK_INTERVAL_MS);
    // Known by now not to be there: nobody asks for it again, though it is time.
    await flood(1, 'first');
    expect(keyMissing).toHaveBeenCalledTimes(1);
    await flood(1000, 'third');
    expect(keyMissing).toHaveBeenCalledTimes(2);
  });

  it('holds up a bounded number of requests: the others are refused at once', async () => {
    const issuer = testIssuer('EdDSA');
    const { verifier } = verifierOf(issuer);
    const results = Array.from({ length: 1000 }, (_, index) => {
      try {
        return verifier.verify(issuer.token({}, { kid: `k-${index}` }), snapshotOf(entry()));
      } catch {
        return undefined;
      }
    });
    const held = results.filter((result) => result instanceof Promise);
    expect(held).toHaveLength(256);
    const ends = Promise.allSettled(held);
    await vi.advanceTimersByTimeAsync(KEY_WAIT_MS);
    expect((await ends).every(({ status }) => status === 'rejected')).toBe(true);
  });

  it('of an issuer that was never reached makes a 503, not a 401', async () => {
    const issuer = testIssuer();
    const { verifier, directory } = verifierOf(issuer);
    directory.keys.clear();
    const result = outcome(() => verifier.verify(issuer.token(), snapshotOf(entry())));
    await vi.advanceTimersByTimeAsync(KEY_WAIT_MS);
    expect(await result).toBe('unavailable');
  });

  it('is never asked for where the entry has a shared secret', () => {
    const issuer = testIssuer('HS256');
    const { verifier, directory, keyMissing } = verifierOf(issuer);
    const snapshot = snapshotOf(entry({ algorithms: ['HS256'] }));
    // Whatever its issuer calls it.
    const token = issuer.token({}, { kid: 'other' });
    expect(verifier.verify(token, snapshot)).toMatchObject({ user: 'corp:ada' });
    expect(() => verifier.verify(`${token.slice(0, -4)}AAAA`, snapshot)).toThrow(LimenError);
    directory.keys.clear();
    expect(() => verifier.verify(token, snapshot)).toThrow(LimenError);
    expect(keyMissing).not.toHaveBeenCalled();
  });
});

describe('several issuers', () => {
  it('each verify their own tokens alone, and by its audience one issuer may have two entries', () => {
    const corp = testIssuer('RS256', 'k1', 'corp');
    const partner = testIssuer('RS256', 'k1', 'partner');
    const issuer = 'https://partner.example.com';
    const { verifier, directory } = verifierOf(corp);
    directory.keys.set('partner', { ...partner.keys, issuer });
    directory.keys.set('corp-mcp', { ...corp.keys, provider: 'corp-mcp' });
    const snapshot = snapshotOf(
      entry(),
      entry({ name: 'partner', issuer, userPrefix: 'partner:' }),
      entry({ name: 'corp-mcp', audiences: ['mcp'], defaultRoles: ['viewer'] }),
    );
    expect(verifier.verify(corp.token(), snapshot)).toMatchObject({ provider: 'corp', roles: [] });
    expect(verifier.verify(corp.token({ aud: 'mcp' }), snapshot)).toMatchObject({
      provider: 'corp-mcp',
      user: 'corp:ada',
      roles: ['viewer'],
    });
    expect(verifier.verify(partner.token({ iss: issuer }), snapshot)).toMatchObject({ user: 'partner:ada' });
    expect(() => verifier.verify(corp.token({ iss: issuer }), snapshot)).toThrow(LimenError);
    expect(() => verifier.verify(partner.token(), snapshot)).toThrow(LimenError);
  });
});

describe('an issuer without audiences', () => {
  it('has tokens taken that name none, and no others', async () => {
    const issuer = testIssuer('HS256');
    const { verifier } = verifierOf(issuer);
    const snapshot = snapshotOf(entry({ algorithms: ['HS256'], audiences: [], withoutAudience: true }));
    const fate = (aud: unknown) => outcome(() => verifier.verify(issuer.token({ aud }), snapshot));
    expect(await fate(undefined)).toBe('corp:ada');
    expect(await fate('limen')).toBe('invalid_token');
    expect(await fate([])).toBe('invalid_token');
    expect(await fate('')).toBe('invalid_token');
    const closed = snapshotOf(entry({ algorithms: ['HS256'], audiences: [] }));
    expect(await outcome(() => verifier.verify(issuer.token({ aud: undefined }), closed))).toBe(
      'invalid_token',
    );
  });
});

describe('looksLikeToken', () => {
  it('tells tokens from keys by their dots', () => {
    expect(looksLikeToken(testIssuer().token())).toBe(true);
    expect(looksLikeToken('tw-0123456789abcdef')).toBe(false);
    expect(looksLikeToken('sk-ant.api03')).toBe(false);
    expect(looksLikeToken('a.b.c.d')).toBe(false);
  });
});
