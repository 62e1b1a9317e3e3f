import type { AdminEvent } from '../admin/admin-event.ts';
import { DirectorySources } from '../control/directory-sources.ts';
import { housekeepingJobs } from '../control/jobs/housekeeping.ts';
import { keyJobs, type ExpiringKey } from '../control/jobs/key-jobs.ts';
import { limitAlertsJob } from '../control/jobs/limit-alerts.ts';
import { JobRunner, type Job } from '../control/jobs/runner.ts';
import { Sightings } from '../control/sightings.ts';
import { StoredDirectory } from '../control/stored-directory.ts';
import type { Directory, Sighting } from '../core/access.ts';
import type { StoreChange, VirtualKeyStore } from '../core/configuration-store.ts';
import type { EventStore } from '../core/events.ts';
import type { RevocationStore, UserStore } from '../core/identity-store.ts';
import type { LimitBook } from '../core/limits.ts';
import { DirectoryTable } from '../distribution/directory-table.ts';
import type { DistributionHub } from '../distribution/hub.ts';
import type { PostgresConnection } from '../store/postgres/database.ts';
import { competeForLeadership } from '../store/postgres/leadership.ts';
import { createEventStore } from '../store/postgres/repositories/events.ts';
import { createRevocationStore } from '../store/postgres/repositories/revocations.ts';
import { createUserStore } from '../store/postgres/repositories/users.ts';
import { createVirtualKeyStore } from '../store/postgres/repositories/virtual-keys.ts';
import type { ControlMetrics } from '../telemetry/control-metrics.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface IdentityOptions {
  readonly postgres: PostgresConnection;
  readonly distribution: Pick<
    DistributionHub,
    'publishDirectory' | 'directoryComplete' | 'awaitAcknowledged'
  >;
  readonly logger: Logger;
}

/** Who may come in, as the control plane knows it: of the database on its way to workers, and back. */
export interface Identity {
  readonly keys: VirtualKeyStore;
  readonly users: UserStore;
  readonly revocations: RevocationStore;
  readonly events: EventStore;
  /** What the workers have, for the control plane's own use. */
  readonly directory: Directory;
  /** Where else entries come from. */
  readonly sources: DirectorySources;
  /** All sources were read for the first time: workers get the directory from now on. */
  complete(): void;
  onStoreChange(change: Pick<StoreChange, 'entity' | 'id'>): Promise<void>;
  onSighting(sighting: Sighting): void;
  close(): Promise<void>;
}

/** A new or revoked key is in force before its caller is told so, unless a worker does not answer. */
const ACKNOWLEDGE_MS = 1000;
/** Any number that nothing else of ours locks. */
const JOBS_LOCK = 7_236_452;

/** Reads what the database holds of keys, users and revocations. */
export async function startIdentity({ postgres, distribution, logger }: IdentityOptions): Promise<Identity> {
  const { database } = postgres;
  const keys = createVirtualKeyStore(database);
  const users = createUserStore(database);
  const revocations = createRevocationStore(database);
  const events = createEventStore(database);

  let isComplete = false;
  const directory = new DirectoryTable();
  const sources = new DirectorySources(async ({ upsert, remove }) => {
    const sequence = distribution.publishDirectory({ upsert, remove });
    directory.change(upsert, remove, { epoch: '', sequence });
    // Before the first complete table no worker is told anything, so none could answer.
    if (isComplete) await distribution.awaitAcknowledged('directory', sequence, ACKNOWLEDGE_MS);
  });
  const stored = new StoredDirectory({
    keys,
    users,
    revocations,
    directory: sources,
    logger,
    now: Date.now,
  });
  const sightings = new Sightings({ keys, users, events, logger });
  await stored.start();

  return {
    keys,
    users,
    revocations,
    events,
    directory,
    sources,
    complete: () => {
      isComplete = true;
      distribution.directoryComplete();
    },
    onStoreChange: (change) => stored.onChange(change),
    onSighting: (sighting) => sightings.take(sighting),
    close: async () => {
      await sightings.close();
      await stored.close();
    },
  };
}

/** What the admin API changed, as the database tells of it. */
export function storeChangeOf(
  event: Exclude<AdminEvent, { type: 'resources-changed' }>,
): Pick<StoreChange, 'entity' | 'id'> {
  const { type, id } = event;
  switch (type) {
    case 'key-changed':
      return { entity: 'virtual_key', id };
    case 'user-changed':
      return { entity: 'user', id };
    case 'revocation-changed':
      return { entity: 'revocation', id };
  }
}

export interface JobsOptions {
  readonly identity: Identity;
  /** Keys that the configuration declares. */
  readonly declaredKeys: () => readonly ExpiringKey[];
  readonly postgresUrl: string;
  /** Absent: nobody asks for the alerts of limits. */
  readonly limits?: LimitBook | undefined;
  readonly metrics: ControlMetrics;
  readonly logger: Logger;
}

/** What is to be done again and again, by one control plane of the installation. */
export function startJobs({ identity, declaredKeys, postgresUrl, limits, metrics, logger }: JobsOptions): {
  close(): Promise<void>;
} {
  const { keys, users, events, revocations } = identity;
  const leadership = competeForLeadership({
    url: postgresUrl,
    lock: JOBS_LOCK,
    onError: (error) => logger.warn({ error }, 'background jobs rest: Postgres is away'),
  });
  const jobs: readonly Job[] = [
    ...keyJobs({ keys, events, declared: declaredKeys }),
    ...housekeepingJobs(events, revocations, users),
    ...(limits === undefined ? [] : [limitAlertsJob({ limits, events, observer: metrics, logger })]),
  ];
  const runner = new JobRunner({
    jobs,
    term: () => leadership.term,
    observer: metrics,
    logger,
    now: Date.now,
  });
  return {
    close: async () => {
      await runner.close();
      await leadership.close();
    },
  };
}
