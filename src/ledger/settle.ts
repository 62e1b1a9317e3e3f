import { targetOfCluster } from '../core/gateway-names.ts';
import type { GatewayLogRow, UsageSource } from '../core/ledger.ts';
import { makeUsage, priceUsd, type Usage } from '../core/usage.ts';
import type { AccessLogEntry, EnvoyTokenUsage } from './access-log-entry.ts';
import type { OutputEstimator } from './estimator.ts';
import { readLegReport, type LegReport } from './leg-report.ts';
import { errorCodeOfEntry } from './outcome.ts';
import { readRequestContext, type SettleContext } from './records.ts';

/** What settling needs beside the entry. */
export interface SettleDependencies {
  /** Is also taught, by answers whose usage the provider told. */
  readonly estimator: OutputEstimator;
}

/** A finished row and the intent that it closes (empty where the intent was never written). */
export interface Settlement {
  readonly row: GatewayLogRow;
  readonly intentId: string;
}

interface Charge {
  readonly usage: Usage;
  readonly source: UsageSource;
}

const NOTHING: Charge = { usage: makeUsage({}), source: 'none' };

/**
 * The ledger row of a finished request. Undefined for entries without a context: other traffic of the same
 * Envoy, and requests that were refused before anyone was identified.
 */
export function settleFromAccessLog(
  entry: AccessLogEntry,
  dependencies: SettleDependencies,
): Settlement | undefined {
  const context = readRequestContext(entry.context);
  if (context === undefined || entry.kind !== 'end') return undefined;
  const provider = targetOfCluster(entry.upstreamCluster)?.provider ?? '';
  const { targets, price } = context;
  const providerModel = targets.find(({ cluster }) => cluster === entry.upstreamCluster)?.model;
  const otherModels = targets
    .filter((target) => target.provider === provider && target.model !== providerModel)
    .map((target) => target.model);
  const attempt = reportOf(entry.attempt, provider, otherModels);
  const response = reportOf(entry.response, provider, otherModels);
  const { usage, source } = chargeOf(entry, context, [response, attempt], dependencies.estimator);
  const row: GatewayLogRow = {
    requestId: context.requestId,
    revision: 2,
    time: context.time,
    keyId: context.keyId,
    user: context.user,
    team: context.team,
    format: context.format,
    modelAsked: context.modelAsked,
    model: context.model,
    provider,
    providerModel: provider === '' ? '' : (attempt?.providerModel ?? providerModel ?? context.model),
    stream: context.stream,
    attempts: entry.attempts,
    status: entry.status,
    errorCode: errorCodeOfEntry(entry, [response, attempt]),
    usage,
    usageSource: source,
    costUsd: price === undefined ? 0 : priceUsd(usage, price),
    timeToFirstTokenMs: entry.firstUpstreamByteMs ?? 0,
    durationMs: entry.durationMs,
    limenMicros: context.limenMicros,
    responseBytes: entry.responseBytes,
    snapshot: context.snapshot,
  };
  return { row, intentId: context.intentId };
}

/** What a leg told, unless it was about a try on another provider, or on another model of this one. */
function reportOf(
  json: string | undefined,
  provider: string,
  otherModels: readonly string[],
): LegReport | undefined {
  const report = readLegReport(json);
  if (report?.provider === undefined) return report;
  const isOther = report.providerModel !== undefined && otherModels.includes(report.providerModel);
  return report.provider === provider && !isOther ? report : undefined;
}

/** Charged once: by the best witness there is, in this order. */
function chargeOf(
  entry: AccessLogEntry,
  context: SettleContext,
  reports: readonly (LegReport | undefined)[],
  estimator: OutputEstimator,
): Charge {
  const told = providerUsage(entry, reports);
  if (told !== undefined) {
    if (entry.status < 400) estimator.learn(context, entry.responseBytes, told.output);
    return { usage: told, source: 'provider' };
  }
  const counted = reports.find((report) => report?.usage !== undefined)?.usage;
  if (counted !== undefined) {
    // OpenAI's streams tell the input only at their end.
    const input = counted.input > 0 ? counted.input : context.inputEstimate;
    return { usage: makeUsage({ ...counted, input }), source: 'counted' };
  }
  const asked = entry.upstreamCluster !== '' && entry.attempts > 0;
  if (!asked || entry.status >= 400) return NOTHING;
  return estimatedCharge(entry, context, estimator);
}

function providerUsage(
  entry: AccessLogEntry,
  reports: readonly (LegReport | undefined)[],
): Usage | undefined {
  const final = reports.find((report) => report?.usageSource === 'provider' && report.usage !== undefined);
  if (final?.usage !== undefined) return makeUsage(final.usage);
  return entry.tokenUsage?.status === 'complete' ? usageFromEnvoy(entry.tokenUsage) : undefined;
}

/** Envoy's counts have the meaning of ours: the parts lie within `input` and `output`. */
function usageFromEnvoy(told: EnvoyTokenUsage): Usage {
  return makeUsage({
    input: told.inputTokens,
    output: told.outputTokens,
    cachedInput: told.cachedTokens,
    cacheWrite: told.cacheCreationTokens,
    reasoning: told.reasoningTokens,
  });
}

/**
 * Nobody told the usage: the client left, the upstream broke, or it never tells. The input is estimated from the
 * request's size unless the beginning of the answer told it, the output from the bytes that were delivered.
 */
function estimatedCharge(entry: AccessLogEntry, context: SettleContext, estimator: OutputEstimator): Charge {
  const told = usageFromEnvoy(entry.tokenUsage ?? { status: 'failed' });
  const usage = makeUsage({
    ...told,
    input: told.input > 0 ? told.input : context.inputEstimate,
    output: Math.max(told.output, estimator.estimate(context, entry.responseBytes)),
  });
  return { usage, source: 'estimated' };
}
