import { z } from 'zod';
import type { Environment } from '../config/env.ts';
import type { ChildDefinition } from './child.ts';

/** A line of our own logger; others pass as they are. */
const logLine = z.object({ level: z.enum(['warn', 'error', 'fatal']), message: z.string().default('') });

/** What an operator should see of a child's log: its warnings and errors. */
export function importantLogLine(line: string): string | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const parsed = logLine.safeParse(JSON.parse(line));
    return parsed.success ? `${parsed.data.level}: ${parsed.data.message}` : undefined;
  } catch {
    return undefined;
  }
}

export interface NodeChildOptions {
  readonly name: string;
  /** Program and arguments: Node, `src/main.ts` and the command. */
  readonly command: readonly [string, ...string[]];
  readonly environment: Environment;
  readonly needs: readonly string[];
  readonly graceMs: number;
}

/** One of Limen's own processes: it sends `{ type: 'ready' }` over IPC, and ends when that channel does. */
export function nodeChild({ name, command, environment, needs, graceMs }: NodeChildOptions): ChildDefinition {
  const [program, ...args] = command;
  return {
    name,
    needs,
    launch: () => ({ command: program, args, env: environment }),
    ready: 'message',
    readyWithinMs: 60_000,
    stopSignal: 'SIGTERM',
    graceMs,
    important: importantLogLine,
  };
}
