import { LimenError, toLimenError } from '../core/errors.ts';
import type { Intent } from '../core/ledger.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot } from '../core/snapshot.ts';
import {
  identifiedLine,
  Identifier,
  readCredential,
  type IdentifierDependencies,
} from '../stages/identify.ts';
import { credentialQuery, withoutCredential } from '../stages/backend.ts';
import { errorFormat, refusal, tooLarge, type Answer, type RequestHead } from './answer.ts';
import { decideBackend, type BackendRequest, type ForwardHead } from './backend.ts';
import { noStoredResponses } from './conversation.ts';
import { decide } from './decision.ts';
import { findEndpoint, operationName, type Endpoint } from './endpoints.ts';
import {
  endedContext,
  type DecisionDependencies,
  type Forward,
  type Known,
  type WholeRequest,
} from './forward.ts';
import { BODY_BYTES_PER_TOKEN } from './limits.ts';
import { listModels, readiness } from './listing.ts';
import { operationOf } from './operations.ts';
import { UnidentifiedRequests } from './unidentified.ts';
import { challenge, isMetadataPath, protectedResource, publicUrl } from './protected-resource.ts';

export type { ClusterGroup } from '../stages/route.ts';
export type { Forward } from './forward.ts';

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

export interface FrontDependencies extends DecisionDependencies, IdentifierDependencies {
  /** The snapshot in force; undefined before the first. */
  readonly snapshot: () => Snapshot | undefined;
}

/** What is known of a request when its head was read. */
export type HeadDecision = Answer | ReadBody | ForwardHead;

/** A request of which nothing but its head is there. */
interface Asked {
  readonly head: RequestHead;
  readonly path: string;
  readonly query: string;
  readonly endpoint: Endpoint;
  /** When it came, as `elapsed` tells it. */
  readonly started: number;
}

/** The checkpoints of a request, in order: identify, then all that needs its body. */
export class FrontPipeline {
  readonly #dependencies: FrontDependencies;
  readonly #identifier: Identifier;
  readonly #unidentified: UnidentifiedRequests;

  constructor(dependencies: FrontDependencies) {
    this.#dependencies = dependencies;
    this.#identifier = new Identifier(dependencies);
    this.#unidentified = new UnidentifiedRequests(dependencies.now);
  }

