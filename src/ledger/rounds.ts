import { messageOf } from '../core/errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { onceAMinute } from '../telemetry/once-a-minute.ts';

export interface RoundsOptions {
  /** From the end of one round to the next. */
  readonly everyMs: number;
  readonly round: () => Promise<unknown>;
  readonly logger: Pick<Logger, 'warn'>;
  /** What is logged, once a minute, where rounds fail. */
  readonly failure: string;
}

/** Does something again and again, never twice at once, whether it succeeds or not. */
export class Rounds {
  readonly #options: RoundsOptions;
  readonly #mayLog = onceAMinute();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** For a round that could go on for long. */
  get stopped(): boolean {
    return this.#stopped;
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.#run();
    }, this.#options.everyMs);
  }

  /** Waits for the round that is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  async #run(): Promise<void> {
    const { round, logger, failure } = this.#options;
    try {
      await round();
    } catch (error) {
      if (this.#mayLog()) logger.warn({ reason: messageOf(error) }, failure);
    }
    if (!this.#stopped) this.start();
  }
}
