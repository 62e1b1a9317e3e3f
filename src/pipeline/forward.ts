import type { EnvoyCapabilities } from '../core/capabilities.ts';
import { CLUSTER_HEADER, CREDENTIAL_HEADERS, type RouteName } from '../core/gateway-names.ts';
import type { ConversionNote, Intent, KeepAnswer, Ledger, RequestContext } from '../core/ledger.ts';
import type { LimitHold } from '../core/limits.ts';
import { ownerOf, type Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotModel } from '../core/snapshot.ts';
import type { TraceLine } from '../core/trace.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import { carriesReasoning, rewriteRequest } from '../providers/translate.ts';
import {
  pickCluster,
  planRoute,
  type ClusterGroup,
  type PriceOf,
  type ResolvedTarget,
  type RoutePlan,
} from '../stages/route.ts';
import type { CacheUse } from './answer-cache.ts';
import type { RequestHead } from './answer.ts';
import { Attempt } from './attempt.ts';
import { droppedFields } from './dropped.ts';
import { identityFields } from './identity-headers.ts';
import type { Inspection, Operation } from './operations.ts';
import { upstreamPath } from './upstream-path.ts';

/** The request goes on to an upstream. */
export interface Forward {
  readonly kind: 'forward';
  readonly route: RouteName;
  readonly context: RequestContext;
  /** Who asks, where one of the providers wants to know (IDENTITY_HEADERS). */
  readonly identity: Readonly<Record<string, string>> | undefined;
  readonly groups: readonly ClusterGroup[];
  readonly setHeaders: Readonly<Record<string, string>>;
  readonly removeHeaders: readonly string[];
  /** `x-ratelimit-*`, for the client. */
  readonly rateLimits: Readonly<Record<string, string>> | undefined;
  readonly body: Buffer;
}

export interface DecisionDependencies {
  readonly ledger: Ledger;
  readonly capabilities: EnvoyCapabilities;
  /** For models that no resource names. */
  readonly priceOf: PriceOf;
  /** Opens reasoning that was sealed for somebody (ownerOf); undefined: there is no key to open it with. */
  readonly reasoningCarrierFor: (owner: string) => ReasoningCarrier | undefined;
  /** Monotonic milliseconds. */
  readonly elapsed: () => number;
  readonly random: () => number;
  /** Told of each request whose limits could not be checked, and what became of it. */
  readonly onLimitsUnchecked?: (outcome: 'allowed' | 'refused') => void;
}

/** A request whose body is there. */
export interface WholeRequest {
  readonly head: RequestHead;
  readonly path: string;
  readonly query: string;
  readonly operation: Operation;
  readonly snapshot: Snapshot;
  readonly principal: Principal;
  readonly body: Buffer;
  /** Milliseconds that the head took. */
  readonly beforeBody: number;
  /** When the decision began, as `elapsed` tells it. */
  readonly started: number;
}

/** What has been found out so far: for the row of a request that is refused by throwing. */
export interface Known {
  intent: Intent;
  /** Empty until the ledger has it. */
  intentId: string;
  /** Every decision, in order; checkpoints append to it. */
  readonly trace: TraceLine[];
  /** What rules have reserved for it. */
  holds?: readonly LimitHold[];
  /** `x-ratelimit-*`, for the client. */
  rateLimits?: Readonly<Record<string, string>>;
}

export interface ForwardedRequest {
  readonly request: WholeRequest;
  /** With all that it goes on from. */
  readonly body: Buffer;
  readonly inspection: Inspection;
  readonly model: SnapshotModel;
  readonly targets: readonly ResolvedTarget[];
  readonly keep: KeepAnswer | undefined;
  readonly cache: CacheUse | undefined;
  readonly exposeUsage: boolean;
  /** The most tokens of output that it can get. */
  readonly mostOutputTokens: number;
  /** Of RequestContext. */
  readonly untoldInput: number | undefined;
  /** The stream ends with so many tokens; undefined: where the provider ends it. */
  readonly cutOffTokens: number | undefined;
}

