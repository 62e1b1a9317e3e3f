import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import { housekeepingJobs } from '../control/jobs/housekeeping.ts';
import { keyJobs, type ExpiringKey } from '../control/jobs/key-jobs.ts';
import { limitAlertsJob } from '../control/jobs/limit-alerts.ts';
import { JobRunner, type Job } from '../control/jobs/runner.ts';
import type { StoredKey } from '../core/configuration-store.ts';
import { NANO_USD, type LimitAlert } from '../core/limits.ts';
import { openPostgres, type PostgresConnection } from '../store/postgres/database.ts';
import { competeForLeadership } from '../store/postgres/leadership.ts';
import { createEventStore } from '../store/postgres/repositories/events.ts';
import { createRevocationStore } from '../store/postgres/repositories/revocations.ts';
import { createUserStore } from '../store/postgres/repositories/users.ts';
import { createVirtualKeyStore } from '../store/postgres/repositories/virtual-keys.ts';

const DAY = 86_400_000;
const START = Date.UTC(2026, 0, 1);
const LOCK = 4711;

let server: TestPostgres;
let url: string;
let connection: PostgresConnection;

beforeAll(async () => {
  server = await startPostgres();
  return () => server.stop();
});

beforeEach(async () => {
  url = await server.createDatabase();
  connection = await openPostgres(url, () => undefined);
  return () => connection.close();
});

function setUp() {
  const keys = createVirtualKeyStore(connection.database);
  const events = createEventStore(connection.database);
  const revocations = createRevocationStore(connection.database);
  const declared: ExpiringKey[] = [];
  const jobs = [
    ...keyJobs({ keys, events, declared: () => declared }),
    ...housekeepingJobs(events, revocations, createUserStore(connection.database)),
  ];
  const newKey = (id: string, more: Partial<StoredKey> = {}) =>
    keys.create(
      {
        id,
        hash: randomBytes(32).toString('hex'),
        prefix: 'tw-',
        hint: 'abcd',
        user: 'ada',
        createdAt: START,
        ...more,
      },
      'ada',
    );
  const run = (name: string, now: number) => jobOf(jobs, name).run(now);
  const messages = async () => (await events.list({ limit: 100 })).map(({ message }) => message).toReversed();
  return { keys, events, revocations, declared, newKey, run, messages };
}

function jobOf(jobs: readonly Job[], name: string): Job {
  const job = jobs.find((each) => each.name === name);
  if (job === undefined) throw new Error(`There is no job ${name}.`);
  return job;
}

describe('jobs of keys', () => {
  it('warn 30, 7 and 1 days before the end, once each', async () => {
    const { newKey, run, messages } = setUp();
    await newKey('k', { expiresAt: START + 100 * DAY });
    const warn = (day: number) => run('key expiry warnings', START + day * DAY);
    expect(await warn(69)).toBe(0);
    expect(await warn(70)).toBe(1);
    expect(await warn(71)).toBe(0);
    expect(await warn(93)).toBe(1);
    expect(await warn(99)).toBe(1);
    expect(await warn(99.5)).toBe(0);
    expect(await messages()).toEqual([
      'Key k of ada expires within 30 days.',
      'Key k of ada expires within 7 days.',
      'Key k of ada expires within a day.',
    ]);
  });

  it('warn only of what is near where a warning was missed, and not of keys that were made to be short', async () => {
    const { newKey, run, messages } = setUp();
    await newKey('long', { expiresAt: START + 100 * DAY });
    await newKey('short', { createdAt: START + 94 * DAY, expiresAt: START + 100 * DAY });
    await newKey('revoked', { expiresAt: START + 100 * DAY, revokedAt: START });
    await newKey('over', { expiresAt: START + 95 * DAY });
    expect(await run('key expiry warnings', START + 96 * DAY)).toBe(1);
    expect(await messages()).toEqual(['Key long of ada expires within 7 days.']);
    expect(await run('key expiry warnings', START + 99 * DAY)).toBe(2);
  });

  it('warn of keys that the configuration declares, too', async () => {
    const { declared, run, messages } = setUp();
    declared.push({ id: 'config/ci', user: 'ci', expiresAt: START + 10 * DAY });
    declared.push(
      { id: 'config/old', user: 'ci', expiresAt: START - DAY },
      { id: 'config/ever', user: 'ci' },
    );
    expect(await run('key expiry warnings', START)).toBe(1);
    expect(await run('key expiry warnings', START)).toBe(0);
    expect(await messages()).toEqual(['Key config/ci of ci expires within 30 days.']);
  });

  it('revoke keys that nobody used, and say so', async () => {
    const { keys, newKey, run, messages } = setUp();
    await newKey('idle', { inactivityDays: 10 });
    await newKey('busy', { inactivityDays: 10 });
    await keys.touch({ busy: START + 5 * DAY });
    expect(await run('inactive keys', START + 11 * DAY)).toBe(1);
    expect(await keys.get('idle')).toMatchObject({
      revokedAt: START + 11 * DAY,
      revokedReason: 'not used for 10 days',
    });
    expect((await keys.listActive(START + 11 * DAY)).map(({ id }) => id)).toEqual(['busy']);
    expect(await messages()).toEqual(['Key idle of ada was revoked: not used for 10 days.']);
    expect(await run('inactive keys', START + 12 * DAY)).toBe(0);
  });

  it('purge what was deleted 30 days ago, and secrets whose grace is over', async () => {
    const { keys, newKey, run } = setUp();
    await newKey('gone');
    await newKey('rotated');
    await keys.remove('gone', START, 'ada');
    await keys.rotate(
      'rotated',
      { hash: 'f'.repeat(64), prefix: 'tw-', hint: 'x', at: START, graceUntil: START + DAY },
      'ada',
    );
    expect(await run('purge of deleted keys', START + 29 * DAY)).toBe(0);
    expect(await run('purge of deleted keys', START + 30 * DAY)).toBe(1);
    expect(await keys.get('gone')).toBeUndefined();
    expect(await run('ended key graces', START + DAY)).toBe(1);
  });
});

