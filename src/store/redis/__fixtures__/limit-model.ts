import { MIN_OUTPUT_TOKENS, type LimitCheck, type SettledAmounts } from '../../../core/limits.ts';

export const LEASE_MS = 30_000;

interface Counter {
  readonly check: LimitCheck;
  /** Milliseconds of a bucket; 0 for calendar periods. */
  readonly bucketMs: number;
  readonly start: number;
  readonly ends: number;
  head: number;
  entries: { readonly bucket: number; readonly amount: number; readonly covered: number }[];
  reserved: number;
  overrun: number;
  alerted: number;
}

interface Hold {
  readonly check: LimitCheck;
  readonly counter: string;
  readonly reserved: number;
}

interface Open {
  readonly held: Map<string, number>;
  readonly holds: readonly Hold[];
  lease: number | undefined;
  isOpen: boolean;
}

export interface ModelOutcome {
  readonly outcome: string;
  readonly used: number;
  readonly held: number;
  readonly reserved: number;
  readonly resetMs: number;
}

interface Placed {
  readonly check: LimitCheck;
  readonly counter: Counter;
  readonly name: string;
}

/** What the limiter must do, said once more in another language: with every amount kept by itself. */
export class LimitModel {
  now: number;
  readonly counters = new Map<string, Counter>();
  readonly requests = new Map<string, Open>();
  readonly alerts: string[] = [];
  readonly seen = new Set<string>();

  constructor(now: number) {
    this.now = now;
  }

  #place(check: LimitCheck): Placed {
    const { span } = check;
    if (span.kind === 'window') {
      const name = `${check.counter}/w${span.milliseconds}`;
      return { check, name, counter: this.#counter(name, check, span.milliseconds / 60, 0, 0) };
    }
    const [first, second, third, last] = span.starts;
    const periods = [
      [first, second],
      [second, third],
      [third, last],
    ] as const;
    const [start, ends] = periods.find(([, end]) => this.now < end) ?? [third, last];
    const name = `${check.counter}/p${start}`;
    return { check, name, counter: this.#counter(name, check, 0, start, ends) };
  }

  #counter(name: string, check: LimitCheck, bucketMs: number, start: number, ends: number): Counter {
    const known = this.counters.get(name);
    if (known !== undefined) return known;
    const fresh = { check, bucketMs, start, ends, head: 0, entries: [], reserved: 0, overrun: 0, alerted: 0 };
    this.counters.set(name, fresh);
    return fresh;
  }

