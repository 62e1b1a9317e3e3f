import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { capture, findOnPath } from './command.mjs';
import { SetupError, step } from './progress.mjs';

const OLDEST_MAJOR = 24;

/**
 * How to call npm under a given Node: through npm's own script where `npm start` told us where it lies, else
 * the `npm` on PATH with that Node in front.
 *
 * @param {string} node path of the Node to run it under
 * @returns {{ command: string, args: string[], env: NodeJS.ProcessEnv }}
 */
export function npmUnder(node) {
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env['PATH'] ?? ''}` };
  const script = process.env['npm_execpath'];
  if (script?.endsWith('npm-cli.js') && existsSync(script)) return { command: node, args: [script], env };
  const npm = findOnPath('npm');
  if (!npm)
    throw new SetupError(
      'npm is not on PATH.',
      'Install Node 20 or newer together with npm, then run this again.',
    );
  return { command: npm, args: [], env };
}

/**
 * The line of npm's output that says what happened, for an error of one line.
 * @param {string} output
 */
export function npmReason(output) {
  const lines = output
    .split('\n')
    .filter((line) => /^npm (error|ERR!)/.test(line) && !/A complete log|^npm (error|ERR!)\s*$/.test(line))
    .map((line) => line.replace(/^npm (error|ERR!)\s*/, ''));
  const code = lines.find((line) => line.startsWith('code '))?.slice('code '.length);
  const words = lines.find((line) => !/^(code|syscall|errno|path|dest) /.test(line));
  return [code, words].filter(Boolean).join(': ') || output.trim().split('\n').at(-1) || 'npm said nothing';
}

export const NETWORK_ADVICE =
  'Check the network, proxy and registry settings (npm config get registry, pip config list), then run the same command again: it goes on where it stopped.';

/**
 * The Node 24 that everything else runs on: the running one where it is new enough, else a pinned one from npm
 * kept in `.tools`. The folder appears by one rename, so an interrupted download leaves nothing half done.
 *
 * @param {string} root the project folder
 * @returns {Promise<string>} path of the binary
 */
export async function ensureNode(root) {
  if (Number(process.versions.node.split('.')[0]) >= OLDEST_MAJOR) return process.execPath;
  const name = `node-${process.platform}-${process.arch}`;
  const manifests = join(root, 'scripts/toolchain');
  /** @type {{ packages: Record<string, { version: string, integrity: string }> }} */
  const lock = JSON.parse(readFileSync(join(manifests, 'package-lock.json'), 'utf8'));
  const entry = lock.packages[`node_modules/${name}`];
  if (!entry) {
    throw new SetupError(
      `There is no ready-made Node 24 for ${process.platform} ${process.arch}.`,
      'Install Node 24 yourself and run this again with it.',
    );
  }
  const folder = join(root, '.tools', `node-${entry.version}`);
  const binary = (/** @type {string} */ base) => join(base, 'node_modules', name, 'bin/node');
  if (existsSync(binary(folder))) return binary(folder);

  return step(`Node ${entry.version} (126 MB)`, async () => {
    const partial = `${folder}.partial-${process.pid}`;
    mkdirSync(partial, { recursive: true });
    try {
      // Only this platform's binary, as a dependency that must not fail.
      const manifest = {
        name: 'limen-toolchain',
        version: '1.0.0',
        private: true,
        dependencies: { [name]: entry.version },
      };
      const { version, integrity } = entry;
      const packages = { '': manifest, [`node_modules/${name}`]: { version, integrity } };
      writeFileSync(join(partial, 'package.json'), JSON.stringify(manifest));
      writeFileSync(
        join(partial, 'package-lock.json'),
        JSON.stringify({
          name: manifest.name,
          version: '1.0.0',
          lockfileVersion: 3,
          requires: true,
          packages,
        }),
      );
      const npmrc = join(root, '.npmrc');
      if (existsSync(npmrc)) cpSync(npmrc, join(partial, '.npmrc'));
      const npm = npmUnder(process.execPath);
      const result = await capture(
        npm.command,
        [...npm.args, 'ci', '--prefix', partial, '--ignore-scripts'],
        {
          cwd: partial,
          env: npm.env,
        },
      );
      if (result.code !== 0)
        throw new SetupError(
          `Could not fetch ${name} ${version}: ${npmReason(result.output)}`,
          NETWORK_ADVICE,
        );
      const check = await capture(binary(partial), ['--version']);
      if (check.code !== 0) {
        throw new SetupError(
          `The fetched Node does not run on this machine: ${check.output.trim()}`,
          'It needs glibc 2.28 or newer (Alpine has none); install Node 24 yourself and run this again with it.',
        );
      }
      if (!existsSync(folder)) renameSync(partial, folder);
      return binary(folder);
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
  });
}
