import { z } from 'zod';
import { EVENT_KINDS, SEVERITIES } from '../../core/events.ts';
import { pageSize } from './common.ts';

const time = z.iso.datetime({ offset: true, error: 'a time such as 2027-01-31T00:00:00Z' });

/** GET /api/v1/events */
export const listEventsSchema = z.strictObject({
  limit: pageSize(1000, 100),
  after: z
    .string()
    .regex(/^\d{1,15}$/, 'id of an event')
    .optional(),
  kind: z.enum(EVENT_KINDS).optional(),
  subject: z.string().min(1).max(512).optional(),
  from: time.optional().describe('At or after it'),
  to: time.optional().describe('Before it'),
});

export const eventViewSchema = z
  .object({
    id: z.string(),
    time: z.string(),
    kind: z.enum(EVENT_KINDS),
    severity: z.enum(SEVERITIES),
    subject: z.string().describe('Id of a key, a user, name of a rule or an identity provider'),
    message: z.string(),
    detail: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Event' });

export const eventListSchema = z.object({
  events: z.array(eventViewSchema).describe('Newest first'),
  next: z.string().optional().describe("For the next page's `after`; absent on the last one"),
});
