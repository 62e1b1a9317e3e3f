import { setImmediate as pause } from 'node:timers/promises';
import { namesIn } from './witness-names.ts';

/** One message of Envoy's access log, as it came. */
export interface WitnessMessage {
  readonly bytes: Buffer;
  /** When it came, by `now` of the ring. */
  readonly at: number;
}

/** One that seems to tell of somebody who was looked for. */
export interface FoundMessage extends WitnessMessage {
  /** Of those that were looked for; at least one. */
  readonly names: readonly string[];
}

export interface WitnessRingOptions {
  readonly maxBytes: number;
  /** A message is kept no longer than that. */
  readonly maxAgeMs: number;
  /** Milliseconds that never go back. */
  readonly now: () => number;
  /** Told of bytes that had to go before their time. */
  readonly onDropped: (bytes: number) => void;
}

/** Others get a turn after so many bytes have been looked through: some milliseconds. */
const BYTES_AT_ONCE = 4 * 1024 * 1024;

/** The last messages of the access log, undecoded: nearly all of them are never read. */
export class WitnessRing {
  readonly #options: WitnessRingOptions;
  /** The oldest comes first. */
  readonly #messages = new Set<WitnessMessage>();
  #bytes = 0;

  constructor(options: WitnessRingOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @param bytes are copied: what comes from a socket holds on to more than itself */
  push(bytes: Buffer): void {
    const { maxBytes, maxAgeMs, now, onDropped } = this.#options;
    const at = now();
    this.#messages.add({ bytes: Buffer.from(bytes), at });
    this.#bytes += bytes.length;
    for (const oldest of this.#messages) {
      const isOld = at - oldest.at > maxAgeMs;
      if (!isOld && this.#bytes <= maxBytes) break;
      this.#messages.delete(oldest);
      this.#bytes -= oldest.bytes.length;
      if (!isOld) onDropped(oldest.bytes.length);
    }
  }

  /**
   * The messages that seem to tell of one of these requests, in their order, of those that came at least `forMs` ago.
   *
   * @param names intent ids and request ids (witness-names.ts)
   */
  async find(names: ReadonlySet<string>, forMs: number): Promise<readonly FoundMessage[]> {
    const until = this.#options.now() - forMs;
    const found: FoundMessage[] = [];
    let looked = 0;
    for (const message of this.#messages) {
      if (message.at > until) break;
      const its = namesIn(message.bytes).filter((name) => names.has(name));
      if (its.length > 0) found.push({ ...message, names: its });
      looked += message.bytes.length;
      if (looked < BYTES_AT_ONCE) continue;
      looked = 0;
      await pause();
    }
    return found;
  }
}
