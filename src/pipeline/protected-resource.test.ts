import { describe, expect, it } from 'vitest';
import { LimenError } from '../core/errors.ts';
import { Front, jsonOf, model, SNAPSHOT } from './__fixtures__/front.ts';
import { challenge, publicUrl } from './protected-resource.ts';

const METADATA = '/.well-known/oauth-protected-resource';
const headOf = (headers: Record<string, string>) => ({
  method: 'GET',
  path: '/',
  requestId: 'r',
  header: (name: string) => headers[name],
  endOfStream: true,
});

describe('what the gateway is reached under', () => {
  it.each([
    [{ ':authority': 'ai.example', ':scheme': 'http' }, 'http://ai.example'],
    [{ ':authority': 'ai.example:8443', 'x-forwarded-proto': 'https' }, 'https://ai.example:8443'],
    [{ ':authority': '[::1]:3000', ':scheme': 'https' }, 'https://[::1]:3000'],
    [{ ':authority': 'a"b', ':scheme': 'https' }, undefined],
    [{ ':authority': 'user@ai.example' }, undefined],
    [{ ':authority': 'ai.example/path' }, undefined],
    [{}, undefined],
  ])('is the host that was asked for, where it is one: %j', (headers, url) => {
    expect(publicUrl(SNAPSHOT, headOf(headers))).toBe(url);
  });

  it('is what the Gateway says, whatever was asked for', () => {
    const access = { keyRoles: [], publicUrl: 'https://ai.example' };
    const snapshot = { ...SNAPSHOT, gateway: { ...SNAPSHOT.gateway, access } };
    expect(publicUrl(snapshot, headOf({ ':authority': 'evil.example' }))).toBe('https://ai.example');
  });
});

describe('a challenge', () => {
  it.each([
    ['missing_api_key', 'Bearer resource_metadata="https://g'],
    ['invalid_api_key', 'Bearer resource_metadata="https://g'],
    ['invalid_token', 'Bearer error="invalid_token", resource_metadata="https://g'],
    ['token_expired', 'Bearer error="invalid_token", resource_metadata="https://g'],
  ] as const)('of %s says what another credential would mend', (code, start) => {
    expect(challenge(new LimenError(code, ''), 'https://g')?.startsWith(start)).toBe(true);
    expect(challenge(new LimenError(code, ''))).toMatch(/^Bearer( error="invalid_token")?$/);
  });

  it.each(['not_allowed', 'model_not_allowed', 'user_disabled', 'not_found', 'rate_limited'] as const)(
    'is none for %s',
    (code) => {
      expect(challenge(new LimenError(code, ''), 'https://g')).toBeUndefined();
    },
  );
});

describe('the metadata of the protected resource', () => {
  it('follows the configuration, and needs no credential', async () => {
    const snapshot = {
      ...SNAPSHOT,
      models: {
        a: model('a', ['openai'], { access: { scopes: ['z', 'b'] } }),
        b: model('b', ['openai'], { access: { scopes: ['b'] } }),
      },
    };
    const ask = async (path: string) => {
      const answer = await new Front({ snapshot }).head(path, {
        headers: { ':authority': 'g', authorization: '' },
      });
      return answer.kind === 'answer' ? [answer.status, jsonOf(answer.body)] : [];
    };
    expect(await ask(METADATA)).toEqual([
      200,
      {
        resource: 'http://g',
        authorization_servers: [],
        scopes_supported: ['b', 'z'],
        bearer_methods_supported: ['header'],
      },
    ]);
    expect(await ask(`${METADATA}/mcp`)).toMatchObject([200, { resource: 'http://g/mcp' }]);
    expect(await ask(`${METADATA}x`)).toMatchObject([401, {}]);
  });

  it('names those as authorization servers from whom a token can be had', async () => {
    const provider = (name: string, issuer: string) => ({
      name,
      issuer,
      audiences: [],
      withoutAudience: false,
      algorithms: ['RS256' as const],
      clockSkewSeconds: 0,
      maxLifetimeSeconds: 60,
      userPrefix: `${name}:`,
      groupPrefix: '',
      claims: { user: 'sub', email: 'email', name: 'name', scopes: 'scope', features: {} },
      roleMapping: {},
      defaultRoles: [],
    });
    const identityProviders = {
      a: provider('a', 'https://login.example'),
      b: provider('b', 'open-webui'),
      c: provider('c', 'https://login.example'),
    };
    const front = new Front({ snapshot: { ...SNAPSHOT, identityProviders } });
    const answer = await front.head(METADATA, { headers: { ':authority': 'g' } });
    expect(answer.kind === 'answer' && jsonOf(answer.body)).toMatchObject({
      authorization_servers: ['https://login.example'],
    });
  });
});
