import { z } from 'zod';
import { PERMISSIONS } from '../../core/access.ts';

/** Who asks, as the API shows it. */
export const callerViewSchema = z.object({
  actor: z.string().describe('As the record of changes names who asks'),
  user: z.string().optional().describe('Absent for the admin token'),
  permissions: z.array(z.enum(PERMISSIONS)),
  managedTeams: z.array(z.string()),
});

/** POST /api/v1/sessions, GET /api/v1/sessions/current */
export const sessionViewSchema = callerViewSchema
  .extend({
    csrfToken: z
      .string()
      .describe('Goes into the header x-limen-csrf of every request by cookie that changes something'),
    expiresAt: z.iso
      .datetime()
      .describe('It ends earlier after an hour without a request, and with its credential'),
  })
  .meta({ id: 'Session' });
