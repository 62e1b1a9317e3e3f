import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { hasCode, StartError } from './start-error.ts';
import { identify, isRunning } from './process-identity.ts';

/** Makes a folder that only this user can read, also where it exists with wider permissions. */
export function makePrivateFolder(path: string, mode = 0o700): void {
  mkdirSync(path, { recursive: true, mode });
  const owner = lstatSync(path);
  // The socket folder may lie under a shared /tmp, where somebody else could have put it first.
  if (!owner.isDirectory() || (process.getuid !== undefined && owner.uid !== process.getuid())) {
    throw new StartError(
      `${path} exists and is not a folder of this user: remove it, or set LIMEN_DATA (--data).`,
    );
  }
  chmodSync(path, mode);
}

function lockHolder(path: string): number | undefined {
  try {
    const [pid, startedAt] = readFileSync(path, 'utf8').split('\n');
    const holder = { pid: Number(pid), startedAt: startedAt ?? '' };
    return isRunning(holder) ? holder.pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Takes the data folder for this process, so that two instances never write to the same stores. The lock of a
 * process that was killed is taken over.
 *
 * @returns gives the folder back
 * @throws StartError where a running instance has it
 */
export function lockDataFolder(data: string): () => void {
  const lock = join(data, 'limen.lock');
  const own = `${lock}.${process.pid}`;
  writeFileSync(own, `${process.pid}\n${identify(process.pid)?.startedAt ?? ''}\n`, { mode: 0o600 });
  try {
    for (;;) {
      try {
        // A link appears with its content or not at all, and never over another one.
        linkSync(own, lock);
        return unlockOnce(lock);
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) throw error;
      }
      const holder = lockHolder(lock);
      if (holder !== undefined) {
        throw new StartError(
          `Limen already runs on the data folder ${data} (process ${holder}): stop it, or use another folder with LIMEN_DATA (--data).`,
        );
      }
      removeDeadLock(lock, own);
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** Gives the lock back once: by a second call it may be another process's. */
function unlockOnce(lock: string): () => void {
  let held = true;
  return () => {
    if (held) rmSync(lock, { force: true });
    held = false;
  };
}

/** Of several starts that see the same dead lock, the rename lets exactly one remove it. */
function removeDeadLock(lock: string, own: string): void {
  const dead = `${own}.dead`;
  try {
    renameSync(lock, dead);
    // Between the look and the rename another start may have replaced it: then this one is alive, so put it back.
    if (lockHolder(dead) !== undefined) linkSync(dead, lock);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'EEXIST')) throw error;
  } finally {
    rmSync(dead, { force: true });
  }
}
