/**
 * What every entry point needs before anything of Limen can run: Node 24, the packages of the lockfile, Envoy
 * and Redis. Plain JavaScript for Node 20 and no packages, because it runs before there are any.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { endLeftInstaller } from './bootstrap/installer.mjs';
import { withLock } from './bootstrap/lock.mjs';
import { ensureNode } from './bootstrap/node.mjs';
import { ensurePackages } from './bootstrap/packages.mjs';
import { seconds } from './bootstrap/progress.mjs';
import { ensureEnvoy, ensureRedis } from './bootstrap/python.mjs';

export const root = resolve(import.meta.dirname, '..');
const readyFile = join(root, '.tools/ready.json');

/**
 * @typedef {object} Ready what is installed; src/up reads the two binaries from `.tools/ready.json`
 * @property {string} key hash of everything that pins what is installed
 * @property {string} node @property {string | null} envoy @property {string | null} redisServer
 */

/** Hash of the lockfile, the toolchain's pins and whatever else decides what has to be fetched. */
function wantedKey() {
  const hash = createHash('sha256');
  const toolchain = join(root, 'scripts/toolchain');
  for (const file of [
    join(root, 'package-lock.json'),
    ...readdirSync(toolchain)
      .sort()
      .map((name) => join(toolchain, name)),
  ]) {
    hash.update(readFileSync(file)).update('\0');
  }
  hash.update(`${process.platform} ${process.arch} ${process.versions.node} ${process.execPath}`);
  return hash.digest('hex');
}

/** @param {string} key @returns {Ready | undefined} */
function alreadyReady(key) {
  try {
    /** @type {Ready} */
    const ready = JSON.parse(readFileSync(readyFile, 'utf8'));
    const envoyThere = process.env['LIMEN_ENVOY'] || (ready.envoy && existsSync(ready.envoy));
    const redisThere = process.env['LIMEN_REDIS_URL'] || (ready.redisServer && existsSync(ready.redisServer));
    const there = ready.key === key && existsSync(ready.node) && envoyThere && redisThere;
    return there && existsSync(join(root, 'node_modules/.package-lock.json')) ? ready : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes the checkout ready and returns where things are. Costs a few milliseconds when all is there already,
 * and prints only when it has something to fetch. Two at once: the second waits for the first.
 *
 * @returns {Promise<Ready>}
 * @throws {import('./bootstrap/progress.mjs').SetupError}
 */
export async function prepare() {
  const key = wantedKey();
  const warm = alreadyReady(key);
  if (warm) return warm;

  const started = Date.now();
  const node = await ensureNode(root);
  const onWait = () =>
    process.stderr.write('  … another Limen command is setting up this folder; waiting for it\n');
  return withLock(join(root, '.tools/setup.lock'), onWait, async () => {
    const finished = alreadyReady(key);
    if (finished) return finished;
    await endLeftInstaller(root);
    await ensurePackages(root, node);
    const envoy = process.env['LIMEN_ENVOY'] ? null : await ensureEnvoy(root);
    const redisServer = process.env['LIMEN_REDIS_URL'] ? null : await ensureRedis(root);
    const ready = { key, node, envoy, redisServer };
    mkdirSync(join(root, '.tools'), { recursive: true });
    writeFileSync(`${readyFile}.${process.pid}`, `${JSON.stringify(ready, null, 2)}\n`);
    renameSync(`${readyFile}.${process.pid}`, readyFile);
    const took = Date.now() - started;
    if (took > 2_000) process.stderr.write(`  ready after ${seconds(took)}\n`);
    return ready;
  });
}
