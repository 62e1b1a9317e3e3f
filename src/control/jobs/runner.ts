import type { Logger } from '../../telemetry/logger.ts';

/** Something to be done again and again, by one control plane at a time. */
export interface Job {
  readonly name: string;
  readonly everyMs: number;
  /** How long the first run waits after this control plane began to lead; not at all unless told otherwise. */
  readonly firstAfterMs?: number;
  /**
   * Must be harmless where two do it at once: it is done by one, but one that is cut off learns of that late.
   *
   * @param now Unix time in milliseconds
   * @returns how much there was to do
   */
  readonly run: (now: number) => Promise<number>;
}

export interface JobRunnerOptions {
  readonly jobs: readonly Job[];
  /** Another number each time that this control plane becomes the one that does them; undefined while it is not. */
  readonly term: () => number | undefined;
  readonly observer: {
    /** @param at Unix time in milliseconds */
    jobSucceeded(job: string, at: number): void;
    jobFailed(job: string): void;
  };
  readonly logger: Pick<Logger, 'info' | 'error'>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** How often it is looked whether a job's time has come. */
const LOOK_MS = 1000;
const JITTER = 0.1;
/** A job that failed is tried again after so long, or sooner where its time comes sooner. */
const RETRY_MS = 60_000;

/** Does jobs when their time has come, each never twice at once. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #due = new Map<string, number>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #term: number | undefined;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  /** Starts what is due: almost everything, where this control plane has just begun to lead. */
  look(): void {
    const { jobs, now } = this.#options;
    const term = this.#options.term();
    // Leadership may have been lost and won again since the last look.
    if (term !== this.#term) this.#due.clear();
    this.#term = term;
    if (term === undefined) return;
    for (const job of jobs) {
      if (!this.#due.has(job.name)) this.#due.set(job.name, now() + (job.firstAfterMs ?? 0));
      if (this.#running.has(job.name) || !this.#isDue(job)) continue;
      // Jitter, so that control planes of several installations on one server do not keep in step.
      this.#due.set(job.name, now() + job.everyMs * (1 - JITTER + 2 * JITTER * Math.random()));
      this.#running.set(job.name, this.#run(job));
    }
  }

  /** Also where its time is further away than it can be: the clock was set back. */
  #isDue({ name, everyMs, firstAfterMs = 0 }: Job): boolean {
    const wait = (this.#due.get(name) ?? 0) - this.#options.now();
    return wait <= 0 || wait > Math.max(everyMs * (1 + JITTER), firstAfterMs);
  }

  /** Resolves when what runs is done. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running.values());
  }

  async #run(job: Job): Promise<void> {
    const { observer, logger, now } = this.#options;
    try {
      const count = await job.run(now());
      observer.jobSucceeded(job.name, now());
      if (count > 0) logger.info({ job: job.name, count }, 'a background job had something to do');
    } catch (error) {
      observer.jobFailed(job.name);
      logger.error({ error, job: job.name }, 'a background job failed');
      const due = this.#due.get(job.name);
      if (due !== undefined) this.#due.set(job.name, Math.min(due, now() + RETRY_MS));
    } finally {
      this.#running.delete(job.name);
    }
  }
}
