import { Counter, Gauge, type Registry } from 'prom-client';
import type { CircuitStatus } from '../core/ledger.ts';
import { counter, gauge, processRegistry } from './meters.ts';

/** What the control plane can be asked when its metrics are read. */
export interface ControlProbes {
  /** Names of the providers in force. */
  readonly providers: () => readonly string[];
  /** Of those that are not closed and clean; rejects while nobody knows. */
  readonly circuits: () => Promise<readonly CircuitStatus[]>;
}

const CIRCUIT_STATES = ['closed', 'open', 'probing'] as const;

/** The control plane's metrics; it is the observer of the ledger's writer and reconciler. */
export class ControlMetrics {
  readonly registry = processRegistry();
  readonly #written: Counter;
  readonly #writeFailures: Counter;
  readonly #unreadable: Counter;
  readonly #unsettled: Counter;
  readonly #recovered: Counter;
  readonly #witnessDropped: Counter;
  readonly #openIntents: Gauge;
  readonly #waitingRows: Gauge;
  readonly #tokenRefreshes: Counter<'provider' | 'outcome'>;
  readonly #issuerKeyFetches: Counter<'provider' | 'outcome'>;
  readonly #clientPromotions: Counter<'provider' | 'outcome'>;
  readonly #jobSuccess: Gauge<'job'>;
  readonly #jobFailures: Counter<'job'>;
  readonly #overruns: Counter<'rule'>;
  readonly #limitAlerts: Counter<'rule' | 'percent'>;

  constructor(probes: ControlProbes) {
    const registers = [this.registry];
    circuitGauge(probes, registers);
    this.#written = counter('limen_ledger_rows_written_total', 'Rows that the database has', registers);
    this.#writeFailures = counter('limen_ledger_write_failures_total', 'Batches no store took', registers);
    this.#unreadable = counter('limen_ledger_rows_unreadable_total', 'Rows dropped as unreadable', registers);
    this.#unsettled = counter('limen_ledger_unsettled_total', 'Requests closed by the reconciler', registers);
    this.#recovered = counter(
      'limen_ledger_recovered_total',
      'Requests settled by the control plane, since the worker that was told of their end is gone',
      registers,
    );
    this.#witnessDropped = counter(
      'limen_ledger_witness_dropped_bytes_total',
      'Bytes of the access log that the control plane kept for less than two leases, for want of room',
      registers,
    );
    this.#openIntents = gauge(
      'limen_ledger_open_intents',
      'Admitted requests not settled yet',
      registers,
      'max',
    );
    this.#waitingRows = gauge(
      'limen_ledger_waiting_rows',
      'Rows on their way to the database',
      registers,
      'max',
    );
    this.#tokenRefreshes = new Counter({
      name: 'limen_provider_token_refreshes_total',
      help: 'Access tokens that were asked for, of providers that need them',
      labelNames: ['provider', 'outcome'],
      registers,
    });
    this.#issuerKeyFetches = new Counter({
      name: 'limen_issuer_key_fetches_total',
      help: 'Times that the keys of an identity provider were asked for',
      labelNames: ['provider', 'outcome'],
      registers,
    });
    this.#clientPromotions = new Counter({
      name: 'limen_client_promotions_total',
      help: 'Clients that registered themselves at an identity provider, by what became of them',
      labelNames: ['provider', 'outcome'],
      registers,
    });
    this.#jobSuccess = new Gauge({
      name: 'limen_job_last_success_timestamp_seconds',
      help: 'When a background job was last done, by this control plane; the others do none',
      labelNames: ['job'],
      registers,
      aggregator: 'max',
    });
    this.#jobFailures = new Counter({
      name: 'limen_job_failures_total',
      help: 'Background jobs that failed',
      labelNames: ['job'],
      registers,
    });
    this.#overruns = new Counter({
      name: 'limen_limit_overruns_total',
      help: 'Answers that cost more than was left of their reservation',
      labelNames: ['rule'],
      registers,
    });
    this.#limitAlerts = new Counter({
      name: 'limen_limit_alerts_total',
      help: 'Thresholds of limits that were crossed, once for each subject and period',
      labelNames: ['rule', 'percent'],
      registers,
    });
  }

  /** @param at Unix time in milliseconds */
  jobSucceeded(job: string, at: number): void {
    this.#jobSuccess.set({ job }, at / 1000);
  }

  jobFailed(job: string): void {
    this.#jobFailures.inc({ job });
  }

  limitAlert(rule: string, percent: number): void {
    this.#limitAlerts.inc({ rule, percent });
  }

  /** An access token for a provider was asked for. */
  tokenRefreshed(provider: string, outcome: 'renewed' | 'failed'): void {
    this.#tokenRefreshes.inc({ provider, outcome });
  }

  /** The keys of an identity provider were asked for. */
  issuerKeysFetched(provider: string, outcome: 'fetched' | 'failed'): void {
    this.#issuerKeyFetches.inc({ provider, outcome });
  }

  /** A client of an identity provider was promoted, or was not. */
  clientPromotion(
    provider: string,
    outcome: 'promoted' | 'unchanged' | 'refused' | 'retried' | 'failed',
  ): void {
    this.#clientPromotions.inc({ provider, outcome });
  }

  rowsWritten(count: number): void {
    this.#written.inc(count);
  }

  overran(rule: string): void {
    this.#overruns.inc({ rule });
  }

  writeFailed(): void {
    this.#writeFailures.inc();
  }

  rowUnreadable(): void {
    this.#unreadable.inc();
  }

  unsettled(count: number): void {
    this.#unsettled.inc(count);
  }

  recovered(requests: number): void {
    this.#recovered.inc(requests);
  }

  witnessDropped(bytes: number): void {
    this.#witnessDropped.inc(bytes);
  }

  backlog(intents: number, rows: number): void {
    this.#openIntents.set(intents);
    this.#waitingRows.set(rows);
  }
}

/** One for each provider and state, 1 for the state that it is in; none while Redis is away. */
function circuitGauge({ providers, circuits }: ControlProbes, registers: Registry[]): void {
  const made: Gauge<'provider' | 'state'> = new Gauge({
    name: 'limen_provider_circuit',
    help: "A provider's circuit: 1 for the state that it is in",
    labelNames: ['provider', 'state'],
    registers,
    aggregator: 'max',
    collect: async () => {
      made.reset();
      const known = await circuits().catch(() => undefined);
      if (known === undefined) return;
      const states = new Map(known.map(({ provider, state }) => [provider, state]));
      for (const provider of providers()) {
        for (const state of CIRCUIT_STATES) {
          made.set({ provider, state }, state === (states.get(provider) ?? 'closed') ? 1 : 0);
        }
      }
    },
  });
}
