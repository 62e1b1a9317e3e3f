import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findRedisServer } from './redis.ts';
import { eventually, freePort } from './running-envoy.ts';

const SLOTS = 16_384;
const NODES = 3;
/** A node's bus listens that much higher than itself. */
const BUS_OFFSET = 10_000;
const HIGHEST_PORT = 65_535;

interface Node {
  readonly port: number;
  readonly process: ChildProcess;
  readonly redis: Redis;
}

/** A port whose bus has a port as well. */
async function clusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port <= HIGHEST_PORT - BUS_OFFSET) return port;
    // The system gives ports out at random in a range that may lie higher.
    const lower = port - 2 * BUS_OFFSET;
    if (lower > 1024) return lower;
  }
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
      for (let index = 0; index < NODES; index += 1) nodes.push(await startNode(folder, await clusterPort()));
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
          info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${String(NODES)}`);
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

  async stop(): Promise<void> {
    for (const { process, redis } of this.#nodes) {
      redis.disconnect();
      const exited = once(process, 'exit');
      process.kill('SIGKILL');
      await exited;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function slotAt(index: number): number {
  return Math.floor((SLOTS * index) / NODES);
}

async function startNode(folder: string, port: number): Promise<Node> {
  const options = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    'cluster-enabled': 'yes',
    'cluster-config-file': `nodes-${String(port)}.conf`,
    'cluster-node-timeout': '5000',
    save: '',
    'maxmemory-policy': 'noeviction',
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const process = spawn(findRedisServer(), args, { stdio: 'ignore' });
  const redis = new Redis({ host: '127.0.0.1', port, lazyConnect: true, maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  await eventually(async () => ((await redis.ping()) === 'PONG' ? true : undefined), 30_000);
  return { port, process, redis };
}
