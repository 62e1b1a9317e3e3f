import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findRedisServer } from './redis.ts';
import { eventually } from './running-envoy.ts';

const SLOTS = 16_384;
const NODES = 3;

interface Node {
  readonly port: number;
  readonly process: ChildProcess;
  readonly redis: Redis;
}

/** Below those that systems give out by themselves, and so is that of the bus. */
function somePort(): number {
  return 12_000 + Math.floor(Math.random() * 10_000);
}

/** A real Redis Cluster on loopback: three masters, which have a third of the slots each. */
export class TestRedisCluster {
  readonly #nodes: readonly Node[];
  readonly #folder: string;

  private constructor(nodes: readonly Node[], folder: string) {
    this.#nodes = nodes;
    this.#folder = folder;
  }

  static async start(): Promise<TestRedisCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'limen-cluster-'));
    const nodes: Node[] = [];
    const cluster = new TestRedisCluster(nodes, folder);
    try {
      for (let index = 0; index < NODES; index += 1) nodes.push(await startNode(folder));
      await cluster.#join();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  async #join(): Promise<void> {
    for (const [index, { redis, port }] of this.#nodes.entries()) {
      const [from, to] = [slotAt(index), slotAt(index + 1)];
      const slots = Array.from({ length: to - from }, (_, offset) => from + offset);
      await redis.call('CLUSTER', 'ADDSLOTS', ...slots);
      const others = this.#nodes.filter((node) => node.port > port);
      for (const other of others) await redis.call('CLUSTER', 'MEET', '127.0.0.1', other.port);
    }
    for (const { redis } of this.#nodes) {
      await eventually(async () => {
        const info = String(await redis.call('CLUSTER', 'INFO'));
        const isWhole =
          info.includes(`cluster_slots_ok:${String(SLOTS)}`) &&
          info.includes(`cluster_known_nodes:${String(NODES)}`);
        return isWhole ? true : undefined;
      }, 30_000);
    }
  }

  /** Of two of the nodes, as LIMEN_REDIS_URL takes it. */
  get url(): string {
    const [first, second] = this.#nodes.map(({ port }) => `127.0.0.1:${String(port)}`);
    return `redis+cluster://${first ?? ''},${second ?? ''}`;
  }

  /** The keys of each node. */
  async keys(): Promise<readonly (readonly string[])[]> {
    return Promise.all(this.#nodes.map(({ redis }) => redis.keys('*')));
  }

  /** Kills the node that has the keys with this hash tag. */
  async killNodeOf(tag: string): Promise<void> {
    const all = await this.keys();
    const node = this.#nodes[all.findIndex((names) => names.some((name) => name.startsWith(tag)))];
    if (node === undefined) throw new Error(`no node has keys that begin with ${tag}`);
    await end(node);
  }

  async stop(): Promise<void> {
    for (const node of this.#nodes) await end(node);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function end({ process, redis }: Node): Promise<void> {
  redis.disconnect();
  if (process.exitCode !== null || process.signalCode !== null) return;
  const exited = once(process, 'exit');
  process.kill('SIGKILL');
  await exited;
}

function slotAt(index: number): number {
  return Math.floor((SLOTS * index) / NODES);
}

/** Tries other ports where one, or that of its bus (10,000 higher), is taken: then the server ends at once. */
async function startNode(folder: string): Promise<Node> {
  const port = somePort();
  const options = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    'cluster-enabled': 'yes',
    'cluster-config-file': `nodes-${String(port)}.conf`,
    'cluster-node-timeout': '5000',
    // The others go on without a node that is gone.
    'cluster-require-full-coverage': 'no',
    save: '',
    'maxmemory-policy': 'noeviction',
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const process = spawn(findRedisServer(), args, { stdio: 'ignore' });
  const redis = new Redis({ host: '127.0.0.1', port, lazyConnect: true, maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  const runs = await Promise.race([redis.ping().then(() => true), once(process, 'exit').then(() => false)]);
  // Whoever has the port may be a Redis as well.
  if (runs && process.exitCode === null) return { port, process, redis };
  redis.disconnect();
  return startNode(folder);
}
