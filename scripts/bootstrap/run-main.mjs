import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { prepare, root } from '../bootstrap.mjs';
import { isAlive } from './lock.mjs';

/** @param {number} pid @returns {{ parent: number, command: string } | undefined} */
function processInfo(pid) {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      return { parent, command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') };
    }
    const [parent, ...command] = execFileSync('ps', ['-o', 'ppid=,command=', '-p', String(pid)], {
      encoding: 'utf8',
    })
      .trim()
      .split(/\s+/);
    return { parent: Number(parent), command: command.join(' ') };
  } catch {
    return undefined;
  }
}

/**
 * npm starts a script through a shell, and neither passes on that it was killed. So where npm started us, its
 * end and the shell's are ours too.
 *
 * @param {() => void} onOrphaned
 */
function watchNpm(onOrphaned) {
  if (!process.env['npm_lifecycle_event']) return;
  const parent = process.ppid;
  const watched = [parent];
  const info = processInfo(parent);
  if (info && /^\S*sh -c /.test(info.command)) watched.push(info.parent);
  const timer = setInterval(() => {
    if (watched.every((pid) => isAlive(pid)) && process.ppid === parent) return;
    clearInterval(timer);
    onOrphaned();
  }, 500);
  timer.unref();
}

/**
 * Prepares the checkout and runs `src/main.ts` under Node 24 with the same terminal, passing on signals and the
 * exit status. The child learns of a killed wrapper by the end of its IPC channel.
 *
 * @param {string[]} args arguments of the `limen` command
 */
export async function runMain(args) {
  const { node } = await prepare();
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', join(root, 'src/main.ts'), ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(root, '.tools/cache'),
      PATH: `${dirname(node)}:${process.env['PATH'] ?? ''}`,
    },
  });
  // Passed on even where a terminal sends it to the whole group: `limen up` takes two close together for one.
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
    process.on(signal, () => child.kill(signal));
  watchNpm(() => child.kill('SIGTERM'));
  child.once('error', (error) => {
    process.stderr.write(`error: could not run ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.once('exit', (code, signal) => {
    process.exit(code ?? 128 + (signal ? constants.signals[signal] : 0));
  });
}
