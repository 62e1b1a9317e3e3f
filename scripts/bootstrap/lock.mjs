import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The holder touches its lock this often; a lock four times older than that belongs to nobody. */
const HEARTBEAT_MS = 5_000;
/** Longer than another process needs between its look at a dead lock and removing it. */
const SETTLE_MS = 100;

/** Whether a process of that number exists, of whatever user. @param {number} pid */
export function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** @param {string} path @returns {string | undefined} */
function contentOf(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Links a file to a name that must be free. @param {string} from @param {string} to */
function tryLink(from, to) {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'EEXIST' || error.code === 'ENOENT'))
      return false;
    throw error;
  }
}

/** Removes a lock that nobody holds any more. @param {string} path @param {string} own @returns {boolean} whether somebody holds it */
function isHeld(path, own) {
  const content = contentOf(path);
  if (content === undefined) return false;
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  if (isAlive(Number(content)) && age < 4 * HEARTBEAT_MS) return true;
  const dead = `${own}.dead`;
  try {
    renameSync(path, dead);
    // Another process may have taken the lock between the look and the rename: then this one is alive, put it back.
    if (contentOf(dead) !== content) tryLink(dead, path);
  } catch {
    // Removed by another process: free.
  }
  rmSync(dead, { force: true });
  return false;
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
  const own = `${path}.${process.pid}`;
  let told = false;
  for (;;) {
    writeFileSync(own, String(process.pid));
    const linked = tryLink(own, path);
    rmSync(own, { force: true });
    if (linked) {
      await sleep(SETTLE_MS);
      if (contentOf(path) === String(process.pid)) break;
    }
    if (!isHeld(path, own)) continue;
    if (!told) onWait();
    told = true;
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
