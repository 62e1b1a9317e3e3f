import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startPostgres } from '../../test/support/postgres.ts';
import type { DeclaredIssuer } from '../config/secrets.ts';
import type { IssuerKeys } from '../core/access.ts';
import { startDemoIssuer, type DemoIssuer } from '../demo/issuer.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';
import { makeKey } from '../tokens/testing/issuer.ts';
import { entry, snapshotOf } from '../tokens/testing/verifier.ts';
import { createGuardedFetch, type GuardedFetch, type GuardedResponse } from './guarded-fetch.ts';
import { IssuerKeysKeeper, REQUEST_INTERVAL_MS, type IssuerKeysOptions } from './issuer-keys.ts';
import type { IssuerKeyStore } from '../core/identity-store.ts';
import { openPostgres, type PostgresConnection } from '../store/postgres/database.ts';
import { createIssuerKeyStore } from '../store/postgres/repositories/issuer-keys.ts';

let postgres: PostgresConnection;
let folder: string;
let keeper: IssuerKeysKeeper | undefined;
let published: readonly IssuerKeys[];
const closers: (() => Promise<unknown>)[] = [];

const onFetched = vi.fn<(provider: string, problem?: string) => void>();
const LOOPBACK = createGuardedFetch({ allowedRanges: ['127.0.0.0/8'] });

beforeAll(async () => {
  const server = await startPostgres();
  postgres = await openPostgres(await server.createDatabase(), () => undefined);
  return async () => {
    await postgres.close();
    await server.stop();
  };
});

beforeEach(async () => {
  await postgres.database.execute(sql`delete from issuer_keys`);
  folder = await mkdtemp(join(tmpdir(), 'limen-issuer-'));
  published = [];
  onFetched.mockClear();
});

afterEach(async () => {
  vi.useRealTimers();
  await keeper?.close();
  for (const close of closers.splice(0)) await close();
  await rm(folder, { recursive: true });
});

function start(fetch: GuardedFetch = LOOPBACK, other: Partial<IssuerKeysOptions> = {}): IssuerKeysKeeper {
  keeper = new IssuerKeysKeeper({
    fetch,
    kept: createIssuerKeyStore(postgres.database),
    publish: (keys) => {
      published = keys;
      return Promise.resolve();
    },
    onFetched,
    onError: (error) => {
      throw error;
    },
    random: () => 0.5,
    ...other,
  });
  return keeper;
}

async function demo(port = 0): Promise<DemoIssuer> {
  const issuer = await startDemoIssuer({ port, keyFile: join(folder, 'demo.json') });
  closers.push(() => issuer.close().catch(() => undefined));
  return issuer;
}

