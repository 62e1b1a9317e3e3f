import { z } from 'zod';
import { SURFACES } from '../../core/access.ts';
import { LIMIT_SUBJECTS, WINDOWS, type LimitSubject, type Window } from '../../core/limits.ts';
import { resourceSchema } from './common.ts';

const UNITS = ['requests', 'tokens', 'usd'] as const;

/** Subjects of what the gateway does not serve yet are no choice: such a rule would hold nobody. */
const SUBJECTS = LIMIT_SUBJECTS.filter(isServed);
type ServedSubject = Exclude<LimitSubject, 'mcpServer' | 'agent'>;

function isServed(subject: LimitSubject): subject is ServedSubject {
  return subject !== 'mcpServer' && subject !== 'agent';
}

/** Zones that were found; a machine knows some hundreds. Making a formatter takes a hundred times as long as all else. */
const zones = new Set(['UTC']);
/** Names may be written in any case. */
const MOST_ZONES = 1000;

/** Whether this machine knows a time zone of the IANA database; offsets such as +01:00 are none. */
function isTimeZone(name: string): boolean {
  if (zones.has(name)) return true;
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    const isKnown = new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
    if (isKnown && zones.size < MOST_ZONES) zones.add(name);
    return isKnown;
  } catch {
    return false;
  }
}

function namesSchema(what: string) {
  return z
    .array(z.string().min(1).max(256))
    .min(1)
    .max(1000)
    .optional()
    .describe(`${what}, * as wildcard; default: all`);
}

const matchSchema = z
  .strictObject({
    users: namesSchema('Users'),
    keys: namesSchema('Ids of virtual keys'),
    teams: namesSchema('Teams'),
    tenants: namesSchema('Tenants'),
    groups: namesSchema('Groups, any one of the user’s'),
    roles: namesSchema('Roles, any one of the user’s'),
    features: namesSchema('Features of a token such as plan:pro, any one of the user’s'),
    models: namesSchema('Names of Models'),
    providers: namesSchema('Names of Providers; the rule counts what these answer'),
    backends: namesSchema('Names of Backends'),
    surfaces: z
      .array(z.enum(SURFACES).exclude(['admin']))
      .min(1)
      .optional()
      .describe('What is asked for: model, mcp, a2a, backend; default: all'),
  })
  .prefault({})
  .describe('Whom and what the rule is about: every list that is there must have the request');

const limitPolicySpecSchema = z
  .strictObject({
    per: z
      .enum(SUBJECTS)
      .describe(
        'Whom the rule counts apart; workflow: a trace or session of one user (Gateway, workflow.headers); everybody: all together',
      ),
    match: matchSchema,
    requests: z.number().int().positive().max(1e12).optional().describe('Most requests'),
    tokens: z
      .number()
      .int()
      .positive()
      .max(1e15)
      .optional()
      .describe('Most tokens of input and output, weighted by the multiplier of the Model'),
    usd: z
      .number()
      .positive()
      .max(9_000_000)
      .optional()
      .describe('Most US dollars by the price of the Model; only with period'),
    window: z
      .enum(Object.keys(WINDOWS).filter(isWindow))
      .optional()
      .describe('Sliding window; this or period'),
    period: z.enum(['day', 'week', 'month']).optional().describe('Calendar period; weeks begin on Monday'),
    timeZone: z
      .string()
      .refine(isTimeZone, 'a time zone of the IANA database such as Europe/Zurich')
      .default('UTC')
      .describe('Time zone in which a period begins'),
    mode: z
      .enum(['hard', 'soft'])
      .optional()
      .describe(
        'hard: the most that a request can cost is reserved before a provider is asked, so the limit is never passed; soft: what was used counts once it is known; default: hard with period, else soft. Requests are counted exactly in both',
      ),
    shadow: z.boolean().default(false).describe('Counts and decides, but refuses nobody'),
    onShortfall: z
      .enum(['refuse', 'clamp', 'cutOff'])
      .default('refuse')
      .describe(
        'When a hard rule has room for a part of the largest answer: refuse; clamp: lower the request’s own limit of output; cutOff: end the stream where the room ends',
      ),
    onStoreAway: z
      .enum(['allow', 'refuse'])
      .optional()
      .describe(
        'What becomes of requests while Redis is away; default: allow. A hard rule with period always refuses',
      ),
    alerts: z
      .array(z.number().int().min(1).max(1000))
      .max(16)
      .optional()
      .describe(
        'Percentages of the limit that are made known, once in each period; default: 50, 80, 95, 100 with period, else none',
      ),
    enabled: z.boolean().default(true).describe('Whether it is in force'),
  })
  .superRefine((spec, context) => {
    const object = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    const units = UNITS.filter((unit) => spec[unit] !== undefined);
    if (units.length !== 1) object(units[1] ?? 'requests', 'exactly one of requests, tokens and usd');
    if ((spec.window === undefined) === (spec.period === undefined)) {
      object('window', 'exactly one of window and period');
    }
    if (spec.usd !== undefined && spec.window !== undefined) object('window', 'usd only with period');
    const hard = (spec.mode ?? (spec.period === undefined ? 'soft' : 'hard')) === 'hard';
    if (spec.onShortfall !== 'refuse' && (!hard || spec.requests !== undefined)) {
      object('onShortfall', `${spec.onShortfall} only with mode hard and tokens or usd`);
    }
    if (hard && spec.period !== undefined && spec.onStoreAway === 'allow') {
      object(
        'onStoreAway',
        'refuse: a hard budget that lets requests through uncounted would hold nothing; set mode: soft to allow them',
      );
    }
  });

function isWindow(name: string): name is Window {
  return Object.hasOwn(WINDOWS, name);
}

/** How much of what somebody may use in a time. */
export const limitPolicySchema = resourceSchema('LimitPolicy', limitPolicySpecSchema).describe(
  'How much somebody may use in a time: requests, tokens or US dollars, for each user, key, team and so on. All policies that apply to a request must have room for it.',
);

export type LimitPolicyResource = z.infer<typeof limitPolicySchema>;
