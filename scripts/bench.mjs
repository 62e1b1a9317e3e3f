/** `npm run bench`: runs bench/run.ts under the pinned Node, with all that it needs set up first. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { exitWith } from './bootstrap/progress.mjs';
import { prepare } from './bootstrap.mjs';

async function bench() {
  const { node } = await prepare();
  const script = join(import.meta.dirname, '../bench/run.ts');
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', script, ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  child.on('exit', (code) => process.exit(code ?? 1));
}

bench().catch(exitWith);
