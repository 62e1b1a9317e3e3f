import {
  backendOfCluster,
  CONTEXT_NAMESPACE,
  OUTCOME_HEADER,
  targetOfCluster,
  TRY_ID_HEADER,
} from '../core/gateway-names.ts';
import type { ChargedAttempt, FailedAttempt, RequestContext, RequestTarget } from '../core/ledger.ts';
import { chargesOf, NANO_USD, NO_AMOUNTS, weightedTokens, type SettledAmounts } from '../core/limits.ts';
import { makeUsage, priceUsd, type Usage } from '../core/usage.ts';
import {
  ACCESS_LOG_TYPE,
  type AccessLogCommon,
  type HttpAccessLogEntry,
} from '../envoy-protocol/access-log-messages.ts';
import { durationMilliseconds, metadataText } from '../envoy-protocol/values.ts';
import { parseContext } from './context.ts';

/** A failed try as Envoy logged it: of the request it has the id alone. */
interface LoggedTry extends Omit<FailedAttempt, 'ordinal' | 'provider' | 'providerModel' | 'costUsd'> {
  readonly cluster: string;
}

interface Waiting {
  readonly tries: readonly LoggedTry[];
  /** How many of them were told already. */
  readonly told: number;
  /** When something of the request was heard last. */
  readonly heardAt: number;
}

/** Without a word of a request for so long, its end has gone to another worker, or nowhere. */
const FORGOTTEN_AFTER_MS = 120_000;
const MOST_WAITING = 10_000;
/** A provider that answers so has given the work up, not refused it. */
const UNFINISHED_STATUSES = [408, 504];

/**
 * The failed tries of each request. Envoy logs a try when it has failed, with nothing of its request but the id;
 * then, over the same stream, the request itself: every few seconds while it is open, and at its end. Tries wait
 * here until then.
 */
export class TryLog {
  readonly #now: () => number;
  /** By request id; the one not heard of for longest comes first. */
  readonly #waiting = new Map<string, Waiting>();

  /** @param now Unix time in milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes every entry of the log in its order; returns the tries about which everything is known now. */
  read(entry: HttpAccessLogEntry): readonly ChargedAttempt[] {
    const common = entry.commonProperties;
    if (common === null) return [];
    if (common.accessLogType === ACCESS_LOG_TYPE.upstreamEnd) return this.#onTry(entry, common);
    return this.#waiting.size === 0 ? [] : this.#onRequest(common);
  }

  #onTry(entry: HttpAccessLogEntry, common: AccessLogCommon): readonly ChargedAttempt[] {
    const logged = readTry(entry, common);
    if (logged === undefined) return [];
    const { tries = [], told = 0 } = this.#waiting.get(logged.requestId) ?? {};
    this.#remember(logged.requestId, { tries: [...tries, logged], told, heardAt: this.#now() });
    return this.#forgotten();
  }

  #onRequest(common: AccessLogCommon): readonly ChargedAttempt[] {
    const requestId = metadataText(common.metadata, CONTEXT_NAMESPACE, 'id');
    const waiting = requestId === undefined ? undefined : this.#waiting.get(requestId);
    if (requestId === undefined || waiting === undefined) return [];
    const context = parseContext(metadataText(common.metadata, CONTEXT_NAMESPACE, 'context') ?? '');
    // The last try, failed or not, gave the client its answer, and is in the row itself.
    const known = Math.max(
      waiting.told,
      Math.min(waiting.tries.length, common.upstreamRequestAttemptCount - 1),
    );
    if (common.accessLogType === ACCESS_LOG_TYPE.downstreamEnd) this.#waiting.delete(requestId);
    else this.#remember(requestId, { ...waiting, told: known, heardAt: this.#now() });
    return attempts(waiting, known, context);
  }

  #remember(requestId: string, waiting: Waiting): void {
    this.#waiting.delete(requestId);
    this.#waiting.set(requestId, waiting);
  }

  /** What nobody will say more about is told as it is. */
  #forgotten(): readonly ChargedAttempt[] {
    const given: ChargedAttempt[] = [];
    const since = this.#now() - FORGOTTEN_AFTER_MS;
    for (const [requestId, waiting] of this.#waiting) {
      if (waiting.heardAt > since && this.#waiting.size <= MOST_WAITING) break;
      this.#waiting.delete(requestId);
      given.push(...attempts(waiting, waiting.tries.length, undefined));
    }
    return given;
  }
}

