import { createClient, type ClickHouseClient } from '@clickhouse/client';

export interface ClickHouseConnectionOptions {
  /** `http://user:password@host:8123/database`. */
  readonly url: string;
  /** Milliseconds until a request counts as failed; 30 s unless said otherwise. */
  readonly requestTimeoutMs?: number;
}

/** The ordinary client; it makes no connection before it is used. Errors are told by rejection, not logged. */
export function connectClickHouse(options: ClickHouseConnectionOptions): ClickHouseClient {
  return createClient({
    url: options.url,
    application: 'limen',
    request_timeout: options.requestTimeoutMs ?? 30_000,
    // A server that was killed leaves dead connections in the pool: idle ones are given up soon.
    keep_alive: { enabled: true, idle_socket_ttl: 2500, eagerly_destroy_stale_sockets: true },
    compression: { request: true, response: false },
    log: { level: 127 },
  });
}
