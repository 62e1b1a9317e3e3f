import { LimenError } from '../../core/errors.ts';
import { makeUsage, type Usage } from '../../core/usage.ts';
import type { HubEvent } from '../../formats/hub.ts';
import { OutputMeter, type CountTokens } from './output-meter.ts';

/** What a budget has left for one answer. */
export interface CutOffOptions {
  /** The stream ends with so many tokens of output. */
  readonly tokens: number;
  /** Tokens of the request, for providers that tell them at the end alone. */
  readonly inputEstimate: number;
  readonly countTokens: CountTokens;
}

/** Held pieces of a call between two signs of life. */
const PING_EVERY = 32;

/**
 * Ends a stream as its provider would at an output limit, when what a budget has left is used up: the open block is
 * closed, then come the reason `length` and the usage as counted. It stands between a decoder and an encoder, so every
 * client format has the last event that it knows for this.
 *
 * Calls are held until they are whole, and one that was cut off is left out. Anthropic's client reads such arguments as
 * far as they go, and its tool runner's `generateToolResponse()` runs the tool with them whatever the reason of the end
 * (@anthropic-ai/sdk, BetaToolRunner): `rm -rf /tmp/x` may have become `rm -rf /`.
 */
export class CutOff {
  readonly #options: CutOffOptions;
  readonly #maxHeld: number;
  readonly #emit: (event: HubEvent) => void;
  readonly #meter: OutputMeter;
  #usage: Usage | undefined;
  #isOpen = false;
  #held: HubEvent[] | undefined;
  #heldCharacters = 0;
  /** The answer came to an end of its own. */
  #ended = false;
  #isCut = false;

  /** @param maxHeld UTF-16 units of one call */
  constructor(options: CutOffOptions, maxHeld: number, emit: (event: HubEvent) => void) {
    this.#options = options;
    this.#maxHeld = maxHeld;
    this.#emit = emit;
    this.#meter = new OutputMeter(options.countTokens);
  }

  /** The client's stream was ended here. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /**
   * Tokens of output so far. At a cut, as many as there was room for, unless the provider itself has told of more: the
   * request carries the same limit (pipeline/limits.ts), so what the tokenizer makes of the last piece beyond it is the tokenizer's error, and what
   * the provider goes on to make until it is left is within the limit.
   */
  get tokens(): number {
    const isTold = this.#meter.told > this.#options.tokens;
    return this.#isCut && !isTold ? this.#options.tokens : this.#meter.tokens;
  }

  /** The next event of the decoder. Throws upstream_invalid_response where a call is larger than may be held. */
  write(event: HubEvent): void {
    if (this.#isCut) return;
    this.#meter.read(event);
    if (event.kind === 'start' || event.kind === 'usage') this.#usage = event.usage ?? this.#usage;
    this.#ended ||= event.kind === 'finish' || event.kind === 'end' || event.kind === 'error';
    this.#pass(event);
    if (!this.#ended && this.tokens >= this.#options.tokens) this.#cut();
  }

  #pass(event: HubEvent): void {
    if (event.kind === 'block_start' && event.block.kind === 'tool_call') {
      this.#held = [event];
      this.#heldCharacters = 0;
      return;
    }
    if (this.#held === undefined || event.kind === 'ping' || event.kind === 'usage' || this.#ended) {
      if (event.kind === 'block_start') this.#isOpen = true;
      if (event.kind === 'block_stop') this.#isOpen = false;
      this.#emit(event);
      return;
    }
    this.#hold(this.#held, event);
  }

  #hold(held: HubEvent[], event: HubEvent): void {
    if (event.kind === 'delta') this.#heldCharacters += event.text.length;
    if (this.#heldCharacters > this.#maxHeld) {
      throw new LimenError('upstream_invalid_response', 'The upstream sent a tool call that is too large.');
    }
    held.push(event);
    if (event.kind === 'block_stop') {
      this.#held = undefined;
      for (const one of held) this.#emit(one);
    } else if (held.length % PING_EVERY === 0) {
      this.#emit({ kind: 'ping' });
    }
  }

  #cut(): void {
    this.#isCut = true;
    if (this.#isOpen) this.#emit({ kind: 'block_stop' });
    const { input } = this.#usage ?? { input: 0 };
    const usage = makeUsage({
      ...this.#usage,
      input: input > 0 ? input : this.#options.inputEstimate,
      output: this.tokens,
      reasoning: Math.max(this.#usage?.reasoning ?? 0, this.#meter.reasoning),
    });
    this.#emit({ kind: 'finish', finish: { reason: 'length' } });
    this.#emit({ kind: 'usage', usage });
    this.#emit({ kind: 'end' });
  }
}
