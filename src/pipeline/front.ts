import { LimenError, toLimenError } from '../core/errors.ts';
import type { Intent } from '../core/ledger.ts';
import type { Snapshot, VirtualKey } from '../core/snapshot.ts';
import { identify, readCredential, type KeyLookup } from '../stages/identify.ts';
import { errorFormat, refusal, tooLarge, type Answer, type RequestHead } from './answer.ts';
import { noStoredResponses } from './conversation.ts';
import { BODY_BYTES_PER_TOKEN, decide } from './decision.ts';
import { findEndpoint, operationName } from './endpoints.ts';
import {
  endedContext,
  type DecisionDependencies,
  type Forward,
  type Known,
  type WholeRequest,
} from './forward.ts';
import { listModels, readiness } from './listing.ts';
import { operationOf } from './operations.ts';

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

export interface FrontDependencies extends DecisionDependencies {
  /** The snapshot in force; undefined before the first. */
  readonly snapshot: () => Snapshot | undefined;
  readonly lookupKey: KeyLookup;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** The checkpoints of a request, in order: identify, then all that needs its body. */
export class FrontPipeline {
  readonly #dependencies: FrontDependencies;

  constructor(dependencies: FrontDependencies) {
    this.#dependencies = dependencies;
  }

  /** Answers by the head alone where that is enough; never throws. */
  onHead(head: RequestHead): Answer | ReadBody {
    const { snapshot: currentSnapshot, lookupKey, now, elapsed } = this.#dependencies;
    const started = elapsed();
    const [path, query] = splitOnce(head.path, '?');
    const endpoint = findEndpoint(head, path);
    const name = operationName(endpoint);
    let refuse = (error: LimenError): Answer => refusal(errorFormat(name), error, head.requestId);
    try {
      const snapshot = currentSnapshot();
      if (snapshot === undefined)
        throw new LimenError('unavailable', 'The gateway is starting. Try again shortly.');
      if (path === '/health/ready') return readiness(snapshot);
      const key = identify(
        readCredential((header) => head.header(header), query),
        lookupKey,
        now(),
      );
      if (endpoint.kind === 'models') return listModels({ ...endpoint, query }, snapshot, key, head);
      if (endpoint.kind === 'stored_response') throw noStoredResponses();
      if (endpoint.kind === 'nothing') {
        throw new LimenError('not_found', 'The gateway has nothing at this address.');
      }
      const beforeBody = elapsed() - started;
      const intent = { ...this.#intentOf(head, key, snapshot), format: name };
      const operation = operationOf(endpoint);
      const request = { head, path, query, operation, snapshot, key, beforeBody };
      // From here on a refusal is somebody's, and so a row of the ledger.
      refuse = (error) => refusedAnswer(error, { intent, intentId: '' }, beforeBody);
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
        decide: (body) => this.#decideOrRefuse({ ...request, body, started: elapsed() }, intent),
      };
    } catch (error) {
      return refuse(toLimenError(error));
    }
  }

  async #decideOrRefuse(request: WholeRequest, beforeBody: Intent): Promise<Answer | Forward> {
    const inputEstimate = Math.ceil(request.body.length / BODY_BYTES_PER_TOKEN);
    const known: Known = { intent: { ...beforeBody, inputEstimate }, intentId: '' };
    try {
      return await decide(request, known, this.#dependencies);
    } catch (error) {
      const milliseconds = this.#dependencies.elapsed() - request.started + request.beforeBody;
      return refusedAnswer(toLimenError(error), known, milliseconds);
    }
  }

  /** What is known of a request before its body was looked at. */
  #intentOf(head: RequestHead, key: VirtualKey, snapshot: Snapshot): Omit<Intent, 'format'> {
    return {
      requestId: head.requestId,
      time: this.#dependencies.now(),
      keyId: key.id,
      user: key.user,
      team: key.team ?? '',
      tenant: key.tenant ?? '',
      modelAsked: '',
      model: '',
      stream: false,
      inputEstimate: 0,
      snapshot: snapshot.version,
    };
  }
}

function refusedAnswer(error: LimenError, known: Known, milliseconds: number): Answer {
  const { format, requestId } = known.intent;
  return {
    ...refusal(errorFormat(format), error, requestId),
    context: endedContext(known, milliseconds),
  };
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}
