/** `npm test`: everything that has to hold, in the order in which a failure is cheapest to understand. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { exitWith, seconds, SetupError } from './bootstrap/progress.mjs';
import { ensurePythonClients } from './bootstrap/python.mjs';
import { runTool } from './bootstrap/tool.mjs';
import { prepare, root } from './bootstrap.mjs';

/** @typedef {{ node: string, filters: string[] }} Context */
/** @typedef {{ ok: boolean, passed?: number, failed?: number, why?: string, failures?: string[], unsteady?: string[] }} Outcome */

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
 * What is read of a file in vitest's report.
 *
 * @typedef {{
 *   name: string, status: string, message: string,
 *   assertionResults: { fullName: string, status: string, failureMessages: string[] | null }[]
 * }} TestFile
 */

/** Lines of a failure that are shown where all are shown together. */
const FAILURE_LINES = 12;
/** vitest reports the error of a describe's hook to the console alone. */
const NO_MESSAGE = 'What its tests need could not be set up: the reason stands above, beside the file.';

/**
 * What failed and why, each a few lines. A file fails by itself where what all its tests need could not be set up.
 *
 * @param {readonly TestFile[]} results
 */
function failuresOf(results) {
  return results.flatMap(({ name, status, message, assertionResults }) => {
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

/** Errors outside of any test: vitest names them in this report alone, as a suite of this name. */
const OUTSIDE = 'vitest unhandled errors';

/** More files than this do not fail because the machine was busy. */
const MOST_REPEATED_FILES = 3;

/**
 * One run of a project of vitest. Undefined where it wrote no report.
 *
 * @param {Context} context @param {string} project @param {readonly string[]} filters
 * @returns {Promise<{ ok: boolean, hasOutside: boolean, results: TestFile[] } | undefined>}
 */
async function runVitest({ node }, project, filters) {
  const report = join(root, '.tools/test', `${project}.json`);
  const outside = join(root, '.tools/test', `${project}.xml`);
  mkdirSync(join(root, '.tools/test'), { recursive: true });
  for (const file of [report, outside]) rmSync(file, { force: true });
  const env = project === 'clients' ? { PYTHONPATH: await ensurePythonClients(root) } : {};
  const reporters = ['default', 'json', 'junit'].map((name) => `--reporter=${name}`);
  const files = [`--outputFile.json=${report}`, `--outputFile.junit=${outside}`];
  const args = ['run', '--project', project, ...reporters, ...files, ...filters];
  const { code } = await runTool(node, 'vitest', args, { env });
  if (!existsSync(report)) return undefined;
  return {
    ok: code === 0,
    hasOutside: existsSync(outside) && readFileSync(outside, 'utf8').includes(`name="${OUTSIDE}"`),
    results: JSON.parse(readFileSync(report, 'utf8')).testResults,
  };
}

/**
 * One project of vitest.
 *
 * @param {string} project
 * @param {{ repeats?: boolean }} options repeats: a few files that failed are run once more. For suites of real
 *   processes, which share two cores: what passes then is told at the end as unsteady, and counts as passed.
 */
function suite(project, { repeats = false } = {}) {
  return async (/** @type {Context} */ context) => {
    const { filters } = context;
    const first = await runVitest(context, project, filters);
    if (!first) return { ok: false, why: 'the test runner wrote no report' };
    const files = first.results.filter(({ status }) => status === 'failed').map(({ name }) => name);
    // Of an error outside nobody knows which file it belongs to.
    const again = repeats && !first.hasOutside && files.length > 0 && files.length <= MOST_REPEATED_FILES;
    if (!again) return judged(first, filters);
    process.stdout.write(
      `\n== Once more, by themselves: ${files.map((file) => relative(root, file)).join(', ')}\n`,
    );
    const second = await runVitest(context, project, files);
    if (!second?.ok) return judged(first, filters);
    const steady = first.results.filter(({ name }) => !files.includes(name));
    const outcome = judged({ ok: true, results: [...steady, ...second.results] }, filters);
    return {
      why: `${files.length} of its files passed only when run once more`,
      ...outcome,
      unsteady: failuresOf(first.results),
    };
  };
}

/**
 * What a run of vitest comes to. In CI a skipped test is a failure.
 *
 * @param {{ ok: boolean, results: TestFile[] }} run @param {readonly string[]} filters
 * @returns {Outcome}
 */
function judged({ ok, results }, filters) {
  const statuses = results.flatMap(({ assertionResults }) => assertionResults.map(({ status }) => status));
  const passed = statuses.filter((status) => status === 'passed').length;
  const failed = statuses.filter((status) => status === 'failed').length;
  const skipped = statuses.length - passed - failed;
  const failures = failuresOf(results);
  if (skipped === 0 || !process.env['CI'] || filters.length > 0) return { ok, passed, failed, failures };
  const why = `${skipped} skipped, which counts as failed in CI`;
  return { ok: false, passed, failed: failed + skipped, failures, why };
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
  ['data-plane', 'Data-plane tests (real Envoy)', suite('data-plane', { repeats: true })],
  ['clients', 'Official clients', suite('clients', { repeats: true })],
  ['system', 'System tests', suite('system', { repeats: true })],
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

const HELP = `Usage: npm test -- [options] [filter ...]

Runs every check and test, in the order in which a failure is cheapest to understand.

Options:
  --only PART,...  these parts alone
  --from PART      this part and those after it
  --help           shows this

Parts: ${parts.map(([name]) => name).join(', ')}.

Examples:
  npm test
  npm test -- --only types,lint
  npm test -- --only unit src/up      the rest goes to the test runner as a filter
  npm test -- --from generated
`;

function readArguments() {
  const options = /** @type {const} */ ({
    only: { type: 'string' },
    from: { type: 'string' },
    help: { type: 'boolean' },
  });
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error), 'See npm test -- --help.');
  }
}

async function main() {
  const { values, positionals } = readArguments();
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
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
    for (const text of outcome.unsteady ?? [])
      process.stdout.write(`~ ${title}, unsteady (passed when run once more): ${text}\n\n`);
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
