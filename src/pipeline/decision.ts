import type { Admission, KeepAnswer } from '../core/ledger.ts';
import { ownerOf, type Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotModel } from '../core/snapshot.ts';
import type { TraceLine } from '../core/trace.ts';
import { carriesReasoning } from '../providers/translate.ts';
import { authorize, useOfModel } from '../stages/authorize.ts';
import { resolveModel, resolveTargets, unknownModel, withoutOpenCircuits } from '../stages/route.ts';
import { cacheUse, keptAnswer, type CacheUse } from './answer-cache.ts';
import { tooLarge, type Answer } from './answer.ts';
import { continued, conversationWish, readConversation, type Conversation } from './conversation.ts';
import { countedAnswer } from './count-tokens.ts';
import {
  endedContext,
  forward,
  millisecondsOf,
  type DecisionDependencies,
  type Forward,
  type ForwardedRequest,
  type Known,
  type WholeRequest,
} from './forward.ts';
import {
  admitWithinLimits,
  type Admitted,
  BODY_BYTES_PER_TOKEN,
  costOf,
  largestOutput,
  untoldInputOf,
  withinRoom,
} from './limits.ts';
import { modelNames } from './listing.ts';
import type { Inspection } from './operations.ts';
import { withSurcharge } from './surcharge.ts';
import { clientQuery } from './upstream-path.ts';

/** Longer names are cut where they are written down: none in resources is as long. */
const LONGEST_MODEL_NAME = 256;

/** The checkpoints of a request whose body was read, in order: authorize, admit, route. */
export async function decide(
  request: WholeRequest,
  known: Known,
  dependencies: DecisionDependencies,
): Promise<Answer | Forward> {
  const { operation, snapshot, principal, body } = request;
  const inspection = operation.inspect(body, { path: request.path, query: request.query });
  const modelAsked = inspection.model.slice(0, LONGEST_MODEL_NAME);
  known.intent = { ...known.intent, modelAsked, stream: inspection.stream };
  const model = findModel(snapshot, principal, inspection.model);
  known.intent = { ...known.intent, model: model.name };
  authorize(snapshot, principal, useOfModel(snapshot, model), known.trace);

  const targets = withSurcharge(
    operation.suited(resolveTargets(snapshot, model, principal, dependencies.priceOf, known.trace)),
    body,
    inspection.topLevel,
  );
  const counts = known.intent.format === 'count_tokens';
  // Of what no provider can count, or may read, the gateway counts the tokens itself.
  const countsHere = counts && (targets.length === 0 || carriesReasoning(body));

  const conversation =
    operation.wire === 'responses'
      ? readConversation(body, inspection.topLevel, snapshot.gateway.responses.storeSeconds)
      : undefined;
  const cache = counts ? undefined : cacheOf(request, inspection, model, conversation);
  const outputTokens = largestOutput(request, inspection, model, targets);
  // No provider charges for counting.
  const cost = counts ? undefined : costOf(request, model, targets, known.intent, conversation, outputTokens);
  const admit = (keptAnswer: string | undefined, insteadOf?: string): Promise<Admitted> =>
    admitWithinLimits(
      {
        head: request.head,
        snapshot,
        principal,
        surface: 'model',
        model: model.name,
        cost,
        ask: {
          intent: { ...known.intent, price: targets[0]?.address.price },
          providers: countsHere ? [] : [...new Set(targets.map(({ provider }) => provider))],
          outputTokens,
          foundIsAnswer: keptAnswer !== undefined,
          ...wishOf(request, inspection, conversation),
          ...(keptAnswer === undefined ? {} : { wanted: keptAnswer }),
          ...(insteadOf === undefined ? {} : { insteadOf }),
        },
      },
      known,
      dependencies,
    );
  let admission = await admit(cache?.mayAnswer === true ? cache.key : undefined);

  if (countsHere && operation.format !== undefined) {
    const answer = await countedAnswer(operation.format.decodeRequest(body, inspection));
    const headers = { ...answer.headers, ...known.rateLimits };
    return { ...answer, headers, context: endedContext(known, millisecondsOf(request, dependencies)) };
  }
  const exposeUsage = inspection.includeUsage || model.usageChunk === 'show';
  if (cache?.mayAnswer === true && admission.found !== undefined) {
    const hit = readHit(admission.found, request, inspection, known, exposeUsage);
    if (hit !== undefined) {
      known.trace.push(cacheLine(model, 'hit'));
      const context = endedContext(known, millisecondsOf(request, dependencies));
      const headers = { ...hit.headers, ...known.rateLimits };
      return { ...hit, headers, context: { ...context, cache: 'hit' } };
    }
    known.trace.push(cacheLine(model, 'not readable'));
    // For what was taken to answer it nothing was reserved. Where too many are open it has no intent.
    admission = await admit(undefined, admission.intentId === '' ? undefined : admission.intentId);
  }
  if (cache !== undefined) known.trace.push(cacheLine(model, cache.mayAnswer ? 'miss' : 'passed by'));
  const left = withoutOpenCircuits(targets, admission.closed, model.name);
  const longer = withEarlierItems(request, inspection, conversation, admission);
  const whole = { ...longer, ...withinRoom(request, longer, left, model, admission) };
  known.intent = {
    ...known.intent,
    inputEstimate: Math.ceil(longer.body.length / BODY_BYTES_PER_TOKEN),
  };
  // What a rule made shorter is no answer for those who have room, nor for the same client tomorrow.
  const isShortened = whole.inspection.maxOutputTokens !== longer.inspection.maxOutputTokens;
  return forward(
    {
      ...whole,
      model,
      targets: left,
      keep: keepOf(isShortened ? undefined : cache, conversation),
      cache,
      exposeUsage,
      mostOutputTokens: admission.outputTokens ?? outputTokens,
      untoldInput: untoldInputOf(request, cost, longer.body, model, left),
    },
    known,
    dependencies,
  );
}