/** Undefined for a try whose answer went on to the client. */
function readTry(entry: HttpAccessLogEntry, common: AccessLogCommon): LoggedTry | undefined {
  // Other services have one try, which is in the row.
  if (backendOfCluster(common.upstreamCluster) !== undefined) return undefined;
  const requestId = entry.request?.requestHeaders[TRY_ID_HEADER];
  const status = entry.response?.responseCode?.value ?? 0;
  if (requestId === undefined || (status > 0 && status < 400)) return undefined;
  const headers = entry.response?.responseHeaders ?? {};
  const outcome = outcomeOf(status, headers[OUTCOME_HEADER], common);
  const retryAfter = Number(headers['retry-after'] ?? '0');
  return {
    requestId,
    cluster: common.upstreamCluster,
    time: Math.round(durationMilliseconds(common.startTime) ?? 0),
    // What a watched stream had before it failed was a good status.
    status: outcome === 'first_event_error' ? 200 : status,
    outcome,
    mayBeBilled: mayBeBilled(outcome, status, common),
    durationMs: durationMilliseconds(common.duration) ?? 0,
    retryAfterSeconds: Number.isFinite(retryAfter) && retryAfter > 0 ? Math.ceil(retryAfter) : 0,
  };
}

function outcomeOf(
  status: number,
  watched: string | undefined,
  { responseFlags, timeToFirstUpstreamRxByte }: AccessLogCommon,
): FailedAttempt['outcome'] {
  if (watched === 'first_event_error') return watched;
  if (status > 0) return 'status';
  if (responseFlags?.upstreamRequestTimeout === true) {
    return timeToFirstUpstreamRxByte === null ? 'timeout' : 'first_event_timeout';
  }
  return responseFlags?.upstreamConnectionFailure === true ? 'connect_failure' : 'reset';
}

function mayBeBilled(
  outcome: FailedAttempt['outcome'],
  status: number,
  { timeToLastUpstreamTxByte }: AccessLogCommon,
): boolean {
  if (timeToLastUpstreamTxByte === null || outcome === 'connect_failure') return false;
  return outcome !== 'status' || UNFINISHED_STATUSES.includes(status);
}

function attempts(
  { tries, told }: Waiting,
  known: number,
  context: RequestContext | undefined,
): readonly ChargedAttempt[] {
  return tries.slice(told, known).map(({ cluster, ...logged }, index) => {
    const target = context?.targets.find((candidate) => candidate.cluster === cluster);
    const provider = targetOfCluster(cluster)?.provider ?? '';
    const usage = logged.mayBeBilled ? mostUsed(context, target) : undefined;
    const costUsd = usage === undefined || target?.price === undefined ? 0 : priceUsd(usage, target.price);
    const amounts = amountsOf(usage, costUsd, context);
    const holds = context?.holds ?? [];
    const charges = chargesOf(holds, amounts, provider);
    return {
      ...logged,
      ordinal: told + index + 1,
      provider,
      providerModel: target?.model ?? '',
      costUsd,
      intentId: context?.intentId ?? '',
      holds,
      amounts,
      ...(charges.length === 0 ? {} : { charges }),
    };
  });
}

/** The input as estimated, and as much output as a provider gives where nobody says otherwise, at most what was asked for. */
function mostUsed(context: RequestContext | undefined, target: RequestTarget | undefined): Usage | undefined {
  if (context === undefined || target === undefined) return undefined;
  const output = Math.min(target.defaultMaxOutputTokens, context.mostOutputTokens ?? Infinity);
  return makeUsage({ input: context.inputEstimate, output });
}

function amountsOf(
  usage: Usage | undefined,
  costUsd: number,
  context: RequestContext | undefined,
): SettledAmounts {
  if (usage === undefined) return NO_AMOUNTS;
  const tokens = weightedTokens(usage, context?.multiplier);
  return { requests: 0, tokens, usd: Math.ceil(costUsd * NANO_USD) };
}
