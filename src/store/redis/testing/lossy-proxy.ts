import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Stands before a Redis on a Unix socket. Commands always reach it; its replies can be made to get lost. */
export class LossyProxy {
  readonly #folder = mkdtempSync(join(tmpdir(), 'limen-proxy-'));
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #passes = true;

  private constructor(target: string) {
    this.#server = createServer((client) => {
      const redis = connect(target);
      for (const socket of [client, redis]) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => [client, redis].forEach((one) => one.destroy()));
      }
      client.on('data', (data) => redis.write(data));
      redis.on('data', (data) => {
        if (this.#passes) client.write(data);
      });
    });
  }

  static async start(target: string): Promise<LossyProxy> {
    const proxy = new LossyProxy(target);
    proxy.#server.listen(proxy.url);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    return join(this.#folder, 'proxy.sock');
  }

  loseReplies(): void {
    this.#passes = false;
  }

  /** On new connections; those that lost a reply end. */
  passReplies(): void {
    this.#passes = true;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
