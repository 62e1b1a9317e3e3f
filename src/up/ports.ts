import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { commandOf } from './process-identity.ts';
import { hasCode, StartError } from './start-error.ts';

const FIRST_OWN_PORT = 22_000;
const OWN_PORTS = 10_000;
const MOST_TRIES = 100;

/** A port that Limen will listen on, and the setting that changes it. */
export interface WantedPort {
  readonly port: number;
  readonly address: string;
  readonly variable: string;
  readonly flag: string;
}

/** Tries to listen; resolves with the error's code where that fails. */
function listenError(port: number, address: string): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', resolve);
    server.listen({ port, host: address, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

/** Inodes of the sockets that listen on a port, from /proc/net/tcp (proc(5); state 0A is LISTEN). */
function listeningInodes(port: number): Set<string> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = new Set<string>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(table, 'utf8').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(wanted) && fields[3] === '0A' && fields[9]) inodes.add(`socket:[${fields[9]}]`);
    }
  }
  return inodes;
}

function ownsOneOf(pid: string, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((descriptor) => {
      try {
        return inodes.has(readlinkSync(`/proc/${pid}/fd/${descriptor}`));
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

/** The process that listens on a port; undefined where this user cannot see it. */
function listenerOf(port: number): number | undefined {
  try {
    if (process.platform === 'linux') {
      const inodes = listeningInodes(port);
      const owner = readdirSync('/proc').find((name) => /^\d+$/.test(name) && ownsOneOf(name, inodes));
      return owner === undefined ? undefined : Number(owner);
    }
    const pids = execFileSync('lsof', ['-nP', '-t', `-iTCP:${port}`, '-sTCP:LISTEN'], { encoding: 'utf8' });
    return Number(pids.split('\n')[0]) || undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes sure that Limen can listen where it wants to, before anything is started.
 *
 * @throws StartError one line that names port, who has it (where that can be seen) and the setting
 */
export async function requireFreePorts(wanted: readonly WantedPort[]): Promise<void> {
  for (const { port, address, variable, flag } of wanted) {
    const error = await listenError(port, address);
    if (error === undefined) continue;
    const change = `set ${variable} (${flag}) to another one`;
    if (hasCode(error, 'EADDRINUSE')) {
      const owner = listenerOf(port);
      const command = owner === undefined ? undefined : commandOf(owner);
      const who =
        owner === undefined ? 'by another process' : `by process ${owner}${command ? ` (${command})` : ''}`;
      throw new StartError(`Port ${port} is taken ${who}: stop that, or ${change}.`);
    }
    if (hasCode(error, 'EACCES')) {
      throw new StartError(`Port ${port} is not for ordinary users on this machine: ${change}.`);
    }
    throw new StartError(
      `Cannot listen on ${address} port ${port}: ${error.message}; ${change}, or change the address.`,
    );
  }
}

/**
 * A port of this machine that is free now. Its number is below those that systems give to connections (Linux from 32,768
 * on): any of these may be the client's end of one whenever a process that listens on it starts anew.
 */
export async function pickFreePort(address = '127.0.0.1'): Promise<number> {
  let error: Error | undefined;
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const port = FIRST_OWN_PORT + Math.floor(Math.random() * OWN_PORTS);
    error = await listenError(port, address);
    if (error === undefined) return port;
  }
  throw new StartError(`There is no free port on ${address}: ${error?.message ?? ''}`);
}
