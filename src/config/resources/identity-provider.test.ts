import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../snapshot/build.ts';
import { createVault } from '../../vault/vault.ts';
import { hideSecrets, openSpec, sealSpec } from '../../vault/sealed-spec.ts';
import { formatIssue } from '../load/issue.ts';
import { parseResources } from '../load/load.ts';
import { mergeSources } from '../merge/merge.ts';

const publicKey = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });

function yaml(spec: object, name = 'corp'): string {
  return JSON.stringify({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'IdentityProvider',
    metadata: { name },
    spec: { issuer: 'https://id.example.com', audiences: ['limen'], ...spec },
  });
}

function read(...documents: string[]) {
  const { resources, issues } = parseResources([{ file: 'limen.yaml', text: documents.join('\n---\n') }]);
  const merged = mergeSources({ file: resources, database: [], environment: [], builtIn: [] });
  return {
    issues: [...issues, ...merged.issues].map(formatIssue),
    built: buildSnapshot(merged.resources.map(({ resource }) => resource)),
  };
}

describe('an IdentityProvider', () => {
  it('needs an issuer and an audience, and has safe defaults for the rest', () => {
    const { issues, built } = read(yaml({}));
    expect(issues).toEqual([]);
    expect(built.snapshot.identityProviders).toEqual({
      corp: {
        name: 'corp',
        issuer: 'https://id.example.com',
        audiences: ['limen'],
        withoutAudience: false,
        algorithms: ['RS256', 'ES256', 'EdDSA'],
        clockSkewSeconds: 30,
        maxLifetimeSeconds: 86_400,
        userPrefix: 'corp:',
        groupPrefix: '',
        claims: { user: 'sub', email: 'email', name: 'name', scopes: 'scope', features: {} },
        roleMapping: {},
        defaultRoles: [],
      },
    });
    expect(built.issuers).toEqual([
      { name: 'corp', issuer: 'https://id.example.com', keys: { kind: 'discovery' } },
    ]);
  });

  it('bounds what its tokens may name, the tokens that the gateway issues on its word among them', () => {
    const bounds = {
      groupPrefix: 'corp:',
      allowedGroups: ['eng-*'],
      allowedTeams: ['core'],
      allowedTenants: ['acme', 'acme-*'],
    };
    const gateway = JSON.stringify({
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'Gateway',
      metadata: { name: 'default' },
      spec: { access: { publicUrl: 'https://ai.example.com' }, crossAppAccess: { enabled: true } },
    });
    const { issues, built } = read(yaml(bounds), gateway);
    expect(issues).toEqual([]);
    const { corp, 'corp/cross-app': exchanged } = built.snapshot.identityProviders;
    expect(corp).toMatchObject(bounds);
    expect(exchanged).toMatchObject(bounds);
    expect(read(yaml({ groupPrefix: 'a\nb' })).issues).toHaveLength(1);
  });

  it('has keys from one place', () => {
    const source = (spec: object) => read(yaml(spec)).built.issuers[0]?.keys;
    expect(source({ jwksUri: 'https://id.example.com/keys' })).toEqual({
      kind: 'jwksUri',
      uri: 'https://id.example.com/keys',
    });
    expect(source({ jwks: { keys: [{ ...publicKey, kid: 'a', x5u: 'https://evil.example.com' }] } })).toEqual(
      {
        kind: 'inline',
        keys: [{ ...publicKey, kid: 'a' }],
      },
    );
    const shared = read(
      yaml({ issuer: 'open-webui', audiences: undefined, sharedSecret: { env: 'SECRET' } }),
    );
    expect(shared.issues).toEqual([]);
    expect(shared.built.issuers[0]?.keys).toEqual({ kind: 'sharedSecret', source: { env: 'SECRET' } });
    expect(shared.built.snapshot.identityProviders['corp']?.algorithms).toEqual(['HS256']);
  });

  it('is not in force where it is switched off', () => {
    const { built } = read(yaml({ enabled: false }));
    expect(built.snapshot.identityProviders).toEqual({});
    expect(built.issuers).toEqual([]);
  });

  it.each([
    [{ issuer: 'http://id.example.com' }, 'spec.issuer', 'https'],
    [{ issuer: 'id.example.com' }, 'spec.issuer', 'https'],
    [{ issuer: 'https://id.example.com?a' }, 'spec.issuer', 'without query'],
    [{ issuer: 'https://user@id.example.com' }, 'spec.issuer', 'without fragment or user name'],
    [{ issuer: 'http://127.0.0.1.evil.example.com' }, 'spec.issuer', 'https'],
    [{ audiences: [] }, 'spec.audiences', 'at least one'],
    [{ algorithms: ['none'] }, 'spec.algorithms', 'RS256'],
    [{ algorithms: ['HS256'] }, 'spec.algorithms', 'HS256 only with sharedSecret'],
    [{ algorithms: ['RS256', 'HS256'] }, 'spec.algorithms', 'HS256 only with sharedSecret'],
    [
      { algorithms: ['RS256'], sharedSecret: { env: 'S' } },
      'spec.algorithms',
      'only HS256 with sharedSecret',
    ],
    [{ algorithms: ['RS256', 'RS256'] }, 'spec.algorithms', 'once'],
    [{ jwksUri: 'http://keys.example.com' }, 'spec.jwksUri', 'https'],
    [{ jwksUri: 'https://a', sharedSecret: { env: 'S' } }, 'spec.sharedSecret', 'only one of'],
    [{ jwks: { keys: [{ ...publicKey, d: 'secret' }] } }, 'spec.jwks', 'public key'],
    [{ jwks: { keys: [{ kty: 'oct', k: 'secret' }] } }, 'spec.jwks', 'RSA'],
    [{ clockSkewSeconds: 301 }, 'spec.clockSkewSeconds', '300'],
    [{ claims: { user: 'a..b' } }, 'spec.claims.user', 'a path'],
    [{ claims: { user: '' } }, 'spec.claims.user', 'a path'],
  ])('with %j is refused by the name of the field', (spec, path, message) => {
    const { issues } = read(yaml(spec));
    expect(issues.join('\n')).toContain(path);
    expect(issues.join('\n')).toContain(message);
    expect(issues.join('\n')).not.toContain('"secret"');
  });

  it.each([
    'http://127.0.0.1:4180',
    'http://localhost:4180',
    'http://[::1]:4180',
    'https://id.example.com/realms/a/',
  ])('may have the issuer %s', (issuer) => {
    expect(read(yaml({ issuer })).issues).toEqual([]);
  });

  it('shares no audience of its issuer with another one that is in force', () => {
    const second = (spec: object) => read(yaml({}), yaml(spec, 'other')).issues;
    expect(second({ audiences: ['mcp', 'limen'] }).join()).toContain(
      'spec.audiences[1]: "limen" is taken, for the same issuer, by IdentityProvider/corp',
    );
    expect(second({ audiences: ['mcp'] })).toEqual([]);
    const bare = { issuer: 'a', audiences: [], sharedSecret: { env: 'A' } };
    expect(read(yaml(bare), yaml(bare, 'other')).issues.join()).toContain(
      '"a" is taken, for the same issuer',
    );
    expect(second({ issuer: 'https://other.example.com' })).toEqual([]);
    expect(second({ enabled: false })).toEqual([]);
  });

  const promotion = {
    type: 'auth0',
    clientId: 'gateway',
    clientSecret: { env: 'CLIENT_SECRET' },
    webhookSecret: { env: 'WEBHOOK_SECRET' },
    callbacks: ['https://chatgpt.com/*'],
  };

  it('may promote clients that register themselves there', () => {
    const { issues, built } = read(yaml({ clientPromotion: promotion }));
    expect(issues).toEqual([]);
    expect(built.issuers[0]?.promotion).toEqual({
      clientSecret: { env: 'CLIENT_SECRET' },
      webhookSecret: { env: 'WEBHOOK_SECRET' },
    });
    // Envoy and the workers need know no more than that there is a webhook.
    expect(built.snapshot.gateway.identityProviderLogs).toBe(true);
    expect(JSON.stringify(built.snapshot)).not.toMatch(/SECRET|chatgpt/);
    const off = read(yaml({ enabled: false, clientPromotion: promotion })).built;
    expect(off.snapshot.gateway).not.toHaveProperty('identityProviderLogs');
    expect(read(yaml({})).built.snapshot.gateway).not.toHaveProperty('identityProviderLogs');
  });

  it.each([
    [{ callbacks: [] }, 'spec.clientPromotion.callbacks', '1'],
    [{ callbacks: undefined }, 'spec.clientPromotion.callbacks', 'missing'],
    [{ callbacks: ['https://*.example.com/'] }, 'spec.clientPromotion.callbacks[0]', 'https URL'],
    [{ callbacks: ['*'] }, 'spec.clientPromotion.callbacks[0]', 'https URL'],
    [{ clientSecret: undefined }, 'spec.clientPromotion.clientSecret', 'is missing'],
    [{ webhookSecret: 'a-secret-in-clear' }, 'spec.clientPromotion.webhookSecret', 'env, file and value'],
    [{ clientSecret: 'a-secret-in-clear' }, 'spec.clientPromotion.clientSecret', 'env, file and value'],
    [{ tenantUrl: 'http://tenant.example.com' }, 'spec.clientPromotion.tenantUrl', 'https'],
    [{ tenantUrl: 'https://tenant.example.com/api/v2' }, 'spec.clientPromotion.tenantUrl', 'without path'],
    [{ clientId: '../gateway' }, 'spec.clientPromotion.clientId', 'letters'],
    [{ audience: 'mcp' }, 'spec.clientPromotion.audience', 'one of audiences'],
    [{ scopes: ['two scopes'] }, 'spec.clientPromotion.scopes[0]', 'no spaces'],
    [{ connections: ['a/b'] }, 'spec.clientPromotion.connections[0]', 'connection'],
    [{ type: 'okta' }, 'spec.clientPromotion.type', 'auth0'],
  ])('promotes none with %j', (more, path, message) => {
    const issues = read(yaml({ clientPromotion: { ...promotion, ...more } })).issues.join('\n');
    expect(issues).toContain(path);
    expect(issues).toContain(message);
    expect(issues).not.toContain('a-secret-in-clear');
  });

  it('says for which of several audiences clients are promoted, and has keys of its own', () => {
    const several = { audiences: ['limen', 'mcp'] };
    expect(read(yaml({ ...several, clientPromotion: promotion })).issues.join()).toContain(
      'spec.clientPromotion.audience',
    );
    expect(read(yaml({ ...several, clientPromotion: { ...promotion, audience: 'mcp' } })).issues).toEqual([]);
    const shared = yaml({ sharedSecret: { env: 'S' }, clientPromotion: promotion });
    expect(read(shared).issues.join()).toContain('not with sharedSecret');
  });

  it('shows no shared secret that was given as a text', () => {
    expect(read(yaml({ sharedSecret: 'a-secret-in-clear' })).issues.join()).toContain('spec.sharedSecret');
    expect(read(yaml({ sharedSecret: 'a-secret-in-clear' })).issues.join()).not.toContain('in-clear');
  });

  it('has its secret sealed where it is stored, and hidden where it is shown', () => {
    const vault = createVault('0123456789abcdef'.repeat(4), 'a test');
    const value = 'a secret of two and thirty bytes';
    const spec = {
      sharedSecret: { value },
      clientPromotion: { clientSecret: { value }, webhookSecret: { value } },
    };
    const identity = { kind: 'IdentityProvider', name: 'corp' };
    const sealed = sealSpec(vault, identity, spec);
    expect(JSON.stringify(sealed)).not.toContain('two and thirty');
    expect(openSpec(vault, identity, sealed)).toEqual(spec);
    expect(JSON.stringify(hideSecrets(spec))).not.toContain('two and thirty');
  });
});
