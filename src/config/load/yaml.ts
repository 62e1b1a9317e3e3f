import {
  LineCounter,
  isAlias,
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
  /** Where a field's value stands, or its key; a field that is not there: its nearest parent. */
  position(path: readonly PropertyKey[], part?: 'value' | 'key'): Position;
  /** Position of every field, by path. */
  positions(): ReadonlyMap<string, Position>;
}

export interface YamlFile {
  readonly documents: readonly YamlDocument[];
  readonly issues: readonly ConfigIssue[];
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

function syntaxIssue(file: string, position: Position, message: string): ConfigIssue {
  return {
    file,
    line: position.line,
    column: position.column,
    path: '',
    message: `not valid YAML: ${message}`,
  };
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
export function parseYaml(file: string, text: string): YamlFile {
  const lines = new LineCounter();
  let parsed: Document[];
  try {
    const stream = parseAllDocuments(text, { prettyErrors: false, lineCounter: lines, stringKeys: true });
    parsed = 'empty' in stream ? [] : stream;
  } catch {
    // Only exhaustion of the stack gets here: the parser collects its errors.
    return { documents: [], issues: [syntaxIssue(file, { line: 1, column: 1 }, 'too deep a nesting')] };
  }
  const documents: YamlDocument[] = [];
  const issues: ConfigIssue[] = [];
  for (const document of parsed) {
    const faults = [...document.errors, ...document.warnings];
    for (const fault of faults) {
      const message = SYNTAX_MESSAGES[fault.code] ?? 'something that YAML does not have';
      issues.push(syntaxIssue(file, positionAt(lines, fault.pos[0]), message));
    }
    if (faults.length > 0 || !isNode(document.contents)) continue;
    const start = positionAt(lines, document.contents.range?.[0] ?? 0);
    try {
      const value: unknown = document.toJS({ maxAliasCount: MOST_ALIAS_EXPANSIONS });
      if (value !== null) documents.push(yamlDocument(document, lines, value, start));
    } catch {
      issues.push(
        syntaxIssue(file, start, `aliases that expand to more than ${MOST_ALIAS_EXPANSIONS} copies`),
      );
    }
  }
  return { documents, issues };
}

function yamlDocument(document: Document, lines: LineCounter, value: unknown, start: Position): YamlDocument {
  const resolved = (node: unknown): Node | undefined => {
    if (isAlias(node)) return node.resolve(document);
    return isNode(node) ? node : undefined;
  };
  const startOf = (node: unknown): Position | undefined =>
    isNode(node) && node.range ? positionAt(lines, node.range[0]) : undefined;

  return {
    value,
    start,
    position(path, part = 'value') {
      let node = resolved(document.contents);
      let found = start;
      for (const [index, step] of path.entries()) {
        const last = index === path.length - 1;
        if (isMap(node)) {
          const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
          if (!pair) return found;
          const value = startOf(pair.value);
          // Until the last step a field stands for its parent, and a parent is best shown by its name.
          found = (last && part === 'value' ? value : undefined) ?? startOf(pair.key) ?? found;
          node = resolved(pair.value);
        } else if (isSeq(node)) {
          const item: unknown = node.items[Number(step)];
          found = startOf(item) ?? found;
          node = resolved(item);
        } else return found;
      }
      return found;
    },
    positions() {
      const places = new Map<string, Position>();
      const walk = (node: unknown, path: readonly PropertyKey[]): void => {
        const place = startOf(node);
        if (place) places.set(formatPath(path), place);
        const target = resolved(node);
        if (isMap(target)) {
          for (const { key, value } of target.items)
            if (isScalar(key)) walk(value, [...path, String(key.value)]);
        } else if (isSeq(target)) {
          for (const [index, item] of target.items.entries()) walk(item, [...path, index]);
        }
      };
      walk(document.contents, []);
      return places;
    },
  };
}
