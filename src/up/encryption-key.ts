import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, StartError } from './start-error.ts';

/**
 * The key of this installation that seals stored credentials, made at the first start. Losing it means losing
 * what it sealed.
 *
 * @param data the data folder
 * @returns 64 hexadecimal digits
 */
export function installationKey(data: string): string {
  const path = join(data, 'encryption.key');
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    linkSync(fresh, path);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  } finally {
    rmSync(fresh, { force: true });
  }
  const key = readFileSync(path, 'utf8').trim();
  if (!/^[0-9a-f]{64}$/.test(key)) {
    throw new StartError(
      `${path} does not hold a key: restore it from a backup, or set LIMEN_ENCRYPTION_KEY.`,
    );
  }
  return key;
}
