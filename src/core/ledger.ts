import type { Price, Usage } from './usage.ts';
import type { ErrorCode } from './errors.ts';
import type { LimitCharge, LimitCheck, LimitHold, LimitOutcome, SettledAmounts } from './limits.ts';
import type { TraceLine } from './trace.ts';

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
  readonly tenant: string;
  /** Client format: chat, messages …, embeddings; backend. */
  readonly format: string;
  /** Model name as the client sent it. */
  readonly modelAsked: string;
  /** Name of the Model resource. */
  readonly model: string;
  readonly stream: boolean;
  /** Estimate of the input tokens, from the size of the body. */
  readonly inputEstimate: number;
  /** Of the target that is tried first: what the input of a request costs that nobody ever settles. */
  readonly price?: Price | undefined;
  /** Snapshot version that the request pinned. */
  readonly snapshot: string;
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
  /** Settings of its type (ProviderOptions). */
  readonly options: Readonly<Record<string, string>>;
  /** The verified user, where the provider is to be told; absent: it is not. */
  readonly user?: string | undefined;
  /** In the snapshot that the request pinned, which may be long gone when it ends. */
  readonly price?: Price | undefined;
}

/** The Intent plus what only the front leg knows: the JSON in Envoy's dynamic metadata `limen.context`. */
export interface RequestContext extends Intent {
  /** Id of the intent in the store, opaque: it tells the limit domain as well. Empty where the store was away. */
  readonly intentId: string;
  /** The client sees a usage chunk at the end of a stream. */
  readonly exposeUsage: boolean;
  /** What a conversion has to tell of itself that was made once, before the first try. */
  readonly converted?: ConversionNote | undefined;
  /** How the client wants its stream. */
  readonly framing: 'sse' | 'json-array';
  /** Refuse what a provider cannot be told, instead of naming it. */
  readonly refuseLosses: boolean;
  /** The request's own `anthropic-beta`: by the next try, the one before may have taken the header out. */
  readonly betas?: string | undefined;
  /** Until when another target may take over. */
  readonly failoverOn: 'responseHeaders' | 'firstEvent';
  /** Where a good answer is to be kept, for equal requests and for `previous_response_id`; none: nowhere. */
  readonly keep?: KeepAnswer | undefined;
  /** Whether the answer was kept for an equal request before; absent where the cache had no say. */
  readonly cache?: 'hit' | 'miss' | undefined;
  /** How a client of the embeddings API wants its vectors. */
  readonly embeddingEncoding?: 'float' | 'base64' | undefined;
  /** How the answer goes back. */
  readonly mode: 'native' | 'strip' | 'processed';
  /** Every cluster that a try may go to; none where the request was refused. */
  readonly targets: readonly RequestTarget[];
  /** Microseconds that Limen took from the request's headers to its decision, waiting for the body left out. */
  readonly limenMicros: number;
  /** Every decision so far, in order. */
  readonly trace: readonly TraceLine[];
  /** What was reserved, or is to be counted; empty where no rule applied. */
  readonly holds: readonly LimitHold[];
  /** What its tokens count in limits on tokens; absent: 1. */
  readonly multiplier?: { readonly input: number; readonly output: number } | undefined;
  /** The most tokens of output that it can get: no estimate is higher. */
  readonly mostOutputTokens?: number | undefined;
  /**
   * Tokens of the prompt where its provider tells none, as of a stream that its client leaves: the most that pictures
   * and what lies elsewhere may be. Absent where no hard rule holds, or the length tells enough: `inputEstimate`.
   */
  readonly untoldInput?: number | undefined;
  /** The answer ends with so many tokens of output, by what a budget has left; absent: where the provider ends it. */
  readonly cutOffTokens?: number | undefined;
}

/** What the way back must know of how a request was converted. */
export interface ConversionNote {
  /** What the provider could not be told, as `x-limen-dropped` names it. */
  readonly dropped: string;
  /** Names of tools that take free text, of which the provider was told as functions. */
  readonly freeTextTools: readonly string[];
}

