import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDemoIssuer, type DemoIssuer } from '../../src/demo/issuer.ts';
import { modelResource, providerResource, startGateway, type TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { exchange } from '../support/system/exchange.ts';
import { RedisWatch, type SeenCommand } from '../support/system/redis-watch.ts';
import { settled } from '../support/system/ledger-watch.ts';
import {
  TRAFFIC_KIND_NAMES,
  trafficBody,
  trafficKind,
  type TrafficKindName,
} from '../support/system/traffic-kinds.ts';
import { anthropic, openai, type ScriptedUpstream, startUpstream } from '../support/upstream/index.ts';

/**
 * What a warm request costs elsewhere, told by the servers that it would cost it at: one command of Redis before the
 * provider is asked, one (of several requests together) after, and nothing of Postgres.
 */

const WORKERS = 2;
const CREDENTIALS = ['key', 'token'] as const;
type CredentialName = (typeof CREDENTIALS)[number];

let folder: string;
let redis: RedisWatch;
let issuer: DemoIssuer;
let upstream: ScriptedUpstream;
let gateway: TestGateway;
let credentials: Readonly<Record<CredentialName, string>>;
/** Marks the moment at which the provider is asked, before it answers. */
let marking = false;

const resource = (kind: string, name: string, spec: object) => ({
  apiVersion: 'limen.dev/v1alpha1',
  kind,
  metadata: { name },
  spec,
});

const limit = (name: string, spec: object) => resource('LimitPolicy', name, spec);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'limen-round-trips-'));
  redis = await RedisWatch.start();
  issuer = await startDemoIssuer({ port: 0, keyFile: join(folder, 'demo-issuer.json') });
  upstream = await startUpstream();
  const answer = { text: ['Hello', ' there.'], usage: { input: 20, output: 6 } };
  upstream.always(async (asked) => {
    if (marking) await redis.mark();
    const dialect = asked.request.path.endsWith('/messages') ? anthropic : openai;
    await dialect.answer(answer)(asked);
  });
  const price = { input: 1, output: 2 };
  gateway = await startGateway({
    config: [
      providerResource('chat', {
        type: 'openai-compatible',
        baseUrl: `${upstream.url}/v1`,
        credential: 'sk-chat',
      }),
      providerResource('messages', {
        type: 'anthropic',
        baseUrl: `${upstream.url}/v1`,
        credential: 'sk-messages',
      }),
      modelResource('chat-model', [{ provider: 'chat' }], { price }),
      modelResource('messages-model', [{ provider: 'messages' }], { price }),
      resource('IdentityProvider', 'demo', {
        issuer: issuer.url,
        audiences: ['limen'],
        defaultRoles: ['developer'],
        claims: { groups: 'groups' },
      }),
      // The built-in rules, with room for this test.
      limit('default-user-requests', { per: 'user', requests: 100_000, window: '1m' }),
      limit('default-address-requests', { per: 'address', requests: 100_000, window: '1m' }),
      limit('tokens', { per: 'key', tokens: 1_000_000_000, window: '5h' }),
      limit('budget', { per: 'user', usd: 100_000, period: 'month' }),
      limit('models', { per: 'model', tokens: 1_000_000_000, period: 'day', match: { models: ['*-model'] } }),
      limit('provider', { per: 'provider', tokens: 1_000_000_000, window: '1d', mode: 'hard' }),
      limit('tried-out', { per: 'everybody', requests: 1, period: 'day', shadow: true }),
    ],
    env: {
      LIMEN_REDIS_URL: redis.url,
      LIMEN_WORKERS: String(WORKERS),
      LIMEN_DEFAULT_LIMITS: 'on',
      LIMEN_ALLOWED_FETCH_RANGES: '127.0.0.1/32',
    },
  });
  credentials = {
    key: await gateway.createKey({ user: 'ada' }),
    token: await issuer.mint({
      subject: 'bob',
      audience: 'limen',
      lifetimeSeconds: 3600,
      others: { groups: ['math'] },
    }),
  };
}, 180_000);
afterAll(async () => {
  await gateway.stop();
  await Promise.all([upstream.close(), issuer.close(), redis.stop()]);
  rmSync(folder, { recursive: true });
});

