import { z } from 'zod';
import { IDENTITY_FIELDS } from '../../core/snapshot.ts';
import { accessSchema } from './access.ts';
import { baseUrlSchema, resourceSchema, secretSourceSchema, upstreamTlsSchema } from './common.ts';

/** Headers that say how a message is carried, or that the gateway sets itself. */
const FOREIGN_CREDENTIAL_HEADERS =
  /^(host|connection|upgrade|te|trailer|transfer-encoding|content-length|content-encoding|expect|cookie|x-(envoy|limen|forwarded|user|organization|gateway)(-.*)?)$/;

const headerNameSchema = z
  .string()
  .max(128)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 'a header name: lower-case letters, digits and dashes')
  .refine((name) => !FOREIGN_CREDENTIAL_HEADERS.test(name), 'a header that carries a credential');

const pathPrefixSchema = z
  .string()
  .max(1024)
  .regex(
    /^\/([A-Za-z0-9._~!$&'()*+,=:@-]+(\/|$))*$/,
    'a path from / on, below the Backend, without %, ; or empty parts',
  )
  .refine(
    (path) => !path.split('/').some((part) => part === '.' || part === '..'),
    'a path without . and ..',
  );

const routeSchema = z.strictObject({
  pathPrefix: pathPrefixSchema.describe(
    'Whole parts of the path after /backends/NAME: /v1 is /v1 and /v1/users, and not /v10. Capitals and small letters are the same',
  ),
  methods: z
    .array(z.string().regex(/^[A-Z]{1,32}$/, 'a method in capitals'))
    .max(32)
    .default([])
    .describe('HTTP methods; none: all'),
  access: accessSchema.optional().describe('Who may use it, beside what the whole asks for'),
});

const parameterSchema = z
  .string()
  .max(128)
  .regex(/^[A-Za-z0-9_.-]+$/, 'letters, digits and _ . -');

const backendSpecSchema = z.strictObject({
  url: baseUrlSchema.describe(
    'Where it lives. Its addresses must be public ones, asked over https; others only within LIMEN_ALLOWED_FETCH_RANGES',
  ),
  credential: secretSourceSchema
    .optional()
    .describe('What Envoy sends in place of the client’s credential, which it never gets; none: nothing'),
  credentialHeader: z
    .strictObject({
      name: headerNameSchema.default('authorization').describe('Header that carries it'),
      prefix: z
        .string()
        .max(64)
        .regex(/^[\x20-\x7e]*$/, 'printable ASCII')
        .optional()
        .describe('Before the credential; default: "Bearer " in authorization, nothing in another header'),
    })
    .prefault({})
    .describe('How the credential is sent'),
  tls: upstreamTlsSchema,
  connectTimeoutSeconds: z.number().positive().max(60).default(5).describe('Longest wait for a connection'),
  timeoutSeconds: z
    .number()
    .min(0)
    .max(86_400)
    .default(0)
    .describe('Longest time of a whole answer; 0: as long as it takes, as streams and WebSockets need it'),
  access: accessSchema.optional().describe('Who may use it, beside who has a role with backends:use'),
  routes: z
    .array(routeSchema)
    .max(256)
    .default([])
    .describe(
      'What of it may be used: the longest prefix decides, and where none fits, the request is refused. No routes: all of it',
    ),
  identityHeaders: z
    .boolean()
    .default(false)
    .describe('It is sent who asks: X-User-Id, X-User-Email, X-User-Groups and so on'),
  identityQuery: z
    .record(parameterSchema, z.enum(IDENTITY_FIELDS))
    .default({})
    .describe('Query parameters that are set to what is known of who asks, in place of the client’s own'),
  webSocket: z
    .boolean()
    .default(false)
    .describe('It may be asked for WebSockets; it is spoken to in HTTP/1.1 then'),
  stripPrefix: z
    .boolean()
    .default(true)
    .describe('/backends/NAME is taken off the path; false: for services that can live below a prefix'),
  cookies: z
    .boolean()
    .default(false)
    .describe(
      'Cookies pass both ways. For services that are trusted with each other’s: browsers keep cookies by host',
    ),
});

/** Another HTTP service, behind the same identity. */
export const backendSchema = resourceSchema('Backend', backendSpecSchema).describe(
  'Another HTTP service behind the same identity, at /backends/NAME/ on the gateway.',
);

export type BackendResource = z.infer<typeof backendSchema>;
