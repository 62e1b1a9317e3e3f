import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  AUTH0_ACCOUNT,
  AUTH0_AUDIENCE,
  AUTH0_CALLBACK,
  registrationLog,
  ScriptedAuth0,
} from '../../../test/support/auth0.ts';
import { eventually } from '../../../test/support/running-envoy.ts';
import { createGuardedFetch } from '../guarded-fetch.ts';
import { ClientPromoter, type PromotionOutcome, type PromotionSettings } from './promoter.ts';

const WEBHOOK_SECRET = 'webhook-secret-77aa';
const HOUR_MS = 3_600_000;
const PROMOTED = ['public regular_web client', 'connection google-oauth2', `grant for ${AUTH0_AUDIENCE}`];

let auth0: ScriptedAuth0;
let promoter: ClientPromoter;
let settings: PromotionSettings | undefined;
let outcomes: PromotionOutcome[];
let errors: unknown[];
let clockOffset: number;

beforeEach(async () => {
  auth0 = await ScriptedAuth0.start();
  settings = {
    ...AUTH0_ACCOUNT,
    tenantUrl: auth0.url,
    webhookSecret: WEBHOOK_SECRET,
    callbacks: ['https://chatgpt.com/*', 'http://localhost/callback'],
    appType: 'regular_web',
    connections: ['google-oauth2', 'staff'],
    audience: AUTH0_AUDIENCE,
    scopes: ['models.read'],
  };
  outcomes = [];
  errors = [];
  clockOffset = 0;
  promoter = newPromoter(['127.0.0.1/32']);
});
afterEach(async () => {
  await promoter.close();
  await auth0.close();
});

function newPromoter(allowedRanges: readonly string[]): ClientPromoter {
  return new ClientPromoter({
    settings: (provider) => (provider === 'corp' ? settings : undefined),
    fetch: createGuardedFetch({ allowedRanges }),
    onOutcome: (outcome) => void outcomes.push(outcome),
    onError: (error) => void errors.push(error),
    now: () => Date.now() + clockOffset,
    firstRetryMs: 10,
  });
}

function deliver(...clients: readonly string[]) {
  return promoter.take('corp', JSON.stringify(clients.map(registrationLog)));
}

/** What became of each client, once nothing waits any more; tries that are repeated left out. */
async function ended(count: number): Promise<readonly PromotionOutcome[]> {
  return await eventually(() => {
    const final = outcomes.filter(({ outcome }) => outcome !== 'retried');
    return Promise.resolve(final.length >= count ? final : undefined);
  });
}

describe('a client that registered itself', () => {
  it('becomes public, gets its connection and last its grant', async () => {
    const client = auth0.register('new');
    expect(deliver('new')).toEqual({ registrations: 1 });
    expect(await ended(1)).toEqual([
      { provider: 'corp', client: 'new', outcome: 'promoted', name: 'ChatGPT', changes: PROMOTED },
    ]);
    expect(auth0.changes).toEqual([
      'PATCH /api/v2/clients/new',
      'PATCH /api/v2/connections/con_google/clients',
      'POST /api/v2/client-grants',
    ]);
    expect(client).toMatchObject({
      app_type: 'regular_web',
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
      is_first_party: false,
    });
    expect(auth0.enabled).toEqual(new Map([['con_google', ['new']]]));
    expect(auth0.grants).toMatchObject([
      { client_id: 'new', audience: AUTH0_AUDIENCE, scope: ['models.read'], subject_type: 'user' },
    ]);
    expect(promoter.statusOf('corp')).toMatchObject({ waiting: 0, promoted: 1, refused: 0, failed: 0 });
  });

  it('is promoted once, however often its log comes', async () => {
    auth0.register('new');
    deliver('new', 'new');
    deliver('new');
    await ended(1);
    const { length } = auth0.changes;
    deliver('new');
    expect((await ended(2))[1]).toEqual({ provider: 'corp', client: 'new', outcome: 'unchanged' });
    expect(auth0.changes).toHaveLength(length);
    expect(promoter.statusOf('corp').promoted).toBe(1);
  });

  it('keeps the scopes of a grant that is there, and gets those that came since', async () => {
    auth0.register('new');
    deliver('new');
    await ended(1);
    auth0.grants.unshift({
      id: 'cgr_other',
      client_id: 'new',
      audience: AUTH0_AUDIENCE,
      scope: ['calendar.read'],
      subject_type: 'client',
    });
    settings = settings && { ...settings, scopes: ['calendar.read'] };
    deliver('new');
    await ended(2);
    expect(auth0.grants.map(({ scope }) => scope)).toEqual([
      ['calendar.read'],
      ['models.read', 'calendar.read'],
    ]);
    expect(auth0.changes.at(-1)).toBe('PATCH /api/v2/client-grants/cgr_0');
  });

  it('shares a token of the gateway with those after it', async () => {
    for (const id of ['a', 'b', 'c']) auth0.register(id);
    deliver('a', 'b', 'c');
    await ended(3);
    expect(auth0.calls.filter((call) => call.endsWith('/oauth/token'))).toHaveLength(1);
  });

  it('has a name that nobody need trust', async () => {
    auth0.register('new', { name: `\u001B[31mevil\u0007\u202E\n${'x'.repeat(500)}` });
    deliver('new');
    const [done] = await ended(1);
    expect(done).toMatchObject({ name: `[31mevil${'x'.repeat(92)}` });
  });

  it('has a name that is a text also where it is cut', async () => {
    auth0.register('new', { name: `${'x'.repeat(99)}\u{1F600}yz` });
    deliver('new');
    const [done] = await ended(1);
    expect(done).toMatchObject({ name: `${'x'.repeat(99)}\u{1F600}` });
  });
});

