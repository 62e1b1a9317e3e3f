import { BACKEND_ROUTE, backendOfCluster, targetAmong, targetOfCluster } from '../core/gateway-names.ts';
import type { GatewayLogRow, LedgerSettlement, UsageSource } from '../core/ledger.ts';
import {
  amountInWords,
  chargesOf,
  NANO_USD,
  weightedTokens,
  type LimitCharge,
  type LimitHold,
  type SettledAmounts,
} from '../core/limits.ts';
import type { TraceLine } from '../core/trace.ts';
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

/** A finished row, the intent that it closes, and what the rules are charged. */
export type Settlement = Omit<LedgerSettlement, 'retryAfterSeconds'>;

interface Charge {
  readonly usage: Usage;
  readonly source: UsageSource;
}

const NOTHING: Charge = { usage: makeUsage({}), source: 'none' };

/**
 * The ledger row of a finished request. Undefined for entries without a context: other traffic of the same
 * Envoy, and most requests that were refused before anyone was identified.
 */
export function settleFromAccessLog(
  entry: AccessLogEntry,
  dependencies: SettleDependencies,
): Settlement | undefined {
  const context = readRequestContext(entry.context);
  if (context === undefined || entry.kind !== 'end') return undefined;
  const cluster = targetOfCluster(entry.upstreamCluster);
  const target =
    context.targets.find((one) => one.cluster === entry.upstreamCluster) ??
    (cluster && targetAmong(context.targets, cluster));
  const provider = cluster?.provider ?? backendOfCluster(entry.upstreamCluster) ?? '';
  const report = readLegReport(entry.response);
  const { usage, source } = chargeOf(entry, context, report, dependencies.estimator);
  const { cutOffTokens } = report ?? {};
  const costUsd = target?.price === undefined ? 0 : priceUsd(usage, target.price);
  const errorCode = errorCodeOfEntry(entry, report);
  const lost = source === 'none' && errorCode === 'upstream_timeout' ? lostTry(target, context) : undefined;
  const amounts = lost ?? amountsOf(usage, costUsd, context);
  const charges = chargesOf(context.holds, amounts, provider);
  const row: GatewayLogRow = {
    requestId: context.requestId,
    revision: 2,
    time: context.time,
    keyId: context.keyId,
    user: context.user,
    team: context.team,
    tenant: context.tenant,
    format: context.format,
    modelAsked: context.modelAsked,
    model: context.model,
    provider,
    providerModel: provider === '' ? '' : (target?.model ?? context.model),
    stream: context.stream,
    attempts: entry.attempts,
    status: entry.status,
    errorCode,
    usage,
    usageSource: source,
    costUsd,
    cache: context.cache ?? '',
    timeToFirstTokenMs: entry.firstUpstreamByteMs ?? 0,
    durationMs: entry.durationMs,
    limenMicros: context.limenMicros,
    responseBytes: entry.responseBytes,
    snapshot: context.snapshot,
    trace: [
      ...context.trace,
      ...(cutOffTokens === undefined ? [] : [cutOffLine(context.trace, cutOffTokens)]),
      ...context.holds.map((hold) => settleLine(hold, charges)),
    ],
    ...(charges.length === 0 ? {} : { charges }),
    ...(cutOffTokens === undefined ? {} : { cutOffTokens }),
  };
  return { row, intentId: context.intentId, holds: context.holds, amounts };
}

/** What the rules are charged for the try that answered. */
function amountsOf(usage: Usage, costUsd: number, { multiplier }: SettleContext): SettledAmounts {
  return {
    requests: 1,
    tokens: weightedTokens(usage, multiplier),
    usd: Math.ceil(costUsd * NANO_USD),
  };
}

/**
 * The last try, where it took too long, may be billed as those before it (processor/try-log.ts). Rules are charged for that,
 * the client is not.
 */
function lostTry(
  target: SettleContext['targets'][number] | undefined,
  context: SettleContext,
): SettledAmounts | undefined {
  if (target === undefined || context.format === 'count_tokens') return undefined;
  const output = Math.min(target.defaultMaxOutputTokens, context.mostOutputTokens ?? Infinity);
  const usage = makeUsage({ input: context.inputEstimate, output });
  return amountsOf(usage, target.price === undefined ? 0 : priceUsd(usage, target.price), context);
}

