import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startAdmin, WEBHOOK_SECRET, type TestAdmin } from '../../test/support/admin.ts';
import { startPostgres } from '../../test/support/postgres.ts';
import type { GatewayLogRow } from '../core/ledger.ts';
import type { LimitUsage } from '../core/limits.ts';
import { makeUsage } from '../core/usage.ts';

const contentSchema = z.record(z.string(), z.object({ schema: z.record(z.string(), z.unknown()) }));
const documentSchema = z.looseObject({
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.looseObject({ responses: z.record(z.string(), z.looseObject({ content: contentSchema })) }),
    ),
  ),
  components: z.looseObject({ schemas: z.record(z.string(), z.record(z.string(), z.unknown())) }),
});

const CONFIGURATION = `apiVersion: limen.dev/v1alpha1
kind: Gateway
metadata: {name: default}
spec:
  access: {publicUrl: 'https://gateway.example.com/ai'}
  crossAppAccess: {enabled: true, scopes: [models.read], clients: [{id: assistant, identityProvider: corp}]}
---
apiVersion: limen.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp}
spec: {issuer: 'https://corp.example.com', audiences: [limen]}
---
apiVersion: limen.dev/v1alpha1
kind: Team
metadata: {name: core}
spec: {members: [ada], managers: [ada], groups: [research], roles: [developer], models: ['demo*']}
---
apiVersion: limen.dev/v1alpha1
kind: Role
metadata: {name: researcher}
spec: {permissions: ['models:use'], models: ['demo*'], groups: [research]}
---
apiVersion: limen.dev/v1alpha1
kind: LimitPolicy
metadata: {name: budget}
spec: {per: team, usd: 100, period: month, match: {teams: [core]}}
`;

const USAGE: LimitUsage = {
  rule: 'budget',
  subject: 'core',
  unit: 'usd',
  limit: 100,
  used: 12,
  reserved: 1,
  overrun: 0,
  periodStart: Date.UTC(2026, 10, 1),
  resetsAt: Date.UTC(2026, 11, 1),
};

const ROW: GatewayLogRow = {
  requestId: 'a-request',
  revision: 2,
  time: Date.UTC(2027, 0, 31),
  keyId: '',
  user: 'ada',
  team: 'core',
  tenant: '',
  format: 'chat',
  modelAsked: 'demo',
  model: 'demo',
  provider: 'demo',
  providerModel: 'demo',
  stream: false,
  attempts: 1,
  status: 200,
  errorCode: '',
  usage: makeUsage({ input: 11, output: 13 }),
  usageSource: 'provider',
  costUsd: 0.5,
  cache: '',
  timeToFirstTokenMs: 20.5,
  durationMs: 250,
  limenMicros: 321,
  responseBytes: 900,
  snapshot: 'abc',
  trace: [['identify', 'key', 'ada', 'allowed', '']],
  charges: [{ rule: 'budget', subject: 'core', unit: 'usd', amount: 5 }],
};

const FAILED = {
  requestId: ROW.requestId,
  ordinal: 1,
  time: ROW.time,
  provider: 'openai',
  providerModel: 'gpt',
  status: 504,
  outcome: 'status',
  mayBeBilled: true,
  costUsd: 0.01,
  durationMs: 1234,
  retryAfterSeconds: 0,
} as const;

let admin: TestAdmin;
let document: z.infer<typeof documentSchema>;
/** Operations that gave what they promise, by the name that the document has for them. */
const done = new Set<string>();

beforeAll(async () => {
  const postgres = await startPostgres();
  admin = await startAdmin(await postgres.createDatabase(), {
    limits: {
      usage: () => Promise.resolve([USAGE]),
      reset: () => Promise.resolve(1),
      drift: () => Promise.resolve([{ ...USAGE, ledger: 14, drift: 2 }]),
    },
    requests: {
      read: (id) =>
        Promise.resolve(id === ROW.requestId ? { row: ROW, failedAttempts: [FAILED] } : undefined),
    },
  });
  await admin.configure(CONFIGURATION);
  document = documentSchema.parse(await (await fetch(`${admin.url}/api/v1/openapi.json`)).json());
  return () => postgres.stop();
});

afterAll(() => admin.close());