describe('a client that is left as it is', () => {
  it.each([
    ['first-party client', { is_first_party: true }],
    ['first-party client', { is_first_party: undefined }],
    ['first-party client', { global: true }],
    ['no callback', { callbacks: [] }],
    ['callback not allowed', { callbacks: ['https://evil.example/callback'] }],
    ['callback not allowed', { callbacks: [AUTH0_CALLBACK, 'https://evil.example/callback'] }],
    ['callback not allowed', { callbacks: ['https://chatgpt.com.evil.example/callback'] }],
    ['callback not allowed', { callbacks: ['https://*.com/callback'] }],
    ['id is none', { client_id: 'other' }],
  ])('%s: %j', async (reason, more) => {
    auth0.instead.push({
      call: /^GET \/api\/v2\/clients\/new$/,
      answer: [200, { ...auth0.register('new'), global: false, ...more }],
    });
    deliver('new');
    expect(await ended(1)).toEqual([{ provider: 'corp', client: 'new', outcome: 'refused', reason }]);
    expect(auth0.changes).toEqual([]);
    expect(promoter.statusOf('corp')).toMatchObject({ refused: 1, promoted: 0, waiting: 0 });
  });

  it('has an id that goes into no path', async () => {
    expect(deliver('../tenants/settings', 'a?b')).toEqual({ registrations: 2 });
    expect((await ended(2)).map((one) => one.outcome === 'refused' && one.reason)).toEqual([
      'id is none',
      'id is none',
    ]);
    expect(auth0.calls).toEqual([]);
  });

  it('is of a provider whose clients are promoted no more', async () => {
    auth0.register('new');
    auth0.isAway = true;
    deliver('new');
    await eventually(() => Promise.resolve(outcomes.length > 0 || undefined));
    settings = undefined;
    auth0.isAway = false;
    await eventually(() => Promise.resolve(outcomes.some(isNotReady) || undefined));
    clockOffset = HOUR_MS + 1;
    expect(await ended(1)).toMatchObject([{ client: 'new', outcome: 'failed' }]);
    expect(promoter.statusOf('corp')).toMatchObject({ waiting: 0, failed: 1 });
    expect(auth0.changes).toEqual([]);
  });
});

function isNotReady(outcome: PromotionOutcome): boolean {
  return outcome.outcome === 'retried' && outcome.problem.includes('a secret for it is missing');
}

