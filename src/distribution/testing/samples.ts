import { createHash } from 'node:crypto';
import type { DirectoryEntry, VirtualKey } from '../../core/access.ts';
import type { Snapshot } from '../../core/snapshot.ts';

/** A snapshot with a name for a version and nothing in it. */
export function snapshotNamed(version: string): Snapshot {
  return {
    version,
    gateway: {
      trust: { hops: 0, internalRanges: [] },
      cors: { allowOrigins: [] },
      limits: { requestBody: 1, bytesInFlightPerWorker: 1 },
      timeouts: { requestSeconds: 1, perTrySeconds: 1, streamIdleSeconds: 1, uploadIdleSeconds: 1 },
      retries: { attempts: 1, maxRetryAfterSeconds: 0 },
      circuitBreaker: { failures: 0, openSeconds: 1 },
      responses: { storeSeconds: 0 },
      access: { keyRoles: ['developer'] },
      workflowHeaders: [],
    },
    providers: {},
    models: {},
    aliases: {},
    prefixes: [],
    roles: {},
    teams: {},
    identityProviders: {},
    limits: [],
    backends: {},
  };
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