describe('housekeeping', () => {
  it('purges events after 90 days and revocations that are over', async () => {
    const { events, revocations, run } = setUp();
    await events.record([
      { time: START, kind: 'system', severity: 'info', subject: 'x', message: 'Something.' },
    ]);
    await revocations.create({
      id: 'r',
      kind: 'jti',
      value: 'x',
      before: START,
      until: START + DAY,
      actor: 'ada',
      createdAt: START,
    });
    expect(await run('purge of events', START + 90 * DAY)).toBe(0);
    expect(await run('purge of events', START + 90 * DAY + 1)).toBe(1);
    expect(await run('purge of revocations', START + DAY - 1)).toBe(0);
    expect(await run('purge of revocations', START + DAY)).toBe(1);
  });
});

describe('alerts of limits', () => {
  it('become an event, a line in the log and a metric, once, also where the acknowledgement was lost', async () => {
    const { events, messages } = setUp();
    const alert: LimitAlert = {
      rule: 'team-budget',
      subject: 'core',
      unit: 'usd',
      percent: 80,
      used: 8.1 * NANO_USD,
      limit: 10 * NANO_USD,
      time: START,
      resetsAt: START + DAY,
    };
    let waiting = [{ id: '1-0', alert }];
    let away = true;
    const acknowledged: string[] = [];
    const warn = vi.fn<(detail: object, message: string) => void>();
    const counted = vi.fn<(rule: string, percent: number) => void>();
    const job = limitAlertsJob({
      limits: {
        alerts: () => Promise.resolve(waiting),
        acknowledge: (ids) => {
          if (away) return Promise.reject(new Error('away'));
          acknowledged.push(...ids);
          waiting = [];
          return Promise.resolve();
        },
      },
      events,
      observer: { limitAlert: counted },
      logger: { warn },
    });
    await expect(job.run(START)).rejects.toThrow('away');
    away = false;
    expect(await job.run(START)).toBe(0);
    expect(await job.run(START)).toBe(0);
    expect(acknowledged).toEqual(['1-0']);
    expect(await messages()).toEqual(['core has used 80 % of team-budget: 8.10 USD of 10.00 USD.']);
    expect(warn.mock.calls).toEqual([[alert, 'budget threshold crossed']]);
    expect(counted.mock.calls).toEqual([['team-budget', 80]]);
  });
});

describe('the runner', () => {
  it('does a job when its time has come, never twice at once, and goes on after a failure', async () => {
    let now = 0;
    const leadership: { term?: number } = {};
    let ends = Promise.withResolvers<number>();
    let runs = 0;
    const failed = vi.fn<(job: string) => void>();
    const succeeded = vi.fn<(job: string, at: number) => void>();
    const runner = new JobRunner({
      jobs: [
        {
          name: 'drill',
          everyMs: 1000,
          run: () => {
            runs += 1;
            return ends.promise;
          },
        },
      ],
      term: () => leadership.term,
      observer: { jobSucceeded: succeeded, jobFailed: failed },
      logger: { info: () => undefined, error: () => undefined },
      now: () => now,
    });
    runner.look();
    expect(runs).toBe(0);
    leadership.term = 1;
    runner.look();
    now = 5000;
    runner.look();
    expect(runs).toBe(1);
    ends.reject(new Error('no'));
    await vi.waitFor(() => expect(failed).toHaveBeenCalledWith('drill'));
    ends = Promise.withResolvers<number>();
    ends.resolve(1);
    runner.look();
    expect(runs).toBe(2);
    await vi.waitFor(() => expect(succeeded).toHaveBeenCalledWith('drill', 5000));
    now = 5899;
    runner.look();
    expect(runs).toBe(2);
    now = 6101;
    runner.look();
    expect(runs).toBe(3);
    await runner.close();
  });

  it('does them anew when it leads again, however short it did not', async () => {
    let term: number | undefined = 1;
    const run = vi.fn<Job['run']>(() => Promise.resolve(0));
    const runner = new JobRunner({
      jobs: [{ name: 'drill', everyMs: 3_600_000, run }],
      term: () => term,
      observer: { jobSucceeded: () => undefined, jobFailed: () => undefined },
      logger: { info: () => undefined, error: () => undefined },
      now: () => 0,
    });
    for (term of [1, 1, 2, 2, undefined, 3]) {
      runner.look();
      await new Promise(setImmediate);
    }
    expect(run).toHaveBeenCalledTimes(3);
    await runner.close();
  });

  it('tries a job that failed again after a minute, though its time were far', async () => {
    let now = 0;
    const run = vi.fn<Job['run']>(() => Promise.reject(new Error('no')));
    const runner = new JobRunner({
      jobs: [{ name: 'drill', everyMs: 3_600_000, run }],
      term: () => 1,
      observer: { jobSucceeded: () => undefined, jobFailed: () => undefined },
      logger: { info: () => undefined, error: () => undefined },
      now: () => now,
    });
    const calls: number[] = [];
    for (now of [0, 59_999, 60_000, 119_999, 120_000]) {
      runner.look();
      await new Promise(setImmediate);
      calls.push(run.mock.calls.length);
    }
    expect(calls).toEqual([1, 1, 2, 2, 3]);
    await runner.close();
  });
});

