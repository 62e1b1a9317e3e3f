import { join } from 'node:path';
import type { Settings } from '../config/env.ts';

/** Where the parts of one installation reach each other. All paths are absolute. */
export interface Endpoints {
  /** `postgresql://…`; with the embedded server a URL whose host is a folder with its Unix socket. */
  readonly postgresUrl: string;
  /** `redis://…`, or the path of a Unix socket (ioredis takes either as its first argument). */
  readonly redisUrl: string;
  /** `http://user:password@host:port/database`. */
  readonly clickhouseUrl: string;
  readonly sockets: Sockets;
}

/** Unix sockets of the all-in-one, all in the installation's run folder. */
export interface Sockets {
  /** Envoy's admin interface (HTTP). */
  readonly envoyAdmin: string;
  /** The control plane's ADS (gRPC). */
  readonly ads: string;
  /** The control plane's snapshot stream to the workers (gRPC). */
  readonly snapshots: string;
  /** Where the control plane takes its copy of Envoy's access log (gRPC). */
  readonly witness: string;
  /** The control plane's admin API (HTTP), behind Envoy's console listener. */
  readonly adminApi: string;
  /** ext_proc and ALS (gRPC) of each processor worker, in order of their index. */
  readonly processors: readonly string[];
}

/** The embedded Redis's socket. */
export function redisSocket(settings: Settings): string {
  return join(settings.run, 'redis.sock');
}

/** Folder of the embedded Postgres's socket, which Postgres names `.s.PGSQL.5432`. */
export function postgresSocketFolder(settings: Settings): string {
  return join(settings.run, 'postgres');
}

/** User and database of the embedded Postgres. */
export const POSTGRES_NAME = 'limen';

/**
 * Where everything is, from the settings alone but for the embedded ClickHouse's address, which is chosen at
 * each start.
 */
export function endpointsOf(settings: Settings, embeddedClickhouseUrl: string): Endpoints {
  const { run } = settings;
  const embeddedPostgres = `postgresql://${POSTGRES_NAME}@localhost/${POSTGRES_NAME}?host=${encodeURIComponent(postgresSocketFolder(settings))}`;
  return {
    postgresUrl: settings.postgresUrl ?? embeddedPostgres,
    redisUrl: settings.redisUrl ?? redisSocket(settings),
    clickhouseUrl: settings.clickhouseUrl ?? embeddedClickhouseUrl,
    sockets: {
      envoyAdmin: join(run, 'envoy-admin.sock'),
      ads: join(run, 'ads.sock'),
      snapshots: join(run, 'snapshots.sock'),
      witness: join(run, 'witness.sock'),
      adminApi: join(run, 'admin-api.sock'),
      processors: Array.from({ length: settings.workers }, (_, index) => processorSocket(settings, index)),
    },
  };
}

/** Socket on which one processor worker tells its metrics. */
export function metricsSocket(settings: Settings, index: number): string {
  return join(settings.run, `metrics-${index}.sock`);
}

/** Socket of one processor worker. */
export function processorSocket(settings: Settings, index: number): string {
  return join(settings.run, `processor-${index}.sock`);
}
