import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { portOf } from './upstream/service.ts';

/** A client as GET /api/v2/clients/ID has it. */
export interface Auth0Client {
  readonly client_id: string;
  name: string;
  is_first_party: boolean;
  callbacks: readonly string[];
  app_type: string;
  grant_types: readonly string[];
  token_endpoint_auth_method: string;
}

interface Auth0Grant {
  readonly id: string;
  readonly client_id: string;
  readonly audience: string;
  scope: readonly string[];
  readonly subject_type: string;
}

export const AUTH0_ACCOUNT = { clientId: 'gateway', clientSecret: 'management-secret-4c1f' } as const;
export const AUTH0_AUDIENCE = 'https://ai.example.com';
export const AUTH0_CALLBACK = 'https://chatgpt.com/connector_platform_oauth_redirect';

const tokenRequest = z.strictObject({
  grant_type: z.literal('client_credentials'),
  client_id: z.literal(AUTH0_ACCOUNT.clientId),
  client_secret: z.literal(AUTH0_ACCOUNT.clientSecret),
  audience: z.string(),
});
const clientChange = z.strictObject({
  app_type: z.enum(['regular_web', 'native']),
  grant_types: z.array(z.enum(['authorization_code', 'refresh_token'])),
  token_endpoint_auth_method: z.literal('none'),
});
const connectionChange = z
  .array(z.strictObject({ client_id: z.string(), status: z.literal(true) }))
  .min(1)
  .max(50);
const newGrant = z.strictObject({
  client_id: z.string(),
  audience: z.literal(AUTH0_AUDIENCE),
  scope: z.array(z.string()),
  subject_type: z.literal('user'),
});
const grantChange = z.strictObject({ scope: z.array(z.string()) });

type Answer = readonly [status: number, body?: unknown, headers?: Readonly<Record<string, string>>];

/**
 * An Auth0 tenant as far as the promotion of clients goes, since Auth0 is to be had for money alone: it answers as its
 * Management API v2 is documented, takes nothing that is not, and keeps what it was told to change.
 */
