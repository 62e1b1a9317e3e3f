import type { Surface } from '../core/access.ts';
import { MAX_KEPT_BYTES, type Admission, type AdmitRequest, type Intent } from '../core/ledger.ts';
import { MIN_OUTPUT_TOKENS, type LimitCheck } from '../core/limits.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotModel } from '../core/snapshot.ts';
import type { ClientFormatName } from '../formats/hub.ts';
import { hasLimit, lowerOutputLimit } from '../formats/output-limit.ts';
import { largestOutputOf } from '../providers/largest-output.ts';
import { apiFor } from '../providers/translate.ts';
import { planLimits, type Cost, type LimitPlan } from '../stages/limits/checks.ts';
import { outputBound } from '../stages/limits/cost-bound.ts';
import { measureInput, untoldInput, type InputMeasure } from '../stages/limits/input-bound.ts';
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

/** Bytes of a JSON body for each token of a prompt: the usual four characters, and the JSON around them. */
export const BODY_BYTES_PER_TOKEN = 4;

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
  const {
    checks,
    refuseWhenAway,
    trace,
    refusal: unknownPrice,
  } = limits.length === 0
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
  if (unknownPrice !== undefined) throw unknownPrice;
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
  known.trace.push(...limitTrace(checks, admission.limits, ask.outputTokens));
  known.rateLimits = rateLimitHeaders(checks, admission.limits);
  const refusal = limitRefusal(checks, admission.limits, ask.outputTokens);
  if (refusal !== undefined) throw refusal;
  const closed = new Map([...admission.open, ...leftOut(checks, admission.limits)]);
  return { ...admission, checks, closed };
}

/** What a request may cost, and what was found of its prompt where a rule had to know. */
export interface MeasuredCost extends Cost {
  readonly measured: InputMeasure | undefined;
}

/** What a request to a model may cost. */
export function costOf(
  { operation, snapshot, body }: WholeRequest,
  model: SnapshotModel,
  targets: readonly ResolvedTarget[],
  { inputEstimate }: Intent,
  conversation: Conversation | undefined,
  outputTokens: number,
): MeasuredCost {
  let measured: InputMeasure | undefined;
  // What it goes on from is found by the very call that reserves its price.
  const earlier = conversation?.previousId === undefined ? 0 : MAX_KEPT_BYTES;
  return {
    targets: targets.map(({ address }) => address),
    get measured() {
      return measured;
    },
    question: () => {
      measured = measureInput(operation.wire, body);
      return {
        measure: measured,
        contextTokens: model.contextTokens,
        multiplier: model.multiplier,
        inputEstimate: inputEstimate + Math.ceil(earlier / BODY_BYTES_PER_TOKEN),
        tries: snapshot.gateway.retries.attempts,
        outputTokens,
      };
    },
  };
}

/**
 * Of RequestContext; undefined where no hard rule has measured the prompt.
 *
 * @param whole with all that it goes on from
 */
export function untoldInputOf(
  { operation, body }: WholeRequest,
  cost: MeasuredCost | undefined,
  whole: Buffer,
  { contextTokens }: SnapshotModel,
  targets: readonly ResolvedTarget[],
): number | undefined {
  if (cost?.measured === undefined) return undefined;
  const measure = whole === body ? cost.measured : measureInput(operation.wire, whole);
  return untoldInput(
    measure,
    targets.map(({ address }) => address),
    contextTokens,
  );
}

/** The most tokens of output that a request can get. */
export function largestOutput(
  { operation, body }: WholeRequest,
  inspection: Inspection,
  model: SnapshotModel,
  targets: readonly ResolvedTarget[],
): number {
  if (operation.format === undefined) return 0;
  const { maxOutputTokens, candidateCount, topLevel } = inspection;
  const isRead =
    maxOutputTokens === undefined ||
    operation.wire !== 'chat' ||
    chatMembers(targets, inspection).size <= 1 ||
    hasLimit(body, topLevel, COMMON_CHAT_MEMBER);
  return outputBound(
    isRead ? maxOutputTokens : undefined,
    candidateCount,
    model.outputTokens ?? largestOfAll(targets),
  );
}

