import type { Surface } from '../core/access.ts';
import { MAX_KEPT_BYTES, type Admission, type AdmitRequest, type Intent } from '../core/ledger.ts';
import { MIN_OUTPUT_TOKENS, type LimitCheck } from '../core/limits.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotModel } from '../core/snapshot.ts';
import { lowerOutputLimit } from '../formats/output-limit.ts';
import { apiFor } from '../providers/translate.ts';
import { planLimits, type Cost, type LimitPlan } from '../stages/limits/checks.ts';
import { outputBound } from '../stages/limits/cost-bound.ts';
import { measureInput } from '../stages/limits/input-bound.ts';
import {
  awayRefusal,
  awayTrace,
  cutsOf,
  leftOut,
  limitRefusal,
  limitTrace,
  rateLimitHeaders,
  shortfallRefusal,
} from '../stages/limits/outcome.ts';
import { clientAddress, workflowOf } from '../stages/limits/subjects.ts';
import type { ResolvedTarget } from '../stages/route.ts';
import type { RequestHead } from './answer.ts';
import type { Conversation } from './conversation.ts';
import type { DecisionDependencies, ForwardedRequest, Known, WholeRequest } from './forward.ts';
import type { Inspection } from './operations.ts';

/** What is to be admitted, and whom and what its limits depend on. */
export interface LimitedAdmission {
  readonly head: RequestHead;
  readonly snapshot: Snapshot;
  readonly principal: Principal;
  readonly surface: Surface;
  /** Name of the Model. */
  readonly model?: string | undefined;
  /** Name of the Backend. */
  readonly backend?: string | undefined;
  /** Absent for what has no price: then only rules on requests apply. */
  readonly cost?: Cost | undefined;
  readonly ask: Omit<AdmitRequest, 'limits'>;
}

export interface Admitted extends Admission {
  /** Asked of the limiter, in the order of `limits`. */
  readonly checks: readonly LimitCheck[];
  /** Providers to keep away from, by their circuit or by a rule, with the whole seconds until they may be asked. */
  readonly closed: ReadonlyMap<string, number>;
}

const NO_LIMITS: LimitPlan = { checks: [], refuseWhenAway: [], trace: [] };

/**
 * The one call of the store before the upstream, every rule that applies in it. What was decided goes into `known`.
 *
 * Throws rate_limited and budget_exhausted, and limits_unavailable where the store is away and a rule lets nothing
 * through then.
 */
export async function admitWithinLimits(
  { head, snapshot, principal, surface, model, backend, cost, ask }: LimitedAdmission,
  known: Known,
  { ledger, onLimitsUnchecked }: Pick<DecisionDependencies, 'ledger' | 'onLimitsUnchecked'>,
): Promise<Admitted> {
  const { gateway, limits, providers } = snapshot;
  const header = (name: string): string | undefined => head.header(name);
  const { checks, refuseWhenAway, trace } =
    limits.length === 0
      ? NO_LIMITS
      : planLimits(
          snapshot,
          {
            principal,
            surface,
            model,
            backend,
            providers: ask.providers.map((name) => ({ name, resource: providers[name]?.resource ?? name })),
            address: clientAddress(header('x-forwarded-for'), gateway.trust.hops),
            workflow: workflowOf(header, gateway.workflowHeaders),
          },
          cost,
          known.intent.time,
        );
  known.trace.push(...trace);
  const admission = await ledger.admit({ ...ask, limits: checks });
  known.intentId = admission.intentId;
  known.holds = admission.holds;
  for (const [provider, seconds] of admission.open) {
    known.trace.push(['circuit', provider, '', 'open', `probe in ${seconds} s`]);
  }
  if (admission.storeAway || admission.limits.length < checks.length) {
    known.trace.push(...awayTrace(checks, refuseWhenAway));
    const refusal = awayRefusal(refuseWhenAway);
    if (checks.length > 0) onLimitsUnchecked?.(refusal === undefined ? 'allowed' : 'refused');
    if (refusal !== undefined) throw refusal;
    return { ...admission, checks: [], closed: admission.open };
  }
  known.trace.push(...limitTrace(checks, admission.limits));
  known.rateLimits = rateLimitHeaders(checks, admission.limits);
  const refusal = limitRefusal(checks, admission.limits);
  if (refusal !== undefined) throw refusal;
  const closed = new Map([...admission.open, ...leftOut(checks, admission.limits)]);
  return { ...admission, checks, closed };
}

/** What a request to a model may cost. */
export function costOf(
  { operation, snapshot, body }: WholeRequest,
  model: SnapshotModel,
  targets: readonly ResolvedTarget[],
  { inputEstimate }: Intent,
  conversation: Conversation | undefined,
): Cost {
  return {
    targets: targets.map(({ address }) => address),
    question: () => ({
      measure: measureInput(operation.wire, body),
      contextTokens: model.contextTokens,
      multiplier: model.multiplier,
      // What it goes on from is found by the very call that reserves its price.
      inputEstimate: inputEstimate + (conversation?.previousId === undefined ? 0 : MAX_KEPT_BYTES),
      tries: snapshot.gateway.retries.attempts,
    }),
  };
}

/** The most tokens of output that a request can get. */
export function largestOutput(
  { operation }: WholeRequest,
  { maxOutputTokens, candidateCount }: Inspection,
  model: SnapshotModel,
): number {
  return operation.format === undefined
    ? 0
    : outputBound(maxOutputTokens, candidateCount, model.outputTokens);
}

/** The request with what rules have cut of its output. */
export type CutRequest = Pick<ForwardedRequest, 'body' | 'inspection' | 'cutOffTokens'>;

/**
 * Lowers the request's own limit of output to what there is room for. Where a rule says cutOff and the answer is a stream
 * of one candidate, it is cut off as well: output that a provider hides until its end cannot be counted on the way.
 *
 * Throws the rule's refusal where neither can be.
 */
export function withinRoom(
  request: WholeRequest,
  { body, inspection }: Pick<ForwardedRequest, 'body' | 'inspection'>,
  targets: readonly ResolvedTarget[],
  { checks, limits, outputTokens }: Admitted,
): CutRequest {
  const cuts = cutsOf(checks, limits);
  const { operation, path, query } = request;
  const { format } = operation;
  if (outputTokens === undefined || cuts.size === 0 || format === undefined) {
    return { body, inspection, cutOffTokens: undefined };
  }
  const isCutOff = cuts.has('cutOff') && inspection.stream && inspection.candidateCount <= 1;
  const each = Math.floor(outputTokens / Math.max(1, inspection.candidateCount));
  const lowered =
    each < MIN_OUTPUT_TOKENS
      ? undefined
      : lowerOutputLimit(format.name, body, inspection.topLevel, each, chatMember(targets, inspection));
  const cutOffTokens = isCutOff ? outputTokens : undefined;
  if (lowered !== undefined) {
    return { body: lowered, inspection: operation.inspect(lowered, { path, query }), cutOffTokens };
  }
  const refusal = shortfallRefusal(checks, limits);
  if (!isCutOff && refusal !== undefined) throw refusal;
  return { body, inspection, cutOffTokens };
}

/** Servers of one format disagree about the name; where targets do, the one that OpenAI takes for every model. */
function chatMember(targets: readonly ResolvedTarget[], { stream, framing }: Inspection): string | undefined {
  const names = new Set(
    targets.map(({ address }) => apiFor(address, 'chat', stream, framing).encodeOptions.maxOutputTokensField),
  );
  const [only] = names.size === 1 ? names : [];
  return only;
}
