import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { root } from '../bootstrap.mjs';

/**
 * Runs a program of node_modules/.bin, or `node` itself, with the given Node first on PATH.
 *
 * @param {string} node
 * @param {string} tool
 * @param {string[]} args
 * @param {{ capture?: boolean, env?: Record<string, string | undefined> }} [options] `capture` keeps standard output from the terminal
 * @returns {Promise<{ code: number, stdout: string }>}
 */
export function runTool(node, tool, args, { capture = false, env = {} } = {}) {
  const path = [dirname(node), join(root, 'node_modules/.bin'), process.env['PATH'] ?? ''].join(':');
  return new Promise((resolve, reject) => {
    const child = spawn(tool === 'node' ? node : join(root, 'node_modules/.bin', tool), args, {
      cwd: root,
      stdio: ['ignore', capture ? 'pipe' : 'inherit', 'inherit'],
      env: { ...process.env, PATH: path, ...env },
    });
    let stdout = '';
    child.stdout?.on('data', (/** @type {Buffer} */ chunk) => {
      stdout += chunk.toString();
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, stdout }));
  });
}