describe('a tenant that cannot be asked', () => {
  it('is asked again when its limit begins anew, and not before', async () => {
    auth0.register('new');
    const reset = Math.ceil(Date.now() / 1000) + 2;
    auth0.instead.push({
      call: /^PATCH \/api\/v2\/clients/,
      answer: [429, { errorCode: 'too_many_requests' }, { 'x-ratelimit-reset': String(reset) }],
    });
    deliver('new');
    const [limited] = await eventually(() => Promise.resolve(outcomes.length > 0 ? outcomes : undefined));
    expect(limited).toMatchObject({ outcome: 'retried', problem: expect.stringContaining('answered 429') });
    const { length } = auth0.calls;
    deliver('another');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(auth0.calls).toHaveLength(length);
    auth0.register('another');
    expect(await ended(2)).toMatchObject([{ outcome: 'promoted' }, { outcome: 'promoted' }]);
    expect(Date.now()).toBeGreaterThanOrEqual(reset * 1000);
  });

  it('is asked again while it is away or broken, and goes on where it was', async () => {
    auth0.register('new');
    auth0.isAway = true;
    deliver('new');
    await eventually(() => Promise.resolve(outcomes.length >= 2 || undefined));
    expect(promoter.statusOf('corp')).toMatchObject({
      waiting: 1,
      problem: expect.stringContaining('reached'),
    });
    auth0.instead.push({ call: /^POST \/api\/v2\/client-grants/, answer: [503] });
    auth0.isAway = false;
    await ended(1);
    expect(auth0.changes.filter((call) => call === 'PATCH /api/v2/clients/new')).toHaveLength(1);
    expect(auth0.grants).toHaveLength(1);
    expect(promoter.statusOf('corp')).toMatchObject({ waiting: 0, promoted: 1, problem: undefined });
  });

  it('gets another token where it takes the old one no more', async () => {
    auth0.register('new');
    auth0.instead.push({ call: /^GET \/api\/v2\/clients/, answer: [401, { errorCode: 'invalid_token' }] });
    deliver('new');
    await ended(1);
    expect(auth0.calls.filter((call) => call.endsWith('/oauth/token'))).toHaveLength(2);
  });

  it('has done nothing where it answers by another place', async () => {
    auth0.register('new');
    const location = 'http://169.254.169.254/';
    auth0.instead.push({ call: /^PATCH \/api\/v2\/clients/, answer: [302, undefined, { location }] });
    deliver('new');
    await ended(1);
    expect(outcomes[0]).toMatchObject({
      outcome: 'retried',
      problem: expect.stringContaining('answered 302'),
    });
    expect(auth0.clients.get('new')?.app_type).toBe('regular_web');
  });

  it('holds up nobody by one client alone', async () => {
    auth0.register('good');
    deliver('gone', 'good');
    expect(await ended(1)).toMatchObject([{ client: 'good', outcome: 'promoted' }]);
    expect(outcomes[0]).toMatchObject({ client: 'gone', outcome: 'retried' });
    expect(promoter.statusOf('corp').waiting).toBe(1);
  });

  it('is asked for an hour', async () => {
    auth0.isAway = true;
    deliver('new');
    await eventually(() => Promise.resolve(outcomes.length > 0 || undefined));
    clockOffset = HOUR_MS + 1;
    expect(await ended(1)).toMatchObject([{ client: 'new', outcome: 'failed' }]);
    expect(promoter.statusOf('corp')).toMatchObject({ waiting: 0, failed: 1 });
  });

  it('is not forgotten for while a secret for it is missing', async () => {
    auth0.register('new');
    const before = settings;
    deliver('new');
    settings = undefined;
    deliver('another');
    await eventually(() => Promise.resolve(outcomes.some(isNotReady) || undefined));
    settings = before;
    auth0.register('another');
    expect(await ended(2)).toMatchObject([{ outcome: 'promoted' }, { outcome: 'promoted' }]);
  });

  it('is asked for an hour for each of many', async () => {
    const call = /^GET \/api\/v2\/clients/;
    auth0.instead.push({ call, answer: [429] }, { call, answer: [429] });
    deliver('a', 'b', 'c');
    await eventually(() => Promise.resolve(outcomes.length > 0 || undefined));
    clockOffset = HOUR_MS + 1;
    deliver('later');
    expect((await ended(3)).map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'failed']);
    expect(auth0.calls.filter((one) => call.test(one))).toHaveLength(2);
    expect(promoter.statusOf('corp')).toMatchObject({ waiting: 1, failed: 3 });
  });

  it.each([
    ['POST /oauth/token', 403, 'are clientId and clientSecret right?'],
    ['GET /api/v2/clients/new', 403, 'needs read:clients'],
    ['PATCH /api/v2/clients/new', 403, 'needs update:clients'],
    ['GET /api/v2/connections', 403, 'needs read:connections'],
    ['PATCH /api/v2/connections/con_google/clients', 403, 'needs update:connections'],
    ['GET /api/v2/client-grants', 403, 'needs read:client_grants'],
    ['POST /api/v2/client-grants', 403, 'needs create:client_grants'],
  ])('says what is missing, and no secret: %s', async (call, status, hint) => {
    auth0.register('new');
    const message = `Not with ${AUTH0_ACCOUNT.clientSecret} or management-token-1`;
    auth0.instead.push({
      call: new RegExp(`^${call}$`),
      answer: [status, { errorCode: 'insufficient_scope', message }],
    });
    deliver('new');
    await ended(1);
    const [first] = outcomes;
    expect(first).toMatchObject({ outcome: 'retried', problem: expect.stringContaining(hint) });
    expect(JSON.stringify([outcomes, promoter.statusOf('corp'), errors])).not.toMatch(
      /management-secret|management-token|webhook-secret/,
    );
  });

  it.each([
    ['a connection', { connections: ['nowhere'] }, 'there is no connection nowhere.'],
    ['a scope', { scopes: ['unknown.scope'] }, 'answered 400 (invalid_body)'],
  ])('says that %s is not there', async (_, more, problem) => {
    settings = settings && { ...settings, ...more };
    auth0.register('new');
    deliver('new');
    const [first] = await eventually(() => Promise.resolve(outcomes.length > 0 ? outcomes : undefined));
    expect(first).toMatchObject({ outcome: 'retried', problem: expect.stringContaining(problem) });
    expect(auth0.grants).toEqual([]);
  });

  it.each([
    ['no JSON', [200, 'text'] as const],
    ['a client of another form', [200, { client_id: 7 }] as const],
    ['another place', [302, undefined, { location: 'http://169.254.169.254/' }] as const],
  ])('promotes nobody by %s', async (_, answer) => {
    auth0.register('new');
    auth0.instead.push(...Array.from({ length: 50 }, () => ({ call: /^GET \/api\/v2\/clients/, answer })));
    deliver('new');
    await eventually(() => Promise.resolve(outcomes.length >= 2 || undefined));
    expect(auth0.changes).toEqual([]);
  });

  it('is asked at no private address that was not allowed', async () => {
    await promoter.close();
    promoter = newPromoter([]);
    auth0.register('new');
    deliver('new');
    const [first] = await eventually(() => Promise.resolve(outcomes.length > 0 ? outcomes : undefined));
    expect(first).toMatchObject({
      outcome: 'retried',
      problem: expect.stringContaining('LIMEN_ALLOWED_FETCH_RANGES'),
    });
    expect(auth0.calls).toEqual([]);
  });
});

