/**
 * Writes package-lock.json anew: `npm run lock` (after every change of package.json). npm leaves out the
 * binaries of other platforms when the registry at hand lacks them, and `npm ci` then refuses the lockfile
 * everywhere. So every optional dependency that a package names gets its entry, with a hash where one is known.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const systems = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
];
const processors = [
  'arm',
  'arm64',
  'ia32',
  'loong64',
  'mips64el',
  'ppc64',
  'riscv64',
  's390x',
  'wasm32',
  'x64',
];

/** @typedef {{ version?: string, integrity?: string, optional?: boolean, dev?: boolean, devOptional?: boolean, os?: string[], cpu?: string[], libc?: string[], optionalDependencies?: Record<string, string>, license?: string }} Entry */

/** @param {Record<string, Entry>} packages @returns {{ path: string, name: string, version: string, parent: Entry }[]} */
export function missingVariants(packages) {
  const missing = new Map();
  for (const [parentPath, parent] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
      const nested = `${parentPath}/node_modules/${name}`;
      const path = `node_modules/${name}`;
      if (!packages[path] && !packages[nested]) missing.set(path, { path, name, version, parent });
    }
  }
  return [...missing.values()];
}

/** Which machines a variant is for, as its name tells. @param {string} name @returns {Entry} */
function platformOf(name) {
  const words = name.split(/[-/]/);
  const os = systems.filter((system) => words.includes(system));
  const cpu = processors.filter((processor) => words.includes(processor));
  const libc = words.includes('musl') ? ['musl'] : words.includes('gnu') ? ['glibc'] : [];
  return { ...(cpu.length ? { cpu } : {}), ...(os.length ? { os } : {}), ...(libc.length ? { libc } : {}) };
}

/** @param {string[]} args @param {string} cwd */
const npm = (args, cwd) =>
  spawnSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

if (process.argv[1] === import.meta.filename) {
  // In an empty folder: beside node_modules npm would describe what is installed here.
  const folder = mkdtempSync(join(tmpdir(), 'limen-lock-'));
  for (const file of ['package.json', 'package-lock.json', '.npmrc'])
    copyFileSync(join(root, file), join(folder, file));
  const result = npm(['install', '--package-lock-only', '--omit-lockfile-registry-resolved'], folder);
  if (result.status !== 0) {
    process.stderr.write(result.stderr);
    process.exit(1);
  }
  const lock = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'));
  rmSync(folder, { recursive: true });
  const added = missingVariants(lock.packages);
  for (const { path, name, version, parent } of added) {
    const integrity = npm(['view', `${name}@${version}`, 'dist.integrity'], root).stdout.trim();
    lock.packages[path] = {
      version,
      ...(integrity ? { integrity } : {}),
      ...platformOf(name),
      ...(parent.dev ? { dev: true } : {}),
      optional: true,
    };
  }
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(join(root, 'package-lock.json'), `${JSON.stringify(lock, null, 2)}\n`);
  process.stdout.write(
    `package-lock.json: ${Object.keys(lock.packages).length - 1} packages, ${added.length} added for other platforms\n`,
  );
}
