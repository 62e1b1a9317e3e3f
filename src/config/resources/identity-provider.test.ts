import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../snapshot/build.ts';
import { createVault } from '../../vault/vault.ts';
import { hideSecrets, openSpec, sealSpec } from '../../vault/sealed-spec.ts';
import { formatIssue } from '../load/issue.ts';
import { parseResources } from '../load/load.ts';
import { mergeSources } from '../merge.ts';

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
        claims: { user: 'sub', email: 'email', name: 'name', scopes: 'scope', features: {} },
        roleMapping: {},
        defaultRoles: [],
      },
    });
    expect(built.issuers).toEqual([
      { name: 'corp', issuer: 'https://id.example.com', keys: { kind: 'discovery' } },
    ]);
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

  it('has its secret sealed where it is stored, and hidden where it is shown', () => {
    const vault = createVault('0123456789abcdef'.repeat(4), 'a test');
    const spec = { sharedSecret: { value: 'a secret of two and thirty bytes' } };
    const identity = { kind: 'IdentityProvider', name: 'corp' };
    const sealed = sealSpec(vault, identity, spec);
    expect(JSON.stringify(sealed)).not.toContain('two and thirty');
    expect(openSpec(vault, identity, sealed)).toEqual(spec);
    expect(JSON.stringify(hideSecrets(spec))).not.toContain('two and thirty');
  });
});
