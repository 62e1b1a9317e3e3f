import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, globSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const ROOT = resolve(import.meta.dirname, '../..');

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * A redis-server or valkey-server: the one that LIMEN_REDIS_SERVER names, else the one that the set-up fetched,
 * else one on PATH.
 */
export function findRedisServer(): string {
  const onPath = (process.env['PATH'] ?? '')
    .split(delimiter)
    .flatMap((folder) => ['redis-server', 'valkey-server'].map((name) => join(folder, name)));
  const fetched = globSync('.tools/**/redis-server', { cwd: ROOT }).map((path) => join(ROOT, path));
  const candidates = [process.env['LIMEN_REDIS_SERVER'] ?? '', ...fetched, ...onPath];
  const found = candidates.find((path) => path !== '' && isExecutable(path));
  if (found === undefined) throw new Error('no redis-server: run `npm test`, or set LIMEN_REDIS_SERVER');
  return found;
}

/** A real Redis of its own on a Unix socket, with an append-only file in a folder of its own. */
export class TestRedis {
  readonly #folder: string;
  #process: ChildProcess | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(): Promise<TestRedis> {
    const server = new TestRedis(mkdtempSync(join(tmpdir(), 'limen-redis-')));
    await server.start();
    return server;
  }

  /** Path of the Unix socket, which is also what ioredis takes as an address. */
  get url(): string {
    return join(this.#folder, 'redis.sock');
  }

  /** Starts the server again on the data that it left. */
  async start(): Promise<void> {
    rmSync(this.url, { force: true });
    const options = {
      port: '0',
      unixsocket: this.url,
      dir: this.#folder,
      appendonly: 'yes',
      // What a killed server has written is the kernel's: no write needs to outlive that, nor wait for a slow disk.
      appendfsync: 'no',
      save: '',
      'maxmemory-policy': 'noeviction',
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    this.#process = spawn(findRedisServer(), args, { stdio: 'ignore' });
    await this.#answers();
  }

  async #answers(): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (!(await ping(this.url))) {
      if (Date.now() > deadline) throw new Error('redis-server did not start within 30 s');
      await delay(20);
    }
  }

  /** Sends the server a signal: SIGKILL to lose it, SIGSTOP and SIGCONT to silence it. */
  async signal(name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const child = this.#process;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const exited = name === 'SIGKILL' ? once(child, 'exit') : undefined;
    child.kill(name);
    await exited;
  }

  async stop(): Promise<void> {
    await this.signal('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function ping(socketPath: string): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect(socketPath, () => socket.write('PING\r\n'));
    socket.on('data', (data) => {
      answer(data.toString().startsWith('+PONG'));
      socket.destroy();
    });
    socket.on('error', () => answer(false));
    socket.setTimeout(1000, () => socket.destroy(new Error('silent')));
  });
}
