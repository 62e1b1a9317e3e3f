import type { Usage } from '../../core/usage.ts';
import type { UsageStrip } from '../format.ts';
import { findDataRange, SseSplitter } from '../framing/sse.ts';
import { editTopLevel } from '../json/edit.ts';
import { asObject } from '../json/parse.ts';
import { findMember, readMember, scanTopLevel } from '../json/scan.ts';
import { LimenError } from '../../core/errors.ts';
import { decodeChatUsage } from './usage.ts';

/** A chunk that says that it is not the last; servers differ in their white space. */
const NO_FINISH = /"finish_reason"\s*:\s*null/;
const USAGE_KEY = '"usage"';
const NO_GUARDED_KEYS: ReadonlySet<string> = new Set();
const REMOVE_USAGE: ReadonlyMap<string, undefined> = new Map([['usage', undefined]]);
const NOTHING = Buffer.alloc(0);
/** Where this ends the data, it is the last member of the outermost object, whatever stands before. */
const LAST_MEMBER = Buffer.from(',"usage":null}');
/** `data: [DONE]` with room for odd spacing. */
const MAX_DONE_BYTES = 32;

/**
 * Hides from a client that `stream_options.include_usage` was set for it: takes the usage chunk and the
 * `usage: null` of every other chunk out of a Chat Completions stream. Every other byte passes as it came.
 */
export class ChatUsageStrip implements UsageStrip {
  readonly #splitter: SseSplitter;
  #pieces: Buffer[] = [];
  #done = false;
  #sawFinish = false;
  #sawError = false;
  usage: Usage | undefined;

  constructor(maxEventBytes: number) {
    this.#splitter = new SseSplitter(maxEventBytes);
  }

  /** How the stream stands: `complete` needs `[DONE]` or a `finish_reason`. */
  get outcome(): 'complete' | 'truncated' | 'error' {
    if (this.#sawError) return 'error';
    return this.#done || this.#sawFinish ? 'complete' : 'truncated';
  }

  /** Throws upstream_invalid_response when an event outgrows the limit. */
  push(chunk: Buffer): Buffer {
    this.#splitter.push(chunk, this.#onBlock);
    return this.#take();
  }

  end(): Buffer {
    this.#splitter.end(this.#onBlock);
    return this.#take();
  }

  #take(): Buffer {
    const [first] = this.#pieces;
    const bytes = this.#pieces.length > 1 ? Buffer.concat(this.#pieces) : (first ?? NOTHING);
    this.#pieces = [];
    return bytes;
  }

  readonly #onBlock = (block: Buffer): void => {
    this.#watch(block);
    const kept = block.includes(USAGE_KEY) ? this.#strip(block) : block;
    if (kept.length > 0) this.#pieces.push(kept);
  };

  #watch(block: Buffer): void {
    if (block.length <= MAX_DONE_BYTES && block.includes('[DONE]')) this.#done = true;
    else if (block.includes('"finish_reason"') && !NO_FINISH.test(block.toString('latin1')))
      this.#sawFinish = true;
    else if (block.includes('"error"')) this.#sawError ||= hasErrorMember(block);
  }

  #strip(block: Buffer): Buffer {
    const range = findDataRange(block);
    if (range === undefined) return block;
    const data = block.subarray(range.start, range.end);
    const cutStart = range.end - LAST_MEMBER.length;
    if (cutStart > range.start && block.subarray(cutStart, range.end).equals(LAST_MEMBER)) {
      return Buffer.concat([block.subarray(0, cutStart), block.subarray(range.end - 1)]);
    }
    try {
      const topLevel = scanTopLevel(data, NO_GUARDED_KEYS);
      if (findMember(topLevel, 'usage') === undefined) return block;
      const usage = decodeChatUsage(readMember(data, topLevel, 'usage'));
      if (usage === undefined) {
        const edited = editTopLevel(data, topLevel, REMOVE_USAGE);
        return Buffer.concat([block.subarray(0, range.start), edited, block.subarray(range.end)]);
      }
      this.usage = usage;
      const choices = readMember(data, topLevel, 'choices');
      // Servers that tell usage beside the last choice do so unasked.
      return Array.isArray(choices) && choices.length === 0 ? NOTHING : block;
    } catch (error) {
      if (error instanceof LimenError) return block;
      throw error;
    }
  }
}

function hasErrorMember(block: Buffer): boolean {
  const range = findDataRange(block);
  if (range === undefined) return false;
  try {
    const data = block.subarray(range.start, range.end);
    return asObject(readMember(data, scanTopLevel(data, NO_GUARDED_KEYS), 'error')) !== undefined;
  } catch (error) {
    if (error instanceof LimenError) return false;
    throw error;
  }
}
