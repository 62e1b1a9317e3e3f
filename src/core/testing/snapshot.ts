import type { Snapshot, SnapshotGateway } from '../snapshot.ts';

/** A snapshot of no configuration at all, but for what a test is about. */
export function emptySnapshot({
  gateway,
  ...more
}: Partial<Omit<Snapshot, 'gateway'>> & { readonly gateway?: Partial<SnapshotGateway> } = {}): Snapshot {
  return {
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
      ...gateway,
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
    ...more,
  };
}