/** The request as it leaves for the providers: routed, edited in place where all get the same, with its context. */
export function forward(
  forwarded: ForwardedRequest,
  known: Known,
  dependencies: DecisionDependencies,
): Forward {
  const { request, body, inspection, model, keep } = forwarded;
  const { operation, snapshot, head } = request;
  const { capabilities, random } = dependencies;
  const { attempts } = snapshot.gateway.retries;
  const plan = planRoute(
    forwarded.targets,
    model,
    {
      format: operation.wire,
      stream: inspection.stream,
      framing: inspection.framing,
      includeUsage: inspection.includeUsage,
      usageMustBeAsked: operation.format?.createUsageStrip !== undefined,
      keepsAnswer: keep !== undefined || forwarded.cutOffTokens !== undefined,
      mustConvert: carriesReasoning(body),
    },
    (target) => operation.shapeOf(target, inspection),
    { capabilities, attempts },
  );
  const chosen = forwarded.targets.map(({ provider }) => provider).join(', ');
  known.trace.push(['route', `model/${model.name}`, chosen, 'chosen', plan.route]);
  const planned: RequestContext = {
    ...known.intent,
    intentId: known.intentId,
    mode: plan.mode,
    targets: plan.targets,
    exposeUsage: forwarded.exposeUsage,
    framing: inspection.framing,
    refuseLosses: model.losses === 'refuse',
    betas: operation.wire === 'messages' ? head.header('anthropic-beta') : undefined,
    failoverOn: plan.watched ? 'firstEvent' : 'responseHeaders',
    keep,
    cache: forwarded.cache === undefined ? undefined : 'miss',
    embeddingEncoding: inspection.encoding,
    limenMicros: 0,
    trace: known.trace,
    holds: known.holds ?? [],
    multiplier: model.multiplier,
    mostOutputTokens: forwarded.mostOutputTokens,
    untoldInput: forwarded.untoldInput,
    cutOffTokens: forwarded.cutOffTokens,
  };
  const sent = upstreamRequest(forwarded, plan, planned, dependencies);
  return {
    kind: 'forward',
    route: plan.route,
    groups: plan.groups,
    identity: asksWho(snapshot, forwarded.targets) ? identityFields(request.principal) : undefined,
    rateLimits: known.rateLimits,
    body: sent.body,
    context: {
      ...planned,
      converted: sent.converted,
      limenMicros: Math.round(millisecondsOf(request, dependencies) * 1000),
    },
    setHeaders: {
      ...sent.setHeaders,
      'content-length': String(sent.body.length),
      'content-type': 'application/json',
      'x-envoy-max-retries': String(attempts - 1),
      ...perTryTimeout(model),
      ...clusterHeader(plan, capabilities, random),
    },
    removeHeaders: [...REMOVED_HEADERS, ...sent.removeHeaders].filter(
      (name) => !Object.hasOwn(sent.setHeaders, name),
    ),
  };
}

function asksWho({ providers }: Snapshot, targets: readonly ResolvedTarget[]): boolean {
  return targets.some(({ provider }) => providers[provider]?.identityHeaders === true);
}

/**
 * Whoever reads the answer here or in Envoy must find it uncompressed. The body was read as it is, so no upstream may be
 * told to decompress it into another one.
 */
const REMOVED_HEADERS = [
  ...CREDENTIAL_HEADERS,
  'accept-encoding',
  'content-encoding',
  'expect',
  'trailer',
  'cookie',
];

interface UpstreamRequest {
  readonly body: Buffer;
  /** With the path among them. */
  readonly setHeaders: Readonly<Record<string, string>>;
  readonly removeHeaders: readonly string[];
  readonly converted?: ConversionNote;
}

/** What leaves the front leg: the provider's request where all get the same one, else the client's own. */
function upstreamRequest(
  { request, body, inspection }: ForwardedRequest,
  plan: RoutePlan,
  context: RequestContext,
  { reasoningCarrierFor }: DecisionDependencies,
): UpstreamRequest {
  const { operation, head } = request;
  const { shape } = plan;
  const [target] = plan.targets;
  if (plan.convertsOnce && target !== undefined) {
    const attempt = new Attempt(context, target.cluster, reasoningCarrierFor(ownerOf(context)));
    const converted = attempt.convert(body);
    return {
      body: converted.body,
      setHeaders: { ...converted.headers, ':path': converted.path },
      removeHeaders: converted.removeHeaders,
      converted: {
        dropped: droppedFields(converted.warnings),
        freeTextTools: converted.freeTextTools ?? [],
      },
    };
  }
  const path = upstreamPath(shape?.path ?? request.path, request.query, operation.wire);
  if (shape === undefined) return { body, setHeaders: { ':path': path }, removeHeaders: [] };
  const format = operation.format?.name ?? 'chat';
  return {
    body: rewriteRequest(body, format, inspection, shape.edits, plan.requestUsage),
    setHeaders: { ...missingHeaders(shape.headers, head), ':path': path },
    removeHeaders: [],
  };
}

/** What Limen has taken so far, waiting for the body left out. */
export function millisecondsOf(request: WholeRequest, { elapsed }: DecisionDependencies): number {
  return elapsed() - request.started + request.beforeBody;
}

/** Of a request that reaches no upstream; its row is made of this. */
export function endedContext(
  { intent, intentId, trace, holds = [] }: Known,
  milliseconds: number,
): RequestContext {
  return {
    ...intent,
    intentId,
    mode: 'native',
    targets: [],
    exposeUsage: false,
    framing: 'sse',
    refuseLosses: false,
    failoverOn: 'responseHeaders',
    limenMicros: Math.round(milliseconds * 1000),
    trace,
    holds,
  };
}

/** What the client says itself stands: it speaks the provider's own API. */
function missingHeaders(
  headers: Readonly<Record<string, string>>,
  head: RequestHead,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => head.header(name) === undefined));
}

function perTryTimeout(model: SnapshotModel): Readonly<Record<string, string>> {
  if (model.perTryTimeoutSeconds === undefined) return {};
  return { 'x-envoy-upstream-rq-per-try-timeout-ms': String(Math.round(model.perTryTimeoutSeconds * 1000)) };
}

function clusterHeader(
  plan: RoutePlan,
  capabilities: EnvoyCapabilities,
  random: () => number,
): Readonly<Record<string, string>> {
  if (capabilities.priorityGroups) return {};
  const cluster = pickCluster(plan.groups, random());
  return cluster === undefined ? {} : { [CLUSTER_HEADER]: cluster };
}
