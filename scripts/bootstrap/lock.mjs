import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The holder touches its lock this often; a lock four times older than that belongs to nobody. */
const HEARTBEAT_MS = 5_000;

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** @param {string} path @returns {number | undefined} the holder, undefined where there is none any more */
function holder(path) {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    const fresh = Date.now() - statSync(path).mtimeMs < 4 * HEARTBEAT_MS;
    if (fresh && (pid === 0 || isAlive(pid))) return pid;
    // Renaming is atomic: of several processes that see the same dead lock, one removes it.
    renameSync(path, `${path}.${process.pid}.dead`);
    rmSync(`${path}.${process.pid}.dead`, { force: true });
  } catch {
    // Gone between two looks: free.
  }
  return undefined;
}

/**
 * Holds a lock file while `work` runs, so that two set-ups of one checkout do not write over each other. A lock
 * whose process died is taken over.
 *
 * @template T
 * @param {string} path
 * @param {() => void} onWait called once if another process holds the lock
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(path, onWait, work) {
  mkdirSync(dirname(path), { recursive: true });
  let waiting = false;
  for (;;) {
    try {
      const file = openSync(path, 'wx');
      writeSync(file, String(process.pid));
      closeSync(file);
      break;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    if (holder(path) === undefined) continue;
    if (!waiting) onWait();
    waiting = true;
    await sleep(200);
  }
  const beat = setInterval(() => utimesSync(path, new Date(), new Date()), HEARTBEAT_MS);
  const release = () => rmSync(path, { force: true });
  process.once('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    process.removeListener('exit', release);
    release();
  }
}
