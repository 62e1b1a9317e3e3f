import type { EnvoyCapabilities } from '../core/capabilities.ts';
import { LimenError, toLimenError } from '../core/errors.ts';
import { CLUSTER_HEADER, CREDENTIAL_HEADERS, type RouteName } from '../core/gateway-names.ts';
import type { Intent, Ledger, RequestContext } from '../core/ledger.ts';
import type { Snapshot, SnapshotModel, SnapshotProvider, VirtualKey } from '../core/snapshot.ts';
import type { Format, RequestInspection } from '../formats/format.ts';
import type { FormatName } from '../formats/hub.ts';
import { FORMATS } from '../formats/index.ts';
import { providerOf } from '../providers/index.ts';
import { rewriteRequest } from '../providers/translate.ts';
import { authorizeModel } from '../stages/authorize.ts';
import { identify, readCredential, type KeyLookup } from '../stages/identify.ts';
import {
  pickCluster,
  planRoute,
  resolveModel,
  unknownModel,
  type ClusterGroup,
  type RoutePlan,
} from '../stages/route.ts';

import { refusal, tooLarge, type Answer, type RequestHead } from './answer.ts';
import { listModels, modelNames, readiness } from './listing.ts';

export type { ClusterGroup } from '../stages/route.ts';

/** The body is needed before anything can be decided. */
export interface ReadBody {
  readonly kind: 'read';
  /** Bytes; one more is a 413. */
  readonly maxBytes: number;
  /** The largest sum of bodies that a worker may hold. */
  readonly maxBytesInFlight: number;
  /** Decides once the whole body is there. Never throws. */
  decide(body: Buffer): Promise<Answer | Forward>;
  /** The answer to a request that went wrong while it was read. */
  refuse(error: LimenError): Answer;
}

/** The request goes on to an upstream. */
export interface Forward {
  readonly kind: 'forward';
  readonly route: RouteName;
  readonly context: RequestContext;
  readonly groups: readonly ClusterGroup[];
  readonly setHeaders: Readonly<Record<string, string>>;
  readonly removeHeaders: readonly string[];
  readonly body: Buffer;
}

export interface FrontDependencies {
  /** The snapshot in force; undefined before the first. */
  readonly snapshot: () => Snapshot | undefined;
  readonly lookupKey: KeyLookup;
  readonly ledger: Ledger;
  readonly capabilities: EnvoyCapabilities;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly elapsed: () => number;
  readonly random: () => number;
}

const FORMAT_BY_PATH: Readonly<Record<string, FormatName>> = {
  '/v1/chat/completions': 'chat',
  '/v1/messages': 'messages',
};

/** Bytes of a JSON body for each token of a prompt: the usual four characters, and the JSON around them. */
const BODY_BYTES_PER_TOKEN = 4;
/** Names are at most this long in resources; a longer one is nobody's. */
const LONGEST_MODEL_NAME = 256;
const NO_BODY = Buffer.alloc(0);

/** The checkpoints of a request, in order: identify, authorize, route, admit. */
export class FrontPipeline {
  readonly #dependencies: FrontDependencies;

  constructor(dependencies: FrontDependencies) {
    this.#dependencies = dependencies;
  }

  /** Answers by the head alone where that is enough; never throws. */
  onHead(head: RequestHead): Answer | ReadBody {
    const started = this.#dependencies.elapsed();
    const [path, query] = splitOnce(head.path, '?');
    const format =
      FORMATS[FORMAT_BY_PATH[path] ?? (head.header('anthropic-version') === undefined ? 'chat' : 'messages')];
    let refuse = (error: LimenError): Answer => refusal(format, error, head.requestId);
    try {
      const snapshot = this.#dependencies.snapshot();
      if (snapshot === undefined)
        throw new LimenError('unavailable', 'The gateway is starting. Try again shortly.');
      if (path === '/health/ready') return readiness(snapshot);
      const key = identify(
        readCredential((name) => head.header(name), query),
        this.#dependencies.lookupKey,
        this.#dependencies.now(),
      );
      if (path === '/v1/models' || path.startsWith('/v1/models/'))
        return listModels(format, snapshot, key, head, path);
      const beforeBody = this.#dependencies.elapsed() - started;
      const request = { head, query, path, format, snapshot, key, body: NO_BODY, beforeBody };
      // From here on a refusal is somebody's, and so a row of the ledger.
      refuse = (error) => ({
        ...refusal(format, error, head.requestId),
        context: refusedContext(this.#intentOf(request), beforeBody),
      });
      if (head.method !== 'POST' || head.endOfStream) {
        throw new LimenError('invalid_request', `Send a POST request with a JSON body to ${path}.`, {
          ...(head.method === 'POST' ? {} : { status: 405 }),
        });
      }
      const maxBytes = snapshot.gateway.limits.requestBody;
      const declared = Number(head.header('content-length') ?? '0');
      if (declared > maxBytes) throw tooLarge(maxBytes);
      return {
        kind: 'read',
        maxBytes,
        maxBytesInFlight: snapshot.gateway.limits.bytesInFlightPerWorker,
        refuse,
        decide: (body) => this.#decideOrRefuse({ ...request, body }),
      };
    } catch (error) {
      return refuse(toLimenError(error));
    }
  }

  async #decideOrRefuse(request: DecidedRequest): Promise<Answer | Forward> {
    const known = { intent: this.#intentOf(request) };
    const started = this.#dependencies.elapsed();
    try {
      return await this.#decide(request, known, started);
    } catch (error) {
      const milliseconds = this.#dependencies.elapsed() - started + request.beforeBody;
      return {
        ...refusal(request.format, toLimenError(error), request.head.requestId),
        context: refusedContext(known.intent, milliseconds),
      };
    }
  }

  /** What is known of a request before its body was looked at. */
  #intentOf({ head, format, key, body, snapshot }: DecidedRequest): Intent {
    return {
      requestId: head.requestId,
      time: this.#dependencies.now(),
      keyId: key.id,
      user: key.user,
      team: key.team ?? '',
      format: format.name,
      modelAsked: '',
      model: '',
      stream: false,
      inputEstimate: Math.ceil(body.length / BODY_BYTES_PER_TOKEN),
      snapshot: snapshot.version,
    };
  }

