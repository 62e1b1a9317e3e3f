/**
 * `npm test`: everything that has to hold, in the order in which a failure is cheapest to understand.
 *
 *   npm test                         all of it
 *   npm test -- --only unit          one part, or several: --only types,unit
 *   npm test -- --from generated     from this part on
 *   npm test -- --only unit src/up   the rest goes to the test runner as a filter
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { exitWith, seconds, SetupError } from './bootstrap/progress.mjs';
import { ensurePythonClients } from './bootstrap/python.mjs';
import { runTool } from './bootstrap/tool.mjs';
import { prepare, root } from './bootstrap.mjs';

/** @typedef {{ node: string, filters: string[] }} Context */
/** @typedef {{ ok: boolean, passed?: number, failed?: number, why?: string, failures?: string[] }} Outcome */

/** @param {Context} context @param {string} tool @param {string[]} args @returns {Promise<Outcome>} */
async function check({ node }, tool, args) {
  return { ok: (await runTool(node, tool, args)).code === 0 };
}

/** TypeScript 6 stands beside 7 for tools that need its API; the check itself must be the native one. @param {Context} context */
async function types(context) {
  const version = await runTool(context.node, 'tsc', ['--version'], { capture: true });
  if (!version.stdout.startsWith('Version 7.')) {
    return {
      ok: false,
      why: `tsc is ${version.stdout.trim()}, not 7: delete node_modules and run this again`,
    };
  }
  return check(context, 'tsc', ['-p', 'tsconfig.json']);
}

/** A rule file that matches nothing finds nothing wrong, so the number of modules counts too. @param {Context} context */
async function boundaries(context) {
  const listing = await runTool(context.node, 'depcruise', ['src', '--output-type', 'json'], {
    capture: true,
  });
  /** @type {{ totalCruised: number, totalDependenciesCruised: number }} */
  const { totalCruised, totalDependenciesCruised } = JSON.parse(listing.stdout).summary;
  if (totalCruised === 0 || totalDependenciesCruised === 0)
    return { ok: false, why: 'it looked at no module' };
  return check(context, 'depcruise', ['src', '--output-type', 'err']);
}

/** The lockfile must work with `npm ci` on every platform and on every registry. */
async function lockfile() {
  const { missingVariants } = await import('./lock.mjs');
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const missing = missingVariants(JSON.parse(text).packages);
  if (missing.length > 0)
    return { ok: false, why: `package-lock.json lacks ${missing[0]?.name}: run \`npm run lock\`` };
  if (/"resolved":/.test(text))
    return { ok: false, why: 'package-lock.json names a registry: run `npm run lock`' };
  return { ok: true };
}

/**
 * What is read of vitest's report.
 *
 * @typedef {{
 *   numPassedTests: number, numFailedTests: number, numPendingTests: number, numTodoTests: number,
 *   testResults: {
 *     name: string, status: string, message: string,
 *     assertionResults: { fullName: string, status: string, failureMessages: string[] | null }[]
 *   }[]
 * }} Report
 */

/** Lines of a failure that are shown where all are shown together. */
const FAILURE_LINES = 12;
/** vitest reports the error of a describe's hook to the console alone. */
const NO_MESSAGE = 'What its tests need could not be set up: the reason stands above, beside the file.';

/**
 * What failed and why, each a few lines. A file fails by itself where what all its tests need could not be set up.
 *
 * @param {Report} report
 */
function failuresOf({ testResults }) {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(root, name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    if (failed.length === 0) return status === 'failed' ? [failure(file, message || NO_MESSAGE)] : [];
    return failed.map(({ fullName, failureMessages }) =>
      failure(`${file}: ${fullName.trim()}`, failureMessages?.join('\n') ?? ''),
    );
  });
}

/** @param {string} title @param {string} message */
function failure(title, message) {
  const lines = stripVTControlCharacters(message)
    .split('\n')
    .filter((line) => !line.includes('node_modules'));
  return [title, ...lines.slice(0, FAILURE_LINES).map((line) => `    ${line}`)].join('\n');
}

/**
 * One project of vitest. In CI a skipped test is a failure.
 * @param {string} project
 */
