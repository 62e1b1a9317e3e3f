import type { Environment, Settings } from '../config/env.ts';
import { SettingsError } from '../config/env.ts';

/** What the commands need of the process they run in; main.ts and tests hand it to them. */
export interface CliContext {
  /** Settings from environment and flags, read when a command needs them. May throw SettingsError. */
  readonly settings: () => Settings;
  readonly environment: Environment;
  /** The project folder, where the set-up keeps its binaries. */
  readonly root: string;
  /** Writes one line, or several, to standard output. */
  readonly out: (text: string) => void;
  /** Writes one line, or several, to standard error. */
  readonly err: (text: string) => void;
  /** Everything from standard input. */
  readonly stdin: () => Promise<string>;
  /** Sets the exit status of the process: 0 done, 1 it did not work, 2 it was asked for wrongly. */
  readonly setExitCode: (code: 0 | 1 | 2) => void;
}

/** Something to tell the person at the terminal, in one line or a few. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Runs a command's work; what it throws for the person becomes a line and an exit status. */
export async function runCommand(context: CliContext, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof CliError) {
      context.err(`error: ${error.message}`);
      context.setExitCode(error.exitCode);
    } else if (error instanceof SettingsError) {
      context.err(`error: ${error.message}`);
      context.setExitCode(2);
    } else throw error;
  }
}
