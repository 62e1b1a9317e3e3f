import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from './protocol.ts';
import { kindOfType, typeUrlOf, type ResourceCache, type ResourceKind } from './resource-cache.ts';
import { XdsStream, type KindState, type Outgoing, type Send, type StreamOptions } from './xds-stream.ts';

interface DeltaState extends KindState {
  wildcard: boolean;
  readonly names: Set<string>;
  /** Version of each resource that Envoy was sent last, or said it has when the stream began. */
  readonly known: Map<string, string>;
  /** Names asked for since the last response: a missing one has to be answered as removed. */
  readonly unanswered: Set<string>;
  /** A stream that brings nothing along waits for a first response, even an empty one. */
  owesFirstResponse: boolean;
}

const WILDCARD = '*';

/**
 * The delta variant (xDS protocol, "Incremental xDS"): only resources whose version differs from what Envoy
 * has are sent, also after a reconnect, where Envoy names the versions it has. A refused resource is sent
 * again when its content changes, not before.
 */
export class DeltaStream extends XdsStream<DeltaState> {
  readonly #send: Send<DeltaDiscoveryResponse>;

  constructor(cache: ResourceCache, send: Send<DeltaDiscoveryResponse>, options: StreamOptions) {
    super(cache, options);
    this.#send = send;
  }

  handle(request: DeltaDiscoveryRequest): void {
    this.remember(request.node);
    const kind = kindOfType(request.typeUrl);
    if (kind === undefined) return;
    let state = this.kinds.get(kind);
    if (state === undefined) {
      state = this.#firstRequest(request);
      this.kinds.set(kind, state);
    } else {
      this.answer(state, request.responseNonce, request.errorDetail);
      for (const name of request.resourceNamesSubscribe) {
        if (name === WILDCARD) state.wildcard = true;
        else {
          state.names.add(name);
          state.unanswered.add(name);
          // Asked for again: Envoy may have forgotten it, so it is sent whether or not it changed.
          state.known.delete(name);
        }
      }
    }
    for (const name of request.resourceNamesUnsubscribe) this.#unsubscribe(state, name);
    this.flush();
  }

  #firstRequest(request: DeltaDiscoveryRequest): DeltaState {
    const subscribed = request.resourceNamesSubscribe;
    const known = new Map(Object.entries(request.initialResourceVersions));
    const names = subscribed.filter((name) => name !== WILDCARD);
    return {
      inFlight: undefined,
      generation: 0,
      refused: false,
      acknowledgedVersion: '',
      lastNack: undefined,
      // A first request without names subscribes to everything.
      wildcard: subscribed.length === 0 || subscribed.includes(WILDCARD),
      names: new Set(names),
      known,
      unanswered: new Set(names.filter((name) => !known.has(name))),
      owesFirstResponse: known.size === 0,
    };
  }

  #unsubscribe(state: DeltaState, name: string): void {
    if (name === WILDCARD) {
      state.wildcard = false;
      for (const known of state.known.keys()) if (!state.names.has(known)) state.known.delete(known);
      return;
    }
    state.names.delete(name);
    state.unanswered.delete(name);
    // Where the wildcard still covers it, forgetting it makes it be sent again, as the protocol asks.
    state.known.delete(name);
  }

  protected override difference(kind: ResourceKind, state: DeltaState): Outgoing | undefined {
    const resources = this.cache.get(kind) ?? new Map();
    const wanted = state.wildcard ? [...resources.keys(), ...state.names] : [...state.names];
    const changed = [...new Set(wanted)].flatMap((name) => {
      const resource = resources.get(name);
      return resource === undefined || state.known.get(name) === resource.version ? [] : [resource];
    });
    const known = this.cache.isWhole(kind) ? state.known.keys() : [];
    const removed = new Set([...known, ...state.unanswered].filter((name) => !resources.has(name)));
    const owesFirst = state.owesFirstResponse && state.wildcard;
    if (changed.length === 0 && removed.size === 0 && !owesFirst) {
      state.acknowledgedVersion = state.refused ? state.acknowledgedVersion : this.cache.version(kind);
      return undefined;
    }

    for (const { name, version } of changed) state.known.set(name, version);
    for (const name of removed) state.known.delete(name);
    state.unanswered.clear();
    state.owesFirstResponse = false;
    const version = this.cache.version(kind);
    return {
      version,
      send: (nonce) =>
        this.#send({
          systemVersionInfo: version,
          resources: changed.map((resource) => ({
            name: resource.name,
            version: resource.version,
            resource: resource.any,
          })),
          removedResources: [...removed],
          typeUrl: typeUrlOf(kind),
          nonce,
        }),
    };
  }
}
