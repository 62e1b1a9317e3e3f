import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../../src/core/capabilities.ts';
import { IDENTITY_HEADERS } from '../../src/core/gateway-names.ts';
import type { VerifiedToken } from '../../src/core/verified-token.ts';
import { startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { PATHS, request, requestBody, sha256 } from '../support/data-plane/requests.ts';
import { eventually } from '../support/running-envoy.ts';
import {
  anthropic,
  answer,
  openai,
  startUpstream,
  type ScriptedUpstream,
} from '../support/upstream/index.ts';

/** Keys of ada: without a bound, of the tenant acme, of no model, without a role. */
const KEYS = {
  ada: 'tw-ada-0123456789abcdef',
  acme: 'tw-acme-0123456789abcdef',
  narrow: 'tw-narrow-0123456789abcdef',
  viewer: 'tw-viewer-0123456789abcdef',
  disabled: 'tw-disabled-0123456789abcdef',
  mcp: 'tw-mcp-0123456789abcdef',
};
const METADATA_PATH = '/.well-known/oauth-protected-resource';

function token(more: Partial<VerifiedToken> = {}): VerifiedToken {
  return {
    provider: 'corp',
    user: 'corp:alice',
    groups: [],
    roles: ['developer'],
    scopes: [],
    features: [],
    expiresAt: 4_000_000_000_000,
    ...more,
  };
}

const TOKENS: Readonly<Record<string, VerifiedToken>> = {
  'nobody.token.x': token({ roles: [] }),
  'plain.token.x': token(),
  'slow.token.x': token(),
  'bob.token.x': token({ user: 'corp:bob' }),
  'acme.token.x': token({ tenant: 'acme' }),
  'scoped.token.x': token({ scopes: ['models.secret', 'models.more'] }),
  'full.token.x': token({
    user: 'corp:älice\r\nx-injected: 1',
    email: 'alice@corp.example',
    name: 'Alice Ä. "A"',
    groups: ['red', 'blue, green', 'grün'],
    roles: ['admin', 'developer'],
    scopes: ['a', 'b'],
    tenant: 'acme',
  }),
};

/** What a client might send to pass for somebody, in every spelling that HTTP takes. */
const FORGED: Readonly<Record<string, string | string[]>> = Object.fromEntries(
  Object.keys(IDENTITY_HEADERS).flatMap((name) => [
    [name, ['forged', 'forged-twice']],
    [name.toUpperCase().replace('X-', 'x-'), 'forged'],
    [name.replaceAll('-', '_'), 'forged'],
  ]),
);

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('access with %s', (_, capabilities) => {
  let plane: DataPlane;
  let asking: ScriptedUpstream;
  let silent: ScriptedUpstream;
  let own: ScriptedUpstream;

  beforeAll(async () => {
    [asking, silent, own] = await Promise.all([startUpstream(), startUpstream(), startUpstream()]);
    const openaiAt = (upstream: ScriptedUpstream, credential: string) => ({
      type: 'openai' as const,
      baseUrl: `${upstream.url}/v1`,
      credential,
    });
    plane = await startDataPlane({
      capabilities,
      gateway: { retries: { attempts: 3 } },
      providers: {
        asking: { ...openaiAt(asking, 'sk-asking'), identityHeaders: true },
        silent: openaiAt(silent, 'sk-silent'),
        named: { ...openaiAt(silent, 'sk-named'), subjectAsUser: true },
        anth: {
          type: 'anthropic',
          baseUrl: `${silent.url}/v1`,
          credential: 'sk-anth',
          subjectAsUser: true,
        },
        shared: {
          ...openaiAt(silent, 'sk-shared'),
          tenants: {
            acme: { credential: { value: 'sk-of-acme' }, baseUrl: `${own.url}/acme/v1` },
            other: { credential: { value: 'sk-of-other' } },
          },
        },
        closed: {
          ...openaiAt(silent, 'sk-closed'),
          tenantsOnly: true,
          tenants: { acme: { credential: { value: 'sk-closed-acme' } } },
        },
      },
      models: {
        asking: { targets: [{ provider: 'asking' }] },
        silent: { targets: [{ provider: 'silent' }], aliases: ['quiet'] },
        secret: {
          targets: [{ provider: 'silent' }],
          access: { scopes: ['models.secret', 'models.more'] },
        },
        there: {
          targets: [
            { provider: 'asking', priority: 0 },
            { provider: 'silent', priority: 1 },
            { provider: 'asking', priority: 2 },
          ],
        },
        back: {
          targets: [
            { provider: 'silent', priority: 0 },
            { provider: 'asking', priority: 1 },
          ],
        },
        named: { targets: [{ provider: 'named' }] },
        claude: { targets: [{ provider: 'anth', model: 'claude-real' }] },
        shared: { targets: [{ provider: 'shared' }], cache: { ttlSeconds: 60, scope: 'everybody' } },
        closed: { targets: [{ provider: 'closed' }] },
        mixed: { targets: [{ provider: 'shared' }, { provider: 'anth', priority: 1 }] },
      },
      others: [
        {
          kind: 'IdentityProvider',
          name: 'corp',
          spec: {
            issuer: 'https://corp.example',
            audiences: ['limen'],
            jwksUri: 'https://corp.example/keys',
          },
        },
        { kind: 'Role', name: 'quiet', spec: { permissions: ['models:use'], models: ['quiet'] } },
      ],
      backends: {
        wiki: { url: asking.url, identityHeaders: true },
        plain: { url: silent.url },
      },
      keys: [
        { key: KEYS.ada, id: 'ada', user: 'ada' },
        { key: KEYS.acme, id: 'acme', user: 'ada', tenant: 'acme' },
        { key: KEYS.narrow, id: 'narrow', user: 'bob' },
        { key: KEYS.viewer, id: 'viewer', user: 'viewer' },
        { key: KEYS.disabled, id: 'disabled', user: 'gone' },
        { key: KEYS.mcp, id: 'mcp', user: 'ada', surfaces: ['mcp'] },
      ],
      users: [
        { id: 'bob', groups: [], roles: ['quiet'] },
        { id: 'viewer', groups: [], roles: ['viewer'] },
        { id: 'gone', groups: [], roles: ['super-admin'], disabled: true },
      ],
      tokens: TOKENS,
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([asking.close(), silent.close(), own.close()]);
  });
  beforeEach(() => {
    for (const upstream of [asking, silent, own]) {
      upstream.reset();
      upstream.always(openai.answer({ text: ['fine'] }));
    }
    plane.forget();
  });
  afterEach(() => {
    expect(plane.faults).toEqual([]);
  });

  const ask = (key: string | undefined, model: string, headers: Record<string, string | string[]> = {}) =>
    plane.call({ ...request('chat', { model }), key, headers });

  describe('a request is refused', () => {
    const refusals: readonly (readonly [string, string, string, string, string])[] = [
      ['of a user without a role', 'nobody.token.x', 'silent', 'not_allowed', 'models:use'],
      ['of a role without the permission', KEYS.viewer, 'silent', 'not_allowed', 'models:use'],
      ['for a model that no role has', KEYS.narrow, 'asking', 'model_not_allowed', 'model'],
      ['by a key of another surface', KEYS.mcp, 'silent', 'not_allowed', 'surface model'],
      ['of a disabled user', KEYS.disabled, 'silent', 'user_disabled', 'disabled'],
      ['without a scope', 'plain.token.x', 'secret', 'insufficient_scope', 'models.secret'],
      ['of no tenant, where only tenants are served', KEYS.ada, 'closed', 'not_allowed', 'tenant'],
    ];
    test.each(refusals)('%s', async (_case, key, model, code, word) => {
      const refused = await ask(key, model);
      expect(refused.status).toBe(403);
      expect(refused.json()).toMatchObject({ error: { code, message: expect.stringContaining(word) } });
      expect([...asking.requests, ...silent.requests, ...own.requests]).toEqual([]);
    });

    test.each(['SILENT', 'silent ', 'sіlent', 'silent\u200b', 'ｓilent', 'silent/../asking', 'Quiet'])(
      'for a model that is only spelt like one: %j',
      async (model) => {
        const refused = await ask(KEYS.narrow, model);
        expect(refused.status).toBe(404);
        expect(refused.json()).toMatchObject({ error: { code: 'model_not_found' } });
        expect(silent.requests).toEqual([]);
      },
    );

    test('with a line of its trace that says by what', async () => {
      const { trace } = await plane.rowOf(await ask(KEYS.narrow, 'asking'));
      expect(trace.map(([checkpoint, rule, , outcome]) => [checkpoint, rule, outcome])).toEqual([
        ['identify', 'key/narrow', 'allowed'],
        ['authorize', 'role/quiet', 'refused'],
      ]);
      plane.forget();
      const row = await plane.rowOf(await ask(KEYS.narrow, 'quiet'));
      expect(row.trace.slice(0, 2)).toEqual([
        ['identify', 'key/narrow', 'bob', 'allowed', 'roles quiet'],
        ['authorize', 'role/quiet', 'silent', 'allowed', 'models:use'],
      ]);
    });
  });

  test('a token that must be waited for loses nothing of the body that comes meanwhile', async () => {
    const content = 'x'.repeat(3_000_000);
    const { path, body } = request('chat', { model: 'silent', content });
    const pieces = Array.from({ length: Math.ceil(body.length / 50_000) }, (_piece, index) =>
      body.slice(index * 50_000, (index + 1) * 50_000),
    );
    for (const sent of [body, pieces]) {
      const result = await plane.call({ path, body: sent, key: 'slow.token.x' });
      expect(result.status).toBe(200);
    }
    const hash = sha256(body);
    expect(silent.requests.map((one) => one.bodyHash())).toEqual([hash, hash]);
    await plane.idle();
  });

  test('a client that leaves while its token is waited for leaves nothing behind', async () => {
    // What is open below is to be this request's alone.
    await plane.idle();
    const socket = connect(plane.port, '127.0.0.1');
    socket.write(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer slow.token.x\r\ncontent-length: 9\r\n\r\nhalf',
    );
    await eventually(async () => ((await plane.loads())[0]?.open === 0 ? undefined : true));
    socket.destroy();
    // By then the token is there.
    await setTimeout(1000);
    await plane.idle();
    expect([...silent.requests, ...asking.requests]).toEqual([]);
  });

  test('models are listed to those who may use them', async () => {
    const listed = async (key: string) => {
      const { text } = await plane.call({ method: 'GET', path: '/v1/models', key });
      return [...text.matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id);
    };
    expect(await listed(KEYS.narrow)).toEqual(['silent']);
    expect(await listed('nobody.token.x')).toEqual([]);
    expect(await listed('plain.token.x')).not.toContain('secret');
    expect(await listed('scoped.token.x')).toContain('secret');
  });

  describe('www-authenticate', () => {
    const challengeOf = async (key: string | undefined, model: string) => {
      const { status, headers } = await ask(key, model);
      return [status, headers['www-authenticate']];
    };
    const metadata = () => `resource_metadata="${plane.url}${METADATA_PATH}"`;

    test('points to who issues tokens', async () => {
      expect(await challengeOf(undefined, 'silent')).toEqual([401, `Bearer ${metadata()}`]);
      expect(await challengeOf('tw-unknown', 'silent')).toEqual([401, `Bearer ${metadata()}`]);
      expect(await challengeOf('forged.token.x', 'silent')).toEqual([
        401,
        `Bearer error="invalid_token", ${metadata()}`,
      ]);
    });

    test('names the scopes that are missing, and nothing where no credential would do', async () => {
      expect(await challengeOf('plain.token.x', 'secret')).toEqual([
        403,
        `Bearer error="insufficient_scope", scope="models.secret models.more", ${metadata()}`,
      ]);
      expect(await challengeOf('nobody.token.x', 'silent')).toEqual([403, undefined]);
    });

    test('repeats no host that is none', async () => {
      const { headers } = await ask(undefined, 'silent', { host: 'a"b' });
      expect(headers['www-authenticate'] ?? 'Bearer').toBe('Bearer');
    });
  });

  test('says who issues tokens for it, and for which part', async () => {
    const known = await plane.call({ method: 'GET', path: METADATA_PATH, key: undefined });
    expect([known.status, known.json()]).toEqual([
      200,
      {
        resource: plane.url,
        authorization_servers: ['https://corp.example'],
        scopes_supported: ['models.more', 'models.secret'],
        bearer_methods_supported: ['header'],
      },
    ]);
    const part = await plane.call({ method: 'GET', path: `${METADATA_PATH}/mcp/wiki`, key: undefined });
    expect(part.json()).toMatchObject({ resource: `${plane.url}/mcp/wiki` });
    const post = await plane.call({ path: METADATA_PATH, key: undefined, body: '{}' });
    expect(post.status).toBe(405);
  });

  describe('identity headers', () => {
    /** Those that an upstream got, lower case. */
    function identityOf(upstream: ScriptedUpstream, index = 0): Record<string, string[]> {
      const got: Record<string, string[]> = {};
      for (const [name, value] of upstream.requests[index]?.rawHeaders ?? []) {
        const key = name.toLowerCase();
        if (/^x[-_](user|organization|gateway)/.test(key)) (got[key] ??= []).push(value);
      }
      return got;
    }

    test('tell an upstream that wants to know who asks, each once and printable', async () => {
      expect((await ask('full.token.x', 'asking', FORGED)).status).toBe(200);
      expect(identityOf(asking)).toEqual({
        'x-user-id': ['corp:%C3%A4lice%0D%0Ax-injected: 1'],
        'x-user-email': ['alice@corp.example'],
        'x-user-name': ['Alice %C3%84. "A"'],
        'x-user-groups': ['red,blue%2C green,gr%C3%BCn'],
        'x-user-role': ['admin,developer'],
        'x-user-scopes': ['a b'],
        'x-user-admin': ['true'],
        'x-organization': ['acme'],
        'x-gateway-validated': ['true'],
      });
    });

    test('say nothing of what is not known, whatever the client says', async () => {
      expect((await ask(KEYS.ada, 'asking', FORGED)).status).toBe(200);
      expect(identityOf(asking)).toEqual({
        'x-user-id': ['ada'],
        'x-user-role': ['developer'],
        'x-user-admin': ['false'],
        'x-gateway-validated': ['true'],
      });
    });

    const operations = [
      ['chat', 'silent', PATHS.chat, requestBody('chat', { model: 'silent' })],
      ['a converted request', 'silent', PATHS.messages, requestBody('messages', { model: 'silent' })],
      ['responses', 'silent', PATHS.responses, requestBody('responses', { model: 'silent' })],
      ['Gemini’s', 'silent', '/v1beta/models/silent:generateContent', requestBody('gemini', { model: 'x' })],
      ['embeddings', 'silent', '/v1/embeddings', '{"model":"silent","input":"x"}'],
    ] as const;
    test.each(operations)('reach nobody who does not ask: %s', async (_case, _model, path, body) => {
      silent.always(answer(200, { 'content-type': 'application/json' }, '{}'));
      await plane.call({ path, body, key: 'full.token.x', headers: FORGED });
      expect(silent.requests).toHaveLength(1);
      expect(identityOf(silent)).toEqual({});
      silent.expectNotSent('forged');
    });

    test('of a backend are its own: told where it asks, and never the client’s', async () => {
      for (const upstream of [asking, silent]) upstream.always(answer(200, {}, ''));
      for (const name of ['wiki', 'plain']) {
        const path = `/backends/${name}/page`;
        const { status } = await plane.call({ method: 'GET', path, key: KEYS.ada, headers: FORGED });
        expect(status).toBe(200);
      }
      expect(identityOf(asking)).toEqual({
        'x-user-id': ['ada'],
        'x-user-role': ['developer'],
        'x-user-admin': ['false'],
        'x-gateway-validated': ['true'],
      });
      expect(identityOf(silent)).toEqual({});
    });

    test('go to the provider that asks, and not to the one that is tried after it', async () => {
      const failing = answer(503, { 'content-type': 'application/json' }, '{}');
      for (const [model, path] of [
        ['there', PATHS.chat],
        ['there', PATHS.messages],
        ['back', PATHS.chat],
        ['back', PATHS.messages],
      ] as const) {
        asking.reset();
        silent.reset();
        asking.always(failing);
        silent.always(failing);
        const format = path === PATHS.chat ? 'chat' : 'messages';
        await plane.call({ path, body: requestBody(format, { model }), key: KEYS.ada, headers: FORGED });
        for (const [index] of asking.requests.entries()) {
          expect(identityOf(asking, index)['x-user-id']).toEqual(['ada']);
        }
        for (const [index] of silent.requests.entries()) expect(identityOf(silent, index)).toEqual({});
        const tries = [asking.requests.length, silent.requests.length];
        const expected = model === 'there' ? [2, 1] : [1, 1];
        expect(capabilities === ALL_CAPABILITIES ? tries.map((count) => count > 0) : [true, true]).toEqual(
          expected.map(() => true),
        );
      }
    });

    test('are taken out before a route is chosen, so that no upstream of any kind gets them', async () => {
      const dump = await plane.configDump();
      const early = /"early_header_mutation_extensions": \[[^]*?\n {12,}\],/.exec(dump)?.[0] ?? '';
      for (const name of Object.keys(IDENTITY_HEADERS)) expect(early).toContain(`"remove": "${name}"`);
    });

    test('cannot be sent in a spelling that only some read', async () => {
      const raw = [
        'POST /v1/chat/completions HTTP/1.1',
        'host: gateway',
        `authorization: Bearer ${KEYS.ada}`,
        'content-type: application/json',
        'X-USER-ID: forged',
        'x-UsEr-Id:forged',
        'X-User-Admin:   forged',
        'x-user-groups: forged, forged',
        'connection: close, x-user-id',
      ];
      const body = requestBody('chat', { model: 'asking' });
      await sendRaw(plane.port, `${[...raw, `content-length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`);
      const all = asking.requests.flatMap(({ rawHeaders }) => rawHeaders);
      expect(all.filter(([, value]) => value.includes('forged'))).toEqual([]);
    });
  });

  test('reasoning that was sealed for one user of an issuer opens for no other, and in no other tenant', async () => {
    const thought = {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: 'claude-real',
      content: [
        { type: 'thinking', thinking: 'hm', signature: 'c2lnbmF0dXJl' },
        { type: 'text', text: 'hi' },
      ],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 1, output_tokens: 1 },
    };
    silent.always(answer(200, { 'content-type': 'application/json' }, JSON.stringify(thought)));
    const ask = (key: string, input: unknown) =>
      plane.call({
        path: PATHS.responses,
        body: JSON.stringify({ model: 'claude', input, include: ['reasoning.encrypted_content'] }),
        key,
      });
    const first = await ask('plain.token.x', 'Think.');
    const { output } = z.object({ output: z.array(z.looseObject({})) }).parse(first.json());
    expect(JSON.stringify(output)).toContain('limen1.');
    const next = [...output, { role: 'user', content: 'And now?' }];
    const statuses: number[] = [];
    for (const key of ['plain.token.x', 'bob.token.x', 'acme.token.x', KEYS.ada]) {
      statuses.push((await ask(key, next)).status);
    }
    expect(statuses).toEqual([200, 400, 400, 400]);
  });

  describe('the verified user', () => {
    test('stands in the place of whatever the client says, for a provider that asks', async () => {
      silent.always(answer(200, { 'content-type': 'application/json' }, '{}'));
      const body = JSON.stringify({
        model: 'named',
        user: 'forged',
        messages: [{ role: 'user', content: 'x' }],
      });
      await plane.call({ path: PATHS.chat, body, key: 'plain.token.x' });
      expect(silent.requests[0]?.json()).toMatchObject({ user: 'corp:alice' });
      await plane.call({
        path: PATHS.responses,
        body: requestBody('responses', { model: 'named' }),
        key: 'plain.token.x',
      });
      expect(silent.requests[1]?.json()).toMatchObject({ user: 'corp:alice' });
      await plane.call({
        path: PATHS.messages,
        body: requestBody('messages', { model: 'named' }),
        key: 'plain.token.x',
      });
      expect(silent.requests[2]?.json()).toMatchObject({ user: 'corp:alice' });
    });

    test('is named in the field of the Messages API, natively and converted', async () => {
      silent.always(anthropic.answer({ text: ['fine'] }));
      for (const path of [PATHS.messages, PATHS.chat]) {
        const format = path === PATHS.chat ? 'chat' : 'messages';
        await plane.call({ path, body: requestBody(format, { model: 'claude' }), key: 'plain.token.x' });
      }
      for (const sent of silent.requests) {
        expect(sent.json()).toMatchObject({ metadata: { user_id: 'corp:alice' } });
      }
      expect(silent.requests).toHaveLength(2);
    });

    test('is told to nobody else', async () => {
      expect((await ask('plain.token.x', 'silent')).status).toBe(200);
      silent.expectNotSent('corp:alice');
    });
  });

  describe('a tenant', () => {
    test('is served with an account and at an endpoint of its own', async () => {
      const result = await ask(KEYS.acme, 'shared');
      expect(result.status).toBe(200);
      expect(own.only().path).toBe('/acme/v1/chat/completions');
      own.expectCredential(...openai.credential('sk-of-acme'));
      expect(silent.requests).toEqual([]);
      expect(await plane.rowOf(result)).toMatchObject({ provider: 'shared@acme', tenant: 'acme' });
    });

    test('is so where each try is converted by itself', async () => {
      const body = requestBody('messages', { model: 'mixed' });
      expect((await plane.call({ path: PATHS.messages, body, key: KEYS.acme })).status).toBe(200);
      own.expectCredential(...openai.credential('sk-of-acme'));
      expect(silent.requests).toEqual([]);
    });

    test('has the endpoint of the provider where it has none of its own', async () => {
      expect((await ask(KEYS.acme, 'closed')).status).toBe(200);
      silent.expectCredential(...openai.credential('sk-closed-acme'));
    });

    test('shares no answer with others, even where everybody does', async () => {
      const body = requestBody('chat', { model: 'shared', content: 'What is kept?' });
      const cacheOf = async (key: string) =>
        (await plane.call({ path: PATHS.chat, body, key })).headers['x-limen-cache'];
      await cacheOf(KEYS.ada);
      await plane.idle();
      expect(await cacheOf('plain.token.x')).toBe('hit');
      expect(await cacheOf(KEYS.acme)).not.toBe('hit');
      silent.expectNotSent('sk-of-');
      own.expectNotSent('sk-shared');
    });

    test("others' credentials are in no dump of the configuration, and go to nobody else", async () => {
      await ask(KEYS.ada, 'shared');
      silent.expectCredential(...openai.credential('sk-shared'));
      expect(await plane.configDump()).not.toMatch(/sk-of-|sk-closed/);
    });
  });
});

/** Sends bytes as they are, and waits for the end of the answer. */
async function sendRaw(port: number, text: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect(port, '127.0.0.1', () => socket.write(text));
  let answered = '';
  socket.setEncoding('utf8');
  socket.on('data', (piece: string) => (answered += piece));
  socket.once('end', () => resolve(answered));
  socket.once('error', reject);
  return await promise;
}
