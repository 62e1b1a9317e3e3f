import type { DiscoveryRequest, DiscoveryResponse } from './protocol.ts';
import {
  kindOfType,
  setVersion,
  typeUrlOf,
  type CachedResource,
  type ResourceCache,
  type ResourceKind,
} from './resource-cache.ts';
import { XdsStream, type KindState, type Outgoing, type Send, type StreamOptions } from './xds-stream.ts';

interface WorldState extends KindState {
  wildcard: boolean;
  names: ReadonlySet<string>;
  /** Version of the set that Envoy was sent last, or said it has when the stream began. */
  sentVersion: string;
}

const WILDCARD = '*';
/** Kinds of which an empty list of names means all, and whose responses are always complete. */
const COMPLETE_KINDS: ReadonlySet<ResourceKind> = new Set(['clusters', 'listeners']);

/**
 * The state-of-the-world variant. A response holds all that this stream subscribes to of a kind; its version
 * is the hash of just that, so a change elsewhere is not sent here, and an Envoy that reconnects with the same
 * content gets nothing.
 */
export class StateOfTheWorldStream extends XdsStream<WorldState> {
  readonly #send: Send<DiscoveryResponse>;

  constructor(cache: ResourceCache, send: Send<DiscoveryResponse>, options: StreamOptions) {
    super(cache, options);
    this.#send = send;
  }

  handle(request: DiscoveryRequest): void {
    this.remember(request.node);
    const kind = kindOfType(request.typeUrl);
    if (kind === undefined) return;
    const state = this.kinds.get(kind);
    if (state === undefined) {
      const first = this.#firstRequest(request);
      this.#subscribe(kind, first, request.resourceNames);
      this.kinds.set(kind, first);
    } else {
      // Each request carries the whole subscription, but one that answers an older response was written
      // before Envoy saw the newer one: its answer to that one is still to come, with the names of then.
      const answered = this.answer(state, request.responseNonce, request.errorDetail);
      if (!answered && state.inFlight !== undefined) return;
      this.#subscribe(kind, state, request.resourceNames);
    }
    this.flush();
  }

  #firstRequest(request: DiscoveryRequest): WorldState {
    return {
      inFlight: undefined,
      generation: 0,
      refused: false,
      acknowledgedVersion: request.versionInfo,
      lastNack: undefined,
      wildcard: false,
      names: new Set(),
      sentVersion: request.versionInfo,
    };
  }

  #subscribe(kind: ResourceKind, state: WorldState, names: readonly string[]): void {
    const given = new Set(names);
    // An empty list means everything only as long as no names were given before (xDS protocol, "How the
    // client specifies what resources to return").
    const empty = given.size === 0 && COMPLETE_KINDS.has(kind) && state.names.size === 0;
    const wildcard = given.delete(WILDCARD) || empty;
    const added = [...given].some((name) => !state.names.has(name));
    if (!added && given.size === state.names.size && wildcard === state.wildcard) return;
    const reconnected = state.generation === 0;
    const upToDate = setVersion(this.#wanted(kind, state)) === state.sentVersion;
    state.wildcard = wildcard;
    state.names = given;
    if (reconnected) return;
    // A name that is asked for anew is answered even if the content happens to be the same; fewer names than
    // before need no answer.
    if (added) state.sentVersion = '';
    else if (upToDate) state.sentVersion = setVersion(this.#wanted(kind, state));
  }

  #wanted(kind: ResourceKind, state: WorldState): CachedResource[] {
    const all = this.cache.get(kind) ?? new Map<string, CachedResource>();
    return [...all.values()].filter(({ name }) => state.wildcard || state.names.has(name));
  }

  protected override difference(kind: ResourceKind, state: WorldState): Outgoing | undefined {
    const resources = this.#wanted(kind, state);
    const version = setVersion(resources);
    // Of the other kinds nothing is removed by leaving it out, so an empty response would say nothing.
    const silent = resources.length === 0 && !COMPLETE_KINDS.has(kind);
    if (version === state.sentVersion || silent) {
      if (!state.refused && !silent) state.acknowledgedVersion = version;
      return undefined;
    }
    state.sentVersion = version;
    return {
      version,
      send: (nonce) =>
        this.#send({
          versionInfo: version,
          resources: resources.map(({ any }) => any),
          typeUrl: typeUrlOf(kind),
          nonce,
        }),
    };
  }
}
