/** Why Limen cannot start; `message` is written for the person at the terminal: one line, with what to do. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** Whether an error of the operating system has this code: `ENOENT`, `EADDRINUSE`. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
  );
}
