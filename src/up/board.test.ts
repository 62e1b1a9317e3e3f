import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Board } from './board.ts';
import { Child, type ChildState } from './child.ts';
import { LogFile } from './log-file.ts';
import { PidFiles } from './pid-files.ts';

let folder: string;
let written: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-board-'));
  written = '';
});

afterEach(() => rmSync(folder, { recursive: true }));

const terminal = (isTTY: boolean, rows = 40) => ({ isTTY, rows, write: (text: string) => (written += text) });

function children(...names: string[]): Child[] {
  return names.map((name) => {
    const definition = {
      name,
      needs: [],
      launch: () => ({ command: 'true', args: [], env: {} }),
      ready: 'message',
      readyWithinMs: 1_000,
      stopSignal: 'SIGTERM',
      graceMs: 1_000,
    } as const;
    const events = { onState: () => undefined, onLine: () => undefined };
    return new Child(definition, new PidFiles(folder), new LogFile(join(folder, `${name}.log`)), events);
  });
}

function become(board: Board, child: Child, state: ChildState): void {
  child.state = state;
  board.state(child);
}

describe('Board', () => {
  it('writes one aligned line for each part that is ready where there is no terminal', () => {
    const [redis, postgres] = children('redis', 'postgres');
    if (!redis || !postgres) throw new Error('no children');
    const board = new Board(terminal(false));
    board.open([redis, postgres]);
    for (const child of [redis, postgres]) become(board, child, 'starting');
    redis.readyAfterMs = 240;
    become(board, redis, 'ready');
    postgres.readyAfterMs = 1_900;
    become(board, postgres, 'ready');
    board.close();
    expect(written).toBe('  ✓ redis     0.2 s\n  ✓ postgres  1.9 s\n');
  });

  it('redraws a table in place on a terminal, and lets lines through above it', () => {
    const all = children('redis', 'envoy');
    const board = new Board(terminal(true));
    board.open(all);
    board.line('  redis | trouble');
    board.close();
    const table = '  · redis\n  · envoy\n';
    const erase = '\u001b[2A\u001b[J';
    expect(written).toBe(`${table}${erase}  redis | trouble\n${table}${erase}${table}`);
  });

  it('writes lines where the terminal is too small for the table', () => {
    const all = children('redis', 'envoy');
    const board = new Board(terminal(true, 3));
    board.open(all);
    board.close();
    expect(written).toBe('');
  });

  it('tells of a crash and of the return afterwards', () => {
    const [worker] = children('processor-0');
    if (!worker) throw new Error('no child');
    const board = new Board(terminal(false));
    board.open([worker]);
    become(board, worker, 'ready');
    board.close();
    written = '';
    worker.restarts = 1;
    worker.lastExit = 'ended by SIGKILL';
    become(board, worker, 'crashed');
    become(board, worker, 'starting');
    become(board, worker, 'ready');
    expect(written).toMatch(
      /^ {2}✗ processor-0 ended by SIGKILL, starting it again\n {2}✓ processor-0 is back after 0\.\d s\n$/,
    );
  });
});
