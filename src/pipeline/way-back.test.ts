import { countTokens } from 'gpt-tokenizer/encoding/o200k_base';
import { describe, expect, it } from 'vitest';
import type { RequestContext } from '../core/ledger.ts';
import { fixture } from '../providers/__fixtures__/support.ts';
import { WayBack, type WayBackOptions } from './way-back.ts';

const CONTEXT: RequestContext = {
  requestId: 'r',
  time: 1_700_000_000_000,
  keyId: 'k',
  user: 'ada',
  team: '',
  tenant: '',
  format: 'chat',
  modelAsked: 'fast',
  model: 'fast',
  stream: true,
  inputEstimate: 9,
  snapshot: 'v',
  intentId: '1-1',
  exposeUsage: true,
  framing: 'sse',
  refuseLosses: false,
  failoverOn: 'responseHeaders',
  mode: 'strip',
  targets: [
    {
      cluster: 'provider/openai',
      provider: 'openai',
      type: 'openai',
      model: 'gpt-4o-mini',
      basePath: '/v1',
      defaultMaxOutputTokens: 100,
      options: {},
    },
  ],
  limenMicros: 0,
  trace: [],
  holds: [],
  keep: { cacheKey: 'answer:1', cacheSeconds: 60 },
};

function wayBack(cutOffTokens: number | undefined, more: Partial<WayBackOptions> = {}) {
  const kept: string[] = [];
  const started = WayBack.start({
    context: { ...CONTEXT, cutOffTokens },
    cluster: 'provider/openai',
    status: 200,
    headers: { 'content-type': 'text/event-stream' },
    carrier: undefined,
    keptAnswers: { put: (key) => void kept.push(key) },
    onTooLarge: () => undefined,
    countTokens,
    dropped: '',
    freeTextTools: [],
    ...more,
  });
  if (started === undefined) throw new Error('the answer was let pass');
  return { started, kept };
}

describe('an answer that a budget ends', () => {
  it('is told as counted, with where it was cut, and kept for nobody', () => {
    const { started, kept } = wayBack(5);
    started.push(fixture('openai/text.sse'));
    started.end();
    expect(started.transform.outcome).toBe('complete');
    expect(started.report()).toMatchObject({
      usageSource: 'counted',
      cutOffTokens: started.transform.countedTokens,
      usage: { input: 9, output: started.transform.countedTokens },
    });
    expect(kept).toEqual([]);
  });

  it('is the provider’s own where it ends before', () => {
    const { started, kept } = wayBack(1000);
    started.push(fixture('openai/text.sse'));
    started.end();
    expect(started.report()).toMatchObject({ usageSource: 'provider', usage: { output: 17 } });
    expect(started.report()).not.toHaveProperty('cutOffTokens');
    expect(kept).toEqual(['answer:1']);
  });

  it('tells what was counted of a client that leaves', () => {
    const { started } = wayBack(1000);
    const bytes = fixture('openai/text.sse');
    started.push(bytes.subarray(0, bytes.length / 2));
    const { countedTokens } = started.transform;
    expect(countedTokens).toBeGreaterThan(3);
    expect(started.report()).toMatchObject({ usageSource: 'counted', usage: { output: countedTokens } });
  });

  it('is charged what its prompt may be where that was not told', () => {
    const { started } = wayBack(5, { context: { ...CONTEXT, cutOffTokens: 5, untoldInput: 48_000 } });
    started.push(fixture('openai/text.sse'));
    expect(started.report()).toMatchObject({ usage: { input: 48_000 } });
  });

  it('is never let through where nobody can count it', () => {
    expect(() => wayBack(5, { countTokens: undefined })).toThrow('nobody counts');
  });
});
