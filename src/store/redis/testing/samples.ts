import type { Intent } from '../../../core/ledger.ts';

/** An intent of the request with this id. */
export function sampleIntent(requestId: string): Intent {
  return {
    requestId,
    time: 1_795_242_490_771,
    keyId: 'key-1',
    user: 'ada',
    team: '',
    tenant: '',
    format: 'chat',
    modelAsked: 'fast',
    model: 'fast',
    stream: false,
    inputEstimate: 10,
    snapshot: 'abc',
  };
}
