import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInstaller } from './installer.mjs';
import { NETWORK_ADVICE, npmReason, npmUnder } from './node.mjs';
import { SetupError, step } from './progress.mjs';

/**
 * @typedef {{ version?: string, integrity?: string, optional?: boolean, os?: string[] | string, cpu?: string[] | string, libc?: string[] | string }} LockEntry
 */

/** @param {string} path @returns {Record<string, LockEntry> | undefined} */
function lockEntries(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/**
 * Whether node_modules holds what the lockfile asks for. npm writes its own record of the tree
 * (`node_modules/.package-lock.json`) last, so an interrupted install has none or an old one.
 *
 * @param {string} root
 */
export function packagesInstalled(root) {
  const wanted = lockEntries(join(root, 'package-lock.json'));
  const present = lockEntries(join(root, 'node_modules/.package-lock.json'));
  if (!wanted || !present) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = present[path];
    // Optional ones are left out where they belong to another platform.
    if (!found) return entry.optional === true;
    return (
      found.version === entry.version && found.integrity === entry.integrity && existsSync(join(root, path))
    );
  });
}

/** `npx limen` looks here first; npm links the commands of dependencies only, not the project's own. @param {string} root */
function linkCommand(root) {
  const link = join(root, 'node_modules/.bin/limen');
  rmSync(link, { force: true });
  symlinkSync('../../scripts/limen.mjs', link);
}

/**
 * Installs the packages of the lockfile under the given Node, unless they are there.
 * @param {string} root @param {string} node
 */
export async function ensurePackages(root, node) {
  if (packagesInstalled(root)) return linkCommand(root);
  await step('Packages from package-lock.json (about 900 MB unpacked)', async () => {
    rmSync(join(root, 'node_modules/.package-lock.json'), { force: true });
    const npm = npmUnder(node);
    const result = await runInstaller(
      root,
      npm.command,
      [
        ...npm.args,
        'ci',
        '--include=dev',
        '--include=optional',
        '--no-audit',
        '--no-fund',
        '--loglevel=warn',
      ],
      { cwd: root, env: npm.env },
    );
    if (result.code === 0 && packagesInstalled(root)) return linkCommand(root);
    const logs = join(root, '.tools/logs');
    mkdirSync(logs, { recursive: true });
    writeFileSync(join(logs, 'npm-ci.log'), result.output);
    throw new SetupError(
      `npm could not install the packages: ${npmReason(result.output)}`,
      `${NETWORK_ADVICE} Full output: .tools/logs/npm-ci.log`,
    );
  });
}
