import { Counter, Histogram } from 'prom-client';
import type { FailedAttempt, GatewayLogRow } from '../core/ledger.ts';
import type { Usage } from '../core/usage.ts';
import { counter, gauge, processRegistry } from './meters.ts';

/**
 * Labels are few by design: the names of configured things and statuses, never a user, a key or a text that a
 * client chose.
 */
const REQUEST_LABELS = ['format', 'model', 'provider', 'status', 'error'] as const;

const KINDS: readonly (readonly [keyof Usage, string])[] = [
  ['input', 'input'],
  ['output', 'output'],
  ['cachedInput', 'cached_input'],
  ['cacheWrite', 'cache_write'],
  ['reasoning', 'reasoning'],
  ['audioInput', 'audio_input'],
  ['imageInput', 'image_input'],
  ['audioOutput', 'audio_output'],
  ['imageOutput', 'image_output'],
];

const OVERHEAD_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
const WAIT_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const DURATION_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** What a worker can be asked when its metrics are read. */
export interface WorkerProbes {
  /** Rows that wait for Redis in this process. */
  readonly queuedRows: () => number;
  readonly redisUp: () => boolean;
  /** Exchanges with Envoy that are open. */
  readonly openExchanges?: () => number;
  /** Bytes of request bodies that are held. */
  readonly bytesInFlight?: () => number;
}

/** A worker's metrics; it is the observer of the ledger and of the access log. */
export class WorkerMetrics {
  readonly registry = processRegistry();
  readonly #requests: Counter<(typeof REQUEST_LABELS)[number]>;
  readonly #unidentified: Counter<'status'>;
  readonly #tokens: Counter<'model' | 'provider' | 'kind'>;
  readonly #usageSources: Counter<'source'>;
  readonly #cost: Counter<'model' | 'provider'>;
  readonly #overhead: Histogram<'format'>;
  readonly #firstToken: Histogram<'model' | 'provider'>;
  readonly #duration: Histogram<'format' | 'stream'>;
  readonly #admitFailures: Counter<'reason'>;
  readonly #settledRows: Counter;
  readonly #droppedRows: Counter;
  readonly #settleFailures: Counter;
  readonly #failedTries: Counter<'provider' | 'outcome'>;
  readonly #failedTriesCost: Counter<'provider'>;
  readonly #answerCache: Counter<'model' | 'result'>;
  readonly #keptAnswers: Counter<'result'>;
  readonly #limitsUnchecked: Counter<'outcome'>;
  readonly #cutOffs: Counter<'model'>;

