/** `npm run generate` writes the generated files; with `-- --check` it fails where one is not up to date. */
import { exitWith } from './bootstrap/progress.mjs';
import { prepare } from './bootstrap.mjs';
import { runTool } from './bootstrap/tool.mjs';

prepare()
  .then(({ node }) => runTool(node, 'node', ['scripts/generate/run.ts', ...process.argv.slice(2)]))
  .then(({ code }) => process.exit(code))
  .catch(exitWith);
