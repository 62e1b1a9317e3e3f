import { z } from 'zod';

/** RFC 6749, section 5.2. */
export const oauthErrorSchema = z
  .object({ error: z.string(), error_description: z.string() })
  .meta({ id: 'OAuthError' });

/** POST /oauth/token */
export const tokenRequestSchema = z
  .looseObject({
    grant_type: z.string().optional().describe('urn:ietf:params:oauth:grant-type:jwt-bearer'),
    assertion: z.string().optional().describe('An identity assertion: a JWT of type oauth-id-jag+jwt'),
    scope: z.string().optional(),
    resource: z.string().optional(),
    client_id: z.string().optional(),
    client_secret: z.string().optional(),
  })
  .catchall(z.string());

export const tokenAnswerSchema = z.object({
  access_token: z.string(),
  token_type: z.literal('Bearer'),
  expires_in: z.number().int(),
  scope: z.string(),
});

export const keySetSchema = z.object({
  keys: z.array(
    z.object({
      kty: z.string(),
      crv: z.string().optional(),
      x: z.string().optional(),
      y: z.string().optional(),
      kid: z.string().optional(),
      alg: z.string().optional(),
      use: z.string().optional(),
    }),
  ),
});

/** GET /api/v1/identity/statistics */
export const identityStatisticsSchema = z.object({
  users: z.number().int(),
  disabledUsers: z.number().int(),
  identityProviders: z.number().int(),
  crossAppAccess: z.object({
    enabled: z.boolean(),
    since: z.iso.datetime().describe('What is counted here is counted since then'),
    clients: z.array(
      z.object({
        client: z.string(),
        exchanged: z.number().int(),
        refused: z.record(z.string(), z.number().int()).describe('By reason'),
        active: z.number().int().describe('Tokens that have not expired; revoked ones among them'),
      }),
    ),
  }),
});
