import { isUtf8 } from 'node:buffer';
import { LimenError } from '../../core/errors.ts';

/**
 * A strict JSON scanner (RFC 8259) that allocates nothing but the list of top-level members. It tells where
 * each one lies, so that a body can be edited in place. Being strict matters: whatever this scanner reads,
 * the upstream's parser must read the same way, or a request could be approved as one thing and served as
 * another.
 */

export interface TopLevelMember {
  readonly key: string;
  /** Offset of the key's opening quote. */
  readonly keyStart: number;
  readonly valueStart: number;
  /** Offset after the value's last byte. */
  readonly valueEnd: number;
}

export interface TopLevel {
  readonly members: readonly TopLevelMember[];
  /** Offset of `{`. */
  readonly start: number;
  /** Offset after `}`. */
  readonly end: number;
}

/** Deeper nesting is refused. Parsers of upstreams give up at depths between 500 and 10,000. */
const MAX_DEPTH = 512;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const LOWER_E = 0x65;
const LOWER_F = 0x66;
const LOWER_N = 0x6e;
const LOWER_T = 0x74;
const LOWER_U = 0x75;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Marks the characters that may follow a backslash, but for `u`. */
const SIMPLE_ESCAPES = new Uint8Array(256);
for (const character of '"\\/bfnrt') SIMPLE_ESCAPES[character.charCodeAt(0)] = 1;

function fail(position: number): never {
  throw new LimenError('bad_json', `The request body is not valid JSON (at byte ${String(position)}).`);
}

function skipSpace(body: Buffer, from: number): number {
  let position = from;
  for (;;) {
    const byte = body[position];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return position;
    position += 1;
  }
}

/** The body and a view of it that reads four bytes at once. */
interface Source {
  readonly body: Buffer;
  readonly view: DataView;
}

/**
 * Skips bytes, four at a time, that are neither a quote, nor a backslash, nor a control character: a string's
 * ordinary inside. A carry between the lanes can only stop it early, never let it run past one of the three.
 */
function skipOrdinary(view: DataView, from: number): number {
  const last = view.byteLength - 4;
  let position = from;
  while (position <= last) {
    const word = view.getInt32(position, true);
    const quotes = word ^ 0x22222222;
    const backslashes = word ^ 0x5c5c5c5c;
    const hits =
      ((word - 0x20202020) & ~word) |
      ((quotes - 0x01010101) & ~quotes) |
      ((backslashes - 0x01010101) & ~backslashes);
    if ((hits & 0x80808080) !== 0) break;
    position += 4;
  }
  return position;
}

/** `from` is the offset after the opening quote; returns the offset after the closing one. */
function skipString({ body, view }: Source, from: number): number {
  let position = from;
  for (;;) {
    position = skipOrdinary(view, position);
    // Past the end there is no byte; 0 is no legal byte of a string either.
    const byte = body[position] ?? 0;
    if (byte === QUOTE) return position + 1;
    if (byte === BACKSLASH) {
      position = skipEscape(body, position + 1);
    } else if (byte < 0x20) {
      fail(position);
    } else {
      position += 1;
    }
  }
}

function skipEscape(body: Buffer, from: number): number {
  const byte = body[from] ?? 0;
  if (byte !== LOWER_U) return SIMPLE_ESCAPES[byte] === 1 ? from + 1 : fail(from);
  for (let position = from + 1; position < from + 5; position += 1) {
    if (!isHexDigit(body[position] ?? 0)) fail(position);
  }
  return from + 5;
}

function isHexDigit(byte: number): boolean {
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= DIGIT_0 && byte <= DIGIT_9;
}

function skipDigits(body: Buffer, from: number): number {
  if (!isDigit(body[from])) fail(from);
  let position = from + 1;
  while (isDigit(body[position])) position += 1;
  return position;
}

function skipNumber(body: Buffer, from: number): number {
  let position = body[from] === MINUS ? from + 1 : from;
  position = body[position] === DIGIT_0 ? position + 1 : skipDigits(body, position);
  if (body[position] === DOT) position = skipDigits(body, position + 1);
  if (((body[position] ?? 0) | 0x20) === LOWER_E) {
    const sign = body[position + 1];
    position = skipDigits(body, sign === MINUS || sign === 0x2b ? position + 2 : position + 1);
  }
  return position;
}

function skipWord(body: Buffer, from: number, word: string): number {
  for (let index = 0; index < word.length; index += 1) {
    if (body[from + index] !== word.charCodeAt(index)) fail(from + index);
  }
  return from + word.length;
}

function skipScalar(source: Source, from: number): number {
  const { body } = source;
  const byte = body[from];
  if (byte === QUOTE) return skipString(source, from + 1);
  if (byte === LOWER_T) return skipWord(body, from, 'true');
  if (byte === LOWER_F) return skipWord(body, from, 'false');
  if (byte === LOWER_N) return skipWord(body, from, 'null');
  return skipNumber(body, from);
}

