import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { ClientDriver, Conversation, ModelsOutcome, Outcome, Target } from './driver.ts';

const packages = resolve(import.meta.dirname, '../../.tools/python-clients');

const errorSchema = z
  .object({
    classes: z.array(z.string()),
    status: z.number().nullable(),
    code: z.string().nullable(),
    type: z.string().nullable(),
    message: z.string(),
    retryAfter: z.string().nullable(),
    requestId: z.string().nullable(),
  })
  .nullable();
const turnSchema = z.object({
  text: z.string(),
  pieces: z.number(),
  toolCalls: z.array(z.object({ id: z.string(), name: z.string(), arguments: z.unknown() })),
  finish: z.string().nullable(),
  stopSequence: z.string().nullable(),
  model: z.string().nullable(),
  usage: z.record(z.string(), z.unknown()).nullable(),
  left: z.boolean(),
});
const outcomeSchema = z.object({ turns: z.array(turnSchema), error: errorSchema });
const modelsSchema = z.object({ models: z.array(z.string()), error: errorSchema });

/**
 * A Python client in a process of its own, kept for a whole suite: importing it takes longer than a scenario.
 * Commands run one after the other.
 */
class PythonDriver implements ClientDriver {
  readonly name: string;
  readonly kind: 'openai' | 'anthropic';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #errorOutput = '';
  #turn: Promise<unknown> = Promise.resolve();

  constructor(kind: 'openai' | 'anthropic') {
    if (!existsSync(packages)) {
      throw new Error(`The Python clients are not installed in ${packages}: npm test does it.`);
    }
    this.name = `${kind} (Python)`;
    this.kind = kind;
    this.#child = spawn('python3', ['-u', join(import.meta.dirname, 'python', `${kind}_driver.py`)], {
      env: { ...process.env, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: '1' },
    });
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#errorOutput = (this.#errorOutput + chunk.toString()).slice(-4000);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  converse(target: Target, conversation: Conversation): Promise<Outcome> {
    return this.#ask({ command: 'converse', target, conversation }, (value) => outcomeSchema.parse(value));
  }

  listModels(target: Target): Promise<ModelsOutcome> {
    return this.#ask({ command: 'models', target }, (value) => modelsSchema.parse(value));
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }

  #ask<Result>(command: object, parse: (value: unknown) => Result): Promise<Result> {
    const answer = this.#turn.then(async () => {
      this.#child.stdin.write(`${JSON.stringify(command)}\n`);
      const line = await this.#lines.next();
      if (line.done) throw new Error(`${this.name} ended: ${this.#errorOutput}`);
      const value: unknown = JSON.parse(line.value);
      return parse(value);
    });
    this.#turn = answer.catch(() => undefined);
    return answer;
  }
}

/** The `openai` or `anthropic` package of PyPI. Close it at the end of the suite. */
export function pythonDriver(kind: 'openai' | 'anthropic'): ClientDriver {
  return new PythonDriver(kind);
}
