/** Too many wait already. */
export class LaneFullError extends Error {
  override readonly name = 'LaneFullError';
}

/** Lets at most `width` run at once and `queue` wait, in order. */
export class Lane {
  readonly #width: number;
  readonly #queue: number;
  #running = 0;
  #waiting: (() => void)[] = [];

  constructor(width: number, queue: number) {
    this.#width = width;
    this.#queue = queue;
  }

  /** Waits for a turn; the result gives it back. Throws LaneFullError where too many wait. */
  async enter(): Promise<Disposable> {
    if (this.#running < this.#width) {
      this.#running += 1;
    } else {
      if (this.#waiting.length >= this.#queue) throw new LaneFullError('too many simultaneous queries');
      // The turn of the one that leaves passes on, so the count stays.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (left) return;
        left = true;
        const next = this.#waiting.shift();
        if (next === undefined) this.#running -= 1;
        else next();
      },
    };
  }
}