function skipKey(source: Source, from: number): number {
  const { body } = source;
  const keyStart = skipSpace(body, from);
  if (body[keyStart] !== QUOTE) fail(keyStart);
  const colon = skipSpace(body, skipString(source, keyStart + 1));
  if (body[colon] !== COLON) fail(colon);
  return colon + 1;
}

/** Skips one value of any kind without recursion. `from` is the offset of its first byte. */
function skipValue(source: Source, from: number): number {
  const { body } = source;
  const closers: number[] = [];
  let position = from;
  for (;;) {
    const byte = body[position];
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      const closer = byte === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
      const next = skipSpace(body, position + 1);
      if (body[next] !== closer) {
        closers.push(closer);
        if (closers.length > MAX_DEPTH) {
          throw new LimenError('invalid_request', `The request body nests deeper than ${String(MAX_DEPTH)}.`);
        }
        position = skipSpace(body, closer === CLOSE_BRACE ? skipKey(source, next) : next);
        continue;
      }
      position = next + 1;
    } else {
      position = skipScalar(source, position);
    }
    for (;;) {
      const closer = closers.at(-1);
      if (closer === undefined) return position;
      const next = skipSpace(body, position);
      if (body[next] === COMMA) {
        position = skipSpace(body, closer === CLOSE_BRACE ? skipKey(source, next + 1) : next + 1);
        break;
      }
      if (body[next] !== closer) fail(next);
      closers.pop();
      position = next + 1;
    }
  }
}

/**
 * Finds the members of the JSON object that `body` is. `guarded` are the keys that Limen acts on: a second
 * one, or one spelled in another case, is refused, because parsers differ in which of them they take (the
 * last, the first, or, in Go, any that matches when case is ignored).
 *
 * Throws bad_json for anything but one valid JSON object in UTF-8, and invalid_request for such a key.
 */
export function scanTopLevel(body: Buffer, guarded: ReadonlySet<string>): TopLevel {
  if (!isUtf8(body)) throw new LimenError('bad_json', 'The request body is not valid UTF-8.');
  const source = { body, view: new DataView(body.buffer, body.byteOffset, body.length) };
  const start = skipSpace(body, 0);
  if (body[start] !== OPEN_BRACE) {
    throw new LimenError('bad_json', 'The request body must be a JSON object.');
  }
  const members: TopLevelMember[] = [];
  const seen = new Set<string>();
  let position = skipSpace(body, start + 1);
  if (body[position] === CLOSE_BRACE) {
    position += 1;
  } else {
    for (;;) {
      const keyStart = skipSpace(body, position);
      const valueStart = skipSpace(body, skipKey(source, keyStart));
      const valueEnd = skipValue(source, valueStart);
      const key = readKey(source, keyStart);
      checkKey(key, guarded, seen);
      members.push({ key, keyStart, valueStart, valueEnd });
      position = skipSpace(body, valueEnd);
      const byte = body[position];
      position += 1;
      if (byte === CLOSE_BRACE) break;
      if (byte !== COMMA) fail(position - 1);
    }
  }
  const rest = skipSpace(body, position);
  if (rest !== body.length) fail(rest);
  return { members, start, end: position };
}

function readKey(source: Source, keyStart: number): string {
  const text = source.body.toString('utf8', keyStart, skipString(source, keyStart + 1));
  if (!text.includes('\\')) return text.slice(1, -1);
  const key: unknown = JSON.parse(text);
  return typeof key === 'string' ? key : fail(keyStart);
}

function checkKey(key: string, guarded: ReadonlySet<string>, seen: Set<string>): void {
  // NFKC folds the two letters that Go's encoding/json also takes for ASCII ones: the long s and the Kelvin sign.
  const folded = key.normalize('NFKC').toLowerCase();
  if (!guarded.has(folded)) return;
  if (key !== folded) {
    throw new LimenError('invalid_request', `The field '${folded}' must be written in lower case.`, {
      param: folded,
    });
  }
  if (seen.has(key)) {
    throw new LimenError('invalid_request', `The field '${key}' occurs twice.`, { param: key });
  }
  seen.add(key);
}

export function findMember(topLevel: TopLevel, key: string): TopLevelMember | undefined {
  return topLevel.members.find((member) => member.key === key);
}

/** The parsed value of one member, undefined where it is missing. */
export function readMember(body: Buffer, topLevel: TopLevel, key: string): unknown {
  const member = findMember(topLevel, key);
  if (member === undefined) return undefined;
  const value: unknown = JSON.parse(body.toString('utf8', member.valueStart, member.valueEnd));
  return value;
}
