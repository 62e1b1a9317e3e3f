import type { AuthenticationOptions } from '../admin/authentication.ts';
import type { AdminServices } from '../admin/routes.ts';
import type { Directory, IdentityReports } from '../core/access.ts';
import type { ChargeLog } from '../core/ledger.ts';
import type { LimitBook } from '../core/limits.ts';
import type { SessionBook } from '../core/sessions.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { limitDrift, type CalendarRule } from '../ledger/drift.ts';
import { Identifier } from '../stages/identify.ts';
import { periodStarts } from '../stages/limits/calendar.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';

/** Looked at for the drift; more have no budget of their own. */
const MOST_COUNTERS = 100_000;

export interface AdminAuthenticationParts {
  readonly snapshot: () => Snapshot | undefined;
  /** The control plane's own view of what workers are told. */
  readonly directory: Directory;
  /** What is seen here counts as much as what workers see. */
  readonly reports: IdentityReports;
  readonly sessions: SessionBook;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** The admin API knows keys and tokens by the very rules of the gateway. */
export function adminAuthentication(parts: AdminAuthenticationParts): Omit<AuthenticationOptions, 'token'> {
  const { snapshot, directory, reports, sessions, now } = parts;
  const identifier = new Identifier({
    directory,
    tokens: createTokenVerifier({ directory, reports, now }),
    reports,
    now,
  });
  return {
    snapshot,
    sessions,
    now,
    identify: (credential, present) => identifier.identify(credential, present),
  };
}

export interface LimitAdminParts {
  readonly book: LimitBook;
  readonly charges: ChargeLog;
  readonly snapshot: () => Snapshot | undefined;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** Counters, and what the ledger says of calendar budgets beside them. */
export function limitAdmin({ book, charges, snapshot, now }: LimitAdminParts): AdminServices['limits'] {
  const rulesOf = (wanted: string | undefined): CalendarRule[] =>
    (snapshot()?.limits ?? []).flatMap(({ name: rule, unit, limit, span }) => {
      // Requests are counted when they are admitted; no row says by which rule.
      if (span.kind !== 'calendar' || unit === 'requests' || (wanted !== undefined && rule !== wanted))
        return [];
      const [, periodStart, resetsAt] = periodStarts(span.name, span.timeZone, now());
      return [{ rule, unit, limit, periodStart, resetsAt }];
    });
  return {
    usage: (query) => book.usage(query),
    reset: (rule, subject) => book.reset(rule, subject),
    drift: async (wanted) => {
      const rules = rulesOf(wanted);
      if (rules.length === 0) return [];
      const [usage, charged] = await Promise.all([
        book.usage({ rule: wanted, limit: MOST_COUNTERS }),
        charges.charged(rules.map(({ rule, periodStart }) => ({ rule, since: periodStart }))),
      ]);
      return limitDrift(rules, usage, charged);
    },
  };
}
