import { exitWith } from './bootstrap/progress.mjs';
import { runMain } from './bootstrap/run-main.mjs';

runMain(['up', ...process.argv.slice(2)]).catch(exitWith);