  /**
   * Decides by the head alone where that is enough; a promise for other services, and for a token whose issuer's key
   * must be waited for.
   * Never throws, never rejects.
   */
  onHead(head: RequestHead): HeadDecision | Promise<HeadDecision> {
    const [path, query] = splitOnce(head.path, '?');
    const endpoint = findEndpoint(head, path);
    const asked = { head, path, query, endpoint, started: this.#dependencies.elapsed() };
    const snapshot = this.#dependencies.snapshot();
    const refuse = (error: unknown): Answer => this.#refusedHead(toLimenError(error), asked, snapshot);
    try {
      if (snapshot === undefined)
        throw new LimenError('unavailable', 'The gateway is starting. Try again shortly.');
      if (path === '/health/ready') return readiness(snapshot);
      if (isMetadataPath(path)) return protectedResource(snapshot, head, path);
      const header = (wanted: string): string | undefined => head.header(wanted);
      const isBackend = endpoint.kind === 'backend';
      const credential = readCredential(header, isBackend ? credentialQuery(header, query) : query);
      const identified = isBackend ? { ...asked, query: withoutCredential(query, credential) } : asked;
      const principal = this.#identifier.identify(credential, snapshot);
      return principal instanceof Promise
        ? principal.then((known) => this.#onIdentified(identified, snapshot, known)).catch(refuse)
        : this.#onIdentified(identified, snapshot, principal);
    } catch (error) {
      return refuse(error);
    }
  }

  /** Throws what is nobody's row. */
  #onIdentified(
    asked: Asked,
    snapshot: Snapshot,
    principal: Principal,
  ): HeadDecision | Promise<HeadDecision> {
    const { head, path, query, endpoint } = asked;
    if (endpoint.kind === 'models') return listModels({ ...endpoint, query }, snapshot, principal, head);
    if (endpoint.kind === 'stored_response') throw noStoredResponses();
    if (endpoint.kind === 'nothing') {
      throw new LimenError('not_found', 'The gateway has nothing at this address.');
    }
    const { elapsed } = this.#dependencies;
    const beforeBody = elapsed() - asked.started;
    const format = operationName(endpoint);
    const known: Known = {
      intent: { ...this.#intentOf(head, principal, snapshot), format },
      intentId: '',
      trace: [identifiedLine(principal)],
    };
    if (endpoint.kind === 'backend') {
      return this.#decideBackend({ ...asked, ...endpoint, snapshot, principal }, known);
    }
    const request = {
      head,
      path,
      query,
      operation: operationOf(endpoint),
      snapshot,
      principal,
      beforeBody,
    };
    // From here on a refusal is somebody's, and so a row of the ledger.
    const refuse = (error: LimenError): Answer =>
      refusedAnswer(error, known, beforeBody, challenge(error, publicUrl(snapshot, head)));
    if (head.method !== 'POST' || head.endOfStream) {
      const wanted = `Send a POST request with a JSON body to ${path}.`;
      return refuse(new LimenError('invalid_request', wanted, head.method === 'POST' ? {} : { status: 405 }));
    }
    const maxBytes = snapshot.gateway.limits.requestBody;
    if (Number(head.header('content-length') ?? '0') > maxBytes) return refuse(tooLarge(maxBytes));
    return {
      kind: 'read',
      maxBytes,
      maxBytesInFlight: snapshot.gateway.limits.bytesInFlightPerWorker,
      refuse,
      decide: (body) => this.#decideOrRefuse({ ...request, body, started: elapsed() }, known),
    };
  }

  /** Of a request that is nobody's yet. */
  #refusedHead(error: LimenError, asked: Asked, snapshot: Snapshot | undefined): Answer {
    const { head, endpoint, started } = asked;
    const format = operationName(endpoint);
    const url = snapshot === undefined ? undefined : publicUrl(snapshot, head);
    const answer = refusal(errorFormat(format), error, head.requestId, challenge(error, url));
    const context = this.#unidentified.refused(error, {
      head,
      format,
      snapshot: snapshot?.version ?? '',
      milliseconds: this.#dependencies.elapsed() - started,
    });
    return context === undefined ? answer : { ...answer, context };
  }

  async #decideBackend(request: BackendRequest, known: Known): Promise<Answer | ForwardHead> {
    try {
      return await decideBackend(request, known, this.#dependencies);
    } catch (thrown) {
      const error = toLimenError(thrown);
      const milliseconds = this.#dependencies.elapsed() - request.started;
      return refusedAnswer(
        error,
        known,
        milliseconds,
        challenge(error, publicUrl(request.snapshot, request.head)),
      );
    }
  }

  async #decideOrRefuse(request: WholeRequest, beforeBody: Known): Promise<Answer | Forward> {
    const inputEstimate = Math.ceil(request.body.length / BODY_BYTES_PER_TOKEN);
    const known: Known = { ...beforeBody, intent: { ...beforeBody.intent, inputEstimate } };
    try {
      return await decide(request, known, this.#dependencies);
    } catch (thrown) {
      const error = toLimenError(thrown);
      const milliseconds = this.#dependencies.elapsed() - request.started + request.beforeBody;
      const url = publicUrl(request.snapshot, request.head);
      return refusedAnswer(error, known, milliseconds, challenge(error, url));
    }
  }

  /** What is known of a request before its body was looked at. */
  #intentOf(head: RequestHead, principal: Principal, snapshot: Snapshot): Omit<Intent, 'format'> {
    return {
      requestId: head.requestId,
      time: this.#dependencies.now(),
      keyId: principal.keyId,
      user: principal.user,
      team: principal.team ?? '',
      tenant: principal.tenant ?? '',
      modelAsked: '',
      model: '',
      stream: false,
      inputEstimate: 0,
      snapshot: snapshot.version,
    };
  }
}

function refusedAnswer(
  error: LimenError,
  known: Known,
  milliseconds: number,
  authenticate: string | undefined,
): Answer {
  const { format, requestId } = known.intent;
  const refused = refusal(errorFormat(format), error, requestId, authenticate);
  return {
    ...refused,
    headers: { ...refused.headers, ...known.rateLimits },
    context: endedContext(known, milliseconds),
  };
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}
