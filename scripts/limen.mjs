#!/usr/bin/env node
import { exitWith } from './bootstrap/progress.mjs';
import { runMain } from './bootstrap/run-main.mjs';

runMain(process.argv.slice(2)).catch(exitWith);
