import { z } from 'zod';
import { clientPromotionSchema } from './client-promotion.ts';
import { resourceNameSchema, resourceSchema, secretSourceSchema } from './common.ts';
import { trustedUrlSchema } from './trusted-url.ts';

/** Algorithms of issuers with public keys. */
export const SIGNATURE_ALGORITHMS = ['RS256', 'ES256', 'EdDSA'] as const;

const DAY_SECONDS = 86_400;

/** Dots between; a name with dots in it stands in quotes. */
const claimPathSchema = z
  .string()
  .max(256)
  .regex(
    /^("[^"]+"|[^".]+)(\.("[^"]+"|[^".]+))*$/,
    'a path such as email, app.plan or "https://example.com/roles"',
  );

/** Members of private keys (RFC 7518, section 6), and of shared secrets. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

const publicKeySchema = z
  .looseObject({
    kty: z.enum(['RSA', 'EC', 'OKP']).describe('Kind of key'),
    kid: z.string().min(1).max(256).optional().describe('Name of the key, as tokens give it'),
    alg: z.string().optional().describe('Algorithm that it is for'),
    use: z.string().optional().describe('sig, where it is for signatures'),
    crv: z.string().optional().describe('Curve: P-256 or Ed25519'),
    n: z.string().optional().describe('RSA: modulus'),
    e: z.string().optional().describe('RSA: exponent'),
    x: z.string().optional().describe('Curves: x'),
    y: z.string().optional().describe('Curves: y'),
  })
  .refine(
    (key) => !PRIVATE_MEMBERS.some((member) => member in key),
    'a public key; this one has private parts, and should be replaced',
  );

const boundSchema = z.array(z.string().min(1).max(256)).max(1000).optional();
/** Before names of this issuer. */
const prefixSchema = z
  .string()
  .max(128)
  .regex(/^[^\p{Cc}]*$/u, 'no control characters')
  .optional();

