import type { SnapshotLimit } from '../../../core/limits.ts';
import type { Principal } from '../../../core/principal.ts';
import type { Snapshot } from '../../../core/snapshot.ts';
import { emptySnapshot } from '../../../core/testing/snapshot.ts';
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
  return emptySnapshot({ limits });
}
