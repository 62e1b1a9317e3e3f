import { mkdirSync } from 'node:fs';
import { Session } from 'chdb';
import { Lane } from './host-lanes.ts';

/** One statement as an HTTP request brings it. */
export interface Statement {
  /** The statement, with the rows of an INSERT behind it. */
  readonly sql: string;
  readonly database: string;
  /** Output format where the statement names none. */
  readonly format: string;
  readonly settings: ReadonlyMap<string, string>;
  /** Query parameters by name, in ClickHouse's escaped text form, as in a URL. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** What came of a statement: the whole output, or its chunks as they are made. */
export interface StatementResult {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Rows and bytes read, where the engine tells them at the end of the whole. */
  readonly rows: number;
  readonly bytes: number;
}

/**
 * The engine works in the four threads of Node's pool, and a thread is taken for as long as a statement runs:
 * three read at once, one is kept for everything that writes.
 */
const READERS = 3;
const WRITERS = 1;
const MOST_WAITING = 200;

/** What one statement may take unless its own settings say otherwise. */
const DEFAULT_SETTINGS: readonly (readonly [string, string])[] = [
  ['max_memory_usage', String(1024 ** 3)],
  ['max_execution_time', '60'],
  // Two cores do not get faster by more threads, and each holds its own buffers.
  ['max_threads', '2'],
  ['max_insert_threads', '1'],
  // The embedded engine takes a bare expression for a SELECT, which a server does not.
  ['implicit_select', '0'],
];

const READS = /^[\s(]*(SELECT|WITH|VALUES)\b/i;
const LEADING_COMMENTS = /^(\s+|--[^\n]*(\n|$)|\/\*[\s\S]*?\*\/)+/;
const SETTING_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The text without the comments before it, by which a statement's kind is told. */
export function withoutLeadingComments(sql: string): string {
  return sql.replace(LEADING_COMMENTS, '');
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, (character) => `\\${character}`)}'`;
}

/**
 * The ClickHouse engine inside this process, on one data folder. Each statement runs in a session of its own
 * (about a millisecond), so that no setting, parameter or database of one reaches another.
 */
export class Engine {
  readonly #folder: string;
  readonly #reading = new Lane(READERS, MOST_WAITING);
  readonly #writing = new Lane(WRITERS, MOST_WAITING);
  /** Keeps the engine up between statements; closing the last session would stop it. */
  readonly #anchor: Session;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#anchor = new Session(folder);
  }

  /**
   * Opens the folder, which is made where it is missing. The engine locks it for as long as this process lives.
   *
   * @throws Error where another process has it
   */
  static open(folder: string): Engine {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return new Engine(folder);
  }

  /** Runs a statement; rejects before the first chunk where it fails that early, and within the chunks later. */
  async run(statement: Statement, signal: AbortSignal): Promise<StatementResult> {
    const reads = READS.test(withoutLeadingComments(statement.sql));
    const turn = await (reads ? this.#reading : this.#writing).enter();
    let session: Session | undefined;
    const release = (): void => {
      session?.close();
      turn[Symbol.dispose]();
    };
    try {
      signal.throwIfAborted();
      session = new Session(this.#folder);
      await session.queryAsync(preparation(statement));
      if (reads) return await streamed(session, statement, signal, release);
      const result = await session.queryAsync(statement.sql, { format: statement.format });
      release();
      const bytes = result.bytes();
      return { chunks: once(bytes), rows: result.rowsRead, bytes: result.bytesRead };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Ends the engine. Statements that still run are waited for by the engine itself. */
  close(): void {
    this.#anchor.close();
  }
}

function preparation(statement: Statement): string {
  const settings = new Map([...DEFAULT_SETTINGS, ...statement.settings]);
  const sets = [...settings].map(([name, value]) => {
    if (!SETTING_NAME.test(name))
      throw new Error(`Code: 115. DB::Exception: Unknown setting. (UNKNOWN_SETTING)`);
    return `${name} = ${quote(value)}`;
  });
  const parameters = [...statement.parameters].map(([name, value]) => {
    if (!SETTING_NAME.test(name))
      throw new Error(`Code: 36. DB::Exception: Bad parameter name. (BAD_ARGUMENTS)`);
    return `param_${name} = ${quote(value)}`;
  });
  const use = `USE \`${statement.database.replace(/[\\`]/g, (character) => `\\${character}`)}\``;
  return [use, ...[...sets, ...parameters].map((assignment) => `SET ${assignment}`)].join('; ');
}

/** Waits for the first chunk, so that a statement that fails at once is told as an error, not as a broken answer. */
async function streamed(
  session: Session,
  statement: Statement,
  signal: AbortSignal,
  release: () => void,
): Promise<StatementResult> {
  const stream = session.queryStream(statement.sql, { format: statement.format, signal });
  const iterator = stream[Symbol.asyncIterator]();
  const first = await iterator.next();
  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (let next = first; next.done !== true; next = await iterator.next()) yield next.value.raw();
    } finally {
      stream.cancel();
      release();
    }
  }
  return { chunks: chunks(), rows: 0, bytes: 0 };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}
