/** What a set of durations comes to, in milliseconds; zeros where there was none. */
export interface DurationSummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Buckets grow by this factor, so that any percentile is true to one percent. */
const GROWTH = 1.01;
const LOG_GROWTH = Math.log(GROWTH);
const SMALLEST_MS = 0.001;
/** Covers up to an hour. */
const BUCKETS = Math.ceil(Math.log(3_600_000 / SMALLEST_MS) / LOG_GROWTH) + 1;

/** Counts durations in buckets of one percent: memory and cost do not grow with their number. */
export class DurationHistogram {
  readonly #buckets = new Uint32Array(BUCKETS);
  #count = 0;
  #sum = 0;
  #max = 0;

  record(milliseconds: number): void {
    const value = Math.max(milliseconds, SMALLEST_MS);
    const bucket = Math.min(BUCKETS - 1, Math.ceil(Math.log(value / SMALLEST_MS) / LOG_GROWTH));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
    this.#count += 1;
    this.#sum += milliseconds;
    if (milliseconds > this.#max) this.#max = milliseconds;
  }

  /** The duration that this share (0 to 1) of all stayed at or below, at most one percent too high. */
  percentile(share: number): number {
    const wanted = Math.max(1, Math.ceil(this.#count * share));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      seen += this.#buckets[bucket] ?? 0;
      if (seen >= wanted) return Math.min(this.#max, SMALLEST_MS * GROWTH ** bucket);
    }
    return this.#max;
  }

  summary(): DurationSummary {
    return {
      count: this.#count,
      mean: this.#count === 0 ? 0 : this.#sum / this.#count,
      p50: this.percentile(0.5),
      p90: this.percentile(0.9),
      p99: this.percentile(0.99),
      max: this.#max,
    };
  }
}