/** The rule that cut is the one that said so at admission. */
function cutOffLine(trace: readonly TraceLine[], tokens: number): TraceLine {
  const [, rule, subject] = trace.find(([, , , outcome]) => outcome === 'cut') ?? ['', '', ''];
  return ['cutOff', rule, subject, 'cut', `ended after ${String(tokens)} tokens of output`];
}

function settleLine(hold: LimitHold, charges: readonly LimitCharge[]): TraceLine {
  const { rule, subject, unit, reserved } = hold;
  const charge = charges.find((one) => one.rule === rule && one.subject === subject && one.unit === unit);
  const reservedWords = `reserved ${amountInWords(unit, reserved)}`;
  if (charge === undefined) return ['settle', rule, subject, 'released', reservedWords];
  const settled = `settled ${amountInWords(unit, charge.amount)}`;
  return ['settle', rule, subject, 'settled', `${reservedWords}, ${settled}`];
}

/** Charged once: by the best witness there is, in this order. */
function chargeOf(
  entry: AccessLogEntry,
  context: SettleContext,
  report: LegReport | undefined,
  estimator: OutputEstimator,
): Charge {
  // No provider charges for counting, and other services have no tokens.
  if (context.format === 'count_tokens' || context.format === BACKEND_ROUTE) return NOTHING;
  const told = providerUsage(entry, report);
  if (told !== undefined) {
    if (entry.status < 400) estimator.learn(context, entry.responseBytes, told.output);
    return { usage: told, source: 'provider' };
  }
  const counted = report?.usage;
  if (counted !== undefined) {
    // OpenAI's streams tell the input only at their end.
    const input = counted.input > 0 ? counted.input : untoldInput(context);
    const most = report?.cutOffTokens === undefined ? context.mostOutputTokens : undefined;
    const output = Math.min(counted.output, most ?? Infinity);
    return { usage: makeUsage({ ...counted, input, output }), source: 'counted' };
  }
  const asked = entry.upstreamCluster !== '' && entry.attempts > 0;
  if (!asked || entry.status >= 400) return NOTHING;
  return estimatedCharge(entry, context, estimator);
}

function providerUsage(entry: AccessLogEntry, report: LegReport | undefined): Usage | undefined {
  if (report?.usageSource === 'provider' && report.usage !== undefined) return makeUsage(report.usage);
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

/** A picture or a file by its address has few bytes: whoever leaves each stream early must not get it for nothing. */
function untoldInput(context: SettleContext): number {
  return context.untoldInput ?? context.inputEstimate;
}

/** Of a usual model: where nothing has come of an answer, only time tells how much of it there may be. */
const TOKENS_PER_SECOND = 50;

/**
 * Nobody told the usage: the client left, the upstream broke, or it never tells. The input is estimated from the
 * request's size unless the beginning of the answer told it, the output from the bytes that were delivered, and where none
 * was (a model that thinks, an answer in one piece) from the time: so that whoever gives up early, and asks again, is seen to spend.
 */
function estimatedCharge(entry: AccessLogEntry, context: SettleContext, estimator: OutputEstimator): Charge {
  const told = usageFromEnvoy(entry.tokenUsage ?? { status: 'failed' });
  // The vectors of embeddings are no tokens.
  const estimate =
    context.format === 'embeddings'
      ? 0
      : Math.min(outputEstimate(entry, context, estimator), context.mostOutputTokens ?? Infinity);
  const usage = makeUsage({
    ...told,
    input: told.input > 0 ? told.input : untoldInput(context),
    output: Math.max(told.output, estimate),
  });
  return { usage, source: 'estimated' };
}

function outputEstimate(
  { responseBytes, durationMs }: AccessLogEntry,
  context: SettleContext,
  estimator: OutputEstimator,
): number {
  return responseBytes === 0
    ? Math.round((durationMs / 1000) * TOKENS_PER_SECOND)
    : estimator.estimate(context, responseBytes);
}
