import { LimenError } from '../../core/errors.ts';

/**
 * Server-sent events on Buffers (WHATWG HTML, "Server-sent events", 9.2.6): CR, LF and CRLF, several data
 * lines, comments, a byte order mark. A splitter cuts the stream into whole event blocks; a parser reads one.
 * Cutting where blocks end, never inside, is what makes the result independent of how the bytes arrived.
 */

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

export interface SseEvent {
  /** The `event:` field. */
  readonly event: string | undefined;
  /** The data lines, joined by LF; undefined where the block has none (a comment, a bare id). */
  readonly data: string | undefined;
}

/**
 * Cuts a byte stream into event blocks, each with the blank line that ends it, so that all blocks together
 * are the stream byte for byte. A block inside one chunk is a view of it, not a copy.
 *
 * A CR at the very end of a chunk waits for the next byte: an LF there still belongs to it.
 */
export class SseSplitter {
  readonly #maxEventBytes: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #lineHasBytes = false;
  #heldCarriageReturn = false;
  #heldLineIsBlank = false;

  constructor(maxEventBytes: number) {
    this.#maxEventBytes = maxEventBytes;
  }

  /** Throws upstream_invalid_response when a block outgrows the limit. */
  push(chunk: Buffer, onBlock: (block: Buffer) => void): void {
    if (chunk.length === 0) return;
    let position = 0;
    let blockStart = 0;
    if (this.#heldCarriageReturn) {
      this.#heldCarriageReturn = false;
      if (chunk[0] === LF) position = 1;
      if (this.#heldLineIsBlank) {
        onBlock(this.#complete(chunk.subarray(0, position)));
        blockStart = position;
      }
      this.#lineHasBytes = false;
    }
    let nextLineFeed = chunk.indexOf(LF, position);
    let nextCarriageReturn = chunk.indexOf(CR, position);
    for (;;) {
      const lineEnd = firstOf(nextLineFeed, nextCarriageReturn);
      if (lineEnd === -1) {
        if (position < chunk.length) this.#lineHasBytes = true;
        break;
      }
      const blank = !this.#lineHasBytes && lineEnd === position;
      position = lineEnd + 1;
      if (lineEnd === nextCarriageReturn) {
        if (position === chunk.length) {
          this.#heldCarriageReturn = true;
          this.#heldLineIsBlank = blank;
          break;
        }
        if (chunk[position] === LF) position += 1;
        nextCarriageReturn = chunk.indexOf(CR, position);
      }
      if (nextLineFeed !== -1 && nextLineFeed < position) nextLineFeed = chunk.indexOf(LF, position);
      this.#lineHasBytes = false;
      if (blank) {
        onBlock(this.#complete(chunk.subarray(blockStart, position)));
        blockStart = position;
      }
    }
    if (blockStart < chunk.length) this.#hold(chunk.subarray(blockStart));
  }

  /** Hands out what stands after the last blank line: some servers end without one. */
  end(onBlock: (block: Buffer) => void): void {
    if (this.#pendingBytes > 0) onBlock(this.#complete(Buffer.alloc(0)));
    this.#heldCarriageReturn = false;
    this.#lineHasBytes = false;
  }

  #hold(piece: Buffer): void {
    this.#pending.push(piece);
    this.#pendingBytes += piece.length;
    this.#check(this.#pendingBytes);
  }

  #complete(last: Buffer): Buffer {
    this.#check(this.#pendingBytes + last.length);
    if (this.#pendingBytes === 0) return last;
    if (last.length > 0) this.#pending.push(last);
    const only = this.#pending.length === 1 ? this.#pending[0] : undefined;
    const block = only ?? Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    return block;
  }

  #check(bytes: number): void {
    if (bytes > this.#maxEventBytes) {
      throw new LimenError(
        'upstream_invalid_response',
        `The upstream sent a stream event of more than ${String(this.#maxEventBytes)} bytes.`,
      );
    }
  }
}

function firstOf(lineFeed: number, carriageReturn: number): number {
  if (lineFeed === -1) return carriageReturn;
  if (carriageReturn === -1) return lineFeed;
  return Math.min(lineFeed, carriageReturn);
}

/** Calls back with the bounds of each line, without its terminator. */
function forEachLine(block: Buffer, onLine: (start: number, end: number) => void): void {
  let start = block.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0;
  const hasCarriageReturn = block.includes(CR);
  while (start < block.length) {
    const lineFeed = block.indexOf(LF, start);
    const carriageReturn = hasCarriageReturn ? block.indexOf(CR, start) : -1;
    const found = firstOf(lineFeed, carriageReturn);
    const end = found === -1 ? block.length : found;
    if (end > start) onLine(start, end);
    start = end + 1;
  }
}

function fieldValueStart(block: Buffer, nameEnd: number, lineEnd: number): number {
  if (nameEnd >= lineEnd) return lineEnd;
  return block[nameEnd + 1] === SPACE && nameEnd + 1 < lineEnd ? nameEnd + 2 : nameEnd + 1;
}

function isField(block: Buffer, start: number, end: number, name: string): boolean {
  const nameEnd = start + name.length;
  if (nameEnd > end || (nameEnd < end && block[nameEnd] !== COLON)) return false;
  for (let index = 0; index < name.length; index += 1) {
    if (block[start + index] !== name.charCodeAt(index)) return false;
  }
  return true;
}

/** Reads one block. Unknown fields and comments are passed over. */
export function parseSseBlock(block: Buffer): SseEvent {
  let event: string | undefined;
  let data: string | undefined;
  forEachLine(block, (start, end) => {
    if (isField(block, start, end, 'data')) {
      const line = block.toString('utf8', fieldValueStart(block, start + 4, end), end);
      data = data === undefined ? line : `${data}\n${line}`;
    } else if (isField(block, start, end, 'event')) {
      event = block.toString('utf8', fieldValueStart(block, start + 5, end), end);
    }
  });
  return { event, data };
}

/** Bounds of the data in a block that has exactly one data line, for edits in place. */
export function findDataRange(block: Buffer): { readonly start: number; readonly end: number } | undefined {
  let range: { readonly start: number; readonly end: number } | undefined;
  let lines = 0;
  forEachLine(block, (start, end) => {
    if (!isField(block, start, end, 'data')) return;
    lines += 1;
    range = { start: fieldValueStart(block, start + 4, end), end };
  });
  return lines === 1 ? range : undefined;
}

/** One event as text. `data` must hold no line break, which serialised JSON never does. */
export function formatSseEvent(event: string | undefined, data: string): string {
  return event === undefined ? `data: ${data}\n\n` : `event: ${event}\ndata: ${data}\n\n`;
}

/** A comment, which clients ignore: keeps a quiet connection alive. */
export function formatSseComment(comment: string): string {
  return `: ${comment}\n\n`;
}
