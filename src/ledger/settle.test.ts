import { describe, expect, it } from 'vitest';
import type { AccessLogEntry } from './access-log-entry.ts';
import { OutputEstimator } from './estimator.ts';
import type { SettleContext } from './records.ts';
import { settleFromAccessLog } from './settle.ts';

const context: SettleContext = {
  requestId: '11111111-2222-4333-8444-555555555555',
  time: 1_795_242_490_771,
  keyId: 'key-1',
  user: 'ada',
  team: 'engine',
  format: 'messages',
  modelAsked: 'fast-alias',
  model: 'fast',
  stream: true,
  inputEstimate: 500,
  snapshot: 'abc',
  price: { input: 1, output: 10, cachedInput: 0.1, cacheWrite: 1.25 },
  targets: ['provider/claude', 'provider/claude/converted'].map((cluster) => ({
    cluster,
    provider: 'claude',
    model: 'claude-haiku',
  })),
  intentId: '1-1',
  limenMicros: 321,
};

function entry(over: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    kind: 'end',
    context: JSON.stringify(context),
    attempt: undefined,
    response: undefined,
    tokenUsage: undefined,
    status: 200,
    flags: [],
    details: 'via_upstream',
    responseBytes: 900,
    attempts: 1,
    upstreamCluster: 'provider/claude',
    durationMs: 250,
    firstUpstreamByteMs: 20.5,
    ...over,
  };
}

function settle(over: Partial<AccessLogEntry> = {}, estimator = new OutputEstimator()) {
  const settlement = settleFromAccessLog(entry(over), { estimator });
  if (settlement === undefined) throw new Error('expected a row');
  return settlement;
}

const left = {
  flags: ['downstream_connection_termination'],
  details: 'downstream_remote_disconnect',
} satisfies Partial<AccessLogEntry>;

describe('settleFromAccessLog', () => {
  it('takes what Envoy counted of a complete native answer', () => {
    const { row, intentId } = settle({
      tokenUsage: {
        status: 'complete',
        inputTokens: 1110,
        outputTokens: 7,
        cachedTokens: 100,
        cacheCreationTokens: 1000,
      },
    });
    expect(intentId).toBe('1-1');
    expect(row).toMatchObject({
      requestId: context.requestId,
      revision: 2,
      time: context.time,
      provider: 'claude',
      providerModel: 'claude-haiku',
      status: 200,
      errorCode: '',
      usageSource: 'provider',
      usage: { input: 1110, output: 7, cachedInput: 100, cacheWrite: 1000, reasoning: 0, total: 1117 },
      timeToFirstTokenMs: 20.5,
      durationMs: 250,
      limenMicros: 321,
    });
    expect(row.costUsd).toBeCloseTo((10 * 1 + 100 * 0.1 + 1000 * 1.25 + 7 * 10) / 1e6, 12);
  });

  it('ignores entries that are not ours, that are still open or that cannot be read', () => {
    const dependencies = { estimator: new OutputEstimator() };
    expect(settleFromAccessLog(entry({ context: undefined }), dependencies)).toBeUndefined();
    expect(settleFromAccessLog(entry({ context: '{' }), dependencies)).toBeUndefined();
    expect(settleFromAccessLog(entry({ context: '{"requestId":1}' }), dependencies)).toBeUndefined();
    expect(settleFromAccessLog(entry({ kind: 'periodic' }), dependencies)).toBeUndefined();
  });

  it('prefers the final word of a processed leg, and marks partial counts as counted', () => {
    const usage = { input: 20, output: 9, cachedInput: 5, cacheWrite: 0, reasoning: 4, total: 29 };
    const final = settle({
      upstreamCluster: 'provider/claude/converted',
      attempt: JSON.stringify({
        usage,
        usageSource: 'provider',
        provider: 'claude',
        providerModel: 'haiku-9',
      }),
    });
    expect(final.row).toMatchObject({
      usage,
      usageSource: 'provider',
      provider: 'claude',
      providerModel: 'haiku-9',
    });

    const partial = settle({ ...left, response: JSON.stringify({ usage, usageSource: 'counted' }) });
    expect(partial.row).toMatchObject({ usage, usageSource: 'counted', errorCode: 'client_disconnected' });

    const early = { ...usage, input: 0, cachedInput: 0, total: 9 };
    const untold = settle({ ...left, response: JSON.stringify({ usage: early, usageSource: 'counted' }) });
    expect(untold.row.usage).toMatchObject({ input: 500, output: 9, total: 509 });
  });

  it('leaves out what a failed try at another provider left behind', () => {
    const { row } = settle({
      attempts: 2,
      attempt: JSON.stringify({ provider: 'other', errorCode: 'upstream_error', providerModel: 'x' }),
      tokenUsage: { status: 'complete', inputTokens: 3, outputTokens: 4 },
    });
    expect(row).toMatchObject({
      errorCode: '',
      attempts: 2,
      providerModel: 'claude-haiku',
      usageSource: 'provider',
    });
  });

  it('estimates when the client left and nobody told', () => {
    const { row } = settle({ ...left, responseBytes: 900 + 120 * 40 });
    expect(row).toMatchObject({
      errorCode: 'client_disconnected',
      status: 200,
      usageSource: 'estimated',
      usage: { input: 500, output: 40, total: 540 },
    });
    expect(settle({ ...left, responseBytes: 0, status: 0 }).row.usage).toMatchObject({
      input: 500,
      output: 0,
    });
  });

  it('learns the size of a token from answers that told their usage', () => {
    const estimator = new OutputEstimator();
    for (let index = 0; index < 60; index += 1) {
      const tokenUsage = { status: 'complete', inputTokens: 1, outputTokens: 100 } as const;
      settle({ responseBytes: 900 + 100 * 30, tokenUsage }, estimator);
    }
    const { row } = settle({ ...left, responseBytes: 900 + 30 * 50 }, estimator);
    expect(row.usage.output).toBe(50);
  });

  it('estimates the rest of a stream that ended in an error event', () => {
    const { row } = settle({
      responseBytes: 900 + 120 * 10,
      tokenUsage: { status: 'partial', inputTokens: 1110, outputTokens: 1, cachedTokens: 100 },
    });
    expect(row).toMatchObject({
      usageSource: 'estimated',
      usage: { input: 1110, output: 10, cachedInput: 100 },
    });
  });

  it('charges nothing for an answer that failed', () => {
    for (const [over, errorCode] of [
      [{ status: 429 }, 'upstream_refused'],
      [{ status: 401 }, 'upstream_refused'],
      [{ status: 500, flags: ['upstream_retry_limit_exceeded'], attempts: 2 }, 'upstream_error'],
      [{ status: 504, flags: ['upstream_request_timeout'], details: 'response_timeout' }, 'upstream_timeout'],
      [
        {
          status: 503,
          flags: ['upstream_connection_failure'],
          details: 'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error}',
        },
        'upstream_unavailable',
      ],
      [
        {
          status: 503,
          flags: ['upstream_connection_termination', 'upstream_retry_limit_exceeded'],
          details: 'upstream_reset_before_response_started{connection_termination}',
          attempts: 2,
        },
        'upstream_unavailable',
      ],
      [
        { status: 503, flags: ['no_healthy_upstream'], details: 'no_healthy_upstream', attempts: 0 },
        'upstream_unavailable',
      ],
      [
        { status: 413, details: 'request_payload_too_large', attempts: 0, upstreamCluster: '' },
        'request_too_large',
      ],
      [
        { status: 408, flags: ['stream_idle_timeout'], details: 'request_overall_timeout' },
        'request_timeout',
      ],
    ] satisfies [Partial<AccessLogEntry>, string][]) {
      const { row } = settle(over);
      expect(row).toMatchObject({ errorCode, usageSource: 'none', costUsd: 0, usage: { total: 0 } });
    }
  });

  it('names an upstream that broke after its headers, and charges what was delivered', () => {
    const { row } = settle({
      flags: ['upstream_protocol_error'],
      details: 'upstream_reset_after_response_started{protocol_error}',
      responseBytes: 900 + 1200,
    });
    expect(row).toMatchObject({
      status: 200,
      errorCode: 'upstream_reset',
      usageSource: 'estimated',
      usage: { output: 10 },
    });

    const late = settle({ flags: ['upstream_request_timeout'], details: 'response_timeout' });
    expect(late.row).toMatchObject({ status: 200, errorCode: 'upstream_timeout', usageSource: 'estimated' });
  });

  it('charges nothing where no upstream was asked', () => {
    const { row } = settle({ ...left, status: 0, attempts: 0, upstreamCluster: '', responseBytes: 0 });
    expect(row).toMatchObject({
      provider: '',
      providerModel: '',
      usageSource: 'none',
      errorCode: 'client_disconnected',
    });
  });

  it('costs nothing where the price is not known', () => {
    const { row } = settle({
      context: JSON.stringify({ ...context, price: undefined, targets: [] }),
      tokenUsage: { status: 'complete', inputTokens: 5, outputTokens: 5 },
    });
    expect(row).toMatchObject({ costUsd: 0, providerModel: 'fast', usage: { total: 10 } });
  });
});

