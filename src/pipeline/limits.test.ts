import { describe, expect, it } from 'vitest';
import type { Admission, AdmitRequest } from '../core/ledger.ts';
import type { LimitOutcome, SnapshotLimit } from '../core/limits.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { rule } from '../stages/limits/__fixtures__/limits.ts';
import { Front, jsonOf, model, provider, SNAPSHOT } from './__fixtures__/front.ts';

const CHAT = '/v1/chat/completions';
const PRICE = { input: 1, output: 2 };

const BUDGET = rule('budget', {
  label: 'user:usd/day',
  unit: 'usd',
  limit: 5e9,
  span: { kind: 'calendar', name: 'day', timeZone: 'UTC' },
  mode: 'hard',
  onStoreAway: 'refuse',
});

function priced(name: string, providers: readonly string[]) {
  return {
    ...model(name, []),
    targets: providers.map((provider, priority) => ({ provider, priority, weight: 1, price: PRICE })),
  };
}

function snapshot(limits: readonly SnapshotLimit[]): Snapshot {
  const models = {
    ...SNAPSHOT.models,
    fast: priced('fast', ['openai']),
    claude: priced('claude', ['anthropic']),
    flash: priced('flash', ['gemini']),
    both: priced('both', ['openai', 'anthropic']),
    unpriced: model('unpriced', ['openai']),
  };
  return { ...SNAPSHOT, models, limits };
}

/** A limiter that says the same of every rule. */
function saying(outcome: Partial<LimitOutcome>, more: Partial<Admission> = {}) {
  return ({ limits }: AdmitRequest): Partial<Admission> => ({
    limits: limits.map(() => ({
      outcome: 'allowed',
      used: 7,
      held: 0,
      reserved: 1,
      resetMs: 11_500,
      ...outcome,
    })),
    ...more,
  });
}

function front(limits: readonly SnapshotLimit[], admission = saying({})): Front {
  return new Front({ snapshot: snapshot(limits), admission });
}

