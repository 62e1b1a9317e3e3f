import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findEnvoy, findRedisServer } from '../../up/binaries.ts';
import type { CliContext } from '../context.ts';
import { ok, problem, reason, warning, type Check } from './check.ts';

const run = promisify(execFile);

/** The version that everything was tried with. */
const WANTED_NODE = 24;
const WANTED_ENVOY = [1, 40] as const;

const VERSION_TIMEOUT_MS = 10_000;

/** Node, Envoy and the embedded Redis: whether they are there and of which version. */
export function checkPrograms(context: CliContext, embeddedRedis: boolean): Promise<Check[]> {
  return Promise.all([
    Promise.resolve(checkNode()),
    checkEnvoy(context),
    ...(embeddedRedis ? [checkRedisServer(context)] : []),
  ]);
}

function checkNode(): Check {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= WANTED_NODE) return ok('node', process.versions.node);
  return problem(
    'node',
    process.versions.node,
    `Limen runs on Node ${WANTED_NODE}: start it with npm start or npx limen`,
  );
}

async function checkEnvoy(context: CliContext): Promise<Check> {
  try {
    const binary = findEnvoy(context.root, context.settings().envoy, context.environment);
    const { stdout } = await run(binary, ['--version'], { timeout: VERSION_TIMEOUT_MS });
    const version = /\/(\d+)\.(\d+)\.\S*?\//.exec(stdout);
    const shown = version?.[0].replaceAll('/', '') ?? 'unknown version';
    const [major, minor] = WANTED_ENVOY;
    const isOld =
      version !== null &&
      (Number(version[1]) < major || (Number(version[1]) === major && Number(version[2]) < minor));
    return isOld
      ? warning(
          'envoy',
          `${shown} at ${binary}`,
          `Limen is made for ${major}.${minor}: unset LIMEN_ENVOY, or install that`,
        )
      : ok('envoy', `${shown} at ${binary}`);
  } catch (error) {
    return problem('envoy', reason(error), 'npm start fetches it; LIMEN_ENVOY names another one');
  }
}

async function checkRedisServer(context: CliContext): Promise<Check> {
  try {
    const binary = findRedisServer(context.root, context.environment);
    const { stdout } = await run(binary, ['--version'], { timeout: VERSION_TIMEOUT_MS });
    return ok('redis-server', `${/v=(\S+)/.exec(stdout)?.[1] ?? 'unknown version'} at ${binary}`);
  } catch (error) {
    return problem(
      'redis-server',
      reason(error),
      'npm start fetches it; LIMEN_REDIS_URL names a server to use instead',
    );
  }
}