function suite(project) {
  return async (/** @type {Context} */ { node, filters }) => {
    const report = join(root, '.tools/test', `${project}.json`);
    mkdirSync(join(root, '.tools/test'), { recursive: true });
    rmSync(report, { force: true });
    const env = project === 'clients' ? { PYTHONPATH: await ensurePythonClients(root) } : {};
    const args = [
      'run',
      '--project',
      project,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ];
    const { code } = await runTool(node, 'vitest', [...args, ...filters], { env });
    if (!existsSync(report)) return { ok: false, why: 'the test runner wrote no report' };
    /** @type {Report} */
    const result = JSON.parse(readFileSync(report, 'utf8'));
    const skipped = result.numPendingTests + result.numTodoTests;
    const counts = {
      passed: result.numPassedTests,
      failed: result.numFailedTests,
      failures: failuresOf(result),
    };
    if (skipped > 0 && process.env['CI'] && filters.length === 0) {
      return {
        ...counts,
        ok: false,
        failed: counts.failed + skipped,
        why: `${skipped} skipped, which counts as failed in CI`,
      };
    }
    return { ok: code === 0, ...counts };
  };
}

/** @type {[name: string, title: string, run: (context: Context) => Promise<Outcome>][]} */
const parts = [
  ['types', 'Types (tsc)', types],
  ['lint', 'Lint (oxlint, with types)', (context) => check(context, 'oxlint', ['--type-aware'])],
  ['boundaries', 'Import boundaries (dependency-cruiser)', boundaries],
  ['dead-code', 'Dead code and unused packages (knip)', (context) => check(context, 'knip', [])],
  [
    'format',
    'Format (prettier)',
    (context) => check(context, 'prettier', ['--check', '--log-level', 'warn', '.']),
  ],
  [
    'generated',
    'Generated files',
    (context) => check(context, 'node', ['scripts/generate/run.ts', '--check']),
  ],
  ['lockfile', 'Lockfile', lockfile],
  ['unit', 'Unit tests', suite('unit')],
  ['data-plane', 'Data-plane tests (real Envoy)', suite('data-plane')],
  ['clients', 'Official clients', suite('clients')],
  ['system', 'System tests', suite('system')],
];
const suites = ['unit', 'data-plane', 'clients', 'system'];

/** @param {string | undefined} only @param {string | undefined} from */
function choose(only, from) {
  const names = parts.map(([name]) => name);
  for (const name of [...(only?.split(',') ?? []), ...(from ? [from] : [])]) {
    if (!names.includes(name))
      throw new SetupError(`There is no part ${name}.`, `Parts: ${names.join(', ')}.`);
  }
  const first = from ? names.indexOf(from) : 0;
  return parts.filter(([name], index) => (only ? only.split(',').includes(name) : index >= first));
}

/** A suite that has no test file yet has nothing to run. @param {string} name */
const hasTests = (name) => !suites.includes(name) || name === 'unit' || existsSync(join(root, 'test', name));

async function main() {
  const { values, positionals } = parseArgs({
    options: { only: { type: 'string' }, from: { type: 'string' } },
    allowPositionals: true,
  });
  const chosen = choose(values.only, values.from).filter(([name]) => hasTests(name));
  const { node } = await prepare();
  const started = Date.now();
  /** @type {{ title: string, outcome: Outcome, took: number }[]} */
  const results = [];
  for (const [, title, run] of chosen) {
    process.stdout.write(`\n== ${title}\n`);
    const begun = Date.now();
    const outcome = await run({ node, filters: positionals });
    const took = Date.now() - begun;
    results.push({ title, outcome, took });
    process.stdout.write(
      `== ${title}: ${outcome.ok ? 'ok' : `FAILED${outcome.why ? `, ${outcome.why}` : ''}`} (${seconds(took)})\n`,
    );
  }
  process.stdout.write('\n');
  // Once more together, for whoever has only the end of a long log.
  for (const { title, outcome } of results) {
    for (const text of outcome.failures ?? []) process.stdout.write(`✗ ${title}: ${text}\n\n`);
  }
  const width = Math.max(...results.map(({ title }) => title.length));
  let passed = 0;
  let failed = 0;
  for (const { title, outcome, took } of results) {
    // A check counts as one test; a suite that broke without a failed test counts as one failure.
    passed += outcome.passed ?? (outcome.ok ? 1 : 0);
    failed += outcome.ok ? 0 : Math.max(1, outcome.failed ?? 1);
    process.stdout.write(
      `${outcome.ok ? '✓' : '✗'} ${title.padEnd(width)} ${seconds(took).padStart(8)}${outcome.why ? `  ${outcome.why}` : ''}\n`,
    );
  }
  process.stdout.write(`\n${seconds(Date.now() - started)} in all\n${passed} passed, ${failed} failed\n`);
  process.exit(failed > 0 ? 1 : 0);
}

main().catch(exitWith);