  /** Keeps in `known` what it has found out so far, for the row of a request that it refuses by throwing. */
  async #decide(request: DecidedRequest, known: { intent: Intent }, started: number): Promise<Forward> {
    const { elapsed, random, ledger, capabilities } = this.#dependencies;
    const { format, snapshot, key, body } = request;
    const inspection = format.inspectRequest(body);
    const modelAsked = inspection.model.slice(0, LONGEST_MODEL_NAME);
    known.intent = { ...known.intent, modelAsked, stream: inspection.stream };
    const model = findModel(snapshot, key, inspection.model);
    known.intent = { ...known.intent, model: model.name, price: model.price };
    authorizeModel(key, model.name);
    const plan = planRoute(
      snapshot,
      model,
      {
        format: format.name,
        stream: inspection.stream,
        includeUsage: inspection.includeUsage,
        usageMustBeAsked: format.createUsageStrip !== undefined,
      },
      shapeOf,
      capabilities,
      inspection.model,
    );
    const upstreamBody = plan.path === undefined ? body : rewritten(format, body, inspection, plan);
    const { intent } = known;
    const intentId = await ledger.admit(intent);
    return {
      kind: 'forward',
      route: plan.route,
      groups: plan.groups,
      body: upstreamBody,
      context: {
        ...intent,
        intentId,
        mode: plan.mode,
        targets: plan.targets,
        exposeUsage: inspection.includeUsage || model.usageChunk === 'show',
        limenMicros: Math.round((elapsed() - started + request.beforeBody) * 1000),
      },
      setHeaders: {
        ':path': upstreamPath(plan.path ?? request.path, request.query),
        'content-length': String(upstreamBody.length),
        'content-type': 'application/json',
        'x-envoy-max-retries': String(snapshot.gateway.retries.attempts - 1),
        ...perTryTimeout(model),
        ...clusterHeader(plan, capabilities, random),
      },
      // Whoever reads the answer here or in Envoy must find it uncompressed. The body was read as it is, so no
      // upstream may be told to decompress it into another one.
      removeHeaders: [
        ...CREDENTIAL_HEADERS,
        'accept-encoding',
        'content-encoding',
        'expect',
        'trailer',
        'cookie',
      ],
    };
  }
}

interface DecidedRequest {
  readonly head: RequestHead;
  readonly path: string;
  readonly query: string;
  readonly format: Format;
  readonly snapshot: Snapshot;
  readonly key: VirtualKey;
  readonly body: Buffer;
  /** Milliseconds that the head took. */
  readonly beforeBody: number;
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}

/** The client's query goes along byte for byte, but for the key that it may hold. */
function upstreamPath(path: string, query: string): string {
  const rest = query
    .split('&')
    .filter((parameter) => !new URLSearchParams(parameter).has('key'))
    .join('&');
  return rest === '' ? path : `${path}?${rest}`;
}

/** A refused request has no intent and reaches no upstream; its row is made of this. */
function refusedContext(intent: Intent, milliseconds: number): RequestContext {
  return {
    ...intent,
    intentId: '',
    mode: 'native',
    targets: [],
    exposeUsage: false,
    limenMicros: Math.round(milliseconds * 1000),
  };
}

function findModel(snapshot: Snapshot, key: VirtualKey, asked: string): SnapshotModel {
  const model = resolveModel(snapshot, asked);
  if (model === undefined) throw unknownModel(asked, modelNames(snapshot, key));
  return model;
}

function shapeOf(provider: SnapshotProvider): { format: string; path: string } {
  const kind = providerOf(provider.type);
  return { format: kind.format, path: kind.requestPath(provider.basePath, 'generate') };
}

function rewritten(format: Format, body: Buffer, inspection: RequestInspection, plan: RoutePlan): Buffer {
  return rewriteRequest({
    format: format.name,
    body,
    inspection,
    requestUsage: plan.requestUsage,
    ...(plan.model === undefined ? {} : { model: plan.model }),
  });
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
