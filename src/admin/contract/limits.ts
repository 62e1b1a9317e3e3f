import { z } from 'zod';
import { LIMIT_SUBJECTS } from '../../core/limits.ts';
import { pageSize } from './common.ts';

const unit = z.enum(['requests', 'tokens', 'usd']);
const amount = z.number().describe('In the unit of its rule; USD with up to nine decimals');
const patterns = z.array(z.string()).optional();

/** A LimitPolicy in force. */
export const limitViewSchema = z
  .object({
    name: z.string(),
    label: z.string().describe('As answers name it: user:requests/1m'),
    per: z.enum(LIMIT_SUBJECTS),
    unit,
    limit: amount,
    span: z.string().describe('Length of a sliding window (1m … 1w), or day, week, month'),
    timeZone: z.string().optional().describe('Of calendar periods'),
    mode: z.enum(['hard', 'soft']),
    shadow: z.boolean(),
    onShortfall: z.enum(['refuse', 'clamp', 'cutOff']),
    onStoreAway: z.enum(['allow', 'refuse']),
    alerts: z.array(z.number()).describe('Percentages'),
    match: z.object({
      users: patterns,
      keys: patterns,
      teams: patterns,
      tenants: patterns,
      groups: patterns,
      roles: patterns,
      features: patterns,
      models: patterns,
      providers: patterns,
      backends: patterns,
      surfaces: patterns,
    }),
  })
  .meta({ id: 'Limit' });

/** GET /api/v1/limits */
export const limitListSchema = z.object({ limits: z.array(limitViewSchema) });

const MOST_COUNTERS = 10_000;

/** GET /api/v1/limits/usage */
export const limitUsageQuerySchema = z.strictObject({
  rule: z.string().min(1).max(256).optional().describe('Name of the LimitPolicy'),
  subject: z.string().min(1).max(512).optional().describe('Whom it counts: alice, openai, 10.0.0.1'),
  limit: pageSize(MOST_COUNTERS, 1000),
});

/** A counter that is not at rest. */
export const limitUsageSchema = z
  .object({
    rule: z.string(),
    subject: z.string(),
    unit,
    limit: amount,
    used: amount.describe('Settled in this period, or in the window that ends now'),
    reserved: amount.describe('Held by requests that are not finished'),
    overrun: amount.describe('Settled after its reservation had lapsed, or beyond it'),
    percentUsed: z.number().describe('Of the limit, settled and reserved together'),
    periodStart: z.iso.datetime(),
    resetsAt: z.iso.datetime(),
  })
  .meta({ id: 'LimitUsage' });

export const limitUsageListSchema = z.object({
  usage: z.array(limitUsageSchema).describe('Fullest first'),
  truncated: z.boolean().describe('There are more counters than were asked for'),
});

/** GET /api/v1/limits/drift */
export const limitDriftQuerySchema = z.strictObject({
  rule: z.string().min(1).max(256).optional().describe('Name of the LimitPolicy'),
});
export const limitDriftListSchema = z.object({
  drift: z.array(
    limitUsageSchema
      .extend({
        ledger: amount.describe('What the rows of this period were charged'),
        drift: amount.describe(
          'ledger - used. Above 0: the counter has forgotten, or was reset; a little below 0: rows on their way',
        ),
      })
      .meta({ id: 'LimitDrift' }),
  ),
});

/** POST /api/v1/limits/{rule}/reset */
export const resetLimitSchema = z.strictObject({ subject: z.string().min(1).max(512) });
export const resetLimitResultSchema = z.object({
  rule: z.string(),
  subject: z.string(),
  counters: z.number().int().describe('How many there were; what open requests hold stays held'),
});