/** A server that answers by path: a status, JSON or text. */
async function serve(answers: Readonly<Record<string, unknown>>): Promise<string> {
  const server: Server = createServer((request, response) => {
    const answer = answers[request.url ?? ''];
    if (typeof answer === 'number') response.writeHead(answer).end();
    else if (answer === undefined) response.writeHead(404).end();
    else response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
}

function discovered(issuer: string, name = 'demo'): DeclaredIssuer {
  return { name, issuer, keys: { kind: 'discovery' } };
}

const claims = { subject: 'ada', audience: 'limen', lifetimeSeconds: 600, others: {} };
const PATIENCE = { timeout: 15_000 };
const fetched = () => vi.waitFor(() => expect(onFetched).toHaveBeenCalled(), PATIENCE);

describe('the keys of an issuer', () => {
  it('are found by its own document, and verify its tokens', async () => {
    const issuer = await demo();
    const keys = start();
    await keys.setIssuers([discovered(issuer.url)], {});
    await fetched();
    expect(keys.status.get('demo')).toMatchObject({
      source: 'discovery',
      reachable: true,
      problem: undefined,
      keys: [{ kty: 'EC', alg: 'ES256' }],
    });
    const verifier = verifierOverPublished();
    const snapshot = snapshotOf(entry({ name: 'demo', issuer: issuer.url, userPrefix: 'demo:' }));
    expect(verifier.verify(await issuer.mint(claims), snapshot)).toMatchObject({ user: 'demo:ada' });
  });

  it('are found by the document of OAuth, after the path of the issuer or before', async () => {
    const keySet = { keys: [{ ...makeKey('RS256').publicKey, kid: 'a' }] };
    const answers: Record<string, unknown> = { '/keys': keySet };
    const base = await serve(answers);
    answers['/.well-known/oauth-authorization-server/tenant'] = {
      issuer: `${base}/tenant/`,
      jwks_uri: `${base}/keys`,
    };
    const keys = start();
    await keys.setIssuers([discovered(`${base}/tenant/`)], {});
    await fetched();
    expect(keys.status.get('demo')).toMatchObject({ reachable: true, keys: [{ kid: 'a' }] });
  });

  it('may come from an address of their own, or with the entry', async () => {
    const publicKey = { ...makeKey('EdDSA').publicKey, kid: 'a' };
    const base = await serve({ '/keys': { keys: [publicKey] } });
    const keys = start();
    await keys.setIssuers(
      [
        { name: 'a', issuer: 'https://a', keys: { kind: 'jwksUri', uri: `${base}/keys` } },
        { name: 'b', issuer: 'https://b', keys: { kind: 'inline', keys: [publicKey] } },
        { name: 'c', issuer: 'c', keys: { kind: 'sharedSecret', source: { env: 'C' } } },
        { name: 'd', issuer: 'd', keys: { kind: 'sharedSecret', source: { env: 'D' } } },
      ],
      { c: 'x'.repeat(32) },
    );
    await fetched();
    expect(published.map(({ provider, issuer, keys: [key] }) => [provider, issuer, key?.kty])).toEqual([
      ['a', 'https://a', 'OKP'],
      ['b', 'https://b', 'OKP'],
      ['c', 'c', 'oct'],
    ]);
    expect(keys.status.get('d')).toMatchObject({
      problem: 'its shared secret is missing or too short.',
      keys: [],
    });
    expect(JSON.stringify([...keys.status])).not.toContain('eHh4');
  });

  it('are only public ones that sign', async () => {
    const good = { ...makeKey('RS256').publicKey, kid: 'good' };
    const base = await serve({
      '/keys': {
        keys: [
          { ...good, kid: 'encrypts', use: 'enc' },
          { ...good, kid: 'private', d: 'AQAB' },
          { kty: 'oct', kid: 'secret', k: 'c2VjcmV0' },
          { ...good, kid: 'wraps', key_ops: ['wrapKey'] },
          { ...good, kid: 5 },
          null,
          { ...good, x5c: ['MIIB'], x5u: 'https://evil.example.com', key_ops: ['verify'] },
        ],
      },
    });
    await start().setIssuers(
      [{ name: 'a', issuer: 'https://a', keys: { kind: 'jwksUri', uri: `${base}/keys` } }],
      {},
    );
    await fetched();
    expect(published[0]?.keys).toEqual([good]);
  });

  it.each([
    [
      'its document is of another issuer',
      { '/.well-known/openid-configuration': { issuer: 'https://evil', jwks_uri: 'https://evil/keys' } },
      'is of another issuer',
    ],
    ['it has no document', {}, 'has no discovery document'],
    ['its document has no jwks_uri', { '/.well-known/openid-configuration': { issuer: 'x' } }, 'no jwks_uri'],
    ['it has troubles', { '/.well-known/openid-configuration': 503 }, 'answered 503.'],
    ['it answers with HTML', { '/.well-known/openid-configuration': '<html>' }, 'did not answer with JSON'],
    [
      'it answers with too much',
      { '/.well-known/openid-configuration': 'x'.repeat(300_000) },
      'cannot be reached',
    ],
  ])('are not to be had where %s', async (_what, answers, problem) => {
    const keys = start();
    await keys.setIssuers([discovered(await serve(answers))], {});
    await fetched();
    expect(keys.status.get('demo')).toMatchObject({ reachable: false, keys: [] });
    expect(keys.status.get('demo')?.problem).toContain(problem);
    expect(published).toEqual([]);
  });

  it('are not fetched from inside the network, wherever the document of the issuer leads', async () => {
    const answers: Record<string, unknown> = {};
    const base = await serve(answers);
    answers['/.well-known/openid-configuration'] = {
      issuer: base,
      jwks_uri: 'http://169.254.169.254/latest',
    };
    const keys = start();
    await keys.setIssuers([discovered(base)], {});
    await fetched();
    expect(keys.status.get('demo')?.problem).toContain('not a public address');
    const strict = start(createGuardedFetch({ allowedRanges: [] }));
    await strict.setIssuers([discovered(base)], {});
    await vi.waitFor(
      () => expect(strict.status.get('demo')?.problem).toContain('LIMEN_ALLOWED_FETCH_RANGES'),
      PATIENCE,
    );
  });
});

describe('an issuer that is away', () => {
  it('keeps its keys, also for another control plane that starts with nothing on its disk', async () => {
    const issuer = await demo();
    const token = await issuer.mint(claims);
    const first = start();
    await first.setIssuers([discovered(issuer.url)], {});
    await fetched();
    await first.close();
    await issuer.close();

    published = [];
    onFetched.mockClear();
    const second = start();
    await second.setIssuers([discovered(issuer.url)], {});
    // In force before anything was fetched, and still when that has failed.
    expect(published).toHaveLength(1);
    await fetched();
    expect(second.status.get('demo')).toMatchObject({ reachable: false, keys: [{ kty: 'EC' }] });
    const snapshot = snapshotOf(entry({ name: 'demo', issuer: issuer.url, userPrefix: 'demo:' }));
    expect(verifierOverPublished().verify(token, snapshot)).toMatchObject({ user: 'demo:ada' });
  });

  it('keeps none of another issuer, or of another place', async () => {
    const issuer = await demo();
    const first = start();
    await first.setIssuers([discovered(issuer.url)], {});
    await fetched();
    expect(published).toHaveLength(1);
    await first.setIssuers([discovered('http://127.0.0.1:1')], {});
    expect(published).toEqual([]);
    await first.close();
    const second = start();
    await second.setIssuers([discovered('http://127.0.0.1:1')], {});
    expect(published).toEqual([]);
    await second.setIssuers([], {});
    expect([...second.status]).toEqual([]);
  });

  it('is no reason to trust what somebody has broken', async () => {
    const declared = JSON.stringify(['http://127.0.0.1:1', { kind: 'discovery' }]);
    const publicKey = makeKey('EdDSA').publicKey;
    const publishedFrom = async (content: unknown) => {
      await postgres.database.execute(
        sql`insert into issuer_keys values ('demo', ${declared}, ${JSON.stringify(content)}::jsonb, now())
            on conflict (provider) do update set keys = excluded.keys`,
      );
      published = [];
      const keys = start();
      await keys.setIssuers([discovered('http://127.0.0.1:1')], {});
      await keys.close();
      return published.length;
    };
    expect(await publishedFrom([publicKey])).toBe(1);
    expect(await publishedFrom({})).toBe(0);
    expect(await publishedFrom([{ kty: 'oct', k: 'eA' }])).toBe(0);
  });

  it('keeps what was fetched last, by whichever control plane', async () => {
    const store = createIssuerKeyStore(postgres.database);
    const keys = [makeKey('EdDSA').publicKey];
    await store.write('demo', { declared: 'd', keys, fetchedAt: 2 });
    await store.write('demo', { declared: 'd', keys: [], fetchedAt: 1 });
    expect((await store.read()).get('demo')).toEqual({ declared: 'd', keys, fetchedAt: 2 });
    await store.write('demo', { declared: 'd', keys: [], fetchedAt: 3 });
    expect((await store.read()).get('demo')?.keys).toEqual([]);
  });
});

describe('in the course of time', () => {
  const key = (kid: string) => ({ ...makeKey('EdDSA').publicKey, kid });
  const answers: { status: number; keys: readonly object[]; control?: string }[] = [];
  const asked: number[] = [];
  const scripted: GuardedFetch = () => {
    asked.push(Date.now());
    const [answer] = answers.length > 1 ? answers.splice(0, 1) : answers;
    const response: GuardedResponse = {
      status: answer?.status ?? 500,
      headers: answer?.control === undefined ? {} : { 'cache-control': answer.control },
      body: Buffer.from(JSON.stringify({ keys: answer?.keys ?? [] })),
    };
    return Promise.resolve(response);
  };
  const declared: DeclaredIssuer = {
    name: 'a',
    issuer: 'https://a',
    keys: { kind: 'jwksUri', uri: 'https://a/keys' },
  };
  /** Seconds between two questions. */
  const pauses = () => asked.slice(1).map((at, index) => (at - (asked[index] ?? 0)) / 1000);
  const kept: IssuerKeyStore = { read: () => Promise.resolve(new Map()), write: () => Promise.resolve() };

  beforeEach(() => {
    vi.useFakeTimers({ now: 1e12 });
    answers.length = 0;
    asked.length = 0;
  });

  it.each([
    [undefined, 600],
    ['max-age=900', 900],
    ['public, max-age=120, must-revalidate', 120],
    ['max-age=1', 60],
    ['no-store', 600],
    ['max-age=999999', 3600],
  ])('they are fetched again: cache-control %j', async (control, seconds) => {
    answers.push({ status: 200, keys: [key('a')], ...(control === undefined ? {} : { control }) });
    await start(scripted, { kept }).setIssuers([declared], {});
    await vi.advanceTimersByTimeAsync(seconds * 1000);
    expect(pauses()).toEqual([seconds]);
  });

  it('are published only where they have changed, and are those of the latest answer', async () => {
    const [old, young] = [key('old'), key('young')];
    answers.push(
      { status: 200, keys: [old] },
      { status: 200, keys: [old] },
      { status: 200, keys: [old, young] },
    );
    const publish = vi.fn<(keys: readonly IssuerKeys[]) => Promise<void>>(() => Promise.resolve());
    await start(scripted, { kept, publish }).setIssuers([declared], {});
    await vi.advanceTimersByTimeAsync(1_800_000);
    const kids = publish.mock.calls.map(([keys]) => keys.map((one) => one.keys.map(({ kid }) => kid)));
    expect(kids).toEqual([[], [['old']], [['old', 'young']]]);
  });

  it('are kept with the next answer where the database was away, and published without it', async () => {
    answers.push({ status: 200, keys: [key('1')] });
    const write = vi
      .fn<IssuerKeyStore['write']>(() => Promise.resolve())
      .mockRejectedValueOnce(new Error('away'));
    const onError = vi.fn<(error: unknown) => void>();
    const read = () => Promise.reject(new Error('away'));
    await start(scripted, { kept: { read, write }, onError }).setIssuers([declared], {});
    await vi.advanceTimersByTimeAsync(1);
    expect(published).toHaveLength(1);
    expect(onError).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(1_300_000);
    expect(asked).toHaveLength(3);
    expect(write).toHaveBeenCalledTimes(2);
  });

  it('are tried for again after a failure, ever more rarely, and kept meanwhile', async () => {
    answers.push({ status: 200, keys: [key('a')] }, { status: 500, keys: [] });
    const keys = start(scripted, { kept });
    await keys.setIssuers([declared], {});
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(pauses().slice(0, 4)).toEqual([600, 0.75, 1.5, 3]);
    expect(Math.max(...pauses().slice(4))).toBe(225);
    expect(keys.status.get('a')).toMatchObject({ reachable: false, keys: [{ kid: 'a' }] });
    expect(published[0]?.keys).toHaveLength(1);
  });

  it('are asked for at once when a token needs one, and then not sooner than in half a minute', async () => {
    answers.push({ status: 200, keys: [key('old')] });
    const keys = start(scripted, { kept });
    await keys.setIssuers([declared], {});
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toHaveLength(1);
    keys.request('a', 'old');
    keys.request('b', 'new');
    await vi.advanceTimersByTimeAsync(100);
    expect(asked).toHaveLength(1);
    for (let index = 0; index < 100; index += 1) {
      keys.request('a', `made-up-${index}`);
      await vi.advanceTimersByTimeAsync((REQUEST_INTERVAL_MS - 1000) / 100);
    }
    // The first at once, all others together half a minute later.
    expect(pauses()).toEqual([5.1]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(pauses()).toEqual([5.1, REQUEST_INTERVAL_MS / 1000]);
    await vi.advanceTimersByTimeAsync(599_000);
    expect(asked).toHaveLength(3);
  });
});

/** As a worker has them that was told at once. */
function verifierOverPublished() {
  return createTokenVerifier({
    directory: {
      issuerKeys: (provider) => published.find((one) => one.provider === provider),
      revocation: () => undefined,
    },
    reports: { keyMissing: (provider, kid) => keeper?.request(provider, kid) },
    now: Date.now,
  });
}

describe('an issuer that has rotated its key', () => {
  it('has its new tokens taken at once, and the old ones until it drops their key', async () => {
    const issuer = await demo();
    await start().setIssuers([discovered(issuer.url)], {});
    await fetched();
    const verifier = verifierOverPublished();
    const snapshot = snapshotOf(entry({ name: 'demo', issuer: issuer.url, userPrefix: 'demo:' }));
    const old = await issuer.mint(claims);
    expect(await verifier.verify(old, snapshot)).toMatchObject({ user: 'demo:ada' });
    await issuer.rotate();
    const young = await issuer.mint({ ...claims, subject: 'bob' });
    const coming = verifier.verify(young, snapshot);
    expect(coming).toBeInstanceOf(Promise);
    expect(await coming).toMatchObject({ user: 'demo:bob' });
    expect(verifier.verify(old, snapshot)).toMatchObject({ user: 'demo:ada' });

    const file: unknown = JSON.parse(await readFile(join(folder, 'demo.json'), 'utf8'));
    expect(file).toMatchObject({ keys: [{ alg: 'ES256' }, { alg: 'ES256' }] });
    const forgotten = { ...Object(file), keys: [Object(file).keys[1]] };
    await writeFile(join(folder, 'demo.json'), JSON.stringify(forgotten));
    await keeper?.close();
    await start().setIssuers([discovered(issuer.url)], {});
    await vi.waitFor(() => expect(published[0]?.keys).toHaveLength(1), PATIENCE);
    expect(await verifierOverPublished().verify(young, snapshot)).toMatchObject({ user: 'demo:bob' });
    await expect((async () => verifier.verify(old, snapshot))()).rejects.toMatchObject({
      code: 'invalid_token',
    });
  });
});
