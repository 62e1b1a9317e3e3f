import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment, Settings } from '../config/env.ts';
import type { PostgresPrograms } from './binaries.ts';
import type { ChildDefinition, Launch } from './child.ts';
import { POSTGRES_NAME, postgresSocketFolder } from './endpoints.ts';
import { postgresProbe } from './probes.ts';
import { commandOf } from './process-identity.ts';
import { StartError } from './start-error.ts';

const run = promisify(execFile);

/** What it says to those who come before it is ready, our probe first of all. */
const NOT_YET = /the database system is (starting up|not yet accepting connections)/;

/** The user that Postgres runs as where this process is root, which Postgres refuses to be. */
interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** How to run a program as that user: as it is, or through a helper that lets it into root's folders. */
interface Runner {
  readonly prefix: readonly string[];
  readonly ids: { readonly uid?: number; readonly gid?: number };
}

function unprivilegedAccount(): Account {
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', '_postgres', 'nobody']) {
    const fields = accounts.find((candidate) => candidate[0] === name);
    if (fields) return { name, uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new StartError(
    'Postgres does not run as root and there is no user `nobody` here: start as an ordinary user.',
  );
}

/**
 * Finds out how to run Postgres. Root's own folders (a checkout in /root, say) are closed to other users: there
 * it gets, with setpriv(1), the one capability that opens them, and still is not root.
 */
function findRunner(account: Account | undefined, program: string, folder: string): Runner {
  if (!account) return { prefix: [], ids: {} };
  const { uid, gid } = account;
  const test = ['-c', '[ -x "$1" ] && [ -w "$2" ] && "$1" --version', 'sh', program, folder];
  const options = { stdio: 'ignore', cwd: '/' } as const;
  if (spawnSync('/bin/sh', test, { ...options, uid, gid }).status === 0)
    return { prefix: [], ids: { uid, gid } };
  const rights = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override'];
  const prefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...rights, '--'];
  if (spawnSync('setpriv', [...prefix.slice(1), '/bin/sh', ...test], options).status === 0)
    return { prefix, ids: {} };
  throw new StartError(
    `Postgres does not run as root, and user ${account.name} reaches neither ${program} nor ${folder}: put project and data where all users may go, start as an ordinary user, or set LIMEN_POSTGRES_URL.`,
  );
}

/** One program of Postgres to its end, as the right user. */
async function runProgram(
  runner: Runner,
  program: string,
  args: readonly string[],
  env: Environment,
): Promise<void> {
  const [command, ...rest] = [...runner.prefix, program, ...args];
  if (command === undefined) return;
  await run(command, rest, { ...runner.ids, env, cwd: '/' });
}

/**
 * A lock file that a killed server left, or that a copy of the folder brought along, may carry the number of any
 * process by now, and Postgres then refuses to start. This folder is locked by us, so only a Postgres counts.
 */
function removeStaleLock(folder: string): void {
  const lock = join(folder, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number(readFileSync(lock, 'utf8').split('\n')[0]);
  if (!commandOf(pid)?.includes('postgres')) rmSync(lock, { force: true });
}

/** Makes the database files. They appear by one rename, so an interrupted first start leaves nothing half done. */
async function initialise(
  programs: PostgresPrograms,
  runner: Runner,
  folder: string,
  account: Account | undefined,
  env: Environment,
): Promise<void> {
  const parent = `${folder}.new`;
  const partial = join(parent, 'data');
  rmSync(parent, { recursive: true, force: true });
  mkdirSync(parent, { mode: 0o700 });
  if (account) chownSync(parent, account.uid, account.gid);
  const locale = ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  // Trust is safe here: the only way in is a socket in a folder that is closed to everybody else.
  const access = [`--username=${POSTGRES_NAME}`, '--auth=trust'];
  await runProgram(
    runner,
    programs.initdb,
    ['-D', partial, ...access, ...locale, '--no-sync', '--no-instructions'],
    env,
  );
  const create = ['-c', `echo 'CREATE DATABASE ${POSTGRES_NAME}' | "$1" --single -D "$2" postgres`, 'sh'];
  await runProgram(runner, '/bin/sh', [...create, programs.postgres, partial], env);
  renameSync(partial, folder);
  rmSync(parent, { recursive: true, force: true });
}

/**
 * The embedded Postgres: on a Unix socket only, started as an ordinary user also where this process is root.
 */
export function postgresChild(
  programs: PostgresPrograms,
  settings: Settings,
  environment: Environment,
): ChildDefinition {
  const folder = join(settings.data, 'postgres');
  const sockets = postgresSocketFolder(settings);
  const launch = async (): Promise<Launch> => {
    const account = process.getuid?.() === 0 ? unprivilegedAccount() : undefined;
    mkdirSync(sockets, { recursive: true, mode: 0o700 });
    if (account) {
      // Its own folders lie inside, so it must be able to pass through; what is in there keeps its own rights.
      for (const path of [settings.data, settings.run]) chmodSync(path, 0o711);
      chownSync(sockets, account.uid, account.gid);
    }
    const runner = findRunner(account, programs.postgres, sockets);
    if (!existsSync(folder)) await initialise(programs, runner, folder, account, environment);
    removeStaleLock(folder);
    const options = {
      listen_addresses: '',
      unix_socket_directories: sockets,
      unix_socket_permissions: '0700',
      max_connections: '100',
      shared_buffers: '64MB',
      log_line_prefix: '%m [%p] ',
      // After a crash it would else sync its thousands of files one by one, for many seconds where the disk is slow.
      ...(process.platform === 'linux' ? { recovery_init_sync_method: 'syncfs' } : {}),
    };
    const settingsArgs = Object.entries(options).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const [command, ...args] = [...runner.prefix, programs.postgres, '-D', folder, ...settingsArgs];
    return { command: command ?? programs.postgres, args, env: environment, cwd: '/', ...runner.ids };
  };
  return {
    name: 'postgres',
    needs: [],
    launch,
    ready: postgresProbe(join(sockets, '.s.PGSQL.5432'), POSTGRES_NAME, POSTGRES_NAME),
    readyWithinMs: 60_000,
    // Fast shutdown: SIGTERM would wait for every client to leave.
    stopSignal: 'SIGINT',
    graceMs: 15_000,
    important: (line) => (/\b(FATAL|PANIC):/.test(line) && !NOT_YET.test(line) ? line : undefined),
  };
}
