import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Environment, Settings } from '../config/env.ts';
import type { ChildDefinition, Launch } from './child.ts';
import type { Endpoints } from './endpoints.ts';
import { httpCall, httpProbe } from './probes.ts';

const statsSchema = z.object({ stats: z.array(z.object({ name: z.string(), value: z.number() }).partial()) });

/** Requests that clients still have open, over all listeners but the admin's own. */
async function requestsInFlight(socketPath: string): Promise<number> {
  const { body } = await httpCall({ socketPath }, 'GET', '/stats?format=json&filter=downstream_rq_active$');
  return statsSchema
    .parse(JSON.parse(body))
    .stats.filter(({ name }) => name?.startsWith('http.') && !name.startsWith('http.admin.'))
    .reduce((sum, { value }) => sum + (value ?? 0), 0);
}

/** Closes Envoy's listeners and waits until the requests in flight have ended, or the signal says enough. */
export async function drainEnvoy(socketPath: string, signal: AbortSignal): Promise<void> {
  await httpCall({ socketPath }, 'POST', '/healthcheck/fail');
  await httpCall({ socketPath }, 'POST', '/drain_listeners');
  while (!signal.aborted && (await requestsInFlight(socketPath)) > 0) await sleep(50);
}

export interface EnvoyOptions {
  readonly binary: string;
  readonly settings: Settings;
  readonly endpoints: Endpoints;
  readonly environment: Environment;
  /** The bootstrap as JSON or YAML text; its admin must listen on `endpoints.sockets.envoyAdmin`. */
  readonly bootstrap: () => string | Promise<string>;
  /** Children that must outlive Envoy while it drains. */
  readonly stopsBefore: readonly string[];
}

/** Envoy: ready once it has its listeners from the control plane, drained before it is stopped. */
export function envoyChild({
  binary,
  settings,
  endpoints,
  environment,
  bootstrap,
  stopsBefore,
}: EnvoyOptions): ChildDefinition {
  const { envoyAdmin } = endpoints.sockets;
  const launch = async (): Promise<Launch> => {
    const file = join(settings.data, 'envoy-bootstrap.yaml');
    writeFileSync(file, await bootstrap(), { mode: 0o600 });
    rmSync(envoyAdmin, { force: true });
    const args = [
      ...['-c', file],
      ...['--concurrency', String(settings.workers)],
      // Several installations may run on one machine; none takes part in hot restart.
      '--disable-hot-restart',
      ...[
        '--log-level',
        settings.logLevel === 'trace' || settings.logLevel === 'debug' ? settings.logLevel : 'warning',
      ],
      ...['--drain-time-s', String(Math.max(1, Math.ceil(settings.drainSeconds)))],
    ];
    return { command: binary, args, env: environment };
  };
  return {
    name: 'envoy',
    needs: [],
    stopsBefore,
    launch,
    ready: httpProbe({ socketPath: envoyAdmin }, '/ready'),
    readyWithinMs: 60_000,
    stopSignal: 'SIGTERM',
    graceMs: 5_000,
    drain: (signal) => drainEnvoy(envoyAdmin, signal),
    important: (line) => (/\[(critical|error)\]/.test(line) ? line : undefined),
  };
}
