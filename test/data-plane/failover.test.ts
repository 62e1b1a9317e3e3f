import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import type { FailedAttempt } from '../../src/core/ledger.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request } from '../support/data-plane/requests.ts';
import {
  anthropic,
  answer,
  type Dialect,
  openai,
  refusedUrl,
  resetBeforeHeaders,
  type Script,
  type ScriptedUpstream,
  silent,
  startUpstream,
} from '../support/upstream/index.ts';

type Name = 'a' | 'b' | 'c';
const NAMES: readonly Name[] = ['a', 'b', 'c'];
/** Of each try, of the good one too: so it must be longer than the machine may stall. */
const IMPATIENT_SECONDS = 2;
const QUOTED = 'Incorrect API key provided: sk-quoted-by-the-provider';

interface Group {
  readonly title: string;
  readonly model: string;
  readonly format: ClientFormatName;
  /** What each of the three speaks. */
  readonly dialects: Readonly<Record<Name, Dialect>>;
  /** Provider names, and those of the same kind at addresses where nobody listens. */
  readonly providers: Readonly<Record<Name, string>>;
  readonly converted: boolean;
}

const GROUPS: readonly Group[] = [
  {
    title: 'three alike, Chat Completions',
    model: 'alike',
    format: 'chat',
    dialects: { a: openai, b: openai, c: openai },
    providers: { a: 'open-a', b: 'open-b', c: 'open-c' },
    converted: false,
  },
  {
    title: 'three alike, Messages',
    model: 'alike-anthropic',
    format: 'messages',
    dialects: { a: anthropic, b: anthropic, c: anthropic },
    providers: { a: 'anth-a', b: 'anth-b', c: 'anth-c' },
    converted: false,
  },
  ...(['chat', 'messages'] as const).map((format): Group => ({
    title: `two formats, client of ${format}`,
    model: 'mixed',
    format,
    dialects: { a: openai, b: anthropic, c: openai },
    providers: { a: 'open-a', b: 'anth-b', c: 'open-c' },
    converted: true,
  })),
  {
    title: 'two formats the other way round, client of chat',
    model: 'mixed-again',
    format: 'chat',
    dialects: { a: anthropic, b: openai, c: anthropic },
    providers: { a: 'anth-a', b: 'open-b', c: 'anth-c' },
    converted: true,
  },
];

const credentialOf = (provider: string): string => `sk-credential-of-${provider}`;

