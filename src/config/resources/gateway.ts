import { z } from 'zod';
import { resourceNameSchema, resourceSchema } from './common.ts';

const cidrSchema = z.union([z.cidrv4(), z.cidrv6()], {
  error: 'an address range such as 10.0.0.0/8 or fd00::/8',
});

/** RFC 6749, section 3.3. */
const scopeSchema = z
  .string()
  .max(256)
  .regex(/^[\x21\x23-\x5B\x5D-\x7E]+$/, 'a scope: printable, without spaces, quotes and backslashes');

/** Whether what one identity provider says of a client can be about one of them alone. */
function isEachAssertedOnce(
  clients: readonly {
    readonly id: string;
    readonly identityProvider: string;
    readonly assertedAs?: readonly string[] | undefined;
  }[],
): boolean {
  const names = clients.flatMap(({ id, identityProvider, assertedAs = [id] }) =>
    [...new Set(assertedAs)].map((name) => JSON.stringify([identityProvider, name])),
  );
  return new Set(names).size === names.length;
}

const gatewaySpecSchema = z.strictObject({
  tls: z
    .strictObject({
      certificateFile: z
        .string()
        .min(1)
        .describe('PEM chain; watched, so a renewed file is in force without a dropped stream'),
      keyFile: z.string().min(1).describe('PEM private key of that chain'),
      clientCaFile: z
        .string()
        .min(1)
        .optional()
        .describe('With it, clients must present a certificate of this authority'),
    })
    .optional()
    .describe('TLS on the public listener; none: plain HTTP/1 and HTTP/2'),
  trust: z
    .strictObject({
      hops: z
        .number()
        .int()
        .min(0)
        .max(10)
        .default(0)
        .describe('Trusted proxies in front, for the client address in x-forwarded-for'),
      internalRanges: z
        .array(cidrSchema)
        .default([])
        .describe('Clients whose Envoy control headers are obeyed; default: nobody’s'),
    })
    .prefault({})
    .describe('Whom to believe what about a request'),
  cors: z
    .strictObject({
      allowOrigins: z.array(z.string().min(1)).default([]).describe('Exact origins, or * for any'),
    })
    .prefault({})
    .describe('Browsers that may call the gateway from other origins'),
  limits: z
    .strictObject({
      requestBody: z
        .number()
        .int()
        .min(1024)
        .max(268_435_456)
        .default(33_554_432)
        .describe('Bytes; larger bodies get 413. Every buffer follows from it'),
      bytesInFlightPerWorker: z
        .number()
        .int()
        .min(1_048_576)
        .default(536_870_912)
        .describe('Bytes of request bodies that one worker holds; beyond: 503'),
    })
    .prefault({})
    .describe('Bounds on what clients send'),
  timeouts: z
    .strictObject({
      requestSeconds: z
        .number()
        .positive()
        .default(600)
        .describe('Whole time of an answer that is not streamed'),
      perTrySeconds: z.number().positive().default(600).describe('Until the response headers of one try'),
      streamIdleSeconds: z
        .number()
        .positive()
        .default(300)
        .describe('Longest silence of a provider in mid-answer'),
      uploadIdleSeconds: z
        .number()
        .positive()
        .default(10)
        .describe('Longest silence of a client in mid-request, and of a stuck worker'),
    })
    .prefault({})
    .describe('A stream has no whole time, only a longest silence'),
  retries: z
    .strictObject({
      attempts: z
        .number()
        .int()
        .min(1)
        .max(10)
        .default(3)
        .describe('Tries of one request in all, over all targets'),
      maxRetryAfterSeconds: z
        .number()
        .min(0)
        .max(300)
        .default(10)
        .describe(
          'Longest retry-after of a provider that is waited for, where no other target could be asked; a longer one goes to the client at once',
        ),
    })
    .prefault({})
    .describe('When a provider fails before it answers'),
  circuitBreaker: z
    .strictObject({
      failures: z
        .number()
        .int()
        .min(0)
        .max(1000)
        .default(5)
        .describe('Failed tries in a row after which a provider is left out; 0: never'),
      openSeconds: z
        .number()
        .positive()
        .max(3600)
        .default(30)
        .describe(
          'How long it is left out before one request probes it; doubled each time that the probe fails, at most tenfold',
        ),
    })
    .prefault({})
    .describe('Spares requests the wait for a provider that keeps failing'),
  access: z
    .strictObject({
      keyRoles: z
        .array(resourceNameSchema)
        .max(100)
        .default(['developer'])
        .describe('Roles of users of virtual keys who have none; []: such a key may do nothing'),
      publicUrl: z
        .url({ protocol: /^https?$/, error: 'an http or https URL' })
        .refine((url) => !/[?#"\\]|\/\/[^/]*@/.test(url), 'a URL without query, fragment or user name')
        .transform((url) => url.replace(/\/+$/, ''))
        .optional()
        .describe(
          'What clients reach the gateway under, for the addresses that they are told; default: the host that they asked for',
        ),
    })
    .prefault({})
    .describe('Who may do what'),
  crossAppAccess: z
    .strictObject({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          'Exchange identity assertions (ID-JAG) of identity providers for tokens of the gateway; needs access.publicUrl',
        ),
      resource: z
        .url({ protocol: /^https?$/, error: 'an http or https URL' })
        .optional()
        .describe('What assertions name as resource; default: access.publicUrl'),
      tokenSeconds: z
        .number()
        .int()
        .min(60)
        .max(3600)
        .default(900)
        .describe('How long a token of the gateway is good'),
      scopes: z
        .array(scopeSchema)
        .max(200)
        .default([])
        .describe('Scopes that tokens may have, as far as the assertion has them too'),
      clients: z
        .array(
          z.strictObject({
            id: z.string().min(1).max(256).describe('client_id at the gateway'),
            secretSha256: z
              .string()
              .regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits')
              .optional()
              .describe('SHA-256 of its secret: printf %s "$SECRET" | sha256sum; none: a public client'),
            identityProvider: resourceNameSchema.describe('Whose assertions it may bring'),
            assertedAs: z
              .array(z.string().min(1).max(256))
              .min(1)
              .max(20)
              .optional()
              .describe('What assertions call it in client_id; default: its id'),
            scopes: z
              .array(scopeSchema)
              .max(200)
              .optional()
              .describe('Of the scopes, those that it may get; default: all'),
          }),
        )
        .max(1000)
        .refine((clients) => new Set(clients.map(({ id }) => id)).size === clients.length, 'each id once')
        // Else a client without a secret could bring what was made for one that has a secret.
        .refine(
          isEachAssertedOnce,
          'what an identity provider calls a client (assertedAs, or its id) for one client alone',
        )
        .default([])
        .describe('Who may exchange assertions; nobody else'),
    })
    .prefault({})
    .describe('Cross App Access: applications act for their users without asking each of them'),
  responses: z
    .strictObject({
      storeSeconds: z
        .number()
        .int()
        .min(0)
        .max(2_592_000)
        .default(0)
        .describe(
          'How long answers of the Responses API are kept, so that previous_response_id works on every provider; 0: it is refused',
        ),
    })
    .prefault({})
    .describe('The Responses API'),
  workflow: z
    .strictObject({
      headers: z
        .array(
          z
            .string()
            .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'the name of a header in lower case')
            .refine((name) => !name.startsWith('x-limen-'), 'no header of Limen’s own (x-limen-…)'),
        )
        .max(8)
        .default(['x-workflow-id', 'x-session-id', 'traceparent'])
        .describe(
          'The first that a request has names its workflow within its user; of traceparent the trace id counts',
        ),
    })
    .prefault({})
    .describe('How requests of one agent are told apart, for limits per workflow'),
});

/** The public listener: its trust, bounds and timeouts. One per installation for now, named `default`. */
export const gatewaySchema = resourceSchema(
  'Gateway',
  gatewaySpecSchema.superRefine(({ access, crossAppAccess }, context) => {
    if (!crossAppAccess.enabled || access.publicUrl !== undefined) return;
    const message = 'needs access.publicUrl: it names the gateway in assertions and tokens';
    context.addIssue({ code: 'custom', path: ['crossAppAccess', 'enabled'], message });
  }),
).describe(
  'The public listener: its trust, bounds and timeouts. At most one; without it, every default holds.',
);

export type GatewayResource = z.infer<typeof gatewaySchema>;