async function ask(name: TrafficKindName, credential: CredentialName): Promise<string> {
  const kind = trafficKind(name);
  const outcome = await exchange({
    url: gateway.url,
    path: kind.path,
    headers: { authorization: `Bearer ${credentials[credential]}` },
    body: trafficBody(kind, { chunks: 100 }),
  });
  expect([outcome.status, outcome.ending], outcome.body).toEqual([200, 'clean']);
  return String(outcome.headers['x-request-id']);
}

/**
 * Both workers have seen both credentials and every kind of request, and Redis has every script. One after the other: a
 * worker that compiles its code while many ask at once may take Redis for silent, and a hard budget then refuses.
 */
async function warmUp(): Promise<void> {
  for (let round = 0; round < 4; round += 1) {
    for (const name of TRAFFIC_KIND_NAMES)
      for (const credential of CREDENTIALS)
        await eventually(() => ask(name, credential).catch(() => undefined));
  }
  await settled(gateway);
}

const ofWorkers = (commands: readonly SeenCommand[]) =>
  commands.filter(({ client }) => client.startsWith('limen-processor-'));
const namesOf = (commands: readonly SeenCommand[]) => commands.map(({ name }) => name);
const mentions = (id: string, command: SeenCommand | undefined) =>
  command?.args.some((text) => text.includes(id)) === true;

describe('Redis', () => {
  beforeAll(async () => {
    await warmUp();
    await redis.begin();
  });

  it.each(CREDENTIALS.flatMap((credential) => TRAFFIC_KIND_NAMES.map((name) => [name, credential] as const)))(
    'is asked once before and told once after: %s, with a %s',
    async (name, credential) => {
      await settled(gateway);
      await redis.parts();
      marking = true;
      const scripts: string[][] = [];
      for (let round = 0; round < 5; round += 1) {
        const id = await ask(name, credential);
        // The row follows within the time of a batch; what would come later stands in the next part.
        await eventually(async () => {
          const rows = await gateway.query(`SELECT 1 FROM gateway_logs WHERE request_id = '${id}'`);
          return rows.length > 0 ? true : undefined;
        }, 20_000);
        const [before = [], after = [], ...more] = await redis.parts();
        expect(more).toEqual([]);
        expect(namesOf(ofWorkers(before))).toEqual(['EVALSHA']);
        expect(namesOf(ofWorkers(after))).toEqual(['EVALSHA']);
        const [admit, settle] = [...ofWorkers(before), ...ofWorkers(after)];
        expect([mentions(id, admit), mentions(id, settle)]).toEqual([true, true]);
        scripts.push([admit?.args[0] ?? '', settle?.args[0] ?? '']);
        // Whatever else there is, no other client asks about this request before its row is read.
        expect(before.filter((command) => mentions(id, command))).toHaveLength(1);
      }
      marking = false;
      expect(new Set(scripts.map(String)).size).toBe(1);
    },
  );

  it('is told of many requests at once by few commands', async () => {
    await settled(gateway);
    await redis.parts();
    const ids: string[] = [];
    for (let round = 0; round < 8; round += 1) {
      const asked = TRAFFIC_KIND_NAMES.flatMap((name) =>
        CREDENTIALS.map((credential) => ask(name, credential)),
      );
      ids.push(...(await Promise.all(asked)));
    }
    await settled(gateway);
    const commands = ofWorkers((await redis.parts()).flat());
    const scripts = Map.groupBy(commands, ({ args }) => args[0] ?? '');
    const counts = [...scripts.values()].map(({ length }) => length).sort((left, right) => right - left);
    expect(new Set(namesOf(commands))).toEqual(new Set(['EVALSHA']));
    // One script admits each of them; the other settles them in batches.
    expect(counts).toHaveLength(2);
    expect(counts[0]).toBe(ids.length);
    expect(counts[1]).toBeLessThan(ids.length / 2);
  });
});

