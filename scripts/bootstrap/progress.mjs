import { statfsSync } from 'node:fs';

const colour = process.stderr.isTTY && !process.env['NO_COLOR'];

/** @param {string} code @param {string} text */
const paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);

/** A failure with a message made for the person at the terminal: printed without a stack. */
export class SetupError extends Error {
  /** @param {string} message what went wrong @param {string} [advice] what to do about it */
  constructor(message, advice) {
    super(message);
    this.advice = advice;
  }
}

/** @param {number} milliseconds */
export const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;

/** Bytes in use on the file system of the project; its growth is a cheap estimate of what a step wrote. */
function bytesUsed() {
  const { blocks, bfree, bsize } = statfsSync(import.meta.dirname);
  return (blocks - bfree) * bsize;
}

/**
 * Runs one step of the set-up and says so on stderr: its name at once, how far it is from two seconds on, and
 * the time it took. Standard output stays free for the command itself.
 *
 * @template T
 * @param {string} title what is being done, with its size: 'Envoy 1.40.0 (37 MB)'
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const started = Date.now();
  let lowest = bytesUsed();
  const live = process.stderr.isTTY;
  process.stderr.write(live ? `  … ${title}` : `  … ${title}\n`);
  const report = () => {
    // What the step removes first, it does not write.
    const used = bytesUsed();
    lowest = Math.min(lowest, used);
    const written = Math.round((used - lowest) / 1e6);
    const line = `  … ${title}: ${Math.round((Date.now() - started) / 1000)} s, ${written} MB written`;
    process.stderr.write(live ? `\r${line}\u001b[K` : `${line}\n`);
  };
  const timer = setInterval(report, live ? 1_000 : 10_000);
  /** @param {string} mark */
  const close = (mark) =>
    process.stderr.write(
      `${live ? '\r' : ''}  ${mark} ${title} ${seconds(Date.now() - started)}${live ? '\u001b[K' : ''}\n`,
    );
  try {
    const result = await work();
    clearInterval(timer);
    close(paint('32', '✓'));
    return result;
  } catch (error) {
    clearInterval(timer);
    close(paint('31', '✗'));
    throw error;
  }
}

/** Prints a failure of the set-up and ends the process with status 1. @param {unknown} error @returns {never} */
export function exitWith(error) {
  if (error instanceof SetupError) {
    process.stderr.write(`${paint('31', 'error:')} ${error.message}\n`);
    if (error.advice) process.stderr.write(`       ${error.advice}\n`);
  } else {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  }
  process.exit(1);
}
