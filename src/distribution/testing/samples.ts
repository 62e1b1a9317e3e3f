import { createHash } from 'node:crypto';
import type { DirectoryEntry, VirtualKey } from '../../core/access.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { emptySnapshot } from '../../core/testing/snapshot.ts';

/** A snapshot with a name for a version and nothing in it. */
export function snapshotNamed(version: string): Snapshot {
  return emptySnapshot({ version });
}

/** Hash of the key with this number. */
export function hashOf(number: number): string {
  return createHash('sha256').update(`key ${number}`).digest('hex');
}

/** A key with this number, of a user of their own. */
export function keyNumber(number: number, changes: Partial<VirtualKey> = {}): VirtualKey {
  return { id: `key-${number}`, hash: hashOf(number), user: `user-${number}`, team: 'team', ...changes };
}

/** Keys 0 to `count` - 1. */
export function keysUpTo(count: number): VirtualKey[] {
  return Array.from({ length: count }, (_, number) => keyNumber(number));
}

/** Entries of keys. */
export function asEntries(keys: readonly VirtualKey[]): DirectoryEntry[] {
  return keys.map((key) => ({ type: 'key', key }));
}

/** The entry of the key with this number. */
export function entryNumber(number: number, changes: Partial<VirtualKey> = {}): DirectoryEntry {
  return { type: 'key', key: keyNumber(number, changes) };
}

/** Name of that entry. */
export function nameNumber(number: number): string {
  return `key/${hashOf(number)}`;
}

/** The entry of a user with this number, in some groups. */
export function userNumber(number: number): DirectoryEntry {
  return {
    type: 'user',
    user: {
      id: `corp:user-${number}`,
      email: `user-${number}@example.com`,
      groups: ['staff', `group-${number % 50}`],
      roles: ['developer'],
    },
  };
}
