import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statusReportSchema } from '../../src/admin/contract.ts';
import { startDemoIssuer, type DemoIssuer } from '../../src/demo/issuer.ts';
import { startGateway, type ResourceObject, type TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { limen } from '../support/system/command.ts';

const SECRET = 'a secret that two sides know, no third';

let folder: string;
let issuer: DemoIssuer;
let gateway: TestGateway;

function entry(name: string, spec: object): ResourceObject {
  return {
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'IdentityProvider',
    metadata: { name },
    spec: { audiences: ['limen'], defaultRoles: ['developer'], ...spec },
  };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'limen-issuer-'));
  issuer = await startDemoIssuer({ port: 0, keyFile: join(folder, 'demo-issuer.json') });
  gateway = await startGateway({
    config: [
      entry('demo', { issuer: issuer.url, claims: { groups: 'groups' } }),
      entry('shared', { issuer: 'shared', sharedSecret: { value: SECRET } }),
    ],
    env: { LIMEN_ALLOWED_FETCH_RANGES: '127.0.0.1/32' },
  });
});
afterAll(async () => {
  await gateway.stop();
  await issuer.close().catch(() => undefined);
  rmSync(folder, { recursive: true });
});

function mint(subject: string, others: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return issuer.mint({ subject, audience: 'limen', lifetimeSeconds: 600, others });
}

async function ask(token: string): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'Say hello.' }] }),
  });
  await response.text();
  return response.status;
}

/** What asks no provider: the one of this test lives in the control plane. */
async function list(token: string): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  await response.text();
  return response.status;
}

async function status() {
  const report = statusReportSchema.parse(await gateway.admin('GET', '/status'));
  return report.identityProviders.find(({ name }) => name === 'demo');
}

describe('an issuer', () => {
  it('has its tokens taken by every part of a running gateway, and forged ones refused', async () => {
    const token = await mint('ada', { groups: ['math'] });
    expect(await ask(token)).toBe(200);
    const [row] = await eventually(async () => {
      const rows = await gateway.query("SELECT user FROM gateway_log WHERE user = 'demo:ada'");
      return rows.length > 0 ? rows : undefined;
    });
    expect(row).toEqual({ user: 'demo:ada' });
    const [header, , signature] = token.split('.');
    const claims = Buffer.from('{"iss":"x","sub":"root"}').toString('base64url');
    expect(await ask([header, claims, signature].join('.'))).toBe(401);
    const elsewhere = await issuer.mint({ subject: 'ada', audience: 'x', lifetimeSeconds: 600, others: {} });
    expect(await ask(elsewhere)).toBe(401);
  });

  it('shows in status, doctor and get, without the secret of another', async () => {
    expect(await status()).toMatchObject({
      reachable: true,
      keySource: 'discovery',
      keys: [{ alg: 'ES256' }],
    });
    const env = gateway.environment;
    expect((await limen(['doctor'], { env })).stdout).toMatch(
      /ok +identity provider demo +http:\/\/127\.0\.0\.1:\d+, from the file, 1 key of /,
    );
    expect((await limen(['get', 'identityproviders'], { env })).stdout).toMatch(/demo +http:.* ES256 /);
    const shown = JSON.stringify([
      await gateway.admin('GET', '/resources'),
      await gateway.admin('GET', '/status'),
    ]);
    const secrets = [SECRET, Buffer.from(SECRET).toString('base64url')];
    for (const secret of secrets) {
      expect(shown).not.toContain(secret);
      expect(await gateway.configDump()).not.toContain(secret);
      expect(gateway.logs()).not.toContain(secret);
    }
  });

  it('may rotate its key: the first token signed with the new one is taken', async () => {
    await issuer.rotate();
    expect(await ask(await mint('bob'))).toBe(200);
    expect((await status())?.keys).toHaveLength(2);
  });

  it('may be away, and control plane and worker be killed: its tokens are still taken', async () => {
    const token = await mint('ada');
    await issuer.close();
    const before = gateway.pids();
    const killed = ['control', 'processor-0'].map((name) => before[name] ?? 0);
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    await eventually(() => {
      const pids = Object.values(gateway.pids());
      return Promise.resolve(killed.some((pid) => pids.includes(pid)) ? undefined : true);
    });
    await eventually(async () => ((await list(token)) === 200 ? true : undefined));
    const shown = await eventually(async () => {
      const found = await status().catch(() => undefined);
      return found?.reachable === false ? found : undefined;
    });
    expect(shown.problem).toContain('cannot be reached');
    expect(shown.keys).toHaveLength(2);
    expect(await list(await mint('carl'))).toBe(200);
    expect(await list(`${token}x`)).toBe(401);
  });
});
