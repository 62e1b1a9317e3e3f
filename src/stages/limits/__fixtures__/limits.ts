import type { SnapshotLimit } from '../../../core/limits.ts';
import type { Principal } from '../../../core/principal.ts';
import type { Snapshot } from '../../../core/snapshot.ts';
import type { LimitedRequest } from '../rules.ts';

export function rule(name: string, more: Partial<SnapshotLimit> = {}): SnapshotLimit {
  return {
    name,
    label: 'user:requests/1m',
    per: 'user',
    match: {},
    unit: 'requests',
    limit: 10,
    span: { kind: 'window', name: '1m', milliseconds: 60_000 },
    mode: 'soft',
    shadow: false,
    onShortfall: 'refuse',
    onStoreAway: 'allow',
    alerts: [],
    ...more,
  };
}

export function principal(more: Partial<Principal> = {}): Principal {
  return {
    user: 'ada',
    keyId: 'key-1',
    kind: 'key',
    groups: [],
    roles: [],
    scopes: [],
    features: [],
    surfaces: ['model'],
    ...more,
  };
}

export function request(more: Partial<LimitedRequest> = {}): LimitedRequest {
  return {
    principal: principal(),
    surface: 'model',
    model: 'fast',
    providers: [
      { name: 'openai', resource: 'openai' },
      { name: 'azure@blue', resource: 'azure' },
    ],
    address: '192.0.2.1',
    ...more,
  };
}

export function snapshotOf(limits: readonly SnapshotLimit[]): Snapshot {
  return {
    version: 'v',
    gateway: {
      trust: { hops: 0, internalRanges: [] },
      cors: { allowOrigins: [] },
      limits: { requestBody: 100_000, bytesInFlightPerWorker: 400_000 },
      timeouts: { requestSeconds: 1, perTrySeconds: 1, streamIdleSeconds: 1, uploadIdleSeconds: 1 },
      retries: { attempts: 2, maxRetryAfterSeconds: 1 },
      circuitBreaker: { failures: 5, openSeconds: 30 },
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
    limits,
    backends: {},
  };
}
