import type {
  AdmitRequest,
  ChargedAttempt,
  FailedAttempt,
  GatewayLogRow,
  Intent,
  LedgerSettlement,
} from '../../../core/ledger.ts';
import { NO_AMOUNTS, type LimitCheck } from '../../../core/limits.ts';
import { makeUsage } from '../../../core/usage.ts';

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

/** What is asked for that request, without rules unless `over` has some. */
export function sampleAdmission(requestId: string, over: Partial<AdmitRequest> = {}): AdmitRequest {
  const intent = sampleIntent(requestId);
  return { intent, providers: [], limits: [], outputTokens: 0, foundIsAnswer: false, ...over };
}

/** Its good end, by the provider `openai`. */
export function sampleRow(requestId: string, over: Partial<GatewayLogRow> = {}): GatewayLogRow {
  const { inputEstimate: _, ...rest } = sampleIntent(requestId);
  return {
    ...rest,
    revision: 2,
    provider: 'openai',
    providerModel: 'gpt',
    attempts: 1,
    status: 200,
    errorCode: '',
    usage: makeUsage({ input: 5, output: 6 }),
    usageSource: 'provider',
    costUsd: 0.001,
    cache: '',
    timeToFirstTokenMs: 1,
    durationMs: 2,
    limenMicros: 3,
    responseBytes: 4,
    trace: [],
    ...over,
  };
}

/** The same as the ledger takes it, charged to no rule unless `over` has some. */
export function sampleSettlement(
  row: GatewayLogRow,
  intentId = '',
  over: Partial<LedgerSettlement> = {},
): LedgerSettlement {
  return { row, intentId, retryAfterSeconds: 0, holds: [], amounts: NO_AMOUNTS, ...over };
}

/** A failed try at a provider. */
export function chargedAttempt(attempt: FailedAttempt, over: Partial<ChargedAttempt> = {}): ChargedAttempt {
  return { ...attempt, intentId: '', holds: [], amounts: NO_AMOUNTS, ...over };
}

/** A hard rule on tokens in a minute, about everybody. */
export function sampleCheck(over: Partial<LimitCheck> = {}): LimitCheck {
  return {
    rule: 'rule',
    label: 'everybody:tokens/1m',
    subject: 'everybody',
    counter: 'rule/tokens/1m/everybody',
    unit: 'tokens',
    limit: 100,
    span: { kind: 'window', milliseconds: 60_000 },
    mode: 'hard',
    shadow: false,
    onShortfall: 'refuse',
    fixed: 10,
    perOutputToken: 1,
    alerts: [],
    ...over,
  };
}