describe('the time of a job', () => {
  function drill(job: Partial<Job>) {
    const clock = { now: 1_000_000 };
    const run = vi.fn<Job['run']>(() => Promise.resolve(0));
    const runner = new JobRunner({
      jobs: [{ name: 'drill', everyMs: 1000, run, ...job }],
      term: () => 1,
      observer: { jobSucceeded: () => undefined, jobFailed: () => undefined },
      logger: { info: () => undefined, error: () => undefined },
      now: () => clock.now,
    });
    const look = async (now: number) => {
      clock.now = now;
      runner.look();
      await new Promise(setImmediate);
      return run.mock.calls.length;
    };
    return { runner, look };
  }

  it('comes also after the clock was set back', async () => {
    const { runner, look } = drill({});
    expect(await look(1_000_000)).toBe(1);
    expect(await look(1000)).toBe(2);
    expect(await look(1500)).toBe(2);
    expect(await look(2200)).toBe(3);
    await runner.close();
  });

  it('is some time after the start where workers must have told first what they saw: keys that are in use stay', async () => {
    const { keys, newKey, events } = setUp();
    await newKey('k', { inactivityDays: 1 });
    const inactive = jobOf(keyJobs({ keys, events, declared: () => [] }), 'inactive keys');
    const { runner, look } = drill(inactive);
    const start = START + 3 * DAY;
    expect(inactive.firstAfterMs).toBeGreaterThan(60_000);
    await look(start);
    await look(start + 60_000);
    await keys.touch({ k: start - 60_000 });
    await look(start + (inactive.firstAfterMs ?? 0));
    await runner.close();
    expect((await keys.get('k'))?.revokedAt).toBeUndefined();
  });
});

describe('leadership', () => {
  it('is one instance’s, and another’s as soon as that one is killed', async () => {
    const events = createEventStore(connection.database);
    const start = (name: string): ChildProcess =>
      spawn(
        process.execPath,
        [join(import.meta.dirname, '__fixtures__/job-instance.ts'), url, String(LOCK), name],
        {
          stdio: 'inherit',
        },
      );
    const doers = async (): Promise<string[]> => [
      ...new Set((await events.list({ limit: 1000 })).map(({ subject }) => subject)),
    ];
    const instances = new Map(['one', 'two'].map((name) => [name, start(name)]));
    try {
      await vi.waitFor(async () => expect((await events.list({ limit: 20 })).length).toBe(20), {
        timeout: 30_000,
      });
      const [first = ''] = await doers();
      // Long enough for the other one to ask many times.
      await new Promise((resolve) => setTimeout(resolve, 1500));
      expect(await doers()).toEqual([first]);
      instances.get(first)?.kill('SIGKILL');
      const [other = ''] = [...instances.keys()].filter((name) => name !== first);
      await vi.waitFor(async () => expect((await events.list({ limit: 1 }))[0]?.subject).toBe(other), {
        timeout: 15_000,
      });
    } finally {
      for (const instance of instances.values()) instance.kill('SIGKILL');
    }
  }, 60_000);

  it('is lost with the connection, and competed for again', async () => {
    const errors: unknown[] = [];
    const leadership = competeForLeadership({
      url,
      lock: LOCK,
      onError: (error) => errors.push(error),
      askMs: 50,
    });
    await vi.waitFor(() => expect(leadership.term).toBe(1), { timeout: 10_000 });
    const rival = competeForLeadership({ url, lock: LOCK, onError: () => undefined, askMs: 20 });
    await connection.database.execute(
      sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid = ${LOCK}`,
    );
    await vi.waitFor(
      () =>
        expect((leadership.term === undefined) !== (rival.term === undefined) && errors.length > 0).toBe(
          true,
        ),
      {
        timeout: 10_000,
      },
    );
    await leadership.close();
    await vi.waitFor(() => expect(rival.term).toBeDefined(), { timeout: 10_000 });
    await rival.close();
    expect(rival.term).toBeUndefined();
  });
});
