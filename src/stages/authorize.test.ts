import { describe, expect, it } from 'vitest';
import type { Snapshot } from '../core/snapshot.ts';
import { authorizeModel } from './authorize.ts';

describe('authorizeModel', () => {
  const key = { id: 'k', hash: '', user: 'ann' };
  const snapshot: Snapshot = {
    version: 'v',
    gateway: {
      trust: { hops: 0, internalRanges: [] },
      cors: { allowOrigins: [] },
      limits: { requestBody: 1, bytesInFlightPerWorker: 1 },
      timeouts: { requestSeconds: 1, perTrySeconds: 1, streamIdleSeconds: 1, uploadIdleSeconds: 1 },
      retries: { attempts: 1, maxRetryAfterSeconds: 1 },
      circuitBreaker: { failures: 0, openSeconds: 1 },
      responses: { storeSeconds: 0 }, access: { keyRoles: ['developer'] }, workflowHeaders: [],
    },
    providers: {},
    models: {},
    aliases: { quick: 'gpt-4o-mini', other: 'claude' },
    prefixes: [], roles: {}, teams: {}, identityProviders: {}, limits: [], backends: {},
  };

  it('lets a key without a list use every model', () => {
    expect(() => authorizeModel(snapshot, key, 'any')).not.toThrow();
  });

  it('refuses what is not on the list, and everything where the list is empty', () => {
    expect(() => authorizeModel(snapshot, { ...key, models: ['gpt-*'] }, 'claude')).toThrow(
      expect.objectContaining({ code: 'model_not_allowed', status: 403 }),
    );
    expect(() => authorizeModel(snapshot, { ...key, models: [] }, 'gpt-4o')).toThrow();
  });

  it('takes an alias on the list for the model behind it, and for no other', () => {
    expect(() => authorizeModel(snapshot, { ...key, models: ['quick'] }, 'gpt-4o-mini')).not.toThrow();
    expect(() => authorizeModel(snapshot, { ...key, models: ['quick'] }, 'claude')).toThrow();
  });
});
