import type { EventStore } from '../../core/events.ts';
import type { RevocationStore, UserStore } from '../../core/identity-store.ts';
import { untilNone } from './key-jobs.ts';
import type { Job } from './runner.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Longer than any warning lies before what it warns of, so that none is repeated. */
const EVENTS_KEPT_DAYS = 90;
/** Whose claims changed with a token; what people changed is kept. */
const SIGN_INS_KEPT_DAYS = 90;

/** Removes what is over. */
export function housekeepingJobs(
  events: Pick<EventStore, 'purge'>,
  revocations: Pick<RevocationStore, 'purge'>,
  users: Pick<UserStore, 'purgeSignIns'>,
): readonly Job[] {
  return [
    {
      name: 'purge of events',
      everyMs: HOUR_MS,
      run: (now) => events.purge(now - EVENTS_KEPT_DAYS * DAY_MS),
    },
    {
      name: 'purge of sign-ins',
      everyMs: HOUR_MS,
      run: (now) => users.purgeSignIns(now - SIGN_INS_KEPT_DAYS * DAY_MS),
    },
    {
      name: 'purge of revocations',
      everyMs: HOUR_MS,
      run: (now) => untilNone(() => revocations.purge(now, 'limen')),
    },
  ];
}
