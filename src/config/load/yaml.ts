import {
  LineCounter,
  isMap,
  isNode,
  isScalar,
  isSeq,
  parseAllDocuments,
  type Document,
  type ErrorCode,
  type Node,
} from 'yaml';
import type { Position } from '../origin.ts';
import { formatPath, type ConfigIssue } from './issue.ts';

/** More expansions of aliases than this are an attack or an accident (see "billion laughs"). */
const MOST_ALIAS_EXPANSIONS = 100;

/** One document of a YAML stream as plain data, with a way back to its text. */
export interface YamlDocument {
  readonly value: unknown;
  /** Where the document's content begins. */
  readonly start: Position;
  /** Every field that stands in the text, by path. */
  readonly places: ReadonlyMap<string, Place>;
}

/** Where a field stands. */
export interface Place {
  readonly key: Position;
  readonly value: Position;
}

export interface YamlFile {
  readonly documents: readonly YamlDocument[];
  readonly issues: readonly ConfigIssue[];
}

/**
 * What the documents of the last load were parsed to, by their text: of a large file, only what was edited is
 * parsed again. Keep one for each configuration path.
 */
export class YamlCache {
  #entries = new Map<string, YamlFile>();
  #fresh = new Map<string, YamlFile>();

  /** The file that this text was parsed to, here or by `parse`. */
  get(text: string, parse: () => YamlFile): YamlFile {
    const file = this.#fresh.get(text) ?? this.#entries.get(text) ?? parse();
    this.#fresh.set(text, file);
    return file;
  }

  /** Ends a load: what it did not use is forgotten. */
  rotate(): void {
    this.#entries = this.#fresh;
    this.#fresh = new Map();
  }
}

/** Where a field's value stands, or its key; for one that is not there: its nearest parent. */
export function positionIn(
  document: YamlDocument,
  path: readonly PropertyKey[],
  part: 'value' | 'key' = 'value',
): Position {
  const place = document.places.get(formatPath(path));
  if (place) return place[part];
  for (let length = path.length - 1; length > 0; length -= 1) {
    const parent = document.places.get(formatPath(path.slice(0, length)));
    // A parent is best shown by its name.
    if (parent) return parent.key;
  }
  return document.start;
}

/** Our own words, because the parser's quote the text, and a credential may stand in it. */
const SYNTAX_MESSAGES: Readonly<Partial<Record<ErrorCode, string>>> = {
  BAD_ALIAS: 'an alias (*name) whose anchor (&name) does not stand before it',
  BAD_DQ_ESCAPE: 'an escape that double-quoted text does not have',
  BAD_INDENT: 'an indentation that does not fit; align the fields of one object',
  BAD_SCALAR_START: 'text that begins with a reserved character; put it into quotes',
  BLOCK_AS_IMPLICIT_KEY: 'two values in one line; put text with ": " into quotes',
  DUPLICATE_KEY: 'a field that this object already has',
  MISSING_CHAR: 'a missing quote, bracket, colon or comma',
  MULTILINE_IMPLICIT_KEY: 'a field name over two lines; is a quote or colon missing?',
  TAB_AS_INDENT: 'a tab as indentation; use spaces',
  TAG_RESOLVE_FAILED: 'a tag (!name) that is not known here',
  NON_STRING_KEY: 'a field name that is not text',
  UNEXPECTED_TOKEN: 'something that does not belong here; is a bracket, quote or colon missing?',
  RESOURCE_EXHAUSTION: 'too deep a nesting',
};

function syntaxIssue(position: Position, message: string): ConfigIssue {
  return { line: position.line, column: position.column, path: '', message: `not valid YAML: ${message}` };
}

