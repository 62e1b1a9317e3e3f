import type { Principal } from '../../core/principal.ts';
import { builtInRoles } from '../../core/roles.ts';
import type { Snapshot, SnapshotModel } from '../../core/snapshot.ts';
import { emptySnapshot } from '../../core/testing/snapshot.ts';

/** A snapshot with the built-in roles and nothing else. */
export const SNAPSHOT: Snapshot = emptySnapshot({
  roles: Object.fromEntries(builtInRoles().map((role) => [role.name, role])),
});

export function modelOf(name: string, more: Partial<SnapshotModel> = {}): SnapshotModel {
  return {
    name,
    targets: [],
    usageChunk: 'hide',
    failoverOn: 'responseHeaders',
    losses: 'report',
    ...more,
  };
}

export function principal(more: Partial<Principal> = {}): Principal {
  return {
    user: 'ada',
    keyId: 'k',
    kind: 'key',
    groups: [],
    roles: ['developer'],
    scopes: [],
    features: [],
    surfaces: ['model', 'mcp', 'a2a', 'backend'],
    ...more,
  };
}
