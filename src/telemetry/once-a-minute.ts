const MINUTE_MS = 60_000;

/** For log lines about what goes on: a function that is true the first time, and then once a minute. */
export function onceAMinute(): () => boolean {
  let last = Number.NEGATIVE_INFINITY;
  return () => {
    const now = performance.now();
    if (now - last < MINUTE_MS) return false;
    last = now;
    return true;
  };
}