/** The operation of a path, as OpenAPI has it: what is literal goes before what is not. */
function operationOf(method: string, path: string) {
  const segments = path.split('/');
  const fits = (template: string): boolean => {
    const parts = template.split('/');
    const isLong = /^\{(id|name|issuer)\}$/.test(parts.at(-1) ?? '') && segments.length > parts.length;
    return (
      (parts.length === segments.length || isLong) &&
      parts.every((part, index) => part.startsWith('{') || part === segments[index])
    );
  };
  const [name] = Object.keys(document.paths)
    .filter((template) => document.paths[template]?.[method.toLowerCase()] !== undefined && fits(template))
    .sort((left, right) => left.split('{').length - right.split('{').length || right.length - left.length);
  const operation = document.paths[name ?? '']?.[method.toLowerCase()];
  if (name === undefined || operation === undefined) throw new Error(`${method} ${path} is not described.`);
  return { name: `${method} ${name}`, responses: operation.responses };
}

/** A schema of the document, with what it refers to, in one piece. */
function schemaOf(schema: object): z.ZodType {
  const text = JSON.stringify({ ...schema, $defs: document.components.schemas });
  return z.fromJSONSchema(JSON.parse(text.replaceAll('#/components/schemas/', '#/$defs/')));
}

/** Calls a route; what it answers must be what the document says of this status. */
async function call(
  method: string,
  path: string,
  body?: unknown,
  options: { readonly credential?: string; readonly headers?: Readonly<Record<string, string>> } = {},
) {
  const isForm = body instanceof URLSearchParams;
  const response = await fetch(`${admin.url}${path}`, {
    method,
    headers: {
      ...(options.credential === '' ? {} : { authorization: `Bearer ${options.credential ?? admin.token}` }),
      ...(body === undefined || isForm ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const { name, responses } = operationOf(method, path.split('?')[0] ?? '');
  const described = responses[String(response.status)] ?? responses['default'];
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  const schema = described?.content[type]?.schema;
  const answer: unknown = type === 'application/json' ? JSON.parse(text) : text;
  if (response.ok) done.add(name);
  // A success that the document does not know would be taken for an error.
  const isKnown = !response.ok || responses[String(response.status)] !== undefined;
  const problem =
    schema === undefined ? `no ${type} is described` : schemaOf(schema).safeParse(answer).error?.message;
  expect({ name, status: response.status, isKnown, problem }).toEqual({
    name,
    status: response.status,
    isKnown: true,
    problem: undefined,
  });
  return { status: response.status, body: answer, headers: response.headers };
}

const idOf = (body: unknown): string => z.looseObject({ id: z.string() }).parse(body).id;

describe('what a running server answers is what the OpenAPI document says:', () => {
  it('keys, in every state', async () => {
    const full = {
      user: 'ada',
      team: 'core',
      tenant: 'acme',
      name: 'laptop',
      description: 'of ada',
      labels: { place: 'home' },
      surfaces: ['model', 'admin'],
      models: ['demo*', 'nothing'],
      tools: ['files__*'],
      scopes: ['a'],
      permissions: ['models:use'],
      expiresAt: '2099-01-31T00:00:00Z',
      inactivityDays: 30,
    };
    const id = idOf((await call('POST', '/api/v1/keys', full)).body);
    await call('PATCH', `/api/v1/keys/${id}`, { name: 'desk', tenant: null });
    await call('POST', `/api/v1/keys/${id}/rotate`, { graceSeconds: 60 });
    await call('GET', `/api/v1/keys/${id}`);
    await call('DELETE', `/api/v1/keys/${id}`);
    await call('GET', '/api/v1/keys?deleted=true&limit=1');
    await call('POST', `/api/v1/keys/${id}/restore`, {});
    await call('POST', `/api/v1/keys/${id}/revoke`, {});
    await call('GET', `/api/v1/keys/${id}`);
    for (const [method, path, body, status] of [
      ['POST', '/api/v1/keys', { user: '' }, 400],
      ['GET', '/api/v1/keys/config/none', undefined, 404],
      ['POST', `/api/v1/keys/${id}/rotate`, {}, 409],
    ] as const)
      expect((await call(method, path, body)).status).toBe(status);
  });

  it('users, revocations and events', async () => {
    await call('PATCH', '/api/v1/users/corp:https:%2F%2Fa', {
      email: 'ada@example.com',
      name: 'Ada',
      groups: ['research'],
      roles: ['viewer'],
      team: 'core',
      tenant: 'acme',
      disabled: true,
    });
    await call('GET', '/api/v1/users/corp:https:%2F%2Fa');
    await call('GET', '/api/v1/users?disabled=true&limit=1');
    expect((await call('GET', '/api/v1/users/nobody')).status).toBe(404);
    const revocation = { kind: 'subject', value: 'corp:ada', reason: 'lost' };
    const id = idOf((await call('POST', '/api/v1/revocations', revocation)).body);
    await call('GET', '/api/v1/revocations');
    await call('DELETE', `/api/v1/revocations/${id}`);
    await call('POST', '/api/v1/limits/budget/reset', { subject: 'core' });
    await call('GET', '/api/v1/events?kind=limit');
  });

  it('access, limits and requests', async () => {
    for (const path of [
      '/api/v1/roles',
      '/api/v1/teams',
      '/api/v1/groups',
      '/api/v1/limits',
      '/api/v1/limits/usage?rule=budget',
      '/api/v1/limits/drift',
      '/api/v1/requests/a-request',
      '/api/v1/identity/statistics',
    ])
      expect((await call('GET', path)).status).toBe(200);
    expect((await call('GET', '/api/v1/requests/another')).status).toBe(404);
    expect((await call('GET', '/api/v1/limits/usage?nonsense=1')).status).toBe(400);
  });

  it('resources', async () => {
    const provider = {
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'Provider',
      metadata: { name: 'openai', labels: { a: 'b' } },
      spec: { type: 'openai', credential: { value: 'sk-secret' } },
    };
    const team = {
      apiVersion: 'limen.dev/v1alpha1',
      kind: 'Team',
      metadata: { name: 'core' },
      spec: { members: ['ada'] },
    };
    await call('PUT', '/api/v1/resources', { resources: [provider, team], dryRun: true });
    await call('PUT', '/api/v1/resources', { resources: [provider, team] });
    await call('PUT', '/api/v1/teams/core/members', { members: ['ada', 'bob'] });
    await call('GET', '/api/v1/resources');
    await call('GET', '/api/v1/resources/provider');
    await call('GET', '/api/v1/resources/Provider/openai');
    expect((await call('PUT', '/api/v1/resources', { resources: [{}] })).status).toBe(422);
    await call('DELETE', '/api/v1/resources/Provider/openai?dryRun=true');
    await call('DELETE', '/api/v1/resources/Provider/openai');
  });

  it('sessions', async () => {
    await call('GET', '/api/v1/whoami');
    const begun = await call('POST', '/api/v1/sessions');
    const cookie = begun.headers.get('set-cookie')?.split(';')[0] ?? '';
    const { csrfToken } = z.looseObject({ csrfToken: z.string() }).parse(begun.body);
    const bySession = { credential: '', headers: { cookie, 'x-limen-csrf': csrfToken } };
    await call('GET', '/api/v1/sessions/current', undefined, bySession);
    const refused = await call('DELETE', '/api/v1/sessions/current', undefined, {
      credential: '',
      headers: { cookie },
    });
    expect(refused.status).toBe(403);
    await call('DELETE', '/api/v1/sessions/current', undefined, bySession);
    expect((await call('GET', '/api/v1/whoami', undefined, { credential: 'wrong' })).status).toBe(401);
  });

  it('what is public, and OAuth', async () => {
    const anybody = { credential: '' };
    for (const path of [
      '/',
      '/health/ready',
      '/api/v1/openapi.json',
      '/.well-known/oauth-authorization-server',
      '/.well-known/oauth-authorization-server/ai',
      '/oauth/jwks.json',
    ])
      expect((await call('GET', path, undefined, anybody)).status).toBe(200);
    expect((await call('GET', '/metrics', undefined, anybody)).status).toBe(404);
    await call('GET', '/api/v1/status');
    admin.status = { ...admin.status, workers: () => [] };
    expect((await call('GET', '/health/ready', undefined, anybody)).status).toBe(503);
    const form = new URLSearchParams({ grant_type: 'x', client_id: 'assistant' });
    expect((await call('POST', '/oauth/token', form, anybody)).status).toBe(400);
    const logs = '/webhooks/identity-providers/corp/logs';
    expect((await call('POST', logs, [], anybody)).status).toBe(401);
    expect((await call('POST', logs, [], { credential: WEBHOOK_SECRET })).status).toBe(202);
    const unknown = new URLSearchParams({ client_id: 'nobody' });
    expect((await call('POST', '/oauth/token', unknown, anybody)).status).toBe(401);
  });

  it('and every operation was among them', () => {
    const all = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    // Metrics need processes, and a token of the gateway an issuer: tests of their own call these.
    const elsewhere = new Set(['GET /metrics', 'POST /oauth/token']);
    expect(all.filter((name) => !done.has(name) && !elsewhere.has(name))).toEqual([]);
  });
});
