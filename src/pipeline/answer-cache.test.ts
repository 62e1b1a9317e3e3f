import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Front, jsonOf, model, SNAPSHOT } from './__fixtures__/front.ts';
import { encodeKept } from './answer-cache.ts';
import type { SnapshotCache } from '../core/snapshot.ts';

const CHAT = '/v1/chat/completions';
const BODY = { model: 'cached', messages: [{ role: 'user', content: 'hi' }] };
const ANSWER = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'cached',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
};

async function keyOf(
  body: object | string,
  headers: Record<string, string> = {},
  front = new Front(),
  path = CHAT,
): Promise<string | undefined> {
  await front.post(path, body, headers);
  return front.admitted[0]?.wanted;
}

/** JSON text of the same members, in another order and with white space between the tokens. */
function written(members: readonly (readonly [string, unknown])[], space: string): string {
  const text = members.map(
    ([key, value]) => `${space}${JSON.stringify(key)}${space}:${JSON.stringify(value, null, space)}`,
  );
  return `{${text.join(`${space},`)}${space}}`;
}

describe('the key of a cached answer', () => {
  it('does not depend on the order of members, on white space, or on how the answer travels', async () => {
    const key = await keyOf(BODY);
    expect(key).toMatch(/^answer:[0-9a-f]{64}$/);
    const member = fc.tuple(fc.stringMatching(/^x[a-z_]{1,8}$/), fc.jsonValue({ maxDepth: 3 }));
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(member, { selector: ([name]) => name, maxLength: 5 }),
        fc.constantFrom('', ' ', '\n\t', '   '),
        fc.boolean(),
        fc.infiniteStream(fc.nat()),
        async (extra, space, stream, order) => {
          const members = [...Object.entries(BODY), ...extra];
          const shuffled = [...members, ['stream', stream] as const, ['user', 'somebody'] as const]
            .map((item) => ({ item, rank: order.next().value ?? 0 }))
            .sort((left, right) => left.rank - right.rank)
            .map(({ item }) => item);
          expect(await keyOf(written(shuffled, space))).toBe(await keyOf(written(members, '')));
        },
      ),
    );
  });

  it('depends on everything else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ maxDepth: 3 }), fc.jsonValue({ maxDepth: 3 }), async (left, right) => {
        fc.pre(JSON.stringify(left) !== JSON.stringify(right));
        expect(await keyOf({ ...BODY, value: left })).not.toBe(await keyOf({ ...BODY, value: right }));
      }),
    );
  });

  it.each([
    ['a space inside a string', '{"model":"cached","x":"a b"}', '{"model":"cached","x":"ab"}'],
    [
      'a quote before a space',
      String.raw`{"model":"cached","x":"\" b"}`,
      String.raw`{"model":"cached","x":"\"b"}`,
    ],
    [
      'a number that a double cannot hold',
      '{"model":"cached","x":9007199254740993}',
      '{"model":"cached","x":9007199254740992}',
    ],
    [
      'the order inside of a member',
      '{"model":"cached","x":{"a":1,"b":2}}',
      '{"model":"cached","x":{"b":2,"a":1}}',
    ],
    [
      'which of two members of one name is the last',
      '{"model":"cached","x":1,"x":2}',
      '{"model":"cached","x":2,"x":1}',
    ],
    [
      'a member and a text that looks like one',
      '{"model":"cached","x":"1","y":"2"}',
      '{"model":"cached","x":"1\\n\\"y\\":\\"2"}',
    ],
  ])('tells %s apart', async (_case, left, right) => {
    expect(await keyOf(left)).not.toBe(await keyOf(right));
  });

  it('depends on headers of the client’s API and on its query', async () => {
    const plain = await keyOf(BODY);
    expect(await keyOf(BODY, { 'openai-beta': 'x' })).not.toBe(plain);
    expect(await keyOf(BODY, {}, new Front(), `${CHAT}?x=1`)).not.toBe(plain);
    expect(await keyOf(BODY, {}, new Front(), `${CHAT}?key=tw-key`)).toBe(plain);
  });

  it.each([
    ['key', { id: 'k2' }],
    ['user', { user: 'bob' }],
    ['team', { team: 'red' }],
  ] as const)('is another for another %s', async (scope, other) => {
    const snapshot = {
      ...SNAPSHOT,
      models: { cached: model('cached', ['openai'], { cache: { ttlSeconds: 60, scope } }) },
    };
    const ofKey = (key: object) => keyOf(BODY, {}, new Front({ snapshot, key: { team: 'blue', ...key } }));
    expect(await ofKey({})).toBe(await ofKey(scope === 'key' ? { team: 'x' } : { id: 'k3' }));
    expect(await ofKey(other)).not.toBe(await ofKey({}));
  });

  it.each(['key', 'user', 'team', 'everybody'] as const)(
    'is another for another tenant, whoever shares it: %s',
    async (scope) => {
      const snapshot = {
        ...SNAPSHOT,
        models: { cached: model('cached', ['openai'], { cache: { ttlSeconds: 60, scope } }) },
      };
      const ofTenant = (tenant: string | undefined) =>
        keyOf(BODY, {}, new Front({ snapshot, key: { team: 'blue', tenant } }));
      expect(await ofTenant('acme')).toBe(await ofTenant('acme'));
      expect(new Set(await Promise.all([undefined, 'acme', 'other'].map(ofTenant))).size).toBe(3);
    },
  );

  it('of a token is its user’s alone where it is that of a key', async () => {
    const cache = { ttlSeconds: 60, scope: 'key' } as const;
    const snapshot = { ...SNAPSHOT, models: { cached: model('cached', ['openai'], { cache }) } };
    const ofUser = (user: string) => {
      const verified = {
        provider: 'corp',
        user,
        groups: [],
        roles: ['developer'],
        scopes: [],
        features: [],
        expiresAt: 0,
      };
      const front = new Front({ snapshot, tokens: { 'a.b.c': verified } });
      return keyOf(BODY, { authorization: 'Bearer a.b.c' }, front);
    };
    expect(await ofUser('corp:ada')).toBe(await ofUser('corp:ada'));
    expect(await ofUser('corp:ada')).not.toBe(await ofUser('corp:alice'));
  });

  it('is no team’s where the key has none, and everybody’s where the model says so', async () => {
    const cached = (scope: SnapshotCache['scope']) => ({
      ...SNAPSHOT,
      models: { cached: model('cached', ['openai'], { cache: { ttlSeconds: 60, scope } }) },
    });
    const ofKey = (scope: SnapshotCache['scope'], id: string) =>
      keyOf(BODY, {}, new Front({ snapshot: cached(scope), key: { id, user: id } }));
    expect(await ofKey('team', 'a')).not.toBe(await ofKey('team', 'b'));
    expect(await ofKey('everybody', 'a')).toBe(await ofKey('everybody', 'b'));
  });
});

