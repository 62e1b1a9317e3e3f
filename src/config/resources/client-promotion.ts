import { z } from 'zod';
import { isCallbackPattern } from '../../core/callback-patterns.ts';
import { secretSourceSchema } from './common.ts';
import { trustedUrlSchema } from './trusted-url.ts';

/** RFC 6749, section 3.3. */
const scopeSchema = z
  .string()
  .max(256)
  .regex(/^[\x21\x23-\x5B\x5D-\x7E]+$/, 'a scope: no spaces, quotes or backslashes');

/**
 * Clients that register themselves at an identity provider, whose log the gateway is told of, and that are made ready
 * for use there. Names of `appType` are Auth0's own.
 */
export const clientPromotionSchema = z.strictObject({
  type: z.enum(['auth0']).describe('Whose log and management API it is'),
  tenantUrl: trustedUrlSchema
    .refine((url) => URL.canParse(url) && new URL(url).pathname === '/' && !url.includes('?'), {
      error: 'a URL without path and query',
    })
    .optional()
    .describe(
      'Where its management API is: https://TENANT.REGION.auth0.com. Default: host of the issuer; needed where that is a custom domain',
    ),
  clientId: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9_-]+$/, 'the id of a client: letters, digits, dashes and underscores')
    .describe(
      'The gateway’s own client at the management API, with read:clients, update:clients, read:connections, update:connections, read:client_grants, create:client_grants and update:client_grants',
    ),
  clientSecret: secretSourceSchema.describe('Secret of that client'),
  webhookSecret: secretSourceSchema.describe(
    'What its log stream must send as authorization (by itself, or after Bearer) or as x-webhook-secret, at least 16 characters',
  ),
  callbacks: z
    .array(
      z.string().refine(isCallbackPattern, {
        error:
          'an https URL, an http URL of this machine (any port where it has none), or one of an application’s own scheme; /* at the end for all below it; no other *, no user name, no fragment',
      }),
    )
    .min(1)
    .max(50)
    .describe(
      'Where users may be sent back to: only clients are promoted whose callbacks are all in this list. https://chatgpt.com/* stands for all below it',
    ),
  audience: z
    .string()
    .min(1)
    .max(512)
    .optional()
    .describe('The API that clients are granted; one of audiences, and by default the only one'),
  scopes: z
    .array(scopeSchema)
    .max(500)
    .optional()
    .describe(
      'Scopes that clients are granted, all of which the API must have; default: every one that a Model or a Backend asks for (scopes_supported)',
    ),
  connections: z
    .array(
      z
        .string()
        .max(128)
        .regex(/^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$/, 'the name of a connection'),
    )
    .max(20)
    .default([])
    .describe('Connections that clients may use; those of the whole domain are every such client’s already'),
  appType: z
    .enum(['regular_web', 'native'])
    .default('regular_web')
    .describe('What clients become; public with PKCE in either case'),
});
