import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Environment, Settings } from '../config/env.ts';
import type { ChildDefinition, Launch } from './child.ts';
import { makePrivateFolder } from './data-folder.ts';
import { redisSocket } from './endpoints.ts';
import { redisProbe } from './probes.ts';
import { StartError } from './start-error.ts';

/** Redis 7 keeps its file in a folder that older servers overlook, and would start empty beside it. */
function refuseOlderServer(binary: string, folder: string): void {
  if (!existsSync(join(folder, 'appendonlydir'))) return;
  const version = execFileSync(binary, ['--version'], { encoding: 'utf8' }).match(/v=(\d+)/)?.[1];
  if (version === undefined || Number(version) >= 7) return;
  throw new StartError(
    `The data in ${folder} was written by Redis 7 or newer and ${binary} is version ${version}: put the newer redis-server back on PATH, or set LIMEN_REDIS_URL.`,
  );
}

/**
 * The embedded Redis: on a Unix socket only, every write in its append-only file within a second.
 *
 * @param binary path of redis-server or valkey-server
 */
export function redisChild(binary: string, settings: Settings, environment: Environment): ChildDefinition {
  const folder = join(settings.data, 'redis');
  const socket = redisSocket(settings);
  const options: Readonly<Record<string, string>> = {
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    dir: folder,
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    daemonize: 'no',
    // Nothing that limits or budgets rest on may be evicted.
    'maxmemory-policy': 'noeviction',
  };
  const launch = (): Launch => {
    makePrivateFolder(folder);
    refuseOlderServer(binary, folder);
    rmSync(socket, { force: true });
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    return { command: binary, args, env: environment, cwd: folder };
  };
  return {
    name: 'redis',
    needs: [],
    launch,
    ready: redisProbe(socket),
    readyWithinMs: 60_000,
    stopSignal: 'SIGTERM',
    graceMs: 10_000,
    important: (line) => (/ # .*(fatal|error|fail|can't|cannot)/i.test(line) ? line : undefined),
  };
}
