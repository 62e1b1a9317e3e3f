import { z } from 'zod';

/** ConfigIssue, as the API shows it. */
export const issueSchema = z
  .object({
    file: z.string().optional(),
    line: z.number().int().optional(),
    column: z.number().int().optional(),
    resource: z.string().optional().describe('Kind/name of the resource, as far as it is known'),
    path: z.string().describe('Field in the resource; empty for the whole'),
    value: z.string().optional().describe('The value as JSON, shortened; hidden where a secret may stand'),
    message: z.string(),
    allowed: z.string().optional(),
    hint: z.string().optional(),
  })
  .meta({ id: 'ConfigIssue' });

/** Origin, as the API shows it. */
export const originSchema = z
  .discriminatedUnion('source', [
    z.object({ source: z.literal('file'), file: z.string(), line: z.number().int() }),
    z.object({ source: z.literal('database'), generation: z.number().int() }),
    z.object({ source: z.literal('environment'), because: z.string() }),
    z.object({ source: z.literal('built-in'), because: z.string() }),
  ])
  .meta({ id: 'Origin' });

/** Body of every answer that is no success. */
export const errorSchema = z
  .object({
    error: z.object({
      code: z.string().describe('Stable; scripts and the console key on it'),
      message: z.string(),
      details: z.unknown().optional(),
    }),
  })
  .meta({ id: 'Error' });

/** Name of a user, a team and the like: it stands in headers, rows and logs, where a control character ends a line. */
export const nameSchema = z
  .string()
  .trim()
  .min(1)
  .max(256)
  .regex(/^\P{Cc}*$/u, 'a name without control characters');

/** Anything that a query may hold as a whole number from 1. */
export function pageSize(most: number, usual: number) {
  return z.coerce.number().int().min(1).max(most).default(usual);
}
