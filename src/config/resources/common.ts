import { z } from 'zod';
import { isMetadataAddress } from '../../core/addresses.ts';

/** The only API version there is. */
export const API_VERSION = 'limen.dev/v1alpha1';

/** A resource's name: a DNS label with dots, so that it can be a Kubernetes name too. */
export const resourceNameSchema = z
  .string()
  .min(1)
  .max(253)
  .regex(
    /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/,
    'lower-case letters, digits, dots, dashes and underscores, starting and ending with a letter or digit',
  );

export const metadataSchema = z.strictObject({
  name: resourceNameSchema.describe('Name of this resource, one of its kind'),
  labels: z.record(z.string(), z.string()).optional().describe('For your own use'),
});

/** Where a service lives: scheme, host, port, and the path that everything is below. */
export const baseUrlSchema = z
  .url({ protocol: /^https?$/, error: 'an http or https URL' })
  .refine(
    (url) => !url.includes('?') && !url.includes('#') && !/\/\/[^/]*@/.test(url),
    'a URL without query, fragment or user name',
  )
  .refine(
    (url) => !isMetadataAddress(hostOf(url)),
    'no address of the link (169.254.0.0/16, fe80::/10) or of a metadata service',
  );

/** Empty for what is no URL: other checks tell of that. */
function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1') : '';
}

/** How the certificate of a service is verified, where its URL is https. */
export const upstreamTlsSchema = z
  .strictObject({
    caFile: z
      .string()
      .min(1)
      .optional()
      .describe('PEM file of the authority to trust instead of the system’s'),
    serverName: z
      .string()
      .min(1)
      .optional()
      .describe('Name to ask for and to check; default: the host of the URL'),
  })
  .optional()
  .describe('How its certificate is verified, where its URL is https');

const environmentNameSchema = z
  .string()
  .regex(
    /^(?!LIMEN_)[A-Za-z_][A-Za-z0-9_]*$/,
    'the name of an environment variable, and none of Limen’s own (LIMEN_…)',
  )
  .describe('Environment variable of the control plane');

/**
 * Where a secret comes from: exactly one of an environment variable of the control plane, a file that it
 * can read, or the value itself (sealed before it is stored).
 */
export const secretSourceSchema = z.union(
  [
    z.strictObject({ env: environmentNameSchema }),
    z.strictObject({
      file: z.string().min(1).describe('File that the control plane can read; white space around is cut'),
    }),
    z.strictObject({ value: z.string().min(1).describe('The secret itself; sealed before it is stored') }),
  ],
  { error: 'exactly one of env, file and value' },
);

export type SecretSource = z.infer<typeof secretSourceSchema>;

/** The parts of an AWS access key, each with a source of its own. */
export const accessKeySourceSchema = z.strictObject({
  accessKeyId: secretSourceSchema.describe('Access key ID'),
  secretAccessKey: secretSourceSchema.describe('Secret access key'),
  sessionToken: secretSourceSchema.optional().describe('Session token, of temporary credentials'),
});

export type AccessKeySource = z.infer<typeof accessKeySourceSchema>;

/** Wraps a kind's spec into the resource object that files, API and database share. */
export function resourceSchema<Kind extends string, Spec extends z.ZodType>(kind: Kind, spec: Spec) {
  return z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: metadataSchema,
    spec,
  });
}
