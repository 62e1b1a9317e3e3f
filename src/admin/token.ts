import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A token that others could guess. */
const SHORTEST_TOKEN = 32;

/** Where the admin token of an installation lies. */
export function adminTokenPath(dataFolder: string): string {
  return join(dataFolder, 'keys', 'admin.token');
}

/**
 * The admin token of this installation, for those that may read its data folder.
 *
 * @returns nothing where there is none, or none that this user may read
 */
export function readAdminToken(dataFolder: string): string | undefined {
  try {
    const token = readFileSync(adminTokenPath(dataFolder), 'utf8').trim();
    return token.length >= SHORTEST_TOKEN ? token : undefined;
  } catch {
    return undefined;
  }
}

/** The admin token of this installation, made at the first start. Only this user may read its file. */
export function readOrCreateAdminToken(dataFolder: string): string {
  const path = adminTokenPath(dataFolder);
  mkdirSync(join(dataFolder, 'keys'), { recursive: true, mode: 0o700 });
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, `admin-${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 });
    // A link appears whole or not at all, and of two starters the second finds the first one's.
    linkSync(fresh, path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    rmSync(fresh, { force: true });
  }
  chmodSync(path, 0o600);
  const token = readAdminToken(dataFolder);
  if (token === undefined) {
    throw new Error(
      `${path} holds no token of at least ${SHORTEST_TOKEN} characters: delete it and start again.`,
    );
  }
  return token;
}

/**
 * Whether an `authorization` header carries the token. Both are hashed first, so that the comparison takes the
 * same time for any length and any text.
 */
export function createTokenCheck(token: string): (header: string | undefined) => boolean {
  const wanted = createHash('sha256').update(token).digest();
  return (header) => {
    const given = /^bearer +(\S+)$/i.exec(header ?? '')?.[1] ?? '';
    return timingSafeEqual(createHash('sha256').update(given).digest(), wanted) && given !== '';
  };
}
