import { JobRunner } from '../../control/jobs/runner.ts';
import { openPostgres } from '../../store/postgres/database.ts';
import { competeForLeadership } from '../../store/postgres/leadership.ts';
import { createEventStore } from '../../store/postgres/repositories/events.ts';

/** One of several control planes as far as background jobs go: `node job-instance.ts POSTGRES_URL LOCK NAME`. */
const [url = '', lock = '', name = ''] = process.argv.slice(2);
const postgres = await openPostgres(url, () => undefined);
const events = createEventStore(postgres.database);
const leadership = competeForLeadership({ url, lock: Number(lock), onError: () => undefined, askMs: 100 });
const runner = new JobRunner({
  jobs: [
    {
      name: 'drill',
      everyMs: 1,
      run: async (time) => {
        const recorded = await events.record([
          { time, kind: 'system', severity: 'info', subject: name, message: 'Did it.' },
        ]);
        return recorded.length;
      },
    },
  ],
  term: () => leadership.term,
  observer: { jobSucceeded: () => undefined, jobFailed: () => undefined },
  logger: { info: () => undefined, error: () => undefined },
  now: Date.now,
});
setInterval(() => runner.look(), 20);
