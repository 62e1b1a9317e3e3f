import ipaddr from 'ipaddr.js';

export interface AttemptLimits {
  /** Attempts of one address within `windowMs` before the next is refused. */
  readonly most: number;
  readonly windowMs: number;
  /** Most addresses that are remembered; beyond, the one that was counted first is forgotten. */
  readonly mostAddresses: number;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

interface Counted {
  readonly until: number;
  count: number;
}

/** Counts attempts by address, in bounded memory. Who owns an IPv6 network of 64 bits counts as one. */
export class Attempts {
  readonly #limits: AttemptLimits;
  readonly #counted = new Map<string, Counted>();

  constructor(limits: AttemptLimits) {
    this.#limits = limits;
  }

  /** Whole seconds until this address may try again; 0 where it may now. */
  wait(address: string): number {
    const counted = this.#live(networkOf(address));
    if (counted === undefined || counted.count < this.#limits.most) return 0;
    return Math.max(1, Math.ceil((counted.until - this.#limits.now()) / 1000));
  }

  count(address: string): void {
    const network = networkOf(address);
    const counted = this.#live(network);
    if (counted !== undefined) {
      counted.count += 1;
      return;
    }
    const [oldest] = this.#counted.keys();
    if (oldest !== undefined && this.#counted.size >= this.#limits.mostAddresses)
      this.#counted.delete(oldest);
    this.#counted.set(network, { until: this.#limits.now() + this.#limits.windowMs, count: 1 });
  }

  #live(network: string): Counted | undefined {
    const counted = this.#counted.get(network);
    if (counted === undefined || counted.until > this.#limits.now()) return counted;
    this.#counted.delete(network);
    return undefined;
  }
}

function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === 'ipv4') return parsed.toString();
  return Buffer.from(parsed.toByteArray().slice(0, 8)).toString('hex');
}
