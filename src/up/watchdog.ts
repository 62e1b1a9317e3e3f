import { spawn } from 'node:child_process';

/**
 * Waits for the end of its standard input, which comes when the supervisor is gone in any way, then ends every
 * child that still has a pid file. A clean stop leaves no such file, so then it has nothing to do.
 */
const SCRIPT = `
trap '' INT TERM HUP
cat >/dev/null
cd "$1" || exit 0
send() { kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "$2" 2>/dev/null; }
for file in *.pid; do
  [ -f "$file" ] || continue
  { read -r pid; read -r signal; } <"$file"
  send "$signal" "$pid"
done
tries=0
while [ $tries -lt 50 ]; do
  alive=
  for file in *.pid; do
    [ -f "$file" ] || continue
    read -r pid <"$file"
    if kill -0 "$pid" 2>/dev/null; then alive=yes; else rm -f "$file"; fi
  done
  [ -z "$alive" ] && break
  sleep 0.1
  tries=$((tries + 1))
done
for file in *.pid; do
  [ -f "$file" ] || continue
  read -r pid <"$file"
  send KILL "$pid"
  rm -f "$file"
done
cd / && rmdir "$1"
`;

/**
 * Starts the shell that cleans up when this process is killed and cannot do it itself.
 *
 * @param pidFolder folder of this start's pid files
 * @returns lets the watchdog go, after a clean stop
 */
export function startWatchdog(pidFolder: string): () => void {
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'limen-watchdog', pidFolder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without a shell there is still the sweep at the next start.
  shell.once('error', () => undefined);
  shell.stdin.once('error', () => undefined);
  shell.unref();
  return () => shell.stdin.destroy();
}
