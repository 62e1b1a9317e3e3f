import { z } from 'zod';
import type { ConfigIssue } from '../../config/load/issue.ts';
import { originSchema } from './common.ts';

/** PUT /api/v1/resources */
export const applySchema = z.strictObject({
  resources: z.array(z.unknown()).min(1).max(10_000),
  dryRun: z.boolean().default(false),
});

/** DELETE /api/v1/resources/KIND/NAME */
export const deletionSchema = z.strictObject({
  dryRun: z.enum(['true', 'false']).default('false'),
  force: z
    .enum(['true', 'false'])
    .default('false')
    .describe('Of a Team: gives up what it bounds. Without it, a Team is deleted only when it bounds nobody'),
});

/** A resource as the API shows it: secrets hidden, with where it comes from. */
export const resourceViewSchema = z
  .object({
    apiVersion: z.string(),
    kind: z.string(),
    metadata: z.object({ name: z.string(), labels: z.record(z.string(), z.string()).optional() }),
    spec: z.unknown(),
    origin: originSchema,
    editable: z.boolean().describe('Whether it can be changed here'),
  })
  .meta({ id: 'Resource' });
export type ResourceView = z.infer<typeof resourceViewSchema>;

export const resourceListSchema = z.object({ resources: z.array(resourceViewSchema) });

/** One field that differs; secrets are hidden on both sides. */
const fieldChangeSchema = z.object({
  path: z.string(),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
});
export type FieldChange = z.infer<typeof fieldChangeSchema>;

const resourceDiffSchema = z
  .object({
    kind: z.string(),
    name: z.string(),
    action: z.enum(['created', 'changed', 'unchanged', 'deleted']),
    fields: z.array(fieldChangeSchema),
  })
  .meta({ id: 'ResourceDiff' });
export type ResourceDiff = z.infer<typeof resourceDiffSchema>;

export const applyResultSchema = z
  .object({
    dryRun: z.boolean(),
    changes: z.array(resourceDiffSchema),
    revision: z.number().int().describe('Revision of the database after it'),
  })
  .meta({ id: 'ApplyResult' });
export type ApplyResult = z.infer<typeof applyResultSchema>;

/** An issue with the place of its resource in the request: details of `invalid_configuration`. */
export interface ApplyIssue extends ConfigIssue {
  /** Index in `resources`; absent where a resource that was not sent would no longer be right. */
  readonly index?: number | undefined;
}