describe('Postgres', () => {
  /** What the control plane does by the clock or when something was changed, whoever asks meanwhile. */
  const BACKGROUND: readonly RegExp[] = [
    /^select value from revision$/,
    // Whether this control plane still leads; its jobs begin when it does, long before what is counted here.
    /^select \$1 as leads$/,
    // What was seen of keys and users, some time after and many at once.
    /^\s*update "virtual_keys" set last_used_at/,
    /^\s*update "users" set last_seen_at/,
    /^select .* from "users" where "users"\."id" in/,
  ];

  let client: pg.Client;

  beforeAll(async () => {
    const url = gateway.state().endpoints.postgresUrl;
    const first = new pg.Client({ connectionString: url });
    await first.connect();
    await first.query("alter system set shared_preload_libraries = 'pg_stat_statements'");
    await first.end();
    const before = gateway.pids()['postgres'] ?? 0;
    process.kill(before, 'SIGINT');
    client = await eventually(async () => {
      const pid = gateway.pids()['postgres'];
      if (pid === undefined || pid === before) return undefined;
      const fresh = new pg.Client({ connectionString: url });
      fresh.on('error', () => undefined);
      return await fresh.connect().then(
        () => fresh,
        () => undefined,
      );
    }, 60_000);
    await client.query('create extension pg_stat_statements');
    // The control plane is back, and the jobs that begin with a new leader are done.
    await eventually(async () => {
      const done = [...(await calls()).keys()].filter((query) =>
        /^delete from "(events|revocations)"/.test(query),
      );
      return done.length === 2 ? true : undefined;
    }, 60_000);
    await warmUp();
  }, 120_000);
  afterAll(() => client.end());

  /** Calls by statement, of everybody but this test. */
  async function calls(): Promise<ReadonlyMap<string, number>> {
    const { rows } = await client.query<{ query: string; calls: string }>(
      'select query, sum(calls) as calls from pg_stat_statements group by query',
    );
    return new Map(
      rows
        .filter(({ query }) => !query.includes('pg_stat_statements'))
        .map(({ query, calls: count }) => [query, Number(count)]),
    );
  }

  async function callsDuring(work: () => Promise<unknown>): Promise<ReadonlyMap<string, number>> {
    await client.query('select pg_stat_statements_reset()');
    await work();
    return await calls();
  }

  async function requests(count: number, credential: CredentialName): Promise<void> {
    for (let sent = 0; sent < count; sent += 10) {
      await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          ask(TRAFFIC_KIND_NAMES[index % TRAFFIC_KIND_NAMES.length] ?? 'chat whole', credential),
        ),
      );
    }
    await settled(gateway);
  }

  const sum = (counts: ReadonlyMap<string, number>) =>
    [...counts.values()].reduce((total, count) => total + count, 0);

  it('is counted rightly: a change by the admin API shows', async () => {
    const counts = await callsDuring(() => gateway.createKey({ user: 'ada' }));
    expect([...counts.keys()].some((query) => query.includes('insert into "virtual_keys"'))).toBe(true);
  });

  it.each(CREDENTIALS)('is asked nothing by 500 warm requests with a %s', async (credential) => {
    const started = Date.now();
    const counts = await callsDuring(() => requests(500, credential));
    const seconds = (Date.now() - started) / 1000;
    const unknown = [...counts.keys()].filter((query) => BACKGROUND.every((known) => !known.test(query)));
    expect(unknown).toEqual([]);
    // By the clock: one look at the counter of changes each five seconds, a flush of what was seen each half minute.
    expect(sum(counts)).toBeLessThanOrEqual(4 + seconds / 2);
  });
});
