import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Settings } from '../config/env.ts';
import { isRunning } from './process-identity.ts';

const stateSchema = z.object({
  pid: z.number(),
  startedAt: z.string(),
  endpoints: z.object({
    postgresUrl: z.string(),
    redisUrl: z.string(),
    clickhouseUrl: z.string(),
    sockets: z.object({
      envoyAdmin: z.string(),
      ads: z.string(),
      snapshots: z.string(),
      witness: z.string(),
      adminApi: z.string(),
      processors: z.array(z.string()),
    }),
  }),
  children: z.array(
    z.object({
      name: z.string(),
      state: z.enum(['waiting', 'starting', 'ready', 'crashed', 'stopping', 'stopped']),
      pid: z.number().optional(),
      restarts: z.number(),
      lastExit: z.string().optional(),
    }),
  ),
});

/** What a running all-in-one tells other commands on the same data folder: where its parts are and how they are. */
export type UpState = z.output<typeof stateSchema>;

function stateFile(settings: Settings): string {
  return join(settings.data, 'up.json');
}

/** Publishes the state; readers see the old or the new one. */
export function writeUpState(settings: Settings, state: UpState): void {
  const path = stateFile(settings);
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function removeUpState(settings: Settings): void {
  rmSync(stateFile(settings), { force: true });
}

/** The state of the instance that runs on this data folder; undefined where none does. */
export function readUpState(settings: Settings): UpState | undefined {
  try {
    const state = stateSchema.parse(JSON.parse(readFileSync(stateFile(settings), 'utf8')));
    return isRunning(state) ? state : undefined;
  } catch {
    return undefined;
  }
}
