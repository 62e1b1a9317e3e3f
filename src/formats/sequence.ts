import { LimenError } from '../core/errors.ts';
import type { HubBlock, HubEvent } from './hub.ts';

/** Watches the text of a JSON object or array arrive and tells when it is whole. */
class JsonProgress {
  #depth = 0;
  #inString = false;
  #escaped = false;
  #complete = false;

  get complete(): boolean {
    return this.#complete;
  }

  push(text: string): void {
    for (let index = 0; index < text.length; index += 1) this.#step(text.charCodeAt(index));
  }

  #step(code: number): void {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (code === 0x5c) this.#escaped = true;
      else if (code === 0x22) this.#inString = false;
    } else if (code === 0x22) {
      this.#inString = true;
    } else if (code === 0x7b || code === 0x5b) {
      this.#depth += 1;
    } else if (code === 0x7d || code === 0x5d) {
      this.#depth -= 1;
      if (this.#depth === 0) this.#complete = true;
    }
  }
}

interface Lane {
  readonly key: string;
  readonly block: HubBlock;
  readonly progress: JsonProgress | undefined;
  held: string[];
}

/**
 * Puts the deltas of formats that name no block borders (Chat Completions) into blocks, one after the other.
 * Parallel tool calls may arrive interleaved: the first streams on, the others are held until its arguments
 * are whole JSON. So what comes out depends on the order of deltas only.
 */
export class BlockSequencer {
  readonly #emit: (event: HubEvent) => void;
  readonly #maxHeldCharacters: number;
  #lanes: Lane[] = [];
  #heldCharacters = 0;
  readonly #closedToolKeys = new Set<string>();

  constructor(emit: (event: HubEvent) => void, maxHeldBytes: number) {
    this.#emit = emit;
    this.#maxHeldCharacters = maxHeldBytes;
  }

  isOpen(key: string): boolean {
    return this.#lanes.some((lane) => lane.key === key);
  }

  /** Adds text to the block of this key, which begins if there is none. Throws upstream_invalid_response. */
  write(key: string, block: HubBlock, text: string): void {
    let lane = this.#lanes.find((open) => open.key === key);
    if (lane === undefined) {
      if (this.#closedToolKeys.has(key)) return this.#refuseLateText(text);
      lane = { key, block, progress: block.kind === 'tool_call' ? new JsonProgress() : undefined, held: [] };
      this.#lanes.push(lane);
      if (this.#lanes.length === 1) this.#emit({ kind: 'block_start', block });
    }
    lane.progress?.push(text);
    if (lane === this.#lanes[0]) {
      if (text !== '') this.#emit({ kind: 'delta', text });
    } else {
      lane.held.push(text);
      this.#heldCharacters += text.length;
      if (this.#heldCharacters > this.#maxHeldCharacters) {
        throw new LimenError(
          'upstream_invalid_response',
          'The upstream interleaved too much of its tool calls.',
        );
      }
    }
    this.#advance(false);
  }

  /** Ends every block in order. */
  finish(): void {
    this.#advance(true);
  }

  #advance(all: boolean): void {
    for (;;) {
      const [current, next] = this.#lanes;
      if (current === undefined) return;
      const mayClose = current.progress === undefined || current.progress.complete;
      if (!all && (next === undefined || !mayClose)) return;
      this.#emit({ kind: 'block_stop' });
      if (current.progress !== undefined) this.#closedToolKeys.add(current.key);
      this.#lanes.shift();
      if (next === undefined) return;
      this.#emit({ kind: 'block_start', block: next.block });
      const text = next.held.join('');
      this.#heldCharacters -= text.length;
      next.held = [];
      if (text !== '') this.#emit({ kind: 'delta', text });
    }
  }

  #refuseLateText(text: string): void {
    if (text.trim() === '') return;
    throw new LimenError('upstream_invalid_response', 'The upstream added to a tool call that was complete.');
  }
}