  #headOf({ bucketMs, head }: Counter): number {
    return bucketMs === 0 ? 0 : Math.max(head, Math.floor(this.now / bucketMs));
  }

  #live(counter: Counter) {
    const head = this.#headOf(counter);
    return counter.entries.filter(({ bucket }) => counter.bucketMs === 0 || bucket >= head - 60);
  }

  #settled(counter: Counter): number {
    return this.#live(counter).reduce((sum, { amount }) => sum + amount, 0);
  }

  /** A counter that is written to has seen that time: it does not come back. */
  #advance(counter: Counter): void {
    counter.entries = this.#live(counter);
    counter.head = this.#headOf(counter);
  }

  #charge(counter: Counter, check: LimitCheck, amount: number, covered: number): void {
    this.#advance(counter);
    counter.entries.push({ bucket: counter.head, amount, covered });
    if (counter.bucketMs > 0) return;
    for (const percent of check.alerts) {
      if (percent > counter.alerted && this.#settled(counter) * 100 >= percent * check.limit) {
        counter.alerted = percent;
        this.alerts.push(`${check.rule} ${counter.start} ${percent}`);
      }
    }
  }

  #release(open: Open): void {
    for (const [name, amount] of open.held) {
      const counter = this.counters.get(name);
      if (counter !== undefined) counter.reserved -= amount;
    }
    open.held.clear();
  }

  #freeLapsed(): void {
    for (const open of this.requests.values()) {
      if (open.lease === undefined || open.lease > this.now) continue;
      if (open.held.size > 0) this.seen.add('lapse');
      this.#release(open);
      open.lease = undefined;
    }
  }

  #resetMs({ counter }: Placed, missing: number): number {
    if (counter.bucketMs === 0) return Math.max(0, counter.ends - this.now);
    const head = this.#headOf(counter);
    const age = (bucket: number): number => (bucket + 61) * counter.bucketMs - this.now;
    if (missing > 0) {
      for (let bucket = head - 60; bucket <= head; bucket += 1) {
        const gone = this.#live(counter).filter((entry) => entry.bucket <= bucket);
        if (gone.reduce((sum, { amount }) => sum + amount, 0) >= missing) return age(bucket);
      }
    }
    return age(head);
  }

  admit(
    id: string,
    checks: readonly LimitCheck[],
    providers: readonly string[],
    asked: number,
    isAnswered: boolean,
  ): { readonly outcomes: readonly ModelOutcome[]; readonly output: number; readonly refused: boolean } {
    if (checks.length > 0) this.#freeLapsed();
    const least = Math.min(asked, MIN_OUTPUT_TOKENS);
    const placed = checks.map((check) => this.#place(check));
    const isCount = ({ check }: Placed): boolean => check.unit === 'requests' && check.providers === undefined;
    const isIdle = (one: Placed): boolean => isAnswered && !isCount(one);
    const need = (one: Placed, output: number): number => {
      if (isIdle(one)) return 0;
      if (isCount(one)) return 1;
      const { mode, fixed, perOutputToken } = one.check;
      return mode === 'soft' ? 0 : fixed + Math.ceil(perOutputToken * output);
    };
    /** How much too little room there is; not above 0: it fits. */
    const missing = (one: Placed, output: number): number => {
      if (isIdle(one)) return 0;
      const used = this.#settled(one.counter);
      if (one.check.mode === 'soft' && !isCount(one)) return used + 1 - one.check.limit;
      return used + one.counter.reserved + need(one, output) - one.check.limit;
    };
    const cuts = (one: Placed): boolean => {
      const { mode, shadow, onShortfall } = one.check;
      return mode === 'hard' && !shadow && onShortfall !== 'refuse' && !isCount(one) && !isIdle(one);
    };
    /** The most output from `from` down to the least that these rules have room for; the least where they have none. */
    const cut = (from: number, rules: readonly Placed[]): number => {
      // Less output helps none of the others.
      const helped = rules.filter((one) => cuts(one) && one.check.perOutputToken > 0);
      let output = from;
      while (output > least && helped.some((one) => missing(one, output) > 0)) output -= 1;
      return output;
    };
    const own = placed.filter(({ check }) => check.providers === undefined);
    const of = (provider: string): Placed[] => placed.filter(({ check }) => check.providers?.includes(provider));
    const fits = (rules: readonly Placed[], output: number): boolean =>
      rules.every((one) => one.check.shadow || missing(one, output) <= 0);

    let output = cut(asked, own);
    let some = providers.length === 0 || providers.some((provider) => fits(of(provider), output));
    if (!some) {
      const outputs = providers
        .map((provider) => ({ provider, most: cut(output, of(provider)) }))
        .filter(({ provider, most }) => fits(of(provider), most))
        .map(({ most }) => most);
      if (outputs.length > 0) {
        this.seen.add('cut for a provider');
        some = true;
        output = Math.max(...outputs);
      }
    }
    const refused = !some || !fits(own, output);
    const out = new Set(
      placed
        .filter((one) => !one.check.shadow && missing(one, output) > 0)
        .flatMap(({ check }) => check.providers ?? []),
    );
    const isOut = ({ check }: Placed): boolean =>
      check.providers?.every((provider) => out.has(provider)) === true;
    const outcomes = placed.map((one) => {
      const { shadow, providers: about } = one.check;
      const lacks = missing(one, output);
      const spared = about !== undefined && some;
      const outcome =
        lacks > 0
          ? shadow
            ? 'would refuse'
            : spared
              ? 'left out'
              : 'refused'
          : cuts(one) && missing(one, asked) > 0
            ? 'cut'
            : 'allowed';
      this.seen.add(outcome);
      return {
        outcome,
        used: this.#settled(one.counter),
        held: one.counter.reserved,
        reserved: refused || isOut(one) ? 0 : need(one, output),
        resetMs: this.#resetMs(one, lacks),
      };
    });
    if (!refused) {
      const isHeld = (one: Placed): boolean => !isCount(one) && !isIdle(one) && !isOut(one);
      this.#take(id, placed, outcomes, isHeld);
    }
    return { outcomes, output, refused };
  }

  #take(
    id: string,
    placed: readonly Placed[],
    outcomes: readonly ModelOutcome[],
    isHeld: (one: Placed) => boolean,
  ): void {
    const taken = placed.map((one, index) => ({ ...one, reserved: outcomes[index]?.reserved ?? 0 }));
    const holds = taken.filter(isHeld).map(({ check, name, reserved }) => ({ check, counter: name, reserved }));
    const open: Open = { held: new Map(), holds, lease: undefined, isOpen: true };
    this.requests.set(id, open);
    for (const { check, counter, name, reserved } of taken) {
      if (reserved === 0) continue;
      if (check.unit === 'requests' && check.providers === undefined) this.#charge(counter, check, 1, 1);
      else if (check.mode === 'hard') {
        // Rules of several providers may share a counter: one of them answers.
        if (open.held.has(name)) this.seen.add('shared counter');
        const most = Math.max(reserved, open.held.get(name) ?? 0);
        this.#advance(counter);
        counter.reserved += most - (open.held.get(name) ?? 0);
        open.held.set(name, most);
      }
    }
    if (open.held.size > 0) open.lease = this.now + LEASE_MS;
  }

  /** A row (`ends`) or a failed try of an admitted request. */
  settle(id: string, provider: string, amounts: SettledAmounts, ends: boolean): string[] {
    const open = this.requests.get(id);
    if (open === undefined) return [];
    const overrun: string[] = [];
    const left = new Map(open.held);
    if (ends) this.#release(open);
    for (const { check, counter: name, reserved } of open.holds) {
      const amount = amounts[check.unit];
      if (amount === 0 || check.providers?.includes(provider) === false) continue;
      const counter = this.#counterNamed(name);
      const covered = Math.min(left.get(name) ?? 0, amount);
      left.set(name, (left.get(name) ?? 0) - covered);
      if (!ends && covered > 0) {
        counter.reserved -= covered;
        open.held.set(name, (open.held.get(name) ?? 0) - covered);
      }
      const beyond = reserved > 0 ? amount - covered : 0;
      this.#charge(counter, check, amount, covered);
      counter.overrun += beyond;
      if (beyond > 0) overrun.push(check.rule);
    }
    if (ends) {
      open.lease = undefined;
      open.isOpen = false;
    }
    if (overrun.length > 0) this.seen.add('overrun');
    return overrun;
  }

  #counterNamed(name: string): Counter {
    const counter = this.counters.get(name);
    if (counter === undefined) throw new Error(`no counter ${name}`);
    return counter;
  }

  renew(id: string): void {
    const open = this.requests.get(id);
    if (open?.isOpen === true) open.lease = this.now + LEASE_MS;
  }

  /** The reconciler's: frees without a charge. */
  close(id: string): boolean {
    const open = this.requests.get(id);
    if (open?.isOpen !== true || (open.lease !== undefined && open.lease > this.now)) return false;
    this.#release(open);
    open.lease = undefined;
    open.isOpen = false;
    return true;
  }

  /** Of every counter that is not at rest: name, settled, reserved, overrun. */
  states(): string[] {
    return [...this.counters]
      .map(([name, counter]) => ({ name, counter, settled: this.#settled(counter) }))
      .filter(({ counter, settled }) => settled + counter.reserved + counter.overrun > 0)
      .filter(({ counter }) => counter.bucketMs > 0 || counter.ends > this.now || counter.reserved > 0)
      .map(({ name, counter, settled }) => `${name} ${settled} ${counter.reserved} ${counter.overrun}`)
      .sort();
  }

  /** Hard rules of which more is settled, by what was reserved for it, and reserved than they allow. There must be none. */
  overspent(): string[] {
    return [...this.counters]
      .filter(([, { check }]) => check.mode === 'hard' && !check.shadow)
      .filter(([, counter]) => {
        const settled = this.#live(counter).reduce((sum, entry) => sum + entry.covered, 0);
        return settled + counter.reserved > counter.check.limit;
      })
      .map(([name]) => name);
  }
}