describe('failover', () => {
  let plane: DataPlane;
  let upstreams: Readonly<Record<Name, ScriptedUpstream>>;

  beforeAll(async () => {
    const [a, b, c, nobody] = await Promise.all([
      startUpstream(),
      startUpstream(),
      startUpstream(),
      refusedUrl(),
    ]);
    upstreams = { a, b, c };
    const openAi = (url: string, name: string) =>
      ({ type: 'openai', baseUrl: `${url}/v1`, credential: credentialOf(name) }) as const;
    const anth = (url: string, name: string) =>
      ({ type: 'anthropic', baseUrl: `${url}/base/v1`, credential: credentialOf(name) }) as const;
    const three = (...providers: string[]) => ({
      targets: providers.map((provider, priority) => ({ provider, priority, model: modelOf(provider) })),
    });
    // Providers of one kind know the model by one name, so that they are alike.
    const modelOf = (provider: string): string => (provider.startsWith('open') ? 'gpt-real' : 'claude-real');
    plane = await startDataPlane({
      providers: Object.fromEntries([
        ...NAMES.map((name) => [`open-${name}`, openAi(upstreams[name].url, `open-${name}`)] as const),
        ...NAMES.map((name) => [`anth-${name}`, anth(upstreams[name].url, `anth-${name}`)] as const),
        ...(['a', 'b'] as const).flatMap((name) => [
          [`open-gone-${name}`, openAi(nobody, `open-gone-${name}`)] as const,
          [`anth-gone-${name}`, anth(nobody, `anth-gone-${name}`)] as const,
        ]),
      ]),
      models: {
        alike: three('open-a', 'open-b', 'open-c'),
        'alike-anthropic': three('anth-a', 'anth-b', 'anth-c'),
        mixed: three('open-a', 'anth-b', 'open-c'),
        'mixed-again': three('anth-a', 'open-b', 'anth-c'),
        'alike-gone': three('open-gone-a', 'open-gone-b', 'open-c'),
        'alike-anthropic-gone': three('anth-gone-a', 'anth-gone-b', 'anth-c'),
        'mixed-gone': three('open-gone-a', 'anth-gone-b', 'open-c'),
        'mixed-again-gone': three('anth-gone-a', 'open-gone-b', 'anth-c'),
        siblings: {
          targets: [
            { provider: 'open-a', model: 'large' },
            { provider: 'open-a', model: 'small', priority: 1 },
          ],
        },
        impatient: {
          ...three('open-a', 'open-b'),
          price: { input: 1, output: 2 },
          perTryTimeoutSeconds: IMPATIENT_SECONDS,
        },
        'impatient-mixed': {
          ...three('open-a', 'anth-b'),
          price: { input: 1, output: 2 },
          perTryTimeoutSeconds: IMPATIENT_SECONDS,
        },
      },
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all(NAMES.map((name) => upstreams[name].close()));
  });
  beforeEach(() => {
    for (const name of NAMES) upstreams[name].reset();
    plane.forget();
  });
  afterEach(async () => {
    await plane.idle();
    expect(plane.faults).toEqual([]);
  });

  /** Each provider was sent its own request and nothing of another's. */
  function expectOwn(group: Group, names: readonly Name[]): void {
    for (const name of names) {
      const upstream = upstreams[name];
      const dialect = group.dialects[name];
      const provider = group.providers[name];
      const sent = upstream.only();
      upstream.expectCredential(...dialect.credential(credentialOf(provider)));
      const others = Object.values(group.providers).filter((other) => other !== provider);
      upstream.expectNotSent(CLIENT_KEY, ...others.map(credentialOf));
      expect(sent.path).toBe(dialect === openai ? '/v1/chat/completions' : '/base/v1/messages');
      expect(sent.headers('host')).toEqual([`127.0.0.1:${upstream.port}`]);
      expect(sent.headers('content-length')).toEqual([String(sent.body.length)]);
      expect(sent.complete).toBe(true);
      expect(
        sent.rawHeaders
          .map(([key]) => key)
          .filter((key) => /^x-|version$/i.test(key))
          .sort(),
      ).toEqual(
        dialect === openai
          ? ['x-client-request-id']
          : ['anthropic-version', 'x-api-key', 'x-client-request-id'],
      );
      const read = dialect.read(sent);
      expect(read.model).toBe(dialect === openai ? 'gpt-real' : 'claude-real');
    }
  }

  const ways: readonly (readonly [string, (dialect: Dialect) => Script, Partial<FailedAttempt>])[] = [
    [
      '500',
      (dialect) => dialect.error(500),
      { status: 500, outcome: 'status', mayBeBilled: false, retryAfterSeconds: 0 },
    ],
    [
      '429',
      (dialect) => dialect.error(429, { retryAfterSeconds: 9 }),
      { status: 429, outcome: 'status', mayBeBilled: false, retryAfterSeconds: 9 },
    ],
    ['reset', () => resetBeforeHeaders(), { status: 0, outcome: 'reset', mayBeBilled: true }],
    ['401', (dialect) => dialect.error(401), { status: 401, outcome: 'status', mayBeBilled: false }],
  ];

  describe.each(GROUPS)('$title', (group) => {
    const send = (stream: boolean, model = group.model) =>
      plane.call(request(group.format, { model, stream, content: 'Does it work?' }));
    const text = (bytes: string): string =>
      [...bytes.matchAll(/"(?:content|text)": ?"([^"]*)"/g)].map(([, piece]) => piece).join('');

    describe.each(ways)('on %s', (_way, failure, told) => {
      test.each([false, true])('the third one answers (stream: %s)', async (stream) => {
        upstreams.a.always(failure(group.dialects.a));
        upstreams.b.always(failure(group.dialects.b));
        upstreams.c.always(group.dialects.c.answer({ text: ['It ', 'works.'] }));
        const result = await send(stream);
        expect(result.status).toBe(200);
        expect(result.complete).toBe(true);
        expect(text(result.text)).toBe('It works.');
        expectOwn(group, NAMES);
        const row = await plane.rowOf(result);
        expect(row).toMatchObject({ attempts: 3, provider: group.providers.c, status: 200, errorCode: '' });
        expect(row).toMatchObject({ usage: { input: 11, output: 7 }, usageSource: 'provider' });
        // The one that answered is in the row; the others are listed beside it.
        const common = { ...told, requestId: row.requestId, providerModel: expect.stringMatching(/-real$/) };
        expect(plane.attemptsOf(row)).toMatchObject([
          { ...common, ordinal: 1, provider: group.providers.a },
          { ...common, ordinal: 2, provider: group.providers.b },
        ]);
        expect(upstreams.c.only().headers('x-client-request-id')).toEqual([row.requestId]);
      });
    });

    test('on refused connections the third one answers', async () => {
      upstreams.c.always(group.dialects.c.answer({ text: ['It ', 'works.'] }));
      const result = await send(false, `${group.model}-gone`);
      expect(result.status).toBe(200);
      expect(text(result.text)).toBe('It works.');
      expectOwn(group, ['c']);
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ attempts: 3, provider: group.providers.c });
      expect(plane.attemptsOf(row)).toMatchObject(
        [1, 2].map((ordinal) => ({ ordinal, outcome: 'connect_failure', status: 0, mayBeBilled: false })),
      );
    });

    test('of different failures the last one counts, in the client’s format', async () => {
      upstreams.a.always(group.dialects.a.error(401));
      upstreams.b.always(group.dialects.b.error(500));
      upstreams.c.always(group.dialects.c.error(429, { retryAfterSeconds: 7 }));
      const result = await send(false);
      expect(result.status).toBe(429);
      expect(result.headers['retry-after']).toBe('7');
      expect(result.json()).toMatchObject(
        group.format === 'chat'
          ? { error: { message: expect.any(String) } }
          : { type: 'error', error: { type: 'rate_limit_error', message: expect.any(String) } },
      );
      expectOwn(group, NAMES);
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ attempts: 3, status: 429, usageSource: 'none' });
      expect(row.errorCode).toBe('upstream_refused');
      expect(row.usage.total).toBe(0);
      expect(plane.attemptsOf(row).map(({ ordinal, status }) => [ordinal, status])).toEqual([
        [1, 401],
        [2, 500],
      ]);
    });

    test('a refusal of the gateway itself never reaches the client as such', async () => {
      for (const status of [401, 402, 403]) {
        for (const name of NAMES) {
          const body = JSON.stringify({ error: { type: 'authentication_error', message: QUOTED } });
          const headers = { 'content-type': 'application/json', 'www-authenticate': 'Bearer realm=provider' };
          upstreams[name].reset();
          upstreams[name].always(answer(status, headers, body));
        }
        const result = await send(false);
        expect(result.status).toBe(502);
        const told = result.text + JSON.stringify(result.rawHeaders);
        expect(told).not.toContain('sk-');
        expect(told).not.toContain('realm=provider');
        expect(result.text).toContain('"upstream_refused"');
        expect(result.text).toContain(String(result.headers['x-request-id']));
        expect(result.headers['content-type']).toBe('application/json');
        expectOwn(group, NAMES);
        const row = await plane.rowOf(result);
        expect(row).toMatchObject({ attempts: 3, status: 502, errorCode: 'upstream_refused' });
        expect(JSON.stringify(row)).not.toContain('sk-');
      }
    });

    test('nothing is tried again once an answer has begun', async () => {
      upstreams.a.always(group.dialects.a.broken({ text: ['It ', 'works.'] }, { deltas: 1, how: 'cut' }));
      const result = await send(true);
      expect(result.status).toBe(200);
      expect(result.complete).toBe(false);
      expect(upstreams.a.requests).toHaveLength(1);
      expect(upstreams.b.requests).toEqual([]);
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ attempts: 1, errorCode: 'upstream_reset' });
      expect(plane.attemptsOf(row)).toEqual([]);
    });

    test('a client’s own mistake is not tried elsewhere', async () => {
      upstreams.a.always(group.dialects.a.error(400));
      const result = await send(false);
      expect(result.status).toBe(400);
      expect(upstreams.b.requests).toEqual([]);
      expect(await plane.rowOf(result)).toMatchObject({ attempts: 1, errorCode: 'upstream_refused' });
    });
  });

  test('two models of one provider are two targets', async () => {
    upstreams.a.next(openai.error(500)).always(openai.answer({ text: ['fine'] }));
    const result = await plane.call(request('chat', { model: 'siblings' }));
    expect(result.status).toBe(200);
    const sent = upstreams.a.requests.map(({ body }): unknown => JSON.parse(body.toString()));
    expect(sent).toMatchObject([{ model: 'large' }, { model: 'small' }]);
    expect(await plane.rowOf(result)).toMatchObject({
      attempts: 2,
      errorCode: '',
      provider: 'open-a',
      providerModel: 'small',
    });
  });

  test.each(['impatient', 'impatient-mixed'])(
    'a provider that does not answer is left (%s)',
    async (model) => {
      upstreams.a.always(silent());
      upstreams.b.always((model === 'impatient' ? openai : anthropic).answer({ text: ['fine'] }));
      const result = await plane.call(request('chat', { model }));
      expect(result.status).toBe(200);
      expect((await upstreams.a.only().closed).by).toBe('peer');
      const row = await plane.rowOf(result);
      expect(row).toMatchObject({ attempts: 2, errorCode: '' });
      const [attempt, ...more] = plane.attemptsOf(row);
      expect(attempt).toMatchObject({
        ordinal: 1,
        provider: 'open-a',
        outcome: 'timeout',
        status: 0,
        mayBeBilled: true,
      });
      expect(more).toEqual([]);
      expect(attempt?.durationMs).toBeGreaterThan(IMPATIENT_SECONDS * 1000 - 50);
      expect(attempt?.costUsd).toBeGreaterThan(0);
    },
  );
});

