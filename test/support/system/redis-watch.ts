import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { findRedisServer } from '../redis.ts';
import { freePort } from '../running-envoy.ts';

/** One command as the server took it: what clients sent, not what scripts did inside. */
export interface SeenCommand {
  /** Name of the client's connection: `limen-processor-0`; empty for one that has none. */
  readonly client: string;
  /** In capitals. */
  readonly name: string;
  readonly args: readonly string[];
}

const MARK = 'mark:';

/**
 * A Redis of a test's own that tells every command it takes and from whom, in order. It listens on TCP, because MONITOR
 * cannot tell clients of a Unix socket apart.
 */
export class RedisWatch {
  readonly url: string;
  readonly #folder: string;
  readonly #process: ChildProcess;
  #client: Redis | undefined;
  #monitor: Redis | undefined;
  /** `host:port` → name of the connection. */
  #names: ReadonlyMap<string, string> = new Map();
  #seen: { readonly source: string; readonly args: readonly string[] }[] = [];
  #onMark: (() => void) | undefined;
  #marks = 0;

  private constructor(port: number) {
    this.url = `redis://127.0.0.1:${port}`;
    this.#folder = mkdtempSync(join(tmpdir(), 'limen-redis-watch-'));
    const options = {
      port,
      bind: '127.0.0.1',
      dir: this.#folder,
      save: '',
      'maxmemory-policy': 'noeviction',
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#process = spawn(findRedisServer(), args, { stdio: 'ignore' });
  }

  static async start(): Promise<RedisWatch> {
    const watch = new RedisWatch(await freePort());
    const client = new Redis(watch.url, {
      connectionName: 'test',
      lazyConnect: true,
      retryStrategy: () => 50,
    });
    client.on('error', () => undefined);
    watch.#client = client;
    await client.connect().catch(() => undefined);
    for (let tries = 0; client.status !== 'ready'; tries += 1) {
      if (tries > 200) throw new Error('redis-server did not start within 10 s');
      await delay(50);
    }
    return watch;
  }

  /** From now on every command is kept. Call it when all clients are connected: it is by then that they have names. */
  async begin(): Promise<void> {
    const client = this.#connected();
    const list = String(await client.client('LIST'));
    const field = (line: string, name: string) => new RegExp(`(?:^| )${name}=(\\S*)`).exec(line)?.[1] ?? '';
    this.#names = new Map(list.split('\n').map((line) => [field(line, 'addr'), field(line, 'name')]));
    const monitor = await client.monitor();
    this.#monitor = monitor;
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      // What a script does is part of the one command that ran it.
      if (source === 'lua') return;
      this.#seen.push({ source, args });
      if (isMark(args)) this.#onMark?.();
    });
  }

  /** Puts a mark among the commands: everything that was answered before it stands before it. */
  async mark(): Promise<void> {
    await this.#connected().echo(`${MARK}${(this.#marks += 1)}`);
  }

  /** The commands since the last time, in the parts that the marks make. */
  async parts(): Promise<readonly (readonly SeenCommand[])[]> {
    const heard = new Promise<void>((resolve) => {
      this.#onMark = () => {
        if (this.#seen.at(-1)?.args[1] === `${MARK}${this.#marks}`) resolve();
      };
    });
    await this.mark();
    await heard;
    const end = this.#seen.findLastIndex(({ args }) => isMark(args)) + 1;
    const seen = this.#seen.slice(0, end);
    this.#seen = this.#seen.slice(end);
    const parts: SeenCommand[][] = [[]];
    for (const { source, args } of seen) {
      const [name = '', ...rest] = args;
      if (isMark(args)) parts.push([]);
      else
        parts.at(-1)?.push({ client: this.#names.get(source) ?? '', name: name.toUpperCase(), args: rest });
    }
    return parts.slice(0, -1);
  }

  async stop(): Promise<void> {
    this.#monitor?.disconnect();
    this.#client?.disconnect();
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #connected(): Redis {
    if (this.#client === undefined) throw new Error('The watch has not begun.');
    return this.#client;
  }
}

function isMark(args: readonly string[]): boolean {
  return args[1]?.startsWith(MARK) === true;
}
