import { describe, expect, it } from 'vitest';
import { Front, jsonOf, model, SNAPSHOT } from './__fixtures__/front.ts';

const CHAT = '/v1/chat/completions';

describe('FrontPipeline', () => {
  it('lets no upstream read another body than the one that was judged', async () => {
    const forward = await new Front().forward(CHAT, { model: 'fast', messages: [] });
    expect(forward.removeHeaders).toContain('content-encoding');
  });

  it.each(['{"include_usage":false,"include_usage":true}', '{"Include_Usage":false,"include_usage":true}'])(
    'refuses %s, of which parsers take either',
    async (options) => {
      const answer = await new Front().answer(
        CHAT,
        `{"model":"fast","stream":true,"stream_options":${options}}`,
      );
      expect([answer.status, answer.error?.code]).toEqual([400, 'invalid_request']);
    },
  );

  it('keeps the query but for the key', async () => {
    const forward = await new Front().forward(`${CHAT}?a=1&k%65y=tw-key&b=%20`, { model: 'fast' });
    expect(forward.setHeaders[':path']).toBe('/v1/chat/completions?a=1&b=%20');
  });

  it('chooses itself what Google writes and leaves out, and lets no token along', async () => {
    const query =
      'key=tw-key&$alt=proto&fields=candidates&%24fields=x&callback=f&access_token=t&oauth_token=t';
    const path = `/v1beta/models/flash:generateContent?${query}&prettyPrint=false`;
    const forward = await new Front().forward(path, { contents: [] });
    expect(forward.setHeaders[':path']).toBe('/v1beta/models/flash:generateContent?prettyPrint=false');
  });

  it('carries no names of any length along with an answer', async () => {
    const ask = (name: string) => ({ model: 'claude', input: 'hi', tools: [{ type: 'custom', name }] });
    const { context } = await new Front().forward('/v1/responses', ask('patch'));
    expect(context.converted?.freeTextTools).toEqual(['patch']);
    const answer = await new Front().answer('/v1/responses', ask('x'.repeat(20_000)));
    expect(answer.error).toMatchObject({ code: 'invalid_request', param: 'tools' });
  });

  it('leaves with the intent what its input costs, should nobody ever settle it', async () => {
    const price = { input: 3, output: 4 };
    const targets = [{ provider: 'openai', priority: 0, weight: 1, price }];
    const fast = { ...model('fast', []), targets };
    const front = new Front({ snapshot: { ...SNAPSHOT, models: { ...SNAPSHOT.models, fast } } });
    await front.forward(CHAT, { model: 'fast' });
    expect(front.admitted).toMatchObject([{ intent: { price } }]);
  });

  it.each(['constructor', '__proto__', 'toString'])('knows no model %s', async (model) => {
    const answer = await new Front().answer(CHAT, { model });
    expect(answer.error?.code).toBe('model_not_found');
  });

  it('sends a request on as it is, but for what the provider needs', async () => {
    const body = '{ "messages": [],  "seed": 9007199254740993, "model": "quick" }';
    const forward = await new Front().forward(CHAT, body);
    expect(forward.body.toString()).toBe(body.replace('quick', 'fast'));
    expect(forward.route).toBe('native/chat/whole/alone');
  });

  it('sets the headers that a provider asks for, where the client does not', async () => {
    const body = { model: 'claude', messages: [] };
    const silent = await new Front().forward('/v1/messages', body);
    expect(silent.setHeaders['anthropic-version']).toBe('2023-06-01');
    const own = await new Front().forward('/v1/messages', body, { 'anthropic-version': '2099-01-01' });
    expect(own.setHeaders).not.toHaveProperty('anthropic-version');
  });

  it('lets a key that has an alias use the model behind it', async () => {
    const front = new Front({ key: { models: ['quick'] } });
    expect((await front.forward(CHAT, { model: 'quick' })).context).toMatchObject({
      model: 'fast',
      modelAsked: 'quick',
    });
    expect((await front.answer(CHAT, { model: 'claude' })).error?.code).toBe('model_not_allowed');
  });

  it('tells the other legs what they must know', async () => {
    const both = { ...SNAPSHOT.models['both'], losses: 'refuse', failoverOn: 'firstEvent' } as const;
    const { targets = [], name = 'both', usageChunk = 'hide' } = both;
    const models = { ...SNAPSHOT.models, both: { ...both, targets, name, usageChunk } };
    const front = new Front({ snapshot: { ...SNAPSHOT, models } });
    const { context, route } = await front.forward(CHAT, { model: 'both', stream: true, messages: [] });
    expect(route).toBe('processed/stream/failover');
    expect(context).toMatchObject({
      mode: 'processed',
      framing: 'sse',
      refuseLosses: true,
      failoverOn: 'firstEvent',
      intentId: '1-1',
      targets: [{ cluster: 'provider/openai/watched' }, { cluster: 'provider/anthropic/watched' }],
    });
  });

  it('opens reasoning that was sealed, even for a provider of the same format', async () => {
    const sealed = { type: 'thinking', thinking: 'so', signature: 'limen1.abc' };
    const { context } = await new Front().forward('/v1/messages', {
      model: 'claude',
      messages: [{ role: 'assistant', content: [sealed] }],
    });
    expect(context.mode).toBe('processed');
  });

  describe('with circuits', () => {
    it('leaves out whose circuit is open', async () => {
      const front = new Front({ admission: () => ({ open: new Map([['openai', 4]]) }) });
      const forward = await front.forward(CHAT, { model: 'both', messages: [] });
      expect(forward.context.targets.map(({ provider }) => provider)).toEqual(['anthropic']);
      expect(forward.route).toBe('processed/whole/alone');
      expect(front.admitted[0]?.providers).toEqual(['openai', 'anthropic']);
    });

    it('refuses where all are open, and the row is closed', async () => {
      const open = new Map([
        ['openai', 9],
        ['anthropic', 4],
      ]);
      const answer = await new Front({ admission: () => ({ open }) }).answer(CHAT, { model: 'both' });
      expect(answer).toMatchObject({
        status: 503,
        headers: { 'retry-after': '4' },
        error: { code: 'upstream_unavailable' },
        context: { intentId: '1-1', model: 'both', targets: [] },
      });
    });
  });

  it('converts once where every try would send the same', async () => {
    const body = { model: 'fast', max_tokens: 9, top_k: 3, messages: [{ role: 'user', content: 'hi' }] };
    const forward = await new Front().forward('/v1/messages', body);
    expect(forward.setHeaders).toMatchObject({
      ':path': '/v1/chat/completions',
      'accept-encoding': 'identity',
    });
    expect(forward.removeHeaders).not.toContain('accept-encoding');
    expect(jsonOf(forward.body)).toMatchObject({ messages: [{ role: 'user', content: 'hi' }] });
    expect(forward.setHeaders['content-length']).toBe(String(forward.body.length));
    expect(forward.context).toMatchObject({
      targets: [{ cluster: expect.not.stringContaining('/converted') }],
      converted: { dropped: 'top_k', freeTextTools: [] },
    });
  });

  describe('with Gemini', () => {
    const body = { contents: [{ role: 'user', parts: [{ text: 'hi' }] }] };

    it.each([
      [
        '/v1beta/models/flash:generateContent',
        '/v1beta/models/flash:generateContent',
        'native/gemini/whole/alone',
      ],
      [
        '/v1beta/models/flash:streamGenerateContent?alt=sse&key=tw-key',
        '/v1beta/models/flash:streamGenerateContent?alt=sse',
        'native/gemini/stream/alone',
      ],
      [
        '/v1/models/flash:streamGenerateContent?x=1',
        '/v1beta/models/flash:streamGenerateContent?x=1',
        'processed/stream/alone',
      ],
    ])('takes %s', async (path, upstream, route) => {
      const forward = await new Front().forward(path, body);
      expect(forward.setHeaders[':path']).toBe(upstream);
      expect(forward.route).toBe(route);
      expect(forward.context).toMatchObject({ format: 'gemini', model: 'flash' });
      expect(jsonOf(forward.body)).toEqual(body);
    });

    it('converts for other providers, and says how the client wants its stream', async () => {
      const { context } = await new Front().forward('/v1beta/models/fast:streamGenerateContent', body);
      expect(context).toMatchObject({ mode: 'processed', stream: true, framing: 'json-array' });
    });

    it('refuses in its own words', async () => {
      const answer = await new Front().answer('/v1beta/models/nobody:generateContent', body);
      expect(jsonOf(answer.body)).toMatchObject({ error: { code: 404, status: 'NOT_FOUND' } });
    });
  });

  it.each([
    ['/v1/chat/completions', 'chat', { error: { code: 'missing_api_key' } }],
    ['/v1/responses', 'chat', { error: { code: 'missing_api_key' } }],
    ['/v1/embeddings', 'chat', { error: { code: 'missing_api_key' } }],
    ['/v1/messages/count_tokens', 'messages', { type: 'error', error: { type: 'authentication_error' } }],
    ['/v1beta/models', 'gemini', { error: { code: 401, status: 'UNAUTHENTICATED' } }],
  ])('answers %s without a key in the words of %s', async (path, _format, body) => {
    const answer = await new Front().head(path, { header: () => undefined });
    expect(answer.kind === 'answer' && jsonOf(answer.body)).toMatchObject(body);
  });

  it('has nothing elsewhere', async () => {
    const answer = await new Front().head('/v1/elsewhere', { method: 'POST', endOfStream: false });
    expect(answer.kind === 'answer' && answer.status).toBe(404);
  });
});
