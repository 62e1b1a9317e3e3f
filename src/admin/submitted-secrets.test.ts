import { describe, expect, it } from 'vitest';
import { backendSchema } from '../config/resources/backend.ts';
import { identityProviderSchema } from '../config/resources/identity-provider.ts';
import type { Resource } from '../config/resources/index.ts';
import { providerSchema, type ProviderResource } from '../config/resources/provider.ts';
import { HIDDEN } from '../vault/sealed-spec.ts';
import { withKeptSecret } from './submitted-secrets.ts';

const SECRET = { value: 'sk-secret' };
const SHOWN = { value: HIDDEN };

function provider(spec: object): ProviderResource {
  return providerSchema.parse({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Provider',
    metadata: { name: 'house' },
    spec,
  });
}

function backend(spec: object): Resource {
  return backendSchema.parse({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Backend',
    metadata: { name: 'house' },
    spec,
  });
}

function sentBack(before: Resource, after: Resource): ReturnType<typeof withKeptSecret> {
  return withKeptSecret(after, [{ resource: before, origin: { source: 'database', generation: 1 } }]);
}

describe('what was shown as hidden and sent back', () => {
  const tenants = {
    acme: { credential: { value: 'of-acme' } },
    other: { credential: { value: 'of-other' } },
  };
  const stored = provider({ type: 'openai', credential: { value: 'shared' }, tenants });

  it("is each tenant's own secret as it was, beside new ones", () => {
    const sent = provider({
      type: 'openai',
      credential: SHOWN,
      tenants: {
        acme: { credential: SHOWN, baseUrl: 'https://api.openai.com/v2' },
        other: { credential: { value: 'new' }, baseUrl: 'https://other.example' },
      },
    });
    expect(sentBack(stored, sent)).toMatchObject({
      resource: {
        spec: {
          credential: { value: 'shared' },
          tenants: {
            acme: { credential: { value: 'of-acme' }, baseUrl: 'https://api.openai.com/v2' },
            other: { credential: { value: 'new' } },
          },
        },
      },
    });
  });

  it('is nothing for a tenant that was not there', () => {
    const sent = provider({
      type: 'openai',
      credential: SHOWN,
      tenants: { third: { credential: SHOWN } },
    });
    expect(sentBack(stored, sent)).toMatchObject({ problem: { path: 'spec' } });
  });
});

describe('the secrets of the promotion of clients', () => {
  const promotion = { type: 'auth0', clientId: 'gateway', callbacks: ['https://chatgpt.com/*'] };
  const issuer = (tenant: string | undefined, secret: object, issuedBy = 'https://id.example.com/') =>
    identityProviderSchema.parse({
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'IdentityProvider',
      metadata: { name: 'house' },
      spec: {
        issuer: issuedBy,
        audiences: ['limen'],
        clientPromotion: { ...promotion, tenantUrl: tenant, clientSecret: secret, webhookSecret: secret },
      },
    });

  it.each([
    [undefined, undefined],
    ['https://tenant.example.com', 'https://tenant.example.com/'],
    [undefined, 'https://id.example.com'],
  ])('stay for the same tenant: %s, %s', (before, after) => {
    expect(sentBack(issuer(before, SECRET), issuer(after, SHOWN))).toMatchObject({
      resource: { spec: { clientPromotion: { clientSecret: SECRET, webhookSecret: SECRET } } },
    });
  });

  it.each([
    ['tenant', issuer(undefined, SECRET), issuer('https://evil.example', SHOWN)],
    ['issuer', issuer(undefined, SECRET), issuer(undefined, SHOWN, 'https://evil.example/')],
  ])('go to no other %s', (_, before, after) => {
    expect(sentBack(before, after)).toMatchObject({
      problem: { path: 'spec.clientPromotion.clientSecret' },
    });
  });

  it('are nothing where there were none', () => {
    const { clientPromotion: _, ...spec } = issuer(undefined, SECRET).spec;
    const before = { ...issuer(undefined, SECRET), spec };
    expect(sentBack(before, issuer(undefined, SHOWN))).toMatchObject({ problem: { path: 'spec' } });
  });
});

describe('a secret that was shown as hidden', () => {
  const openai = { type: 'openai', credential: SECRET };
  const own = { type: 'openai-compatible', baseUrl: 'https://models.example/v1', credential: SECRET };
  const aws = {
    type: 'bedrock',
    region: 'us-east-1',
    credential: { accessKeyId: { value: 'AKIA' }, secretAccessKey: SECRET },
  };
  const service = { url: 'https://service.example/v1', credential: SECRET };
  const acme = { type: 'openai', tenants: { acme: { credential: SECRET } } };

  it.each([
    ['the default address by name', provider(openai), provider({ ...openai, credential: SHOWN })],
    [
      'another path',
      provider(own),
      provider({ ...own, baseUrl: 'https://models.example/v2', credential: SHOWN }),
    ],
    [
      'the usual port',
      provider(own),
      provider({ ...own, baseUrl: 'https://MODELS.example:443', credential: SHOWN }),
    ],
    [
      'the default address, written out',
      provider(openai),
      provider({ ...openai, baseUrl: 'https://api.openai.com/v1', credential: SHOWN }),
    ],
    ['a path of a Backend', backend(service), backend({ url: 'https://service.example', credential: SHOWN })],
  ])('stays for the same host: %s', (_, before, after) => {
    expect(sentBack(before, after)).toMatchObject({ resource: { spec: { credential: SECRET } } });
  });

  it.each([
    ['host', provider(own), provider({ ...own, baseUrl: 'https://evil.example/v1', credential: SHOWN })],
    [
      'port',
      provider(own),
      provider({ ...own, baseUrl: 'https://models.example:8443/v1', credential: SHOWN }),
    ],
    ['scheme', provider(own), provider({ ...own, baseUrl: 'http://models.example/v1', credential: SHOWN })],
    ['default of the type', provider(openai), provider({ type: 'anthropic', credential: SHOWN })],
    [
      'address that was the default',
      provider(openai),
      provider({ ...openai, baseUrl: 'https://evil.example', credential: SHOWN }),
    ],
    [
      'region',
      provider(aws),
      provider({
        ...aws,
        region: 'eu-west-1',
        credential: { accessKeyId: { value: 'AKIA' }, secretAccessKey: SHOWN },
      }),
    ],
    ['host of a Backend', backend(service), backend({ url: 'https://evil.example/v1', credential: SHOWN })],
  ])('goes to no other %s', (_, before, after) => {
    const result = sentBack(before, after);
    expect(result).toMatchObject({ problem: { path: 'spec.credential' } });
    expect(JSON.stringify(result)).not.toContain(SECRET.value);
  });

  it.each([
    [
      'its own address',
      { type: 'openai', tenants: { acme: { credential: SHOWN, baseUrl: 'https://evil.example' } } },
    ],
    [
      'that of the provider',
      { type: 'openai', baseUrl: 'https://evil.example', tenants: { acme: { credential: SHOWN } } },
    ],
  ])('of a tenant goes to no other host by a change of %s', (_, spec) => {
    expect(sentBack(provider(acme), provider(spec))).toMatchObject({
      problem: { path: 'spec.tenants.acme.credential' },
    });
  });
});
