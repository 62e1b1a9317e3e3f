/** The child's side of supervision, for `limen control`, `limen processor` and `limen clickhouse`. */

/**
 * Tells the supervisor that this process is ready to serve. Started by hand, without a supervisor, it does
 * nothing.
 */
export function announceReady(): void {
  process.send?.({ type: 'ready' });
}

/**
 * Calls `stop` once when this process is asked to end (SIGTERM, SIGINT) or its supervisor is gone, and then
 * ends the process: with status 0, or 1 where `stop` rejects or takes longer than the grace.
 */
export function stopWhenAsked(stop: () => Promise<void>, graceMs: number): void {
  let asked = false;
  const end = (): void => {
    if (asked) return;
    asked = true;
    setTimeout(() => process.exit(1), graceMs).unref();
    stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('disconnect', end);
  // The channel alone must not keep a process alive that has nothing else to do.
  process.channel?.unref();
}
