import { z } from 'zod';
import type { EventLog } from '../../core/events.ts';
import {
  NANO_USD,
  type LimitBook,
  type LimitUnit,
  type LimitUsage,
  type SnapshotLimit,
} from '../../core/limits.ts';
import { endOfUnknown } from '../../core/nearest.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import type { Caller } from '../caller.ts';
import {
  limitDriftListSchema,
  limitDriftQuerySchema,
  limitListSchema,
  limitUsageListSchema,
  limitUsageQuerySchema,
  resetLimitResultSchema,
  resetLimitSchema,
} from '../contract.ts';
import { AdminError } from '../errors.ts';
import { iso } from '../page.ts';
import { defineRoute, type Route } from '../router.ts';

/** Counters, and what the ledger says beside them. Every method may reject where a store is away. */
export interface LimitAdmin extends Pick<LimitBook, 'usage' | 'reset'> {
  /** Calendar budgets of tokens and USD, in this period; of one rule or all. */
  drift(rule: string | undefined): Promise<readonly LimitDriftView[]>;
}

/** A counter beside the sum of its rows. */
export interface LimitDriftView extends LimitUsage {
  readonly ledger: number;
  readonly drift: number;
}

export interface LimitRoutesOptions {
  readonly book: LimitAdmin;
  readonly inForce: () => Snapshot | undefined;
  readonly events: EventLog;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** Limits and how much of them is used. */
export function limitRoutes({ book, inForce, events, now }: LimitRoutesOptions): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/limits',
      permission: 'limits:read',
      summary: 'List the limits in force, those that Limen brings among them',
      tag: 'limits',
      response: limitListSchema,
      handle: () => ({ limits: (inForce()?.limits ?? []).map(limitView) }),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/limits/usage',
      permission: 'limits:read',
      summary: 'How much of each limit is used, by whom',
      tag: 'limits',
      query: limitUsageQuerySchema,
      response: limitUsageListSchema,
      handle: async ({ query: { limit, ...query } }) => {
        const found = await asked(() => book.usage({ ...query, limit: limit + 1 }));
        const usage = found.map(usageView).sort((left, right) => right.percentUsed - left.percentUsed);
        return { usage: usage.slice(0, limit), truncated: found.length > limit };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/limits/drift',
      permission: 'limits:read',
      summary: 'Calendar budgets whose counter and ledger differ: what a failover of Redis has forgotten',
      tag: 'limits',
      query: limitDriftQuerySchema,
      response: limitDriftListSchema,
      handle: async ({ query: { rule } }) => {
        const found = await asked(() => book.drift(rule));
        return { drift: found.filter(({ drift }) => drift !== 0).map(driftView) };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/limits/:rule/reset',
      permission: 'limits:write',
      summary: 'Forget what somebody has used of a limit; what open requests hold stays held',
      tag: 'limits',
      params: z.object({ rule: z.string() }),
      body: resetLimitSchema,
      response: resetLimitResultSchema,
      handle: async ({ params: { rule }, body: { subject }, caller }) => {
        requireRule(rule, inForce());
        const counters = await asked(() => book.reset(rule, subject));
        if (counters > 0) await events.record([resetEvent(rule, subject, caller, now())]);
        return { rule, subject, counters };
      },
    }),
  ];
}

/** @throws AdminError not_found */
function requireRule(rule: string, snapshot: Snapshot | undefined): void {
  const names = (snapshot?.limits ?? []).map(({ name }) => name);
  if (names.includes(rule)) return;
  throw new AdminError('not_found', `There is no limit ${JSON.stringify(rule)}${endOfUnknown(rule, names)}`);
}

function resetEvent(rule: string, subject: string, caller: Caller, time: number) {
  return {
    time,
    kind: 'limit',
    severity: 'info',
    subject: rule,
    message: `${caller.actor} reset what ${subject} has used of ${rule}.`,
    detail: { subject, actor: caller.actor },
  } as const;
}

async function asked<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch {
    throw new AdminError('unavailable', 'The store that counts does not answer at this moment; try again.');
  }
}

/** Nano-USD as USD; other units as they are. */
function shown(amount: number, unit: LimitUnit): number {
  return unit === 'usd' ? amount / NANO_USD : amount;
}

function usageView({ rule, subject, unit, ...one }: LimitUsage) {
  return {
    rule,
    subject,
    unit,
    limit: shown(one.limit, unit),
    used: shown(one.used, unit),
    reserved: shown(one.reserved, unit),
    overrun: shown(one.overrun, unit),
    percentUsed: one.limit === 0 ? 100 : Math.round((1000 * (one.used + one.reserved)) / one.limit) / 10,
    periodStart: iso(one.periodStart),
    resetsAt: iso(one.resetsAt),
  };
}

function driftView({ ledger, drift, ...usage }: LimitDriftView) {
  const { unit } = usage;
  return { ...usageView(usage), ledger: shown(ledger, unit), drift: shown(drift, unit) };
}

function limitView({ span, limit, unit, ...one }: SnapshotLimit) {
  return {
    ...one,
    unit,
    limit: shown(limit, unit),
    span: span.name,
    timeZone: span.kind === 'calendar' ? span.timeZone : undefined,
  };
}