/** Line and column of an offset, from 1 also for an empty file. */
function positionAt(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/**
 * Parses a stream of YAML documents. Documents without content are left out; a document with an error is
 * reported and left out, the others are still given.
 *
 * @param file name for the issues
 */
export function parseYaml(file: string, text: string, cache = new YamlCache()): YamlFile {
  const documents: YamlDocument[] = [];
  const issues: ConfigIssue[] = [];
  for (const { text: part, line } of splitDocuments(text)) {
    const parsed = cache.get(part, () => parsePart(part));
    documents.push(...parsed.documents.map((document) => moved(document, line)));
    issues.push(...parsed.issues.map((issue) => ({ ...issue, file, line: (issue.line ?? 1) + line })));
  }
  return { documents, issues };
}

/**
 * Cuts a stream before each `---`. Such a line is always a marker, also inside quotes or a block of text (YAML
 * 1.2.2, 9.1.2). Streams with directives or end markers, which nobody writes here, stay whole.
 */
function splitDocuments(text: string): { text: string; line: number }[] {
  if (/^(%|\.\.\.)/m.test(text)) return [{ text, line: 0 }];
  const parts: { text: string; line: number }[] = [];
  let line = 0;
  for (const part of text.split(/^(?=---(?:\s|$))/m)) {
    parts.push({ text: part, line });
    line += part.split('\n').length - 1;
  }
  return parts;
}

function moved(document: YamlDocument, lines: number): YamlDocument {
  if (lines === 0) return document;
  const move = ({ line, column }: Position): Position => ({ line: line + lines, column });
  const places = new Map<string, Place>();
  for (const [path, { key, value }] of document.places)
    places.set(path, { key: move(key), value: move(value) });
  return { value: document.value, start: move(document.start), places };
}

/** Parses a text whose first line is line 1; its issues have no file yet. */
function parsePart(text: string): YamlFile {
  const lines = new LineCounter();
  let parsed: Document[];
  try {
    const stream = parseAllDocuments(text, { prettyErrors: false, lineCounter: lines, stringKeys: true });
    parsed = 'empty' in stream ? [] : stream;
  } catch {
    // Only exhaustion of the stack gets here: the parser collects its errors.
    return { documents: [], issues: [syntaxIssue({ line: 1, column: 1 }, 'too deep a nesting')] };
  }
  const documents: YamlDocument[] = [];
  const issues: ConfigIssue[] = [];
  for (const document of parsed) {
    const faults = [...document.errors, ...document.warnings];
    for (const fault of faults) {
      const message = SYNTAX_MESSAGES[fault.code] ?? 'something that YAML does not have';
      issues.push(syntaxIssue(positionAt(lines, fault.pos[0]), message));
    }
    if (faults.length > 0 || !isNode(document.contents)) continue;
    const start = positionAt(lines, document.contents.range?.[0] ?? 0);
    try {
      const value: unknown = document.toJS({ maxAliasCount: MOST_ALIAS_EXPANSIONS });
      if (value !== null) documents.push({ value, start, places: placesOf(document.contents, lines) });
    } catch {
      issues.push(syntaxIssue(start, `aliases that expand to more than ${MOST_ALIAS_EXPANSIONS} copies`));
    }
  }
  return { documents, issues };
}

/** Where each field stands. What an alias stands for is not followed: the alias itself is what was written here. */
function placesOf(contents: Node, lines: LineCounter): Map<string, Place> {
  const places = new Map<string, Place>();
  const startOf = (node: unknown): Position | undefined =>
    isNode(node) && node.range ? positionAt(lines, node.range[0]) : undefined;
  const walk = (node: unknown, path: readonly PropertyKey[]): void => {
    if (isMap(node)) {
      for (const { key, value } of node.items) {
        const keyAt = startOf(key);
        if (!isScalar(key) || !keyAt) continue;
        const inner = [...path, String(key.value)];
        places.set(formatPath(inner), { key: keyAt, value: startOf(value) ?? keyAt });
        walk(value, inner);
      }
    } else if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) {
        const at = startOf(item);
        const inner = [...path, index];
        if (at) places.set(formatPath(inner), { key: at, value: at });
        walk(item, inner);
      }
    }
  };
  walk(contents, []);
  return places;
}
