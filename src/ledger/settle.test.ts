import { describe, expect, it } from 'vitest';
import type { AccessLogEntry } from './access-log-entry.ts';
import { makeUsage } from '../core/usage.ts';
import type { TraceLine } from '../core/trace.ts';
import { OutputEstimator } from './estimator.ts';
import type { SettleContext } from './records.ts';
import { settleFromAccessLog } from './settle.ts';

const context: SettleContext = {
  requestId: '11111111-2222-4333-8444-555555555555',
  time: 1_795_242_490_771,
  keyId: 'key-1',
  user: 'ada',
  team: 'engine',
  tenant: '',
  format: 'messages',
  modelAsked: 'fast-alias',
  model: 'fast',
  stream: true,
  inputEstimate: 500,
  snapshot: 'abc',
  targets: ['provider/claude', 'provider/claude/converted'].map((cluster) => ({
    cluster,
    provider: 'claude',
    model: 'claude-haiku',
    defaultMaxOutputTokens: 4096,
    price: { input: 1, output: 10, cachedInput: 0.1, cacheWrite: 1.25 },
  })),
  intentId: '1-1',
  limenMicros: 321,
  trace: [],
  holds: [],
};

function entry(over: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    kind: 'end',
    context: JSON.stringify(context),
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

  it('prefers the final word of the response leg, and marks partial counts as counted', () => {
    const usage = makeUsage({ input: 20, output: 9, cachedInput: 5, reasoning: 4, imageInput: 3 });
    const final = settle({
      upstreamCluster: 'provider/claude/converted',
      response: JSON.stringify({ usage, usageSource: 'provider' }),
    });
    expect(final.row).toMatchObject({
      usage,
      usageSource: 'provider',
      provider: 'claude',
      providerModel: 'claude-haiku',
    });

    const partial = settle({ ...left, response: JSON.stringify({ usage, usageSource: 'counted' }) });
    expect(partial.row).toMatchObject({ usage, usageSource: 'counted', errorCode: 'client_disconnected' });

    const early = { ...usage, input: 0, cachedInput: 0, imageInput: 0, total: 9 };
    const untold = settle({ ...left, response: JSON.stringify({ usage: early, usageSource: 'counted' }) });
    expect(untold.row.usage).toMatchObject({ input: 500, output: 9, total: 509 });
  });

  it('names an error that the response leg saw inside the answer', () => {
    const { row } = settle({ response: JSON.stringify({ errorCode: 'upstream_error' }) });
    expect(row).toMatchObject({ errorCode: 'upstream_error', status: 200 });
  });

  it('charges the price of the target that answered, on whatever cluster it did', () => {
    const targets = [
      {
        cluster: 'provider/claude/converted',
        provider: 'claude',
        model: 'haiku',
        price: { input: 1, output: 1 },
      },
      {
        cluster: 'provider/claude/converted/1',
        provider: 'claude',
        model: 'opus',
        price: { input: 5, output: 5 },
      },
      {
        cluster: 'provider/other/converted',
        provider: 'other',
        model: 'gpt',
        price: { input: 2, output: 2 },
      },
    ];
    const costOf = (upstreamCluster: string) => {
      const { row } = settle({
        context: JSON.stringify({ ...context, targets }),
        upstreamCluster,
        attempts: 3,
        tokenUsage: { status: 'complete', inputTokens: 1_000_000, outputTokens: 0 },
      });
      return [row.provider, row.providerModel, row.costUsd];
    };
    expect(costOf('provider/claude/converted')).toEqual(['claude', 'haiku', 1]);
    expect(costOf('provider/claude/converted/1')).toEqual(['claude', 'opus', 5]);
    expect(costOf('provider/claude/watched/1')).toEqual(['claude', 'opus', 5]);
    expect(costOf('provider/other')).toEqual(['other', 'gpt', 2]);
    expect(costOf('provider/stranger')).toEqual(['stranger', 'fast', 0]);
  });

  it('says what the answer cache did; a hit costs nothing', () => {
    const hit = settle({
      context: JSON.stringify({ ...context, cache: 'hit' }),
      upstreamCluster: '',
      attempts: 0,
      details: 'ext_proc_immediate_response',
    });
    expect(hit.row).toMatchObject({ cache: 'hit', costUsd: 0, provider: '', errorCode: '' });
    expect(settle({ context: JSON.stringify({ ...context, cache: 'miss' }) }).row.cache).toBe('miss');
    expect(settle().row.cache).toBe('');
  });

  it('takes the bytes of embeddings for no tokens', () => {
    const { row } = settle({
      ...left,
      context: JSON.stringify({ ...context, format: 'embeddings', stream: false }),
      responseBytes: 50_000,
    });
    expect(row).toMatchObject({ usage: { input: 500, output: 0 }, usageSource: 'estimated' });
  });

  it('charges nothing for a count of tokens, whoever counted', () => {
    const { row } = settle({ context: JSON.stringify({ ...context, format: 'count_tokens' }) });
    expect(row).toMatchObject({ usage: { total: 0 }, usageSource: 'none', costUsd: 0, provider: 'claude' });
  });

  it('estimates when the client left and nobody told', () => {
    const { row } = settle({ ...left, responseBytes: 900 + 120 * 40 });
    expect(row).toMatchObject({
      errorCode: 'client_disconnected',
      status: 200,
      usageSource: 'estimated',
      usage: { input: 500, output: 40, total: 540 },
    });
  });

  it('estimates by the time where nothing came before the client left', () => {
    const early = settle({ ...left, responseBytes: 0, status: 0, durationMs: 30_000 });
    expect(early.row).toMatchObject({ usageSource: 'estimated', usage: { input: 500, output: 1500 } });
    const bounded = JSON.stringify({ ...context, mostOutputTokens: 25 });
    const less = settle({ ...left, context: bounded, responseBytes: 0, status: 0, durationMs: 30_000 });
    expect(less.row.usage.output).toBe(25);
  });

  it('charges rules, and no client, for a last try that took too long', () => {
    const month = { rule: 'month', subject: 'ada', counter: 'c', unit: 'usd', limit: 1e9 } as const;
    const holds = [{ ...month, reserved: 5e7, alerts: [] }];
    const late = { status: 504, details: 'upstream_per_try_timeout', responseBytes: 90 };
    const limited = { ...context, holds, mostOutputTokens: 1000 };
    const { row, amounts } = settle({ ...late, context: JSON.stringify(limited) });
    expect(row).toMatchObject({ errorCode: 'upstream_timeout', costUsd: 0, usage: { total: 0 } });
    expect(amounts).toEqual({ requests: 1, tokens: 1500, usd: (500 * 1 + 1000 * 10) * 1000 });
    expect(row.charges).toEqual([{ rule: 'month', subject: 'ada', unit: 'usd', amount: 10_500_000 }]);
    expect(
      settle({ ...late, upstreamCluster: '', context: JSON.stringify(limited) }).row.charges,
    ).toBeUndefined();
    expect(settle({ status: 500, context: JSON.stringify(limited) }).row.charges).toBeUndefined();
  });

  it('charges what a prompt of images may be where nobody told', () => {
    const images = JSON.stringify({ ...context, untoldInput: 48_000 });
    const usage = makeUsage({ output: 9 });
    const report = { response: JSON.stringify({ usage, usageSource: 'counted' }) };
    expect(settle({ ...left, context: images }).row.usage.input).toBe(48_000);
    expect(settle({ ...left, ...report, context: images }).row.usage.input).toBe(48_000);
    const told = { response: JSON.stringify({ usage: { ...usage, input: 20 }, usageSource: 'counted' }) };
    expect(settle({ ...left, ...told, context: images }).row.usage.input).toBe(20);
  });

  it('estimates no more than a request can get', () => {
    const bounded = JSON.stringify({ ...context, mostOutputTokens: 25 });
    const { row } = settle({ ...left, context: bounded, responseBytes: 900 + 120 * 40 });
    expect(row.usage).toMatchObject({ input: 500, output: 25 });
  });

  it('counts no more than a request can get, but for what cut it off', () => {
    const bounded = JSON.stringify({ ...context, mostOutputTokens: 25 });
    const report = { usage: makeUsage({ input: 5, output: 40 }), usageSource: 'counted' };
    const gone = settle({ ...left, context: bounded, response: JSON.stringify(report) });
    expect(gone.row).toMatchObject({ usageSource: 'counted', usage: { input: 5, output: 25 } });
    const told = JSON.stringify({ ...report, cutOffTokens: 40 });
    expect(settle({ context: bounded, response: told }).row.usage.output).toBe(40);
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
      context: JSON.stringify({ ...context, targets: [] }),
      tokenUsage: { status: 'complete', inputTokens: 5, outputTokens: 5 },
    });
    expect(row).toMatchObject({ costUsd: 0, providerModel: 'fast', usage: { total: 10 } });
  });
});

