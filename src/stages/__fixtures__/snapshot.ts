import type { Principal } from '../../core/principal.ts';
import { builtInRoles } from '../../core/roles.ts';
import type { Snapshot, SnapshotModel } from '../../core/snapshot.ts';

/** A snapshot with the built-in roles and nothing else. */
export const SNAPSHOT: Snapshot = {
  version: 'v',
  gateway: {
    trust: { hops: 0, internalRanges: [] },
    cors: { allowOrigins: [] },
    limits: { requestBody: 1, bytesInFlightPerWorker: 1 },
    timeouts: { requestSeconds: 1, perTrySeconds: 1, streamIdleSeconds: 1, uploadIdleSeconds: 1 },
    retries: { attempts: 1, maxRetryAfterSeconds: 1 },
    circuitBreaker: { failures: 0, openSeconds: 1 },
    responses: { storeSeconds: 0 },
    access: { keyRoles: ['developer'] },
    workflowHeaders: [],
  },
  providers: {},
  models: {},
  aliases: {},
  prefixes: [],
  roles: Object.fromEntries(builtInRoles().map((role) => [role.name, role])),
  teams: {},
  identityProviders: {},
  limits: [],
  backends: {},
};

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