describe('two models of one provider', () => {
  const targets = [
    { cluster: 'provider/claude/converted', provider: 'claude', model: 'large' },
    { cluster: 'provider/claude/converted/1', provider: 'claude', model: 'small' },
  ];
  const rowOf = (upstreamCluster: string) => {
    const attempt = JSON.stringify({
      provider: 'claude',
      providerModel: 'large',
      errorCode: 'upstream_error',
    });
    const last = entry({ context: JSON.stringify({ ...context, targets }), upstreamCluster, attempt });
    return settleFromAccessLog(last, { estimator: new OutputEstimator() })?.row;
  };

  it('are told apart by the cluster, and the report of one is not taken for the other', () => {
    expect(rowOf('provider/claude/converted')).toMatchObject({
      providerModel: 'large',
      errorCode: 'upstream_error',
    });
    expect(rowOf('provider/claude/converted/1')).toMatchObject({ providerModel: 'small', errorCode: '' });
  });
});

describe('OutputEstimator', () => {
  it('is never negative and forgets the kinds unused for longest', () => {
    const estimator = new OutputEstimator();
    const kind = (model: string) => ({ model, format: 'chat', stream: true });
    expect(estimator.estimate(kind('a'), 0)).toBe(0);
    expect(estimator.estimate({ model: 'a', format: 'gemini', stream: true }, 600 + 180)).toBe(1);
    expect(estimator.estimate({ model: 'a', format: 'chat', stream: false }, 400 + 40)).toBe(10);
    for (let index = 0; index < 501; index += 1) {
      for (let round = 0; round < 40; round += 1) estimator.learn(kind(`m${index}`), 450 + 100 * 20, 100);
    }
    const bytes = 450 + 20 * 220;
    expect(estimator.estimate(kind('m500'), bytes)).toBeGreaterThan(150);
    expect(estimator.estimate(kind('m0'), bytes)).toBe(20);
  });

  it('does not learn from accidents', () => {
    const estimator = new OutputEstimator();
    const kind = { model: 'a', format: 'chat', stream: true };
    estimator.learn(kind, 450 + 100, 1);
    estimator.learn(kind, 0, 1000);
    estimator.learn(kind, 1e12, 20);
    expect(estimator.estimate(kind, 450 + 2200)).toBe(10);
  });
});