function largestOfAll(targets: readonly ResolvedTarget[]): number | undefined {
  const largest = targets.map(({ address }) => largestOutputOf(address.type, address.model) ?? Infinity);
  const most = Math.max(...largest);
  return Number.isFinite(most) ? most : undefined;
}

/** The one that servers of the chat format read, whichever else they do. */
const COMMON_CHAT_MEMBER = 'max_tokens';

/** The names by which the targets that speak chat read the limit of output: one of them, or both. */
function chatMembers(
  targets: readonly ResolvedTarget[],
  { stream, framing }: Inspection,
): ReadonlySet<string> {
  return new Set(
    targets.flatMap(({ address }) => {
      const { format, encodeOptions } = apiFor(address, 'chat', stream, framing);
      return format === 'chat' ? (encodeOptions.maxOutputTokensField ?? []) : [];
    }),
  );
}

/** The request with what rules have cut of its output. */
export type CutRequest = Pick<ForwardedRequest, 'body' | 'inspection' | 'cutOffTokens'>;

/**
 * Lowers the request's own limit of output to what there is room for. Where a rule says cutOff and the answer is a stream
 * of one candidate, it is cut off as well: output that a provider hides until its end cannot be counted on the way. Where
 * output is reserved at all, the limit stands under the name that the server reads.
 *
 * Throws the rule's refusal where none of it can be.
 */
export function withinRoom(
  request: WholeRequest,
  { body, inspection }: Pick<ForwardedRequest, 'body' | 'inspection'>,
  targets: readonly ResolvedTarget[],
  model: SnapshotModel,
  { checks, limits, outputTokens }: Admitted,
): CutRequest {
  const cuts = cutsOf(checks, limits);
  const { operation, path, query } = request;
  const isCut = outputTokens !== undefined && cuts.size > 0;
  const isReserved = checks.some(({ perOutputToken }) => perOutputToken > 0);
  const tokens = isCut
    ? Math.floor(outputTokens / Math.max(1, inspection.candidateCount))
    : namedLimit(inspection, model);
  if (operation.format === undefined || !isReserved || tokens === undefined) {
    return { body, inspection, cutOffTokens: undefined };
  }
  const isCutOff = isCut && cuts.has('cutOff') && inspection.stream && inspection.candidateCount <= 1;
  const cutOffTokens = isCutOff ? outputTokens : undefined;
  const lowered =
    isCut && tokens < MIN_OUTPUT_TOKENS
      ? undefined
      : limitedTo(tokens, operation.format.name, { body, inspection }, targets);
  if (lowered === body) return { body, inspection, cutOffTokens };
  if (lowered !== undefined) {
    return { body: lowered, inspection: operation.inspect(lowered, { path, query }), cutOffTokens };
  }
  const refusal = shortfallRefusal(checks, limits);
  if (!isCutOff && refusal !== undefined) throw refusal;
  return { body, inspection, cutOffTokens };
}

/** No provider is asked for more than was reserved: the limit of the Model is one that it may not know. */
function namedLimit({ maxOutputTokens }: Inspection, { outputTokens }: SnapshotModel): number | undefined {
  if (outputTokens === undefined) return maxOutputTokens;
  return maxOutputTokens === undefined || maxOutputTokens === 0
    ? outputTokens
    : Math.min(maxOutputTokens, outputTokens);
}

/** Undefined where no limit would bind all of the targets. */
function limitedTo(
  tokens: number,
  format: ClientFormatName,
  { body, inspection }: Pick<ForwardedRequest, 'body' | 'inspection'>,
  targets: readonly ResolvedTarget[],
): Buffer | undefined {
  const { topLevel } = inspection;
  const members = format === 'chat' ? [...chatMembers(targets, inspection)] : [];
  const [only] = members;
  if (members.length <= 1) return lowerOutputLimit(format, body, topLevel, tokens, only);
  const isCommon =
    hasLimit(body, topLevel, COMMON_CHAT_MEMBER) || !hasLimit(body, topLevel, 'max_completion_tokens');
  return isCommon ? lowerOutputLimit(format, body, topLevel, tokens, COMMON_CHAT_MEMBER) : undefined;
}
