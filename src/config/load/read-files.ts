import { createHash } from 'node:crypto';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { toErrorCode } from './error-code.ts';
import type { ConfigIssue } from './issue.ts';

/** Bounds of what is read: configuration is written by hand; thousands of keys belong into the database. */
export const LARGEST_FILE_BYTES = 8 * 1024 * 1024;
export const MOST_FILES = 1000;
const LARGEST_FOLDER_BYTES = 32 * 1024 * 1024;

export interface ConfigText {
  /** Name for messages, as the user would write it. */
  readonly file: string;
  readonly text: string;
}

export interface ConfigTexts {
  readonly texts: readonly ConfigText[];
  readonly issues: readonly ConfigIssue[];
  /** Folders whose events tell of a change, those behind symbolic links among them. */
  readonly folders: readonly string[];
  /** Hash of all names and contents: the same again means that nothing changed. */
  readonly fingerprint: string;
}

/** A path as people write it: relative where it lies below the working folder. */
export function displayPath(path: string, workingFolder = process.cwd()): string {
  const short = relative(workingFolder, path);
  return short === '' || short.startsWith('..') || isAbsolute(short) ? path : short;
}

/** The YAML files that a path stands for: itself, or those of a folder by name, hidden ones left out. */
export async function listConfigFiles(path: string): Promise<{ files: string[]; isFolder: boolean }> {
  const info = await stat(path);
  if (!info.isDirectory()) return { files: [path], isFolder: false };
  const names = (await readdir(path))
    .filter((name) => /\.ya?ml$/i.test(name) && !name.startsWith('.'))
    .sort();
  return { files: names.map((name) => join(path, name)), isFolder: true };
}

/**
 * Reads the texts that a configuration path stands for. Whatever cannot be read is an issue; nothing is thrown.
 *
 * @param path absolute path of a file or folder
 */
export async function readConfigTexts(path: string): Promise<ConfigTexts> {
  const texts: ConfigText[] = [];
  const issues: ConfigIssue[] = [];
  const folders = new Set<string>();
  const hash = createHash('sha256');
  const problem = (file: string, message: string, allowed?: string) =>
    issues.push({
      file: displayPath(file),
      line: 1,
      column: 1,
      path: '',
      message,
      ...(allowed ? { allowed } : {}),
    });
  let listing: Awaited<ReturnType<typeof listConfigFiles>>;
  try {
    listing = await listConfigFiles(path);
  } catch (error) {
    problem(path, `cannot be read (${toErrorCode(error)})`);
    return { texts, issues, folders: [dirname(path)], fingerprint: `unreadable ${toErrorCode(error)}` };
  }
  folders.add(listing.isFolder ? path : dirname(path));
  if (listing.files.length > MOST_FILES)
    problem(path, `has ${listing.files.length} YAML files`, `at most ${MOST_FILES}`);
  let total = 0;
  for (const file of listing.files.slice(0, MOST_FILES)) {
    hash.update(`${basename(file)}\0`);
    try {
      folders.add(dirname(await realpath(file)));
      const bytes = await readBounded(file);
      hash.update(bytes).update('\0');
      total += bytes.length;
      if (bytes.length > LARGEST_FILE_BYTES)
        problem(file, 'is too large', `at most ${LARGEST_FILE_BYTES} bytes`);
      else if (total > LARGEST_FOLDER_BYTES)
        problem(file, 'makes the folder too large', `at most ${LARGEST_FOLDER_BYTES} bytes in all`);
      else
        texts.push({
          file: displayPath(file),
          text: new TextDecoder('utf-8', { fatal: true }).decode(bytes),
        });
    } catch (error) {
      if (error instanceof TypeError) problem(file, 'is not UTF-8 text');
      else problem(file, `cannot be read (${toErrorCode(error)})`);
      hash.update(`unreadable ${toErrorCode(error)}\0`);
    }
  }
  return { texts, issues, folders: [...folders], fingerprint: hash.digest('hex') };
}

/** At most one byte more than is allowed, so that a huge file shows as too large without being read. */
async function readBounded(file: string): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw Object.assign(new Error('not a file'), { code: 'not a file' });
    if (info.size > LARGEST_FILE_BYTES) return Buffer.alloc(LARGEST_FILE_BYTES + 1);
    const buffer = Buffer.alloc(
      LARGEST_FILE_BYTES + 1 > info.size + 65_536 ? info.size + 65_536 : LARGEST_FILE_BYTES + 1,
    );
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0 || length + bytesRead === buffer.length)
        return buffer.subarray(0, length + bytesRead);
      length += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

/** Changes whenever a file is added, removed, replaced or written: enough to tell whether reading is worth it. */
export async function statSignature(path: string): Promise<string> {
  try {
    const { files } = await listConfigFiles(path);
    const lines = await Promise.all(
      files.slice(0, MOST_FILES).map(async (file) => {
        const info = await stat(file, { bigint: true });
        return `${file} ${info.ino} ${info.size} ${info.mtimeNs}`;
      }),
    );
    return lines.join('\n');
  } catch (error) {
    return toErrorCode(error);
  }
}
