import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { capture } from './command.mjs';
import { isAlive } from './lock.mjs';

/** @param {string} root */
const noteOf = (root) => join(root, '.tools/installer.pid');

/**
 * Runs npm or pip and notes which process that is, for the set-up after one that was killed.
 *
 * @param {string} root @param {string} command @param {string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 */
export async function runInstaller(root, command, args, options) {
  mkdirSync(join(root, '.tools'), { recursive: true });
  try {
    return await capture(command, args, options, (pid) => writeFileSync(noteOf(root), String(pid)));
  } finally {
    rmSync(noteOf(root), { force: true });
  }
}

/** @param {number} pid */
function commandOf(pid) {
  try {
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
  } catch {
    return '';
  }
}

/**
 * Ends the npm or pip of a set-up that was killed: it would go on writing to the folders that are made anew now.
 * Call it with the set-up's lock held. @param {string} root
 */
export async function endLeftInstaller(root) {
  let pid;
  try {
    pid = Number(readFileSync(noteOf(root), 'utf8'));
  } catch {
    return;
  }
  if (pid > 1 && isAlive(pid) && /npm|pip/.test(commandOf(pid))) {
    process.kill(pid, 'SIGKILL');
    // A few seconds at most: a process that its parent has not collected yet also counts as alive.
    for (let tries = 0; tries < 50 && isAlive(pid); tries += 1) await sleep(100);
  }
  rmSync(noteOf(root), { force: true });
}