const identityProviderSpecSchema = z
  .strictObject({
    enabled: z.boolean().default(true).describe('false: its tokens are refused'),
    issuer: z
      .string()
      .min(1)
      .max(2048)
      .describe(
        'What its tokens say in iss, to the letter, a slash at the end included: an https URL (http only on this machine); with sharedSecret any name',
      ),
    audiences: z
      .array(z.string().min(1).max(512))
      .max(50)
      .default([])
      .describe(
        'A token must be for one of these (aud). Only with sharedSecret there may be none: then tokens that name no audience are taken, and no others',
      ),
    algorithms: z
      .array(z.enum([...SIGNATURE_ALGORITHMS, 'HS256']))
      .min(1)
      .max(3)
      .refine((algorithms) => new Set(algorithms).size === algorithms.length, 'each one once')
      .optional()
      .describe(
        'How tokens may be signed; default: RS256, ES256 and EdDSA, with sharedSecret HS256 and nothing else',
      ),
    jwksUri: trustedUrlSchema
      .optional()
      .describe(
        'Where its public keys are, for an issuer without a discovery document; default: what issuer/.well-known/openid-configuration says, or else issuer/.well-known/oauth-authorization-server',
      ),
    jwks: z
      .strictObject({ keys: z.array(publicKeySchema).min(1).max(50).describe('Public keys (RFC 7517)') })
      .optional()
      .describe('Its public keys themselves, which are never fetched'),
    sharedSecret: secretSourceSchema
      .optional()
      .describe('The secret that both sides know, at least 32 bytes, for an issuer without keys of its own'),
    clockSkewSeconds: z
      .number()
      .int()
      .min(0)
      .max(300)
      .default(30)
      .describe('How far its clock may be from the gateway’s'),
    maxLifetimeSeconds: z
      .number()
      .int()
      .min(60)
      .max(31 * DAY_SECONDS)
      .default(DAY_SECONDS)
      .describe('Tokens that live longer, from issue to expiry, are refused'),
    userPrefix: prefixSchema.describe(
      'Before the user claim in the user’s name; default: NAME: of this resource, so that no two issuers share a user. "" only where its names are those of your keys too',
    ),
    groupPrefix: prefixSchema.describe(
      'Before every group that its tokens name; default: none. Where several identity providers map groups, each must have it, if only as "", or allowedGroups',
    ),
    allowedGroups: boundSchema.describe(
      'Groups that its tokens may name, as they name them, * as wildcard; others are left out. Default: all',
    ),
    allowedTeams: boundSchema.describe(
      'Teams that its tokens may name, * as wildcard; a token with another one is refused. Default: all, but needed where several identity providers map teams',
    ),
    allowedTenants: boundSchema.describe(
      'Tenants that its tokens may name, * as wildcard; a token with another one is refused. Default: all, but needed where several identity providers map tenants',
    ),
    claims: z
      .strictObject({
        user: claimPathSchema.default('sub').describe('Who it is; never changed for a person, never reused'),
        email: claimPathSchema.default('email').describe('E-mail address'),
        name: claimPathSchema.default('name').describe('Name to show'),
        groups: claimPathSchema.optional().describe('Groups, a list or one text; none: no groups'),
        roles: claimPathSchema
          .optional()
          .describe('Values that roleMapping turns into roles; none: no roles'),
        tenant: claimPathSchema.optional().describe('Tenant'),
        team: claimPathSchema.optional().describe('Team'),
        scopes: claimPathSchema.default('scope').describe('Scopes, a list or a text with spaces between'),
        features: z
          .record(
            z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'a name of lower-case letters'),
            claimPathSchema,
          )
          .default({})
          .describe('Features and tiers: with plan: app.plan a claim of pro gives plan:pro; true gives plan'),
      })
      .prefault({})
      .describe('Which claims say what: paths with dots between, names with dots in quotes'),
    roleMapping: z
      .record(z.string().min(1).max(256), z.array(resourceNameSchema).min(1).max(50))
      .default({})
      .describe('Value of the roles claim → roles; a value that is not here gives none'),
    defaultRoles: z
      .array(resourceNameSchema)
      .max(50)
      .default([])
      .describe('Roles of everybody with a token of this issuer'),
    clientPromotion: clientPromotionSchema
      .optional()
      .describe(
        'Clients that register themselves there are made ready for use, as its log tells of them: POST /webhooks/identity-providers/NAME/logs. Default: none are',
      ),
  })
  .superRefine(({ issuer, audiences, algorithms, jwksUri, jwks, sharedSecret, clientPromotion }, context) => {
    const object = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: path.split('.'), message });
    const sources = Object.entries({ jwksUri, jwks, sharedSecret }).filter(
      ([, source]) => source !== undefined,
    );
    const second = sources[1];
    if (second !== undefined) object(second[0], 'only one of jwksUri, jwks and sharedSecret');
    const isShared = sharedSecret !== undefined;
    if (algorithms !== undefined && isShared && algorithms.join() !== 'HS256')
      object('algorithms', 'only HS256 with sharedSecret');
    if (algorithms?.includes('HS256') === true && !isShared)
      object('algorithms', `HS256 only with sharedSecret; else ${SIGNATURE_ALGORITHMS.join(', ')}`);
    if (isShared && clientPromotion !== undefined)
      object('clientPromotion', 'not with sharedSecret: clients register at an issuer with keys of its own');
    if (isShared) return;
    const granted = clientPromotion?.audience;
    if (granted !== undefined && !audiences.includes(granted))
      object('clientPromotion.audience', 'one of audiences: tokens for anything else are refused here');
    if (clientPromotion !== undefined && granted === undefined && audiences.length > 1)
      object('clientPromotion.audience', 'named, where there are several audiences');
    if (audiences.length === 0)
      object('audiences', 'at least one: what its tokens for this gateway say in aud');
    const url = trustedUrlSchema.safeParse(issuer);
    if (!url.success) object('issuer', url.error.issues[0]?.message ?? 'an https URL');
    else if (issuer.includes('?')) object('issuer', 'a URL without query');
  });

/** An issuer whose tokens clients may use. */
export const identityProviderSchema = resourceSchema('IdentityProvider', identityProviderSpecSchema).describe(
  'An issuer of tokens (OIDC, OAuth 2) that clients may use in place of a virtual key.',
);

export type IdentityProviderResource = z.infer<typeof identityProviderSchema>;
