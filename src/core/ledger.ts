import type { Price, Usage } from './usage.ts';
import type { ErrorCode } from './errors.ts';

/** Who counted the tokens: the provider, Limen or Envoy while it passed, or nobody (estimated from bytes). */
export type UsageSource = 'provider' | 'counted' | 'estimated' | 'none';

/**
 * What is known of a request when it is admitted. Written durably before the upstream is called, and carried
 * by Envoy's dynamic metadata to the access log, so that any worker, or the reconciler, can finish the row.
 */
export interface Intent {
  /** Envoy's x-request-id, which it always makes itself. */
  readonly requestId: string;
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly keyId: string;
  readonly user: string;
  readonly team: string;
  /** Client format: chat, messages … */
  readonly format: string;
  /** Model name as the client sent it. */
  readonly modelAsked: string;
  /** Name of the Model resource. */
  readonly model: string;
  readonly stream: boolean;
  /** Estimate of the input tokens, from the size of the body. */
  readonly inputEstimate: number;
  /** Snapshot version that the request pinned. */
  readonly snapshot: string;
  /** The model's price in that snapshot, which may be long gone when the request ends. */
  readonly price?: Price | undefined;
}

/**
 * What one cluster of a request stands for in the snapshot that the request pinned. It goes along with the
 * request, since the worker that serves a later try need not have that snapshot: not yet, or no longer.
 */
export interface RequestTarget {
  readonly cluster: string;
  readonly provider: string;
  /** Folder under src/providers. */
  readonly type: string;
  /** Name that the provider knows. */
  readonly model: string;
  readonly basePath: string;
  readonly defaultMaxOutputTokens: number;
}

/** The Intent plus what only the front leg knows: the JSON in Envoy's dynamic metadata `limen.context`. */
export interface RequestContext extends Intent {
  /** Id of the intent in the Redis stream; empty where Redis was away. */
  readonly intentId: string;
  /** The client sees a usage chunk at the end of a stream. */
  readonly exposeUsage: boolean;
  /** How the answer goes back. */
  readonly mode: 'native' | 'strip' | 'processed';
  /** Every cluster that a try may go to; none where the request was refused. */
  readonly targets: readonly RequestTarget[];
  /** Microseconds that Limen took from the request's headers to its decision, waiting for the body left out. */
  readonly limenMicros: number;
}

/** One row of `gateway_logs`. */
export interface GatewayLogRow {
  readonly requestId: string;
  /** 1: closed by the reconciler; 2: by the access log. The higher one stands. */
  readonly revision: 1 | 2;
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly keyId: string;
  readonly user: string;
  readonly team: string;
  readonly format: string;
  readonly modelAsked: string;
  readonly model: string;
  readonly provider: string;
  readonly providerModel: string;
  readonly stream: boolean;
  readonly attempts: number;
  /** HTTP status that the client got; 0 where it is not known. */
  readonly status: number;
  /** Empty for a good answer. */
  readonly errorCode: ErrorCode | 'client_disconnected' | 'unsettled' | '';
  readonly usage: Usage;
  readonly usageSource: UsageSource;
  readonly costUsd: number;
  /** Milliseconds from the request's start to the first byte of the upstream; 0 where none came. */
  readonly timeToFirstTokenMs: number;
  /** Milliseconds from the request's start to its end. */
  readonly durationMs: number;
  readonly limenMicros: number;
  readonly responseBytes: number;
  readonly snapshot: string;
}

/** The processor's side of the ledger. */
export interface Ledger {
  /**
   * Writes the intent: the one Redis round trip before the upstream. Returns the intent's id, or an empty
   * string where Redis did not take it in time (counted in metrics; the request goes on).
   */
  admit(intent: Intent): Promise<string>;
  /** Queues a finished row; batched, retried, bounded. Never throws. */
  settle(row: GatewayLogRow, intentId: string): void;
  /** Marks open requests as alive, from Envoy's periodic access log. Batched. */
  renew(intentIds: readonly string[]): void;
}

/** An admitted request that nobody has settled yet, as it lies in the store. */
export interface OpenIntent {
  readonly intentId: string;
  /** JSON of an Intent. */
  readonly json: string;
}

/** A finished row that waits for the database, as it lies in the store. */
export interface QueuedRow {
  /** Position in the queue; what `acknowledge` takes. */
  readonly id: string;
  /** JSON of a GatewayLogRow. */
  readonly json: string;
}

/** The control plane's side of what is open. Every method may reject where the store is away. */
export interface IntentBook {
  /** Up to `limit` open intents, oldest first, that are older than the lease and were not renewed within it. */
  lapsed(leaseMs: number, limit: number): Promise<readonly OpenIntent[]>;
  /**
   * Puts a row in the place of each intent that is still open and still lapsed, each pair in one step. Returns
   * how many there were: the others were settled or renewed in the meantime.
   */
  close(
    closings: readonly { readonly intentId: string; readonly row: GatewayLogRow }[],
    leaseMs: number,
  ): Promise<number>;
  /** How much is waiting. */
  backlog(): Promise<{ readonly intents: number; readonly rows: number }>;
  /** Takes or keeps the role of the one that reconciles; false while another has it. */
  lead(holdMs: number): Promise<boolean>;
}

/** The queue of finished rows between the workers and the database: each row is delivered at least once. */
export interface RowQueue {
  /** New rows, waiting up to `waitMs` for the first; empty where none came. */
  read(limit: number, waitMs: number): Promise<readonly QueuedRow[]>;
  /** Rows that some reader, this one or one that died, took at least `idleMs` ago and never acknowledged. */
  reclaim(idleMs: number, limit: number): Promise<readonly QueuedRow[]>;
  /** Removes rows for good. */
  acknowledge(ids: readonly string[]): Promise<void>;
}

/** Where rows stay. A row that is inserted twice, or again with a higher revision, is seen once. */
export interface GatewayLogStore {
  insert(rows: readonly GatewayLogRow[]): Promise<void>;
}
