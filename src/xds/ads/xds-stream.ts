import type { ErrorDetail, XdsNode } from './protocol.ts';
import { RESOURCE_KINDS, type ResourceCache, type ResourceKind } from './resource-cache.ts';

/** Where a stream's responses go. False means: full, wait for {@link XdsStream.resume}. */
export type Send<Response> = (response: Response) => boolean;

/** What Envoy refused. */
export interface Nack {
  readonly message: string;
  /** Unix time in milliseconds. */
  readonly at: number;
  /** Version of the refused response. */
  readonly version: string;
}

/** How far one kind has come on one stream. */
export interface KindStatus {
  /** Version that Envoy has accepted last; empty where it has accepted none on this stream. */
  readonly acknowledgedVersion: string;
  readonly state: 'acknowledged' | 'refused' | 'waiting';
  /** The last refusal on this stream, also after a later version was accepted. */
  readonly lastNack: Nack | undefined;
}

/** What a stream says about a generation of the cache. */
export type Settlement = 'acknowledged' | 'refused' | 'waiting';

/** A response on its way to Envoy or not answered yet. */
interface InFlight {
  readonly nonce: string;
  readonly version: string;
  /** Ends the time for which the kinds that lean on this one wait. */
  readonly patience: NodeJS.Timeout;
  impatient: boolean;
}

/** What a stream needs from outside. */
export interface StreamOptions {
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Called whenever `settlement` may have changed. */
  readonly settled: () => void;
  /** How long listeners and routes wait for an answer to what they lean on, in milliseconds. */
  readonly holdMs: number;
}

/** Kinds that are held back while one of these kinds is not answered. */
const LEANS_ON: Readonly<Record<ResourceKind, readonly ResourceKind[]>> = {
  clusters: [],
  // Never held back: Envoy answers for clusters only when they are warm, and these are what warms them.
  endpoints: [],
  secrets: [],
  listeners: ['clusters', 'endpoints', 'secrets'],
  routes: ['clusters', 'endpoints', 'secrets', 'listeners'],
};

/** What every kind's state has, in both protocols. */
export interface KindState {
  inFlight: InFlight | undefined;
  /** Newest generation of the cache that this stream has been brought to, apart from what is in flight. */
  generation: number;
  refused: boolean;
  acknowledgedVersion: string;
  lastNack: Nack | undefined;
}

/** A response without its nonce; undefined: nothing to tell. */
export interface Outgoing {
  readonly version: string;
  send(nonce: string): boolean;
}

/**
 * One Envoy's ADS stream, without gRPC: requests go in by `handle` of the two subclasses, responses come out.
 *
 * Order: kinds are sent as RESOURCE_KINDS lists them, and listeners and routes are held back while what they
 * lean on is not answered, so that a route never arrives before the cluster it names. Envoy answers for
 * clusters when all are warm; one that cannot warm (its secret is missing, its name does not resolve) holds up
 * the others' routes only for `holdMs`. At most one response a kind is in flight, and a later change is sent as
 * one difference when that is answered: this bounds what a slow Envoy can pile up here.
 */
export abstract class XdsStream<State extends KindState> {
  protected readonly cache: ResourceCache;
  protected readonly kinds = new Map<ResourceKind, State>();
  readonly #options: StreamOptions;
  #node: XdsNode | undefined;
  #nonces = 0;
  #blocked = false;
  #flushing = false;

  protected constructor(cache: ResourceCache, options: StreamOptions) {
    this.cache = cache;
    this.#options = options;
  }

  /** Which Envoy this is; empty until its first request. */
  get nodeId(): string {
    return this.#node?.id ?? '';
  }

  /** The transport takes data again. */
  resume(): void {
    this.#blocked = false;
    this.flush();
  }

  /** Tells Envoy what the latest publication changed, as far as the transport takes it. */
  publish(): void {
    this.flush();
  }

  /** The stream is over. */
  close(): void {
    for (const state of this.kinds.values()) clearTimeout(state.inFlight?.patience);
    this.kinds.clear();
  }

  /** Whether this Envoy has what the given kinds held at `generation`. A kind it never asked for counts as had. */
  settlement(kinds: readonly ResourceKind[], generation: number): Settlement {
    let result: Settlement = 'acknowledged';
    for (const kind of kinds) {
      const state = this.kinds.get(kind);
      if (state === undefined) continue;
      if (state.inFlight !== undefined || state.generation < generation) return 'waiting';
      if (state.refused) result = 'refused';
    }
    return result;
  }

  /** By kind, as far as this Envoy has asked for it. */
  status(): ReadonlyMap<ResourceKind, KindStatus> {
    return new Map(
      [...this.kinds].map(([kind, state]) => [
        kind,
        {
          acknowledgedVersion: state.acknowledgedVersion,
          state: this.settlement([kind], this.cache.generation),
          lastNack: state.lastNack,
        },
      ]),
    );
  }

  /** What has to be sent for a kind, or undefined where Envoy has it all. */
  protected abstract difference(kind: ResourceKind, state: State): Outgoing | undefined;

  protected remember(node: XdsNode | null): void {
    if (node !== null) this.#node = node;
  }

  /**
   * Takes the answer to a response. An empty nonce is no answer; a nonce other than the latest one's is stale
   * and says nothing about what Envoy has now. Returns whether it was the awaited answer.
   */
  protected answer(state: State, nonce: string, error: ErrorDetail | null): boolean {
    const { inFlight } = state;
    if (inFlight === undefined || nonce !== inFlight.nonce) return false;
    clearTimeout(inFlight.patience);
    state.inFlight = undefined;
    state.refused = error !== null;
    if (error === null) state.acknowledgedVersion = inFlight.version;
    else state.lastNack = { message: error.message, at: this.#options.now(), version: inFlight.version };
    return true;
  }

  protected flush(): void {
    // A send that fails at once may lead back here.
    if (this.#flushing) return;
    this.#flushing = true;
    try {
      for (const kind of RESOURCE_KINDS) this.#advance(kind);
    } finally {
      this.#flushing = false;
    }
    this.#options.settled();
  }

  #advance(kind: ResourceKind): void {
    const state = this.kinds.get(kind);
    if (state === undefined || state.inFlight !== undefined || this.#blocked) return;
    if (LEANS_ON[kind].some((other) => this.#holds(other))) return;
    state.generation = this.cache.generation;
    const outgoing = this.cache.get(kind) === undefined ? undefined : this.difference(kind, state);
    if (outgoing === undefined) return;
    this.#nonces += 1;
    const nonce = String(this.#nonces);
    const inFlight: InFlight = {
      nonce,
      version: outgoing.version,
      impatient: false,
      patience: setTimeout(() => {
        inFlight.impatient = true;
        this.flush();
      }, this.#options.holdMs),
    };
    inFlight.patience.unref();
    state.inFlight = inFlight;
    this.#blocked = !outgoing.send(nonce);
  }

  #holds(kind: ResourceKind): boolean {
    const inFlight = this.kinds.get(kind)?.inFlight;
    return inFlight !== undefined && !inFlight.impatient;
  }
}
