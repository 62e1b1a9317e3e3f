import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startDemoIssuer, type DemoIssuer } from '../../src/demo/issuer.ts';
import { readSealingKeys } from '../../src/vault/keys.ts';
import { startGateway, type ResourceObject, type TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { limen } from '../support/system/command.ts';

const PUBLIC_URL = 'https://gateway.example.com';
const SECRET = 'the secret of an application';

let folder: string;
let issuer: DemoIssuer;
let gateway: TestGateway;
let config: readonly ResourceObject[];

const [oldKey, newKey] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')];
const env = { LIMEN_ALLOWED_FETCH_RANGES: '127.0.0.1/32', LIMEN_ENCRYPTION_KEY: `${oldKey},${newKey}` };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'limen-cross-app-'));
  issuer = await startDemoIssuer({ port: 0, keyFile: join(folder, 'demo-issuer.json') });
  config = [
    resource('IdentityProvider', 'corp', {
      issuer: issuer.url,
      audiences: ['limen'],
      defaultRoles: ['developer'],
    }),
    resource('Gateway', 'default', {
      access: { publicUrl: PUBLIC_URL },
      crossAppAccess: {
        enabled: true,
        scopes: ['models.read'],
        clients: [
          {
            id: 'assistant',
            identityProvider: 'corp',
            secretSha256: createHash('sha256').update(SECRET).digest('hex'),
          },
        ],
      },
    }),
  ];
  gateway = await startGateway({ config, env });
});
afterAll(async () => {
  await gateway.stop();
  await issuer.close();
  rmSync(folder, { recursive: true });
});

function resource(kind: string, name: string, spec: object): ResourceObject {
  return { apiVersion: 'limen.dev/v1alpha1', kind, metadata: { name }, spec };
}

function assertion(subject: string): Promise<string> {
  return issuer.mint({
    subject,
    audience: PUBLIC_URL,
    lifetimeSeconds: 300,
    type: 'oauth-id-jag+jwt',
    others: { client_id: 'assistant', resource: PUBLIC_URL, scope: 'models.read' },
  });
}

async function exchange(
  given: string,
  at = gateway,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${at.url}/oauth/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      client_id: 'assistant',
      client_secret: SECRET,
      assertion: given,
    }),
  });
  return { status: response.status, body: z.record(z.string(), z.unknown()).parse(await response.json()) };
}

async function tokenOf(subject: string, at = gateway): Promise<string> {
  const { body } = await exchange(await assertion(subject), at);
  return z.string().parse(body['access_token']);
}

async function list(token: string, at = gateway): Promise<number> {
  const response = await fetch(`${at.url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  await response.text();
  return response.status;
}

describe('Cross App Access through the gateway’s own port', () => {
  it('exchanges an assertion once, for a token that every worker takes', async () => {
    const metadata = await fetch(`${gateway.url}/.well-known/oauth-authorization-server`);
    expect(await metadata.json()).toMatchObject({ issuer: PUBLIC_URL });
    const given = await assertion('ada');
    const { status, body } = await exchange(given);
    expect(status).toBe(200);
    expect(await list(z.string().parse(body['access_token']))).toBe(200);
    expect((await exchange(given)).body['error']).toBe('invalid_grant');
    // What is to be exchanged is no key to the gateway.
    expect(await list(await assertion('ada'))).toBe(401);
  });

  it('ends a user’s tokens at the workers when they are revoked', async () => {
    const [revoked, other] = [await tokenOf('bob'), await tokenOf('ada')];
    expect(await list(revoked)).toBe(200);
    const env = gateway.environment;
    expect((await limen(['tokens', 'revoke', '--subject', 'corp:bob'], { env })).code).toBe(0);
    expect(await list(revoked)).toBe(401);
    expect(await list(other)).toBe(200);
  });

  it('keeps its key when the control plane is killed', async () => {
    const token = await tokenOf('ada');
    const killed = gateway.pids()['control'] ?? 0;
    process.kill(killed, 'SIGKILL');
    await eventually(() => Promise.resolve(gateway.pids()['control'] === killed ? undefined : true));
    const again = await eventually(async () => {
      const answer = await exchange(await assertion('ada')).catch(() => undefined);
      return answer?.status === 200 ? answer.body : undefined;
    });
    expect(await list(z.string().parse(again['access_token']))).toBe(200);
    expect(await list(token)).toBe(200);
  });
});

describe('two control planes on one database', () => {
  let other: TestGateway;
  beforeAll(async () => {
    const { postgresUrl, redisUrl } = gateway.state().endpoints;
    await gateway.admin('PUT', '/resources', {
      resources: [resource('Provider', 'stored', { type: 'openai', credential: { value: 'sk-stored' } })],
    });
    other = await startGateway({
      config,
      env: {
        ...env,
        LIMEN_ENCRYPTION_KEY: `${newKey},${oldKey}`,
        LIMEN_POSTGRES_URL: postgresUrl,
        LIMEN_REDIS_URL: redisUrl,
      },
    });
    return () => other.stop();
  });

  it('seal again with a new encryption key what the old one sealed', async () => {
    const client = new pg.Client({ connectionString: gateway.state().endpoints.postgresUrl });
    await client.connect();
    const keys = await client.query('select sealed from signing_keys');
    const specs = await client.query("select spec->'credential'->>'sealed' as sealed from resources");
    await client.end();
    const by = new RegExp(`^v1:${readSealingKeys(newKey, 'a test')[0].id}:`);
    expect([...keys.rows, ...specs.rows]).toEqual([
      { sealed: expect.stringMatching(by) },
      { sealed: expect.stringMatching(by) },
    ]);
  });

  it('sign with one key, and take an assertion once between them', async () => {
    const keys = await Promise.all(
      [gateway, other].map(async ({ url }) => (await fetch(`${url}/oauth/jwks.json`)).json()),
    );
    expect(keys[0]).toMatchObject({ keys: [{ kid: expect.any(String) }] });
    expect(keys[1]).toEqual(keys[0]);
    expect(await list(await tokenOf('ada', gateway), other)).toBe(200);
    expect(await list(await tokenOf('ada', other), gateway)).toBe(200);
    const given = await assertion('ada');
    expect((await exchange(given, gateway)).status).toBe(200);
    expect((await exchange(given, other)).body['error']).toBe('invalid_grant');
  });

  it('end tokens that the other one made', async () => {
    const token = await tokenOf('alice', other);
    expect(await list(token, gateway)).toBe(200);
    expect(
      (await limen(['tokens', 'revoke', '--subject', 'corp:alice'], { env: gateway.environment })).code,
    ).toBe(0);
    expect(await eventually(async () => ((await list(token, other)) === 401 ? 401 : undefined))).toBe(401);
  });
});
