import { Agent } from 'node:http';
import { exchange, type Outcome } from './exchange.ts';
import { endMarker, trafficBody, trafficKind, type TrafficKindName } from './traffic-kinds.ts';

/** An outcome, and what was asked for. */
export interface TrafficOutcome extends Outcome {
  readonly kind: TrafficKindName;
  /** A stream of several seconds, rather than a request of a moment. */
  readonly long: boolean;
}

/** One connection's worth of traffic: the same kind of request again and again. */
export interface Lane {
  readonly kind: TrafficKindName;
  /** Chunks of each streamed answer. */
  readonly chunks: number;
  readonly long: boolean;
}

export interface TrafficOptions {
  readonly url: string;
  readonly key: string;
  readonly lanes: readonly Lane[];
  readonly timeoutMs?: number;
}

/** After a failure, so that a gateway that is away is not hammered: as a patient client would. */
const PAUSE_AFTER_FAILURE_MS = 100;

/** Whether an exchange gave a whole, good answer of its kind. */
export function isGood(outcome: TrafficOutcome): boolean {
  return (
    outcome.status === 200 &&
    outcome.ending === 'clean' &&
    outcome.body.includes(endMarker(trafficKind(outcome.kind)))
  );
}

/** Requests that go on in the background until they are stopped, each outcome kept. */
export class Traffic {
  readonly outcomes: TrafficOutcome[] = [];
  readonly #options: TrafficOptions;
  readonly #lanes: Promise<void>[];
  readonly #open = new Map<object, { readonly lane: Lane; readonly startedAt: number; begun: boolean }>();
  #stopped = false;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#lanes = options.lanes.map((lane) => this.#drive(lane));
  }

  /** Streams of which something has come and that have not ended. */
  get openStreams(): readonly { readonly lane: Lane; readonly startedAt: number }[] {
    return [...this.#open.values()].filter(({ begun, lane }) => begun && lane.long);
  }

  /** Begins no more requests and waits for the end of those that are open. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }

  async #drive(lane: Lane): Promise<void> {
    const { url, key, timeoutMs } = this.#options;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kind = trafficKind(lane.kind);
    const body = trafficBody(kind, { chunks: lane.chunks });
    while (!this.#stopped) {
      const open = { lane, startedAt: performance.now(), begun: false };
      this.#open.set(open, open);
      const outcome = await exchange({
        url,
        path: kind.path,
        headers: { authorization: `Bearer ${key}` },
        body,
        agent,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        onFirstByte: () => {
          open.begun = true;
        },
      });
      this.#open.delete(open);
      const kept = { ...outcome, kind: lane.kind, long: lane.long };
      this.outcomes.push(kept);
      if (!isGood(kept)) await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_FAILURE_MS));
    }
    agent.destroy();
  }
}
