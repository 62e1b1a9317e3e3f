import type { HubBlock, HubEvent } from '../../formats/hub.ts';

/** Counts the tokens of a text. It may take time that grows with the square of an unbroken run: hand it short ones. */
export type CountTokens = (text: string) => number;

/** An unfinished word is counted again with what comes after it, up to so many UTF-16 units. */
const LONGEST_TAIL = 64;
/** Longer unbroken runs take a tokenizer too long. */
const LONGEST_RUN = 256;
/** Of a longer delta the rest is taken to be like its beginning. */
const MOST_COUNTED = 8192;
/** A picture of Gemini's (its price list: 1290 tokens for one of 1024 × 1024). */
const IMAGE_TOKENS = 1290;
/** Base64 characters of sealed reasoning for each token: four characters, of which each takes 4/3. */
const SEALED_CHARACTERS_PER_TOKEN = 16 / 3;

/**
 * Counts what a provider has generated while its events pass: text, reasoning, arguments of calls. A provider's own word is
 * taken where it comes in mid-stream (Gemini's does with each chunk); what came since is added to it. The count is
 * right for the tokenizer's own models, and off by its stated error for others. Reasoning that is neither shown nor told
 * is not in it, and cannot be.
 */
export class OutputMeter {
  readonly #countTokens: CountTokens;
  #finished = 0;
  #tail = '';
  #tailTokens = 0;
  #reasoning = 0;
  #isReasoning = false;
  #told = 0;
  #countedWhenTold = 0;

  constructor(countTokens: CountTokens) {
    this.#countTokens = countTokens;
  }

  /** All tokens so far. */
  get tokens(): number {
    const counted = this.#counted;
    return Math.max(counted, this.#told + counted - this.#countedWhenTold);
  }

  /** The provider's own last word; 0 where it has said nothing. */
  get told(): number {
    return this.#told;
  }

  /** Those of them that were seen to be reasoning. */
  get reasoning(): number {
    return this.#reasoning;
  }

  get #counted(): number {
    return this.#finished + this.#tailTokens;
  }

  read(event: HubEvent): void {
    switch (event.kind) {
      // Not that of a start: Anthropic's has a number that means nothing yet.
      case 'usage':
        if (event.usage.output <= this.#told) break;
        this.#told = event.usage.output;
        this.#countedWhenTold = this.#counted;
        break;
      case 'block_start':
        this.#endText();
        this.#isReasoning = event.block.kind === 'thinking';
        this.#addBlock(event.block);
        break;
      case 'delta':
        this.#addText(event.text);
        break;
      case 'opaque_delta':
        this.#addText(JSON.stringify(event.value));
        break;
      default:
    }
  }

  #addBlock(block: HubBlock): void {
    switch (block.kind) {
      case 'tool_call':
        this.#addText(block.name);
        this.#endText();
        break;
      case 'redacted_thinking': {
        const tokens = Math.ceil(block.data.length / SEALED_CHARACTERS_PER_TOKEN);
        this.#finished += tokens;
        this.#reasoning += tokens;
        break;
      }
      case 'image':
        this.#finished += IMAGE_TOKENS;
        break;
      default:
    }
  }

  #addText(text: string): void {
    const before = this.#counted;
    const whole = this.#tail + text;
    // A token ends before a space.
    const border = whole.lastIndexOf(' ');
    const end = whole.length - border > LONGEST_TAIL ? whole.length : Math.max(0, border);
    this.#finished += this.#count(whole.slice(0, end));
    this.#tail = whole.slice(end);
    this.#tailTokens = this.#count(this.#tail);
    if (this.#isReasoning) this.#reasoning += Math.max(0, this.#counted - before);
  }

  #endText(): void {
    this.#finished += this.#tailTokens;
    this.#tail = '';
    this.#tailTokens = 0;
  }

  #count(text: string): number {
    const most = Math.min(text.length, MOST_COUNTED);
    let tokens = 0;
    for (let start = 0; start < most; start += LONGEST_RUN) {
      tokens += this.#countTokens(text.slice(start, Math.min(start + LONGEST_RUN, most)));
    }
    return most === text.length ? tokens : Math.ceil((tokens / most) * text.length);
  }
}
