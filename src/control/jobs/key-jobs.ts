import type { StoredKey, VirtualKeyStore } from '../../core/configuration-store.ts';
import type { EventLog, LimenEvent } from '../../core/events.ts';
import type { Job } from './runner.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** Days before its expiry at which a key is warned of; the fewest first. */
const WARNING_DAYS = [1, 7, 30] as const;
/** How long a deleted key can be restored. */
export const PURGE_AFTER_MS = 30 * DAY_MS;
const INACTIVE_AT_ONCE = 1000;
/** Workers that went on while no control plane was there have told by then which keys they saw in use. */
const SIGHTINGS_WAIT_MS = 300_000;
/** Who did it, in the record of changes. */
const ACTOR = 'limen';

/** A key as far as its expiry is concerned. */
export type ExpiringKey = Pick<StoredKey, 'id' | 'user' | 'team' | 'name' | 'expiresAt'> & {
  /** Absent where nobody knows: of keys that the configuration declares. */
  readonly createdAt?: number | undefined;
};

export interface KeyJobsOptions {
  readonly keys: VirtualKeyStore;
  readonly events: EventLog;
  /** Keys that the configuration declares. */
  readonly declared: () => readonly ExpiringKey[];
}

/** What time does to virtual keys. */
export function keyJobs({ keys, events, declared }: KeyJobsOptions): readonly Job[] {
  return [
    {
      name: 'key expiry warnings',
      everyMs: HOUR_MS,
      run: async (now) => {
        const expiring = await keys.listExpiring(now, Math.max(...WARNING_DAYS) * DAY_MS);
        const warnings = [...expiring, ...declared()].flatMap((key) => expiryWarning(key, now));
        const recorded = await events.record(warnings);
        return recorded.length;
      },
    },
    {
      name: 'inactive keys',
      everyMs: HOUR_MS,
      firstAfterMs: SIGHTINGS_WAIT_MS,
      run: async (now) => {
        const inactive = await keys.listInactive(now, INACTIVE_AT_ONCE);
        for (const key of inactive) {
          const reason = `not used for ${key.inactivityDays} days`;
          await keys.revoke(key.id, now, ACTOR, reason);
          await events.record([inactivityEvent(key, reason, now)]);
        }
        return inactive.length;
      },
    },
    {
      name: 'ended key graces',
      everyMs: HOUR_MS,
      run: (now) => untilNone(() => keys.endGraces(now, ACTOR)),
    },
    {
      name: 'purge of deleted keys',
      everyMs: HOUR_MS,
      run: (now) => untilNone(() => keys.purgeDeleted(now - PURGE_AFTER_MS, ACTOR)),
    },
  ];
}

/** Does some at a time until there are none left; how many there were. */
export async function untilNone(some: () => Promise<number>): Promise<number> {
  let sum = 0;
  for (;;) {
    const count = await some();
    if (count === 0) return sum;
    sum += count;
  }
}

/** The nearest of the warnings that are due, and none for a key that was made to live no longer than that. */
function expiryWarning(key: ExpiringKey, now: number): LimenEvent[] {
  const { expiresAt, createdAt = 0 } = key;
  if (expiresAt === undefined || expiresAt <= now) return [];
  const days = WARNING_DAYS.find((candidate) => now >= expiresAt - candidate * DAY_MS);
  if (days === undefined || createdAt >= expiresAt - days * DAY_MS) return [];
  return [
    {
      time: now,
      kind: 'key',
      severity: days === 1 ? 'critical' : 'warning',
      subject: key.id,
      message: `Key ${key.id} of ${key.user} expires within ${days === 1 ? 'a day' : `${days} days`}.`,
      detail: { user: key.user, team: key.team, name: key.name, expiresAt, days },
      // A new expiry is warned of anew.
      once: `key-expiry/${key.id}/${expiresAt}/${days}`,
    },
  ];
}

function inactivityEvent(key: StoredKey, reason: string, now: number): LimenEvent {
  return {
    time: now,
    kind: 'key',
    severity: 'warning',
    subject: key.id,
    message: `Key ${key.id} of ${key.user} was revoked: ${reason}.`,
    detail: { user: key.user, team: key.team, name: key.name, lastUsedAt: key.lastUsedAt },
    once: `key-inactive/${key.id}`,
  };
}
