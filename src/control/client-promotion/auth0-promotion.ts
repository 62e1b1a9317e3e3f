import { z } from 'zod';
import { isCallbackOf } from '../../core/callback-patterns.ts';
import { ManagementProblem, type Auth0Management } from './auth0-management.ts';

/** What a client is made ready for. */
export interface PromotionGoal {
  /** Patterns (core/callback-patterns.ts). */
  readonly callbacks: readonly string[];
  readonly appType: 'regular_web' | 'native';
  /** Names. */
  readonly connections: readonly string[];
  readonly audience: string;
  readonly scopes: readonly string[];
}

/** Why a client is left as it is. */
export const PROMOTION_REFUSALS = [
  'id is none',
  'first-party client',
  'no callback',
  'callback not allowed',
] as const;
export type PromotionRefusal = (typeof PROMOTION_REFUSALS)[number];

/** What has become of a client. */
export type Promoted =
  | {
      /** What was changed; nothing where it was ready before. */
      readonly changes: readonly string[];
      /** As it calls itself, cut; it may call itself anything. */
      readonly name: string;
    }
  | { readonly refusal: PromotionRefusal };

const GRANT_TYPES = ['authorization_code', 'refresh_token'];
/** Public: it has no secret, so that Auth0 asks it for PKCE. */
const AUTH_METHOD = 'none';

/** GET /api/v2/clients/ID */
const clientSchema = z.object({
  client_id: z.string(),
  name: z.string().default(''),
  is_first_party: z.boolean().optional(),
  global: z.boolean().optional(),
  callbacks: z.array(z.string()).default([]),
  app_type: z.string().optional(),
  grant_types: z.array(z.string()).default([]),
  token_endpoint_auth_method: z.string().nullish(),
});
/** Its secret is not asked for. */
const CLIENT_FIELDS = Object.keys(clientSchema.shape).join();

/** GET /api/v2/connections */
const connectionsSchema = z.array(
  z.object({
    id: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/),
    name: z.string(),
    is_domain_connection: z.boolean().default(false),
  }),
);

/** GET /api/v2/client-grants. A grant without a subject type is one for the client by itself. */
const grantsSchema = z.array(
  z.object({
    id: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/),
    client_id: z.string().optional(),
    audience: z.string(),
    scope: z.array(z.string()).default([]),
    allow_all_scopes: z.boolean().default(false),
    subject_type: z.string().default('client'),
  }),
);
type Grant = z.infer<typeof grantsSchema>[number];

/** Clients act for users who have signed in, never by themselves. */
const SUBJECT_TYPE = 'user';
const LONGEST_NAME = 100;

/**
 * Makes a client that has registered itself ready for use: public with PKCE, with its connections, and with a grant for the
 * API on behalf of users, which comes last. Whatever is right already stays as it is, so that to do it again, or twice at
 * once, does no harm. Only third-party clients whose callbacks are all allowed are touched.
 *
 * @param clientId of letters, digits, dashes and underscores
 * @throws ManagementProblem
 */
export async function promoteClient(
  management: Auth0Management,
  clientId: string,
  goal: PromotionGoal,
): Promise<Promoted> {
  const body = await management.call({
    method: 'GET',
    path: `clients/${clientId}`,
    query: { fields: CLIENT_FIELDS, include_fields: 'true' },
    needs: 'read:clients',
  });
  const client = understood(clientSchema, body, 'a client');
  const refusal = refusalOf(client, clientId, goal);
  if (refusal !== undefined) return { refusal };
  const grant = await grantOf(management, clientId, goal);
  const steps = { isPublic: isPublic(client, goal), isGranted: isEnough(grant, goal) };
  const changes: string[] = [];
  // The grant comes last: where it is there, so are the connections.
  if (!steps.isPublic || !steps.isGranted) {
    if (!steps.isPublic) changes.push(await makePublic(management, clientId, goal));
    changes.push(...(await enableConnections(management, clientId, goal)));
    if (!steps.isGranted) changes.push(await makeGrant(management, clientId, goal, grant));
  }
  return { changes, name: shownName(client.name) };
}

