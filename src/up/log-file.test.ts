import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LogFile } from './log-file.ts';

it('keeps the newest lines within twice its limit, across openings', () => {
  const folder = mkdtempSync(join(tmpdir(), 'limen-log-'));
  const path = join(folder, 'redis.log');
  for (let round = 0; round < 5; round += 1) {
    const log = new LogFile(path, 1_000);
    for (let line = 0; line < 20; line += 1) log.write(`round ${round} line ${line} ${'x'.repeat(40)}`);
    log.close();
  }
  expect(statSync(path).size).toBeLessThanOrEqual(1_000);
  expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(1_000);
  expect(readFileSync(path, 'utf8')).toContain('round 4 line 19');
  rmSync(folder, { recursive: true });
});