describe('a request of a cached model', () => {
  const found = encodeKept({ dropped: 'seed', body: Buffer.from(JSON.stringify(ANSWER)) });
  const hitting = () => new Front({ admission: () => ({ found }) });

  it('is answered with what was kept, byte for byte', async () => {
    const answer = await hitting().answer(CHAT, BODY);
    expect(answer).toMatchObject({
      status: 200,
      headers: { 'content-type': 'application/json', 'x-limen-cache': 'hit', 'x-limen-dropped': 'seed' },
      context: { cache: 'hit', intentId: '1-1', model: 'cached', targets: [] },
    });
    expect(answer.body.toString()).toBe(JSON.stringify(ANSWER));
  });

  it('is answered with a stream where it asks for one', async () => {
    const answer = await hitting().answer(CHAT, { ...BODY, stream: true });
    expect(answer.headers['content-type']).toContain('text/event-stream');
    expect(answer.body.toString()).toContain('Hello there');
    expect(answer.body.toString()).toMatch(/data: \[DONE\]\n\n$/);
    expect(answer.body.toString()).not.toContain('"total_tokens":5');
    expect(answer.context).toMatchObject({ stream: true });
  });

  it('goes on where nothing was kept, and its answer will be', async () => {
    const { context, route } = await new Front().forward(CHAT, BODY);
    expect(context).toMatchObject({ cache: 'miss', mode: 'strip', keep: { cacheSeconds: 60, shared: true } });
    expect(context.keep?.cacheKey).toBe(await keyOf(BODY));
    expect(route).toBe('processed/whole/alone');
  });

  it('goes on where what was kept cannot be read', async () => {
    const front = new Front({ admission: () => ({ found: Buffer.from('\n{') }) });
    expect((await front.forward(CHAT, { ...BODY, stream: true })).context.cache).toBe('miss');
    // The first time it was taken for the answer, for which limits reserve nothing.
    expect(
      front.admitted.map(({ foundIsAnswer, wanted, insteadOf }) => [
        foundIsAnswer,
        wanted !== undefined,
        insteadOf,
      ]),
    ).toEqual([
      [true, true, undefined],
      [false, false, '1-1'],
    ]);
  });

  it('is not answered from the cache where the client wants a fresh answer', async () => {
    const front = hitting();
    const { context } = await front.forward(CHAT, BODY, { 'cache-control': 'no-cache' });
    expect(context.keep?.cacheKey).toBe(await keyOf(BODY));
    expect(front.admitted[0]?.wanted).toBeUndefined();
  });

  it.each([
    ['the client forbids it', BODY, { 'cache-control': 'max-age=0, no-store' }],
    ['it asks for several answers', { ...BODY, n: 2 }, {}],
  ])('has nothing to do with the cache where %s', async (_case, body, headers) => {
    const { context } = await hitting().forward(CHAT, body, headers);
    expect([context.cache, context.keep, context.mode]).toEqual([undefined, undefined, 'native']);
  });

  it('leaves other models alone', async () => {
    const front = hitting();
    await front.forward(CHAT, { ...BODY, model: 'fast' });
    expect(front.admitted[0]?.wanted).toBeUndefined();
  });

  it('needs the right to the model, whatever is kept', async () => {
    const front = new Front({ key: { models: ['fast'] }, admission: () => ({ found }) });
    expect((await front.answer(CHAT, BODY)).status).toBe(403);
    expect(front.admitted).toEqual([]);
  });

  it('plays a Gemini stream as the client wants it', async () => {
    const gemini = {
      candidates: [{ content: { role: 'model', parts: [{ text: 'Hi' }] }, finishReason: 'STOP' }],
      modelVersion: 'flash',
      responseId: 'x',
    };
    const kept = encodeKept({ dropped: '', body: Buffer.from(JSON.stringify(gemini)) });
    const front = new Front({ admission: () => ({ found: kept }) });
    const answer = await front.answer('/v1beta/models/cached:streamGenerateContent', { contents: [] });
    expect(answer.headers['content-type']).toContain('application/json');
    expect(JSON.stringify(jsonOf(answer.body))).toContain('"text":"Hi"');
  });
});