function wishOf(
  { principal, head, body }: WholeRequest,
  { topLevel }: Inspection,
  conversation: Conversation | undefined,
): ReturnType<typeof conversationWish> {
  return conversation === undefined
    ? {}
    : conversationWish(conversation, ownerOf(principal), head.requestId, body, topLevel);
}

function cacheLine({ name, cache }: SnapshotModel, outcome: string): TraceLine {
  return ['cache', name, cache?.scope ?? '', outcome, `kept ${cache?.ttlSeconds ?? 0} s`];
}

function findModel(snapshot: Snapshot, principal: Principal, asked: string): SnapshotModel {
  const model = resolveModel(snapshot, asked);
  if (model === undefined) throw unknownModel(asked, modelNames(snapshot, principal));
  return model;
}

function cacheOf(
  request: WholeRequest,
  inspection: Inspection,
  model: SnapshotModel,
  conversation: Conversation | undefined,
): CacheUse | undefined {
  // An answer that is kept for one caller under its own id cannot be another request's as well.
  if (conversation?.previousId !== undefined || conversation?.storeSeconds !== undefined) return undefined;
  const { operation, principal, body, head } = request;
  return cacheUse({
    model,
    principal,
    operation: operation.wire,
    inspection,
    body,
    head,
    query: clientQuery(request.query, operation.wire),
    clientHeaders: operation.format?.clientHeaders ?? [],
  });
}

/** An answer that was kept and cannot be read any more is none. */
function readHit(
  found: Buffer,
  { operation }: WholeRequest,
  inspection: Inspection,
  { intent }: Known,
  exposeUsage: boolean,
): Answer | undefined {
  try {
    const created = Math.floor(intent.time / 1000);
    const { requestId } = intent;
    return keptAnswer(found, operation.format, { inspection, exposeUsage, created, requestId });
  } catch {
    return undefined;
  }
}

function keepOf(cache: CacheUse | undefined, conversation: Conversation | undefined): KeepAnswer | undefined {
  const storeSeconds = conversation?.storeSeconds;
  if (cache === undefined && storeSeconds === undefined) return undefined;
  return { cacheKey: cache?.key, cacheSeconds: cache?.seconds, shared: cache?.shared, storeSeconds };
}

function withEarlierItems(
  request: WholeRequest,
  inspection: Inspection,
  conversation: Conversation | undefined,
  admission: Admission,
): Pick<ForwardedRequest, 'request' | 'body' | 'inspection'> {
  const { body, operation, snapshot } = request;
  const previousId = conversation?.previousId;
  if (previousId === undefined) return { request, body, inspection };
  const longer = continued(body, inspection.topLevel, previousId, admission);
  const maxBytes = snapshot.gateway.limits.requestBody;
  if (longer.length > maxBytes) throw tooLarge(maxBytes);
  const { path, query } = request;
  return { request, body: longer, inspection: operation.inspect(longer, { path, query }) };
}