describe('limits of a request', () => {
  it('asks about every rule in the one call, with the most that the request can cost', async () => {
    const asked = front([BUDGET, rule('rate')]);
    const body = { model: 'fast', max_tokens: 100, messages: [] };
    await asked.forward(CHAT, body, { 'x-forwarded-for': '192.0.2.1' });
    const { length } = JSON.stringify(body);
    const failedTry = Math.ceil(length / 4) * 1000 + 64 * 2000;
    expect(asked.admitted).toMatchObject([
      {
        outputTokens: 100,
        limits: [
          { rule: 'budget', fixed: length * 1000 + failedTry, perOutputToken: 2000 },
          { rule: 'rate', fixed: 1 },
        ],
      },
    ]);
  });

  it('carries holds, trace and multiplier to the end, and headers to the client', async () => {
    const hold = {
      rule: 'rate',
      subject: 'ann',
      counter: 'c',
      unit: 'requests',
      limit: 10,
      reserved: 1,
      alerts: [],
    } as const;
    const limited = snapshot([rule('rate')]);
    const fast = { ...model('fast', ['openai']), multiplier: { input: 1, output: 3 } };
    const { context, rateLimits } = await new Front({
      snapshot: { ...limited, models: { ...limited.models, fast } },
      admission: saying({}, { holds: [hold] }),
    }).forward(CHAT, { model: 'fast', messages: [] });
    expect(context).toMatchObject({ holds: [hold], multiplier: { input: 1, output: 3 } });
    expect(context.trace).toContainEqual(['limit', 'rate', 'ann', 'allowed', '7 of 10 requests in 1m']);
    expect(context.trace.map(([checkpoint]) => checkpoint)).toEqual([
      'identify',
      'authorize',
      'limit',
      'route',
    ]);
    expect(rateLimits).toEqual({
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '2',
      'x-ratelimit-reset-requests': '12s',
    });
  });

  it('refuses with 429 and what stands behind it, in the format of the client', async () => {
    const answer = await front([rule('rate')], saying({ outcome: 'refused', used: 10 })).answer(
      '/v1/messages',
      {
        model: 'claude',
        max_tokens: 9,
        messages: [],
      },
    );
    expect(answer.status).toBe(429);
    expect(answer.headers).toMatchObject({
      'retry-after': '12',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '12s',
    });
    expect(jsonOf(answer.body)).toMatchObject({
      type: 'error',
      error: {
        type: 'rate_limit_error',
        message: 'The limit user:requests/1m (rate) has no room for this request: 10 of 10 requests in 1m.',
      },
    });
    expect(answer.context?.trace).toContainEqual([
      'limit',
      'rate',
      'ann',
      'refused',
      '10 of 10 requests in 1m',
    ]);
  });

  it('refuses with 402 where it is money, and where nobody knows the price', async () => {
    const spent = front([BUDGET], saying({ outcome: 'refused', used: 5e9, reserved: 0 }));
    expect(await spent.answer(CHAT, { model: 'fast' })).toMatchObject({
      status: 402,
      error: { code: 'budget_exhausted' },
    });
    const unpriced = front([BUDGET]);
    const answer = await unpriced.answer(CHAT, { model: 'unpriced' });
    expect([answer.status, answer.error?.message]).toEqual([402, expect.stringContaining('spec.price')]);
    expect(unpriced.admitted).toEqual([]);
    expect(answer.context?.trace.at(-1)).toEqual([
      'limit',
      'budget',
      'ann',
      'refused',
      'the price is not known',
    ]);
  });

  it('counts requests alone where tokens are only counted', async () => {
    const counting = front([rule('rate'), BUDGET]);
    await counting.forward('/v1/messages/count_tokens', { model: 'claude', messages: [] });
    expect(counting.admitted[0]?.limits.map((check) => check.rule)).toEqual(['rate']);
  });

  describe('while the store is away', () => {
    const away = () => ({ intentId: '', storeAway: true });

    it('goes on where every rule allows it, and says so', async () => {
      const { context } = await front([rule('rate')], away).forward(CHAT, { model: 'fast' });
      expect(context.trace).toContainEqual([
        'limit',
        'rate',
        'ann',
        'allowed',
        'not counted: the store was away',
      ]);
    });

    it('refuses where one does not, also where it answers nothing about it', async () => {
      for (const admission of [away, () => ({ limits: [] })]) {
        const answer = await front([rule('rate'), BUDGET], admission).answer(CHAT, { model: 'fast' });
        expect(answer).toMatchObject({
          status: 503,
          headers: { 'retry-after': '1' },
          error: { code: 'limits_unavailable' },
        });
      }
    });

    it('goes on where no rule applies', async () => {
      const other = { ...BUDGET, match: { users: ['bob'] } };
      await expect(front([other], away).forward(CHAT, { model: 'fast' })).resolves.toMatchObject({
        kind: 'forward',
      });
    });
  });

  it('leaves out a provider that has no room, and refuses where that leaves none', async () => {
    const perProvider = rule('rate', { per: 'provider' });
    const one = ({ limits }: AdmitRequest): Partial<Admission> => ({
      limits: limits.map(({ subject }) => ({
        outcome: subject === 'openai' ? 'left out' : 'allowed',
        used: 10,
        held: 0,
        reserved: 0,
        resetMs: 5000,
      })),
    });
    const { context } = await front([perProvider], one).forward(CHAT, { model: 'both', messages: [] });
    expect(context.targets.map(({ provider }) => provider)).toEqual(['anthropic']);
    const none = await front([perProvider], saying({ outcome: 'left out' })).answer(CHAT, { model: 'both' });
    expect(none.status).toBe(503);
  });

  describe('with room for a part', () => {
    const cut = saying({ outcome: 'cut', used: 4e9 }, { outputTokens: 60 });
    const clamp = { ...BUDGET, onShortfall: 'clamp' } as const;
    const cutOff = { ...BUDGET, onShortfall: 'cutOff' } as const;

    it.each<[string, object, object]>([
      [CHAT, { model: 'fast', max_tokens: 100 }, { max_tokens: 60 }],
      [CHAT, { model: 'fast', max_tokens: 20 }, { max_tokens: 20 }],
      [CHAT, { model: 'fast', n: 2 }, { max_completion_tokens: 30 }],
      ['/v1/responses', { model: 'fast', input: 'hi' }, { max_output_tokens: 60 }],
      ['/v1/messages', { model: 'claude', max_tokens: 99, messages: [] }, { max_tokens: 60 }],
      [
        '/v1beta/models/flash:generateContent',
        { contents: [] },
        { generationConfig: { maxOutputTokens: 60 } },
      ],
      // Converted: chat to Messages.
      [CHAT, { model: 'claude', messages: [{ role: 'user', content: 'hi' }] }, { max_tokens: 60 }],
    ])('clamps %s %j to %j', async (path, body, expected) => {
      const forward = await front([clamp], cut).forward(path, body);
      expect('body' in forward && jsonOf(forward.body)).toMatchObject(expected);
      expect(forward.context.cutOffTokens).toBeUndefined();
    });

    it('cuts a stream off, by a worker that sees it, and tells the provider too', async () => {
      const body = { model: 'fast', stream: true, stream_options: { include_usage: true }, messages: [] };
      const forward = await front([cutOff], cut).forward(CHAT, body);
      expect(forward.context).toMatchObject({ cutOffTokens: 60 });
      expect(forward.route).toBe('processed/stream/alone');
      expect('body' in forward && jsonOf(forward.body)).toMatchObject({ max_completion_tokens: 60 });
      const uncut = await front([cutOff]).forward(CHAT, body);
      expect(uncut.route).toBe('native/chat/stream/alone');
    });

    it.each([{ stream: false }, { stream: true, n: 2 }])(
      'clamps what cannot be cut off: %j',
      async (more) => {
        const forward = await front([cutOff], cut).forward(CHAT, { model: 'fast', ...more });
        expect(forward.context.cutOffTokens).toBeUndefined();
      },
    );

    it('keeps no answer for others that it has made shorter', async () => {
      const body = { model: 'cached', temperature: 0, messages: [], max_tokens: 100 };
      const limited = snapshot([clamp]);
      const cached = { ...priced('cached', ['openai']), cache: { ttlSeconds: 60, scope: 'user' } as const };
      const kept = async (admission: typeof cut) => {
        const models = { ...limited.models, cached };
        const { context } = await new Front({ snapshot: { ...limited, models }, admission }).forward(
          CHAT,
          body,
        );
        return context.keep?.cacheKey !== undefined;
      };
      expect(await kept(saying({}))).toBe(true);
      expect(await kept(cut)).toBe(false);
    });

    it('refuses where neither can be', async () => {
      const thinking = { type: 'enabled', budget_tokens: 1024 };
      const request = { model: 'claude', max_tokens: 2048, thinking, messages: [] };
      expect((await front([clamp], cut).answer('/v1/messages', request)).status).toBe(402);
      expect((await front([clamp], cut).answer(CHAT, { model: 'fast', n: 20 })).status).toBe(402);
      const stream = await front([cutOff], cut).forward('/v1/messages', { ...request, stream: true });
      expect(stream.context.cutOffTokens).toBe(60);
    });
  });

  describe('towards servers that read another name of the output limit', () => {
    const limited = snapshot([BUDGET]);
    const local = provider('local', { type: 'openai-compatible', basePath: '/v1' });
    const withLocal = {
      ...limited,
      providers: { ...limited.providers, local },
      models: {
        ...limited.models,
        own: priced('own', ['local']),
        mixed: priced('mixed', ['local', 'openai']),
      },
    };
    const asked = (body: object) => {
      const one = new Front({ snapshot: withLocal, admission: saying({}) });
      return one.forward(CHAT, body).then((forward) => ({ forward, admitted: one.admitted[0] }));
    };

    it('writes the limit that was reserved for under the name that they read', async () => {
      const { forward, admitted } = await asked({ model: 'own', max_completion_tokens: 9 });
      expect(admitted?.outputTokens).toBe(9);
      expect('body' in forward && jsonOf(forward.body)).toMatchObject({
        max_tokens: 9,
        max_completion_tokens: 9,
      });
    });

    it('reserves for the largest answer where one of them may not read it', async () => {
      const unread = await asked({ model: 'mixed', max_completion_tokens: 9 });
      expect(unread.admitted?.outputTokens).toBe(131_072);
      const read = await asked({ model: 'mixed', max_tokens: 9 });
      expect(read.admitted?.outputTokens).toBe(9);
    });
  });

  it('lets no provider write more than the Model’s longest answer, which is all that was reserved', async () => {
    const limited = snapshot([BUDGET]);
    const fast = { ...priced('fast', ['openai']), outputTokens: 50 };
    const asked = async (limits: Snapshot['limits'], body: object) => {
      const short = { ...limited, limits, models: { ...limited.models, fast } };
      const one = new Front({ snapshot: short, admission: saying({}) });
      const forward = await one.forward(CHAT, { model: 'fast', messages: [], ...body });
      return [one.admitted[0]?.outputTokens, 'body' in forward && jsonOf(forward.body)];
    };
    expect(await asked([BUDGET], {})).toMatchObject([50, { max_completion_tokens: 50 }]);
    expect(await asked([BUDGET], { max_tokens: 900 })).toMatchObject([50, { max_tokens: 50 }]);
    expect(await asked([BUDGET], { max_tokens: 0, n: 2 })).toMatchObject([100, { max_tokens: 50 }]);
    expect(await asked([BUDGET], { max_tokens: 9 })).toMatchObject([9, { max_tokens: 9 }]);
    expect(await asked([], { max_tokens: 900 })).toMatchObject([50, { max_tokens: 900 }]);
  });

  it('carries what a prompt of images may be where its provider never tells, for hard rules alone', async () => {
    const picture = { type: 'image_url', image_url: { url: 'https://x/y.png' } };
    const body = { model: 'fast', messages: [{ role: 'user', content: [picture] }] };
    const untold = async (limits: readonly SnapshotLimit[], asked: object) =>
      (await front(limits).forward(CHAT, asked)).context.untoldInput;
    expect(await untold([BUDGET], body)).toBe(48_169 + Math.ceil(JSON.stringify(body).length / 4));
    expect(await untold([BUDGET], { model: 'fast', messages: [] })).toBeUndefined();
    expect(await untold([rule('rate')], body)).toBeUndefined();
  });

  it('traces circuits and the cache', async () => {
    const admission = () => ({ open: new Map([['openai', 4]]) });
    const { context } = await new Front({ admission }).forward(CHAT, { model: 'both', messages: [] });
    expect(context.trace).toContainEqual(['circuit', 'openai', '', 'open', 'probe in 4 s']);
    const cached = await new Front().forward(CHAT, { model: 'cached', messages: [] });
    expect(cached.context.trace).toContainEqual(['cache', 'cached', 'user', 'miss', 'kept 60 s']);
  });
});
