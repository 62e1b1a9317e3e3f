import { z } from 'zod';
import { CliError } from './context.ts';

/** The parts of the admin API's answers that the commands show; the rest is passed over. */

export const resourceSchema = z.object({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.object({ name: z.string(), labels: z.record(z.string(), z.string()).optional() }),
  spec: z.record(z.string(), z.unknown()),
  origin: z.object({
    source: z.string(),
    file: z.string().optional(),
    line: z.number().optional(),
    because: z.string().optional(),
  }),
});

export type ShownResource = z.infer<typeof resourceSchema>;

export const resourceListSchema = z.object({ resources: z.array(resourceSchema) });

export const issueSchema = z.object({
  file: z.string().optional(),
  line: z.number().optional(),
  column: z.number().optional(),
  resource: z.string().optional(),
  path: z.string(),
  value: z.string().optional(),
  message: z.string(),
  allowed: z.string().optional(),
  hint: z.string().optional(),
  index: z.number().optional(),
});

export const applyResultSchema = z.object({
  dryRun: z.boolean(),
  changes: z.array(
    z.object({
      kind: z.string(),
      name: z.string(),
      action: z.enum(['created', 'changed', 'unchanged', 'deleted']),
      fields: z.array(
        z.object({ path: z.string(), before: z.unknown().optional(), after: z.unknown().optional() }),
      ),
    }),
  ),
});

export const statusSchema = z.object({
  version: z.string(),
  node: z.string(),
  startedAt: z.string(),
  snapshot: z.object({ version: z.string(), models: z.number(), providers: z.number() }).optional(),
  configuration: z.object({
    path: z.string().optional(),
    issues: z.array(issueSchema),
    warnings: z.array(issueSchema),
  }),
  providers: z.array(
    z.object({
      name: z.string(),
      type: z.string(),
      source: z.string(),
      credential: z.string(),
      expiresAt: z.number().optional(),
      problem: z.string().optional(),
      circuit: z.object({ state: z.string(), failures: z.number(), retryInSeconds: z.number() }).optional(),
    }),
  ),
  identityProviders: z.array(
    z.object({
      name: z.string(),
      issuer: z.string(),
      source: z.string(),
      enabled: z.boolean(),
      keySource: z.string().optional(),
      reachable: z.boolean().optional(),
      problem: z.string().optional(),
      keys: z.array(z.object({ kty: z.string(), kid: z.string().optional(), alg: z.string().optional() })),
      fetchedAt: z.number().optional(),
      clientPromotion: z
        .object({
          ready: z.boolean(),
          deliveredAt: z.number().optional(),
          waiting: z.number(),
          promoted: z.number(),
          refused: z.number(),
          failed: z.number(),
          problem: z.string().optional(),
        })
        .optional(),
    }),
  ),
  envoys: z.array(
    z.object({
      node: z.string(),
      protocol: z.string(),
      connectedAt: z.number(),
      kinds: z.record(
        z.string(),
        z.object({
          state: z.string(),
          acknowledgedVersion: z.string(),
          publishedVersion: z.string(),
          lastNack: z.object({ message: z.string(), at: z.number(), version: z.string() }).optional(),
        }),
      ),
    }),
  ),
  workers: z.array(z.object({ worker: z.string(), connectedAt: z.number(), snapshot: z.string() })),
  stores: z.array(
    z.object({
      name: z.string(),
      healthy: z.boolean(),
      version: z.string().optional(),
      problem: z.string().optional(),
    }),
  ),
});

export type ShownStatus = z.infer<typeof statusSchema>;

/** Reads an answer; another shape means another version of Limen, or something else at that address. */
export function readResponse<Schema extends z.ZodType>(schema: Schema, answer: unknown): z.output<Schema> {
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  throw new CliError(
    'The admin API answered in a shape that is not known here: do both sides have one version?',
  );
}