describe('with the least capabilities', () => {
  let plane: DataPlane;
  let first: ScriptedUpstream;
  let second: ScriptedUpstream;

  beforeAll(async () => {
    [first, second] = await Promise.all([startUpstream(), startUpstream()]);
    plane = await startDataPlane({
      capabilities: LEAST_CAPABILITIES,
      providers: {
        open: { type: 'openai', baseUrl: `${first.url}/v1`, credential: 'sk-first' },
        other: { type: 'openai', baseUrl: `${second.url}/v1`, credential: 'sk-second' },
        anth: { type: 'anthropic', baseUrl: `${second.url}/v1`, credential: 'sk-second' },
      },
      models: {
        alike: {
          targets: [
            { provider: 'open', model: 'm' },
            { provider: 'other', model: 'm', priority: 1 },
          ],
        },
        mixed: {
          targets: [
            { provider: 'open', model: 'm' },
            { provider: 'anth', model: 'c', priority: 1 },
          ],
        },
      },
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([first.close(), second.close()]);
  });

  test.each(['alike', 'mixed'])('the first provider is tried again, the second never (%s)', async (model) => {
    for (const upstream of [first, second]) upstream.reset();
    first.next(openai.error(500), resetBeforeHeaders()).always(openai.answer({ text: ['fine'] }));
    const result = await plane.call(request('chat', { model }));
    expect(result.status).toBe(200);
    expect(first.requests).toHaveLength(3);
    first.expectCredential('authorization', 'Bearer sk-first');
    expect(first.requests.map((sent) => sent.headers('content-length'))).toEqual(
      first.requests.map(({ body }) => [String(body.length)]),
    );
    expect(second.requests).toEqual([]);
    expect(await plane.rowOf(result)).toMatchObject({
      attempts: 3,
      provider: 'open',
      usageSource: 'provider',
    });
    expect(plane.faults).toEqual([]);
    await plane.idle();
  });
});
