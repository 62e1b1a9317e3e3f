import { describe, expect, it } from 'vitest';
import { parseResources } from '../config/load/load.ts';
import { buildSnapshot, type BuiltSnapshot } from './build.ts';

const TEXT = `
apiVersion: limen.dev/v1alpha1
kind: Gateway
metadata: {name: default}
spec: {access: {publicUrl: 'https://ai.example/', keyRoles: []}}
---
apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec:
  type: openai
  credential: {env: SHARED}
  identityHeaders: true
  tenants:
    acme: {credential: {env: OF_ACME}, baseUrl: 'https://acme.example:8443/v1'}
    other: {credential: {env: OF_OTHER}}
---
apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: aws}
spec:
  type: bedrock
  region: us-east-1
  credential: {env: BEARER}
  tenantsOnly: true
  tenants:
    acme: {credential: {accessKeyId: {env: ID}, secretAccessKey: {env: KEY}}}
---
apiVersion: limen.dev/v1alpha1
kind: Model
metadata: {name: fast}
spec: {targets: [{provider: openai}], access: {groups: [staff], scopes: [use]}}
---
apiVersion: limen.dev/v1alpha1
kind: Role
metadata: {name: writer}
spec: {permissions: ['models:use'], models: [fast], groups: [staff]}
---
apiVersion: limen.dev/v1alpha1
kind: Team
metadata: {name: core}
spec: {tenant: acme, members: [ada], roles: [writer]}
`;

function built(): BuiltSnapshot {
  const { resources, issues } = parseResources([{ file: 'limen.yaml', text: TEXT }]);
  expect(issues).toEqual([]);
  return buildSnapshot(resources.map(({ resource }) => resource));
}

describe('a provider with tenants', () => {
  it('becomes one for each, with an account and an endpoint of its own', () => {
    const { snapshot, credentials } = built();
    expect(Object.keys(snapshot.providers)).toEqual([
      'aws',
      'aws@acme',
      'openai',
      'openai@acme',
      'openai@other',
    ]);
    expect(snapshot.providers['openai@acme']).toMatchObject({
      name: 'openai@acme',
      resource: 'openai',
      tenant: 'acme',
      host: 'acme.example',
      port: 8443,
      serverName: 'acme.example',
      hasCredential: true,
      identityHeaders: true,
    });
    expect(snapshot.providers['openai@other']).toMatchObject({ host: 'api.openai.com', tenant: 'other' });
    expect(snapshot.providers['openai']?.tenant).toBeUndefined();
    expect(credentials).toMatchObject({
      openai: { source: { env: 'SHARED' } },
      'openai@acme': { kind: 'text', source: { env: 'OF_ACME' } },
      'openai@other': { source: { env: 'OF_OTHER' } },
      'aws@acme': { kind: 'accessKey' },
    });
  });

  it('has each authenticate as its own credential wants it', () => {
    const { providers } = built().snapshot;
    expect([providers['aws']?.options, providers['aws@acme']?.options]).toMatchObject([
      { authentication: 'bearer' },
      { authentication: 'sigv4' },
    ]);
    expect(providers['aws']?.tenantsOnly).toBe(true);
  });

  it('leaves no secret in the snapshot', () => {
    expect(JSON.stringify(built().snapshot)).not.toMatch(/OF_ACME|SHARED|BEARER/);
  });
});

describe('who may do what', () => {
  it('is compiled with the built-in roles', () => {
    const { snapshot } = built();
    expect(Object.keys(snapshot.roles).sort()).toEqual([
      'admin',
      'developer',
      'super-admin',
      'team-manager',
      'viewer',
      'writer',
    ]);
    expect(snapshot.roles['writer']).toEqual({
      name: 'writer',
      permissions: ['models:use'],
      models: ['fast'],
      users: [],
      groups: ['staff'],
    });
    expect(snapshot.teams).toEqual({
      core: { name: 'core', tenant: 'acme', members: ['ada'], groups: [], managers: [], roles: ['writer'] },
    });
    expect(snapshot.models['fast']?.access).toEqual({ groups: ['staff'], scopes: ['use'] });
    expect(snapshot.gateway.access).toEqual({ keyRoles: [], publicUrl: 'https://ai.example' });
  });
});