describe('what rules are charged', () => {
  const hold = { limit: 1, alerts: [], counter: 'c', subject: 'ada' } as const;
  const holds = [
    { ...hold, rule: 'month', unit: 'usd', reserved: 3_000_000 },
    { ...hold, rule: 'tokens', unit: 'tokens', reserved: 5000 },
    { ...hold, rule: 'of-claude', unit: 'requests', reserved: 1, providers: ['claude'], subject: 'claude' },
    { ...hold, rule: 'of-other', unit: 'requests', reserved: 1, providers: ['other'], subject: 'other' },
  ] as const;
  const limited = { ...context, holds, multiplier: { input: 1, output: 2.5 } };
  const complete = { status: 'complete', inputTokens: 1000, outputTokens: 7 } as const;

  it('is the truth, weighted and rounded up, in place of what was reserved', () => {
    const { row, amounts } = settle({ context: JSON.stringify(limited), tokenUsage: complete });
    expect(amounts).toEqual({ requests: 1, tokens: 1018, usd: 1_070_000 });
    expect(row.charges).toEqual([
      { rule: 'month', subject: 'ada', unit: 'usd', amount: 1_070_000 },
      { rule: 'tokens', subject: 'ada', unit: 'tokens', amount: 1018 },
      { rule: 'of-claude', subject: 'claude', unit: 'requests', amount: 1 },
    ]);
    expect(row.trace).toEqual([
      ['settle', 'month', 'ada', 'settled', 'reserved $0.003, settled $0.0011'],
      ['settle', 'tokens', 'ada', 'settled', 'reserved 5000 tokens, settled 1018 tokens'],
      ['settle', 'of-claude', 'claude', 'settled', 'reserved 1 requests, settled 1 requests'],
      ['settle', 'of-other', 'other', 'released', 'reserved 1 requests'],
    ]);
  });

  it('is nothing for what was not used', () => {
    const unused = { status: 503, attempts: 0, upstreamCluster: '', details: 'no_healthy_upstream' };
    const { row } = settle({ context: JSON.stringify(limited), ...unused });
    expect(row.charges).toBeUndefined();
    expect(row.trace.map(([, , , outcome]) => outcome)).toEqual(Array(4).fill('released'));
  });

  it('names the rule that cut an answer off, whose usage was counted', () => {
    const cut: TraceLine = ['limit', 'month', 'ada', 'cut', '$4.99 of $5'];
    const usage = makeUsage({ input: 20, output: 130 });
    const { row } = settle({
      context: JSON.stringify({ ...limited, trace: [['identify', '', '', 'allowed', ''], cut] }),
      response: JSON.stringify({ usage, usageSource: 'counted', cutOffTokens: 130 }),
    });
    expect(row).toMatchObject({
      errorCode: '',
      usageSource: 'counted',
      cutOffTokens: 130,
      usage: { input: 20, output: 130 },
    });
    expect(row.trace[2]).toEqual(['cutOff', 'month', 'ada', 'cut', 'ended after 130 tokens of output']);
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