describe('a delivery', () => {
  it('proves itself by the secret of its own provider alone', () => {
    expect(promoter.isSecret('corp', ['wrong', WEBHOOK_SECRET])).toBe(true);
    expect(promoter.isSecret('corp', [])).toBe(false);
    expect(promoter.isSecret('corp', ['', 'undefined', `${WEBHOOK_SECRET} `])).toBe(false);
    expect(promoter.isSecret('corp', [AUTH0_ACCOUNT.clientSecret])).toBe(false);
    expect(promoter.isSecret('other', [WEBHOOK_SECRET, ''])).toBe(false);
    settings = undefined;
    expect(promoter.isSecret('corp', [WEBHOOK_SECRET])).toBe(false);
  });

  it('is taken up to a bound, all of it or nothing', async () => {
    auth0.isAway = true;
    const ids = Array.from({ length: 1000 }, (_, index) => `c${index}`);
    expect(deliver(...ids)).toEqual({ registrations: 1000 });
    expect(deliver('c1', 'c999')).toEqual({ registrations: 2 });
    expect(deliver('one-more')).toBe('no room');
    await eventually(() => Promise.resolve(outcomes.length > 0 || undefined));
    expect(promoter.statusOf('corp').waiting).toBe(1000);
  });

  it('of more clients than may wait is refused, since it would never find room', () => {
    const ids = Array.from({ length: 1001 }, (_, index) => `c${index}`);
    expect(deliver(...ids)).toBe('too many');
    expect(promoter.statusOf('corp').waiting).toBe(0);
  });

  it('keeps no control plane from ending, however slow a tenant is', async () => {
    vi.useFakeTimers();
    const slow = new ClientPromoter({
      settings: () => settings,
      fetch: () => new Promise(() => {}),
      onOutcome: (outcome) => void outcomes.push(outcome),
      onError: (error) => void errors.push(error),
      now: Date.now,
    });
    slow.take('corp', JSON.stringify([registrationLog('new')]));
    const closed = slow.close();
    await vi.advanceTimersByTimeAsync(3000);
    vi.useRealTimers();
    await expect(closed).resolves.toBeUndefined();
  });

  it('is done before the control plane ends, as far as it can be', async () => {
    for (const id of ['a', 'b']) auth0.register(id);
    deliver('a', 'b', 'gone');
    await promoter.close();
    expect(outcomes.map(({ client, outcome }) => [client, outcome])).toEqual([
      ['a', 'promoted'],
      ['b', 'promoted'],
      ['gone', 'retried'],
    ]);
    const { length } = auth0.calls;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(auth0.calls).toHaveLength(length);
  });

  it('must be one', () => {
    expect(promoter.take('corp', 'no log')).toBe('unreadable');
    expect(promoter.take('corp', '{}\n'.repeat(3000))).toBe('too many');
    expect(promoter.statusOf('corp')).toEqual({ waiting: 0, promoted: 0, refused: 0, failed: 0 });
  });
});