/** Cut between characters: half of one is no text that a database takes. */
function shownName(name: string): string {
  const shown = name.replace(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, '');
  return Array.from(shown).slice(0, LONGEST_NAME).join('');
}

function refusalOf(
  client: z.infer<typeof clientSchema>,
  clientId: string,
  { callbacks }: PromotionGoal,
): PromotionRefusal | undefined {
  if (client.client_id !== clientId) return 'id is none';
  // Nothing said is not enough: what the organisation itself runs must never be changed from outside.
  if (client.is_first_party !== false || client.global === true) return 'first-party client';
  if (client.callbacks.length === 0) return 'no callback';
  return client.callbacks.every((one) => isCallbackOf(callbacks, one)) ? undefined : 'callback not allowed';
}

function isPublic(
  { app_type: type, token_endpoint_auth_method: method, grant_types: grants }: z.infer<typeof clientSchema>,
  { appType }: PromotionGoal,
): boolean {
  const isSame = grants.length === GRANT_TYPES.length && GRANT_TYPES.every((one) => grants.includes(one));
  return isSame && type === appType && method === AUTH_METHOD;
}

async function makePublic(
  management: Auth0Management,
  clientId: string,
  { appType }: PromotionGoal,
): Promise<string> {
  await management.call({
    method: 'PATCH',
    path: `clients/${clientId}`,
    body: { app_type: appType, grant_types: GRANT_TYPES, token_endpoint_auth_method: AUTH_METHOD },
    needs: 'update:clients',
  });
  return `public ${appType} client`;
}

/** Connections of the whole domain are every third-party client's already; each other one is enabled for this client. */
async function enableConnections(
  management: Auth0Management,
  clientId: string,
  { connections }: PromotionGoal,
): Promise<readonly string[]> {
  const enabled: string[] = [];
  for (const name of connections) {
    const body = await management.call({
      method: 'GET',
      path: 'connections',
      query: { name, fields: 'id,name,is_domain_connection', include_fields: 'true' },
      needs: 'read:connections',
    });
    const found = understood(connectionsSchema, body, 'connections').find((one) => one.name === name);
    if (found === undefined)
      throw new ManagementProblem(`there is no connection ${name}.`, { isForAll: false });
    if (found.is_domain_connection) continue;
    await management.call({
      method: 'PATCH',
      path: `connections/${found.id}/clients`,
      body: [{ client_id: clientId, status: true }],
      needs: 'update:connections',
    });
    enabled.push(`connection ${name}`);
  }
  return enabled;
}

/** The grant that the client has on behalf of users. */
async function grantOf(
  management: Auth0Management,
  clientId: string,
  { audience }: PromotionGoal,
): Promise<Grant | undefined> {
  const body = await management.call({
    method: 'GET',
    path: 'client-grants',
    query: { client_id: clientId, audience },
    needs: 'read:client_grants',
  });
  return understood(grantsSchema, body, 'grants').find(
    (one) => one.client_id === clientId && one.audience === audience && one.subject_type === SUBJECT_TYPE,
  );
}

function isEnough(grant: Grant | undefined, { scopes }: PromotionGoal): boolean {
  if (grant === undefined) return false;
  return grant.allow_all_scopes || scopes.every((scope) => grant.scope.includes(scope));
}

async function makeGrant(
  management: Auth0Management,
  clientId: string,
  { audience, scopes }: PromotionGoal,
  before: Grant | undefined,
): Promise<string> {
  const change = `grant for ${audience}`;
  if (before !== undefined) {
    await management.call({
      method: 'PATCH',
      path: `client-grants/${before.id}`,
      body: { scope: [...new Set([...before.scope, ...scopes])] },
      needs: 'update:client_grants',
    });
    return change;
  }
  await management.call({
    method: 'POST',
    path: 'client-grants',
    body: { client_id: clientId, audience, scope: scopes, subject_type: SUBJECT_TYPE },
    needs: 'create:client_grants',
  });
  return change;
}

/** @throws ManagementProblem */
function understood<Schema extends z.ZodType>(schema: Schema, body: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw new ManagementProblem(`the tenant did not answer with ${what}.`, { isForAll: false });
}
