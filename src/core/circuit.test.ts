import { describe, expect, it } from 'vitest';
import { verdictOfRow } from './circuit.ts';
import type { GatewayLogRow } from './ledger.ts';
import { makeUsage } from './usage.ts';

const ROW: GatewayLogRow = {
  requestId: 'r',
  revision: 2,
  time: 1,
  keyId: 'k',
  user: 'ada',
  team: '',
  tenant: '',
  format: 'chat',
  modelAsked: 'fast',
  model: 'fast',
  provider: 'openai',
  providerModel: 'gpt',
  stream: false,
  attempts: 1,
  status: 503,
  errorCode: 'upstream_error',
  usage: makeUsage({}),
  usageSource: 'none',
  costUsd: 0,
  cache: '',
  timeToFirstTokenMs: 0,
  durationMs: 1,
  limenMicros: 1,
  responseBytes: 0,
  snapshot: 's',
  trace: [],
};

describe('what a row tells of a circuit', () => {
  it('is what the provider of a model did', () => {
    expect(verdictOfRow(ROW)).toEqual({ kind: 'failure' });
    expect(verdictOfRow({ ...ROW, status: 200, errorCode: '' })).toEqual({ kind: 'success' });
  });

  it('is nothing where another service failed that has a provider’s name', () => {
    expect(verdictOfRow({ ...ROW, format: 'backend' })).toBeUndefined();
    expect(verdictOfRow({ ...ROW, format: 'backend', status: 200, errorCode: '' })).toBeUndefined();
  });
});