/** Where a good answer is kept once it is whole. */
export interface KeepAnswer {
  /** Key in the answer cache. */
  readonly cacheKey?: string | undefined;
  readonly cacheSeconds?: number | undefined;
  /** Others than the key that asked may get it. */
  readonly shared?: boolean | undefined;
  /** The answer is kept for `previous_response_id` for so long. */
  readonly storeSeconds?: number | undefined;
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
  readonly tenant: string;
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
  /** What the client is charged: the tokens of the try that gave it its answer. */
  readonly costUsd: number;
  /** Empty where the answer cache was not asked. */
  readonly cache: 'hit' | 'miss' | '';
  /** Milliseconds from the request's start to the first byte of the upstream; 0 where none came. */
  readonly timeToFirstTokenMs: number;
  /** Milliseconds from the request's start to its end. */
  readonly durationMs: number;
  readonly limenMicros: number;
  readonly responseBytes: number;
  readonly snapshot: string;
  readonly trace: readonly TraceLine[];
  /** What each rule was charged for the try that answered; absent: none was. */
  readonly charges?: readonly LimitCharge[] | undefined;
  /** Rules of whose reservation too little was left: the lease had run out, or it cost more; absent: of none. */
  readonly overrun?: readonly string[] | undefined;
  /** Tokens of output after which a budget ended the answer; absent: its provider ended it. */
  readonly cutOffTokens?: number | undefined;
}

/** How a try ended that did not give the client its answer. */
export const ATTEMPT_OUTCOMES = [
  'status',
  'connect_failure',
  'reset',
  'timeout',
  'first_event_error',
  'first_event_timeout',
] as const;

/** A try that did not give the client its answer. The one that did is in the row itself. */
export interface FailedAttempt {
  readonly requestId: string;
  /** Counts the tries of one request, from 1. */
  readonly ordinal: number;
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly provider: string;
  readonly providerModel: string;
  /** HTTP status of the provider; 0 where none came. */
  readonly status: number;
  readonly outcome: (typeof ATTEMPT_OUTCOMES)[number];
  /** The provider had the whole request and may have worked on it. */
  readonly mayBeBilled: boolean;
  /** What it may cost the operator in USD, at most; 0 where it was not billed. Never the client's. */
  readonly costUsd: number;
  readonly durationMs: number;
  /** Whole seconds that the provider asked to be left alone. */
  readonly retryAfterSeconds: number;
  /** What each rule was charged for it; absent: none was. */
  readonly charges?: readonly LimitCharge[] | undefined;
}

/** A failed try with the rules that it is charged to, where it may have been billed. */
export interface ChargedAttempt extends FailedAttempt {
  /** Its request's intent, out of whose reservation it is paid; empty where none was written. */
  readonly intentId: string;
  readonly holds: readonly LimitHold[];
  readonly amounts: SettledAmounts;
}

/** What is asked of the one Redis call before the upstream. */
export interface AdmitRequest {
  readonly intent: Intent;
  /** Providers that the request may go to, whose circuits are looked at. */
  readonly providers: readonly string[];
  /** Key of a kept answer (KeptAnswers) that would spare the upstream, or that the request builds upon. */
  readonly wanted?: string | undefined;
  /** Is kept at `key`, after whatever was found at `wanted`; not where both are larger than MAX_KEPT_BYTES together. */
  readonly keep?: { readonly key: string; readonly value: Buffer; readonly ttlSeconds: number } | undefined;
  /** Rules that apply. Either all of them have room and are reserved against, or none is. */
  readonly limits: readonly LimitCheck[];
  /** The most tokens of output that the request may get: what `perOutputToken` is multiplied by. */
  readonly outputTokens: number;
  /** What is found at `wanted` spares the upstream: then only rules on requests are counted. */
  readonly foundIsAnswer: boolean;
  /**
   * Intent of an admission of the same request that this one takes the place of: it goes without a row, what it reserved
   * is free, and rules on requests do not count a second time.
   */
  readonly insteadOf?: string | undefined;
}

/** Largest text that is kept under one key. */
export const MAX_KEPT_BYTES = 1_048_576;

/** What that call found. Where Redis was away: no intent, no open circuit, nothing found. */
export interface Admission {
  /** Id of the intent in the Redis stream; empty where Redis did not take it in time. */
  readonly intentId: string;
  /** Providers of whom to keep away, with the whole seconds until the next probe. */
  readonly open: ReadonlyMap<string, number>;
  readonly found?: Buffer | undefined;
  /** One for each of the request's `limits`, in their order; none where the store was away. */
  readonly limits: readonly LimitOutcome[];
  /** Output for which there is room, where a rule cut it: fewer than were asked for. */
  readonly outputTokens?: number | undefined;
  /** What is to be settled; empty where a rule refused. Rules on requests are counted already and have none. */
  readonly holds: readonly LimitHold[];
  /** The store did not answer, or refused to write: nothing is known of limits. */
  readonly storeAway: boolean;
}

/** Answers that were kept, by key. Bounded in size and time; losing one costs an upstream call, no more. */
export interface KeptAnswers {
  /**
   * Queued, bounded, never throws.
   *
   * @param after key of a kept text that goes before the value, and goes away itself; where it is gone, or both
   *   are larger than MAX_KEPT_BYTES together, nothing is kept
   * @param tenant whose requests are to find it; none unless said otherwise
   */
  put(key: string, value: Buffer, ttlSeconds: number, after?: string, tenant?: string): void;
}