  constructor(probes: WorkerProbes) {
    const registers = [this.registry];
    this.#requests = new Counter({
      name: 'limen_requests_total',
      help: 'Identified requests that are over',
      labelNames: REQUEST_LABELS,
      registers,
    });
    this.#unidentified = new Counter({
      name: 'limen_unidentified_requests_total',
      help: 'Requests that ended before anyone was identified',
      labelNames: ['status'],
      registers,
    });
    this.#tokens = new Counter({
      name: 'limen_tokens_total',
      help: 'Tokens; input and output hold all other kinds as parts',
      labelNames: ['model', 'provider', 'kind'],
      registers,
    });
    this.#usageSources = new Counter({
      name: 'limen_usage_source_total',
      help: 'Requests by who counted their tokens',
      labelNames: ['source'],
      registers,
    });
    this.#cost = new Counter({
      name: 'limen_cost_usd_total',
      help: 'Cost of the tokens in USD',
      labelNames: ['model', 'provider'],
      registers,
    });
    this.#overhead = new Histogram({
      name: 'limen_overhead_seconds',
      help: 'Time that Limen took to decide, waiting for the body left out',
      labelNames: ['format'],
      buckets: OVERHEAD_BUCKETS,
      registers,
    });
    this.#firstToken = new Histogram({
      name: 'limen_time_to_first_token_seconds',
      help: "From the request's start to the upstream's first byte",
      labelNames: ['model', 'provider'],
      buckets: WAIT_BUCKETS,
      registers,
    });
    this.#duration = new Histogram({
      name: 'limen_request_duration_seconds',
      help: "From the request's start to its end",
      labelNames: ['format', 'stream'],
      buckets: DURATION_BUCKETS,
      registers,
    });
    this.#admitFailures = new Counter({
      name: 'limen_ledger_admit_failures_total',
      help: 'Requests that went on without a durable intent',
      labelNames: ['reason'],
      registers,
    });
    this.#settledRows = counter('limen_ledger_rows_settled_total', 'Rows handed to Redis', registers);
    this.#droppedRows = counter(
      'limen_ledger_rows_dropped_total',
      'Rows lost: Redis was away too long',
      registers,
    );
    this.#settleFailures = counter(
      'limen_ledger_settle_failures_total',
      'Batches Redis did not take',
      registers,
    );
    this.#failedTries = new Counter({
      name: 'limen_failed_tries_total',
      help: 'Tries that a provider failed, whether or not another try was good',
      labelNames: ['provider', 'outcome'],
      registers,
    });
    this.#failedTriesCost = new Counter({
      name: 'limen_failed_tries_cost_usd_total',
      help: 'What failed tries may have cost the operator in USD; no client is charged for them',
      labelNames: ['provider'],
      registers,
    });
    this.#answerCache = new Counter({
      name: 'limen_answer_cache_total',
      help: 'Requests of models with an answer cache, and whether it had the answer',
      labelNames: ['model', 'result'],
      registers,
    });
    this.#keptAnswers = new Counter({
      name: 'limen_kept_answers_total',
      help: 'Answers for the cache and for previous_response_id: kept, or given up as too large or too many',
      labelNames: ['result'],
      registers,
    });
    this.#cutOffs = new Counter({
      name: 'limen_cut_off_answers_total',
      help: 'Streams that a budget ended',
      labelNames: ['model'],
      registers,
    });
    this.#limitsUnchecked = new Counter({
      name: 'limen_limits_store_away_total',
      help: 'Requests with limits while Redis was away: allowed without a check, or refused',
      labelNames: ['outcome'],
      registers,
    });
    gauge(
      'limen_ledger_queue_rows',
      'Rows that wait for Redis in a worker',
      registers,
      'sum',
      probes.queuedRows,
    );
    const { openExchanges, bytesInFlight } = probes;
    if (openExchanges)
      gauge('limen_open_exchanges', 'Exchanges with Envoy that are open', registers, 'sum', openExchanges);
    if (bytesInFlight)
      gauge('limen_body_bytes_in_flight', 'Bytes of request bodies held', registers, 'sum', bytesInFlight);
    // Over all workers the least counts: 0 as soon as one of them cannot reach Redis.
    gauge('limen_redis_up', 'Redis can be reached', registers, 'min', () => (probes.redisUp() ? 1 : 0));
  }

  requestSettled(row: GatewayLogRow): void {
    const { format, model, provider } = row;
    this.#requests.inc({ format, model, provider, status: String(row.status), error: row.errorCode });
    for (const [kind, label] of KINDS) {
      if (row.usage[kind] > 0) this.#tokens.inc({ model, provider, kind: label }, row.usage[kind]);
    }
    this.#usageSources.inc({ source: row.usageSource });
    if (row.costUsd > 0) this.#cost.inc({ model, provider }, row.costUsd);
    if (row.cutOffTokens !== undefined) this.#cutOffs.inc({ model });
    if (row.cache !== '') this.#answerCache.inc({ model, result: row.cache });
    this.#overhead.observe({ format }, row.limenMicros / 1e6);
    if (row.timeToFirstTokenMs > 0)
      this.#firstToken.observe({ model, provider }, row.timeToFirstTokenMs / 1e3);
    this.#duration.observe({ format, stream: String(row.stream) }, row.durationMs / 1e3);
  }

  requestUnidentified(status: number): void {
    this.#unidentified.inc({ status: String(status) });
  }

  admitFailed(reason: string): void {
    this.#admitFailures.inc({ reason });
  }

  settled(rows: number): void {
    this.#settledRows.inc(rows);
  }

  dropped(rows: number): void {
    this.#droppedRows.inc(rows);
  }

  settleFailed(): void {
    this.#settleFailures.inc();
  }

  answersKept(count: number): void {
    this.#keptAnswers.inc({ result: 'kept' }, count);
  }

  answersNotKept(count: number): void {
    this.#keptAnswers.inc({ result: 'given_up' }, count);
  }

  limitsUnchecked(outcome: 'allowed' | 'refused'): void {
    this.#limitsUnchecked.inc({ outcome });
  }

  tryFailed({ provider, outcome, costUsd }: FailedAttempt): void {
    this.#failedTries.inc({ provider, outcome });
    if (costUsd > 0) this.#failedTriesCost.inc({ provider }, costUsd);
  }
}
