/** Runs a development tool of node_modules under the pinned Node: `node scripts/run.mjs prettier --write .` */
import { exitWith } from './bootstrap/progress.mjs';
import { prepare } from './bootstrap.mjs';
import { runTool } from './bootstrap/tool.mjs';

const [tool = '', ...args] = process.argv.slice(2);
prepare()
  .then(({ node }) => runTool(node, tool, args))
  .then(({ code }) => process.exit(code))
  .catch(exitWith);