export class ScriptedAuth0 {
  readonly url: string;
  /** `METHOD /path` without the query, in the order in which they were answered. */
  readonly calls: string[] = [];
  readonly clients = new Map<string, Auth0Client>();
  readonly grants: Auth0Grant[] = [];
  /** Clients by the id of the connection that was enabled for them. */
  readonly enabled = new Map<string, string[]>();
  readonly apiScopes = new Set(['calendar.read', 'models.read']);
  /** Breaks every connection. */
  isAway = false;
  /** Answers in place of the tenant, once each; the first whose pattern fits a call. */
  readonly instead: { readonly call: RegExp; readonly answer: Answer }[] = [];
  readonly #server: Server;
  #tokens = 0;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${portOf(server)}`;
    server.on('request', (request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<ScriptedAuth0> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ScriptedAuth0(server);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** What POST /oidc/register leaves behind: a third-party client with a secret. */
  register(id: string, more: Partial<Auth0Client> = {}): Auth0Client {
    const client = {
      client_id: id,
      name: 'ChatGPT',
      is_first_party: false,
      callbacks: [AUTH0_CALLBACK],
      app_type: 'generic',
      grant_types: ['authorization_code', 'implicit', 'refresh_token', 'client_credentials'],
      token_endpoint_auth_method: 'client_secret_post',
      ...more,
    };
    this.clients.set(id, client);
    return client;
  }

  /** Calls that change something. */
  get changes(): readonly string[] {
    return this.calls.filter((call) => !call.startsWith('GET') && !call.endsWith('/oauth/token'));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    const sent = await text(request);
    if (this.isAway) {
      request.socket.destroy();
      return;
    }
    const call = `${request.method ?? ''} ${pathname}`;
    this.calls.push(call);
    const index = this.instead.findIndex((one) => one.call.test(call));
    const [scripted] = index < 0 ? [] : this.instead.splice(index, 1);
    const [status, body, headers] =
      scripted?.answer ?? this.#answer(call, searchParams, sent, request.headers.authorization);
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  }

  #answer(call: string, query: URLSearchParams, sent: string, authorization: string | undefined): Answer {
    const body: unknown = sent === '' ? undefined : JSON.parse(sent);
    if (call === 'POST /oauth/token') {
      const asked = tokenRequest.safeParse(body);
      if (!asked.success || asked.data.audience !== `${this.url}/api/v2/`)
        return refusal(401, 'access_denied');
      this.#tokens += 1;
      return [
        200,
        { access_token: `management-token-${this.#tokens}`, expires_in: 86_400, token_type: 'Bearer' },
      ];
    }
    if (authorization !== `Bearer management-token-${this.#tokens}`) return refusal(401, 'invalid_token');
    const [, id = '', below = ''] =
      /^[A-Z]+ \/api\/v2\/[a-z-]+\/([A-Za-z0-9_-]+)(\/[a-z]+)?$/.exec(call) ?? [];
    const kind = `${call.split(' ')[0] ?? ''} ${call.split('/')[3] ?? ''}${id === '' ? '' : '/ID'}${below}`;
    switch (kind) {
      case 'GET clients/ID':
        return this.#client(id, query);
      case 'PATCH clients/ID': {
        const client = this.clients.get(id);
        const change = clientChange.safeParse(body);
        if (client === undefined || !change.success) return refusal(400, 'invalid_body');
        return [200, Object.assign(client, change.data)];
      }
      case 'GET connections':
        return [200, CONNECTIONS.filter(({ name }) => name === query.get('name'))];
      case 'PATCH connections/ID/clients': {
        const change = connectionChange.safeParse(body);
        if (!change.success) return refusal(400, 'invalid_body');
        const clients = change.data.map(({ client_id: client }) => client);
        this.enabled.set(id, [...(this.enabled.get(id) ?? []), ...clients]);
        return [204];
      }
      case 'GET client-grants':
        return [
          200,
          this.grants.filter(
            (one) => one.client_id === query.get('client_id') && one.audience === query.get('audience'),
          ),
        ];
      case 'POST client-grants': {
        const made = newGrant.safeParse(body);
        if (!made.success || !made.data.scope.every((one) => this.apiScopes.has(one)))
          return refusal(400, 'invalid_body');
        const created = { id: `cgr_${this.grants.length}`, ...made.data };
        this.grants.push(created);
        return [201, created];
      }
      case 'PATCH client-grants/ID': {
        const change = grantChange.safeParse(body);
        const found = this.grants.find((one) => one.id === id);
        if (!change.success || found === undefined) return refusal(400, 'invalid_body');
        return [200, Object.assign(found, change.data)];
      }
      default:
        return refusal(404, 'not_found');
    }
  }

  #client(id: string, query: URLSearchParams): Answer {
    const client = this.clients.get(id);
    if (client === undefined) return refusal(404, 'inexistent_client');
    const all = { ...client, global: false, client_secret: 'secret-of-the-client' };
    const fields =
      query.get('include_fields') === 'true' ? (query.get('fields') ?? '').split(',') : undefined;
    return [200, Object.fromEntries(Object.entries(all).filter(([name]) => fields?.includes(name) ?? true))];
  }
}

const CONNECTIONS = [
  { id: 'con_google', name: 'google-oauth2', is_domain_connection: false },
  { id: 'con_domain', name: 'staff', is_domain_connection: true },
];

/** Its message quotes the secret, as no real one does: nobody may pass it on. */
function refusal(statusCode: number, errorCode: string): Answer {
  return [
    statusCode,
    { statusCode, error: 'Refused', message: `Not with ${AUTH0_ACCOUNT.clientSecret}`, errorCode },
  ];
}

/** A log of the registration of a client, as a custom webhook is sent it. */
export function registrationLog(clientId: string): object {
  return {
    log_id: '90020261122120000000000000000000001223372037583230452',
    data: {
      log_id: '90020261122120000000000000000000001223372037583230452',
      date: '2026-11-22T12:00:00.000Z',
      type: 'sapi',
      description: 'Dynamic client registration',
      client_id: '',
      client_name: '',
      ip: '203.0.113.7',
      tenant_name: 'example',
      details: {
        request: { method: 'post', path: '/oidc/register', body: { client_name: 'ChatGPT' } },
        response: { statusCode: 201, body: { client_id: clientId, client_secret: '*****' } },
      },
    },
  };
}