/** A finished request. */
export interface LedgerSettlement {
  readonly row: GatewayLogRow;
  /** Empty where the intent was never written. */
  readonly intentId: string;
  /** What the last provider asked for, where it refused the request for now; else 0. */
  readonly retryAfterSeconds: number;
  readonly holds: readonly LimitHold[];
  /** Of the try that answered; the others come by `recordAttempts`. */
  readonly amounts: SettledAmounts;
}

/** The processor's side of the ledger. */
export interface Ledger {
  /**
   * Writes the intent, looks at circuits, fetches a kept answer: the one Redis round trip before the upstream.
   * Never rejects for want of Redis (counted in metrics; the request goes on).
   */
  admit(request: AdmitRequest): Promise<Admission>;
  /**
   * Queues a finished row; batched, retried, bounded. Never throws.
   */
  settle(settlement: LedgerSettlement): void;
  /** Queues failed tries, which also move the circuits of their providers and are charged to the rules. Never throws. */
  recordAttempts(attempts: readonly ChargedAttempt[]): void;
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
  /** `row`: JSON of a GatewayLogRow. `attempt`: of a FailedAttempt. */
  readonly kind: 'row' | 'attempt';
  readonly json: string;
  /** Rules that it overran: known to the store alone, so it is not in the JSON. */
  readonly overrun?: readonly string[] | undefined;
}

/** An open intent, and what is to stand in its place. */
export interface IntentClosing {
  readonly intentId: string;
  /** Undefined where the intent cannot be read: it goes, and no row tells of it. */
  readonly row: GatewayLogRow | undefined;
}

/** The control plane's side of what is open. Every method may reject where the store is away. */
export interface IntentBook {
  /** Up to `limit` open intents, oldest first, that are older than the lease and were not renewed within it. */
  lapsed(leaseMs: number, limit: number): Promise<readonly OpenIntent[]>;
  /**
   * Puts a row in the place of each intent that is still open and still lapsed, each pair in one step. Returns
   * how many there were: the others were settled or renewed in the meantime.
   */
  close(closings: readonly IntentClosing[], leaseMs: number): Promise<number>;
  /** How much is waiting. */
  backlog(): Promise<{ readonly intents: number; readonly rows: number }>;
  /** Takes or keeps the role of the one that reconciles; false while another has it. */
  lead(holdMs: number): Promise<boolean>;
}

/** Settles what was served and what no worker settled. Every method may reject where the store is away. */
export interface RecoveryBook {
  /** Up to `limit` open intents, oldest first, from behind the one with the id `after` (empty: from the first). */
  open(after: string, limit: number): Promise<readonly OpenIntent[]>;
  /**
   * Settles requests whose intents are still open, and charges those of their failed tries that were not charged
   * yet; whoever settles them later does nothing. Returns how many requests that was.
   */
  settle(attempts: readonly ChargedAttempt[], settlements: readonly LedgerSettlement[]): Promise<number>;
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
  insertAttempts(attempts: readonly FailedAttempt[]): Promise<void>;
}

/** One finished request with all that is known of it. */
export interface LoggedRequest {
  readonly row: GatewayLogRow;
  /** Those that another try made good, in their order. */
  readonly failedAttempts: readonly FailedAttempt[];
}

/** Finished requests, for those who ask why. */
export interface RequestLog {
  /** Undefined where there is no such request, or its row is still on its way (seconds). Rejects where the store is away. */
  read(requestId: string): Promise<LoggedRequest | undefined>;
}

/** What rules were charged by the rows: the ledger's side of a budget. */
export interface ChargeLog {
  /**
   * Sums of each rule by subject and unit, over requests that were admitted since then (Unix ms, by the clock of their worker).
   * Requests that nobody settled are not in it. Rejects where the store is away.
   */
  charged(
    rules: readonly { readonly rule: string; readonly since: number }[],
  ): Promise<readonly LimitCharge[]>;
}

/** The circuit of a provider that failed lately. A provider without one is closed and clean. */
export interface CircuitStatus {
  readonly provider: string;
  /** `probing`: its time is over; one request tries it, or the next one will. */
  readonly state: 'closed' | 'open' | 'probing';
  /** Failed tries in a row. */
  readonly failures: number;
  /** Whole seconds until a request may try it again; 0 where it may now. */
  readonly retryInSeconds: number;
}

/** The control plane's look at the circuits. */
export interface CircuitBook {
  /** Rejects where the store is away. */
  circuits(): Promise<readonly CircuitStatus[]>;
}
