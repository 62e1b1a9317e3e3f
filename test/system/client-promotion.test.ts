import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { statusReportSchema } from '../../src/admin/contract.ts';
import {
  AUTH0_ACCOUNT,
  AUTH0_AUDIENCE,
  AUTH0_CALLBACK,
  registrationLog,
  ScriptedAuth0,
} from '../support/auth0.ts';
import { startGateway, type ResourceObject, type TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { METRICS_TOKEN } from '../support/system.ts';
import { limen } from '../support/system/command.ts';

const WEBHOOK_SECRET = 'webhook-secret-5d20c8e1';
const LARGEST_BYTES = 1024 * 1024;

let auth0: ScriptedAuth0;
let gateway: TestGateway;

function resource(kind: string, name: string, spec: object): ResourceObject {
  return { apiVersion: 'limen.dev/v1alpha1', kind, metadata: { name }, spec: { ...spec } };
}

function identityProvider(name: string, webhookSecret: object): ResourceObject {
  return resource('IdentityProvider', name, {
    issuer: `${auth0.url}/`,
    audiences: [AUTH0_AUDIENCE],
    jwksUri: `${auth0.url}/keys`,
    clientPromotion: {
      type: 'auth0',
      clientId: AUTH0_ACCOUNT.clientId,
      clientSecret: { value: AUTH0_ACCOUNT.clientSecret },
      webhookSecret,
      callbacks: [AUTH0_CALLBACK],
      connections: ['google-oauth2'],
    },
  });
}

beforeAll(async () => {
  auth0 = await ScriptedAuth0.start();
  gateway = await startGateway({
    config: [
      resource('Model', 'scoped', { targets: [{ provider: 'demo' }], access: { scopes: ['models.read'] } }),
    ],
    env: { LIMEN_ALLOWED_FETCH_RANGES: '127.0.0.1/32', LIMEN_METRICS_TOKEN: METRICS_TOKEN },
  });
});
afterAll(async () => {
  await gateway.stop();
  await auth0.close();
});
beforeEach(() => {
  auth0.calls.length = 0;
});

async function send(
  body: string,
  headers: Readonly<Record<string, string>> = { authorization: WEBHOOK_SECRET },
  name = 'auth0',
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${gateway.url}/webhooks/identity-providers/${name}/logs`, {
    method: 'POST',
    headers,
    body,
  });
  return { status: response.status, text: await response.text() };
}

function deliver(
  id: string,
  headers?: Readonly<Record<string, string>>,
): Promise<{ status: number; text: string }> {
  return send(JSON.stringify([registrationLog(id)]), headers);
}

const promotionSchema = z.object({
  waiting: z.number(),
  promoted: z.number(),
  refused: z.number(),
  deliveredAt: z.number().optional(),
  problem: z.string().optional(),
});

async function standing(): Promise<z.infer<typeof promotionSchema>> {
  const { identityProviders } = statusReportSchema.parse(await gateway.admin('GET', '/status'));
  return promotionSchema.parse(identityProviders[0]?.clientPromotion);
}

/** Once nobody waits any more. */
function settled(): Promise<z.infer<typeof promotionSchema>> {
  return eventually(async () => {
    const found = await standing();
    return found.waiting === 0 ? found : undefined;
  });
}

describe('clients that register themselves at Auth0, through the gateway’s own port', () => {
  it('has no webhook while no identity provider tells of its log', async () => {
    expect((await deliver('early')).status).toBe(404);
    await gateway.admin('PUT', '/resources', {
      resources: [identityProvider('auth0', { value: WEBHOOK_SECRET })],
    });
    await eventually(async () => ((await send('[]')).status === 202 ? true : undefined));
  });

  it.each([
    ['as it stands', { authorization: WEBHOOK_SECRET }],
    ['after Bearer', { authorization: `Bearer ${WEBHOOK_SECRET}` }],
    [
      'in a header of its own',
      { 'x-webhook-secret': WEBHOOK_SECRET, 'content-type': 'application/x-ndjson' },
    ],
  ])('promotes one, the secret %s', async (name, headers) => {
    const id = `client-${name.replaceAll(' ', '-')}`;
    const client = auth0.register(id);
    expect(await deliver(id, headers)).toMatchObject({ status: 202, text: '{"registrations":1}\n' });
    await settled();
    expect(auth0.changes).toEqual([
      `PATCH /api/v2/clients/${id}`,
      'PATCH /api/v2/connections/con_google/clients',
      'POST /api/v2/client-grants',
    ]);
    expect(client).toMatchObject({ app_type: 'regular_web', token_endpoint_auth_method: 'none' });
    expect(auth0.grants.at(-1)).toMatchObject({
      client_id: id,
      audience: AUTH0_AUDIENCE,
      // The only scope that something asks for.
      scope: ['models.read'],
    });
  });

  it('promotes it once, however often its log comes', async () => {
    auth0.register('again');
    await deliver('again');
    await settled();
    const { length } = auth0.changes;
    await deliver('again');
    await eventually(() =>
      Promise.resolve(
        auth0.calls.filter((call) => call === 'GET /api/v2/clients/again').length === 2 || undefined,
      ),
    );
    await settled();
    expect(auth0.changes).toHaveLength(length);
  });

  it.each([
    ['none', {}],
    ['a wrong one', { authorization: 'Bearer wrong' }],
    ['that of the management client', { authorization: AUTH0_ACCOUNT.clientSecret }],
    ['a wrong one of its own header', { 'x-webhook-secret': 'wrong' }],
  ])('takes nothing without the secret: %s', async (_, headers) => {
    auth0.register('stranger');
    const refused = await deliver('stranger', headers);
    expect(refused.status).toBe(401);
    expect(await send('not even read', headers)).toEqual(refused);
    expect(await send('[]', headers, 'no-such-provider')).toEqual(refused);
    expect((await send('[]', { authorization: WEBHOOK_SECRET }, 'no-such-provider')).status).toBe(401);
    expect(auth0.calls).toEqual([]);
  });

  it.each([
    ['no log', 'hello', 400],
    ['an empty one', '', 400],
    ['a number', '7', 400],
    ['bytes that are no text', '\uD800\u0000', 400],
    ['too many logs', '{}\n'.repeat(2001), 413],
    ['too many bytes', `[${' '.repeat(LARGEST_BYTES)}]`, 413],
  ])('does not take %s', async (_, body, status) => {
    expect((await send(body)).status).toBe(status);
    expect(auth0.calls).toEqual([]);
  });

  it('has no other way into the control plane', async () => {
    const paths = ['auth0/logs/x', 'auth0/logs%2f..', '%2e%2e/logs', 'auth0%2flogs', 'AUTH0/logs', 'auth0'];
    const statuses = await Promise.all(
      ['GET', 'POST', 'PUT'].flatMap((method) =>
        [...paths, ...(method === 'POST' ? [] : ['auth0/logs'])].map(async (path) => {
          const response = await fetch(`${gateway.url}/webhooks/identity-providers/${path}`, {
            method,
            headers: { authorization: WEBHOOK_SECRET },
          });
          return response.status;
        }),
      ),
    );
    expect(statuses.every((status) => status === 404 || status === 400)).toBe(true);
  });

  it('leaves alone what is the organisation’s own, or would send users elsewhere', async () => {
    auth0.register('own', { is_first_party: true });
    auth0.register('elsewhere', { callbacks: [AUTH0_CALLBACK, 'https://evil.example/callback'] });
    const before = (await settled()).refused;
    const logs = ['own', 'elsewhere', '../connections'].map(registrationLog);
    expect((await send(JSON.stringify({ logs }))).status).toBe(202);
    await eventually(async () => ((await settled()).refused === before + 3 ? true : undefined));
    expect(auth0.changes).toEqual([]);
    const events = await eventually(async () => {
      const { stdout } = await limen(['events', '--kind', 'identity'], { env: gateway.environment });
      return stdout.includes('callback not allowed') && stdout.includes('first-party client')
        ? stdout
        : undefined;
    });
    expect(events).toMatch(/own registered itself at auth0 and was left as it is: first-party client/);
    expect(events).toMatch(
      /client-as-it-stands registered itself at auth0 and was promoted: public regular_web client/,
    );
  });

  it('goes on where Auth0 asked for time, and where it was away', async () => {
    auth0.register('patient');
    const reset = String(Math.ceil(Date.now() / 1000) + 1);
    auth0.instead.push({
      call: /^PATCH \/api\/v2\/clients/,
      answer: [429, { errorCode: 'too_many_requests' }, { 'x-ratelimit-reset': reset }],
    });
    await deliver('patient');
    await eventually(async () => ((await standing()).problem?.includes('429') === true ? true : undefined));
    expect((await settled()).problem).toBeUndefined();
    expect(auth0.grants.at(-1)).toMatchObject({ client_id: 'patient' });

    auth0.register('later');
    auth0.isAway = true;
    expect((await deliver('later')).status).toBe(202);
    await eventually(async () =>
      (await standing()).problem?.includes('reached') === true ? true : undefined,
    );
    const doctor = await limen(['doctor'], { env: gateway.environment });
    expect(doctor.stdout).toMatch(/clients of auth0 .*1 waiting: 127\.0\.0\.1:\d+ cannot be reached/);
    auth0.isAway = false;
    await settled();
    expect(auth0.grants.at(-1)).toMatchObject({ client_id: 'later' });
  });

  it('shows its secrets nowhere', async () => {
    const env = gateway.environment;
    const shown = [
      gateway.logs(),
      await gateway.configDump(),
      JSON.stringify(await gateway.admin('GET', '/resources')),
      JSON.stringify(await gateway.admin('GET', '/status')),
      JSON.stringify(await gateway.admin('GET', '/events')),
      (await limen(['get', 'identityproviders', '-o', 'yaml'], { env })).stdout,
      (await limen(['get', 'identityproviders', '-o', 'json'], { env })).stdout,
      (await limen(['doctor'], { env })).stdout,
      (await limen(['events', '-o', 'json'], { env })).stdout,
      (await deliver('x', { authorization: 'wrong' })).text,
      await (
        await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
      ).text(),
    ].join('\n');
    expect(shown).toContain('limen_client_promotions_total');
    expect(shown).toContain('(hidden)');
    expect(shown).not.toContain(WEBHOOK_SECRET);
    expect(shown).not.toContain(AUTH0_ACCOUNT.clientSecret);
    expect(shown).not.toContain('management-token-');
    expect(shown).not.toContain('secret-of-the-client');
  });

  it('takes a new secret, and the old one no more', async () => {
    await gateway.admin('PUT', '/resources', {
      resources: [identityProvider('auth0', { value: 'another-webhook-secret' })],
    });
    await eventually(async () =>
      (await send('[]', { authorization: 'another-webhook-secret' })).status === 202 ? true : undefined,
    );
    expect((await send('[]')).status).toBe(401);
    await gateway.admin('DELETE', '/resources/IdentityProvider/auth0');
    await eventually(async () =>
      (await send('[]', { authorization: 'another-webhook-secret' })).status === 404 ? true : undefined,
    );
  });
});
