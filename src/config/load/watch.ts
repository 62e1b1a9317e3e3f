import { watch, type FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { loadTexts, type LoadResult } from './load.ts';
import { YamlCache } from './yaml.ts';
import { readConfigTexts, statSignature } from './read-files.ts';

/** Long enough for an editor's write and rename to be one change, short against the second that a change may take. */
const SETTLE_MS = 30;

/** A file that is written to without a pause is still looked at this often. */
const LONGEST_SETTLE_MS = 150;

/** Catches what the system does not report: network file systems, folders that were replaced. */
const DEFAULT_POLL_MS = 1000;

/** How long what looks half written may take to become whole. */
const SECOND_LOOK_MS = 60;

export interface ConfigWatcher {
  /** Looks now, whatever the events say; calls back if something changed. */
  check(): Promise<void>;
  /** Resolves once no callback can come any more. */
  close(): Promise<void>;
}

export interface WatchOptions {
  readonly pollMs?: number;
  /** Fingerprint of what the caller has loaded already; the same content is not reported again. */
  readonly fingerprint?: string;
}

/**
 * Watches a configuration file or folder and calls back with each new content, right or wrong: keeping the
 * last good one is the caller's part. Sees writes in place, editors that rename a new file over the old one,
 * and Kubernetes' swap of a ConfigMap's `..data` link. Callbacks never overlap.
 *
 * @param path absolute path; it may not be there yet
 * @param onChange what it throws stops nothing and is given to `onError`
 */
export function watchConfig(
  path: string,
  onChange: (result: LoadResult) => void | Promise<void>,
  onError: (error: unknown) => void,
  options: WatchOptions = {},
): ConfigWatcher {
  const watchers = new Map<string, { watcher: FSWatcher; inode: bigint }>();
  let fingerprint = options.fingerprint;
  let folders: readonly string[] = [dirname(path), path];
  const cache = new YamlCache();
  let seen = '';
  let suspect: string | undefined;
  let settle: NodeJS.Timeout | undefined;
  let firstEvent = 0;
  let running: Promise<void> = Promise.resolve();
  let closed = false;

  const check = (): Promise<void> => {
    running = running.then(look).catch(onError);
    return running;
  };

  const look = async (): Promise<void> => {
    if (closed) return;
    // Watch first and read afterwards, so that nothing can change unseen in between.
    await watchFolders();
    const signature = await statSignature(path);
    const texts = await readConfigTexts(path);
    folders = [dirname(path), ...texts.folders];
    await watchFolders();
    seen = signature;
    if (texts.fingerprint === fingerprint) {
      suspect = undefined;
      return;
    }
    const result = loadTexts(texts, cache);
    // What is wrong or empty may be half written: a second look before anybody is alarmed.
    if (suspect !== texts.fingerprint && (result.issues.length > 0 || result.resources.length === 0)) {
      suspect = texts.fingerprint;
      onEvent(SECOND_LOOK_MS);
      return;
    }
    if (closed) return;
    suspect = undefined;
    fingerprint = texts.fingerprint;
    await onChange(result);
  };

  const onEvent = (patience = SETTLE_MS) => {
    if (closed) return;
    const now = performance.now();
    if (settle === undefined) firstEvent = now;
    clearTimeout(settle);
    settle = setTimeout(
      () => {
        settle = undefined;
        void check();
      },
      Math.max(0, Math.min(patience, firstEvent + LONGEST_SETTLE_MS - now)),
    );
  };

  const watchFolders = async (): Promise<void> => {
    const wanted = new Set(folders);
    for (const [folder, { watcher }] of watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      watchers.delete(folder);
    }
    for (const folder of wanted) {
      const info = await stat(folder, { bigint: true }).catch(() => undefined);
      const existing = watchers.get(folder);
      if (existing && existing.inode === info?.ino) continue;
      existing?.watcher.close();
      watchers.delete(folder);
      if (!info?.isDirectory() || closed) continue;
      try {
        const watcher = watch(folder, { persistent: false }, (_, name) => {
          // A folder such as /etc is busy; only our file and the links that lead to it matter.
          if (name === null || concerns(folder, name)) onEvent();
        });
        // The poll takes over where watching fails, as when the folder goes away.
        watcher.on('error', () => watcher.close());
        watchers.set(folder, { watcher, inode: info.ino });
      } catch {
        // No watch to be had (too many on this machine): the poll still sees the change.
      }
    }
  };

  const concerns = (folder: string, name: string): boolean =>
    folder !== dirname(path) || name === basename(path) || name.startsWith('..');

  const pollOnce = async (): Promise<void> => {
    if ((await statSignature(path)) !== seen) await check();
  };
  const poll = setInterval(() => void pollOnce().catch(onError), options.pollMs ?? DEFAULT_POLL_MS);
  poll.unref();
  void check();

  return {
    check,
    async close() {
      closed = true;
      clearInterval(poll);
      clearTimeout(settle);
      for (const { watcher } of watchers.values()) watcher.close();
      watchers.clear();
      await running;
    },
  };
}
