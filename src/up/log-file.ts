import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

/** A log never takes more than twice this: the current file and the one before. */
const LARGEST_LOG_BYTES = 20 * 1024 * 1024;

/**
 * A bounded log file: when full it becomes `NAME.log.1` (over the older one) and starts anew. Writes are
 * synchronous, so that the last words of a crashing child are in the file when it is reported.
 */
export class LogFile {
  readonly #path: string;
  readonly #limit: number;
  #descriptor: number;
  #size: number;

  constructor(path: string, limit = LARGEST_LOG_BYTES) {
    this.#path = path;
    this.#limit = limit;
    this.#descriptor = openSync(path, 'a', 0o600);
    this.#size = fstatSync(this.#descriptor).size;
  }

  write(line: string): void {
    const bytes = Buffer.from(`${line}\n`);
    if (this.#size > 0 && this.#size + bytes.length > this.#limit) this.#rotate();
    try {
      this.#size += writeSync(this.#descriptor, bytes);
    } catch {
      // A full disk must not take the gateway down with it; the line is lost.
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #rotate(): void {
    closeSync(this.#descriptor);
    renameSync(this.#path, `${this.#path}.1`);
    this.#descriptor = openSync(this.#path, 'a', 0o600);
    this.#size = 0;
  }
}
