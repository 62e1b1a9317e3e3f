import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startDemoIssuer, type DemoIssuer } from '../../src/demo/issuer.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { limen } from '../support/system/command.ts';

const PUBLIC_URL = 'https://gateway.example.com';
const SECRET = 'the secret of an application';

let folder: string;
let issuer: DemoIssuer;
let gateway: TestGateway;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'limen-cross-app-'));
  issuer = await startDemoIssuer({ port: 0, keyFile: join(folder, 'demo-issuer.json') });
  const resource = (kind: string, name: string, spec: object) => ({
    apiVersion: 'limen.dev/v1alpha1',
    kind,
    metadata: { name },
    spec,
  });
  gateway = await startGateway({
    config: [
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
    ],
    env: { LIMEN_ALLOWED_FETCH_RANGES: '127.0.0.1/32' },
  });
});
afterAll(async () => {
  await gateway.stop();
  await issuer.close();
  rmSync(folder, { recursive: true });
});

function assertion(subject: string): Promise<string> {
  return issuer.mint({
    subject,
    audience: PUBLIC_URL,
    lifetimeSeconds: 300,
    type: 'oauth-id-jag+jwt',
    others: { client_id: 'assistant', resource: PUBLIC_URL, scope: 'models.read' },
  });
}

async function exchange(given: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${gateway.url}/oauth/token`, {
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

async function tokenOf(subject: string): Promise<string> {
  const { body } = await exchange(await assertion(subject));
  return z.string().parse(body['access_token']);
}

async function list(token: string): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
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
