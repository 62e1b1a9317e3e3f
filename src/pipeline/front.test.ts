import { describe, expect, it } from 'vitest';
import { ALL_CAPABILITIES } from '../core/capabilities.ts';
import type { Snapshot } from '../core/snapshot.ts';
import type { RequestHead } from './answer.ts';
import { FrontPipeline } from './front.ts';

const snapshot: Snapshot = {
  version: 'v',
  gateway: {
    trust: { hops: 0, internalRanges: [] },
    cors: { allowOrigins: [] },
    limits: { requestBody: 1024, bytesInFlightPerWorker: 4096 },
    timeouts: { requestSeconds: 1, perTrySeconds: 1, streamIdleSeconds: 1, uploadIdleSeconds: 1 },
    retries: { attempts: 1 },
  },
  providers: {
    open: {
      name: 'open',
      type: 'openai',
      scheme: 'https',
      host: 'api.example',
      port: 443,
      basePath: '/v1',
      hasCredential: true,
      serverName: 'api.example',
      connectTimeoutSeconds: 1,
      defaultMaxOutputTokens: 1,
    },
  },
  models: {
    fast: { name: 'fast', targets: [{ provider: 'open', priority: 0, weight: 1 }], usageChunk: 'hide' },
  },
  aliases: {},
  prefixes: [],
};

const pipeline = new FrontPipeline({
  snapshot: () => snapshot,
  lookupKey: (hash) => ({ id: 'k', hash, user: 'ann' }),
  ledger: { admit: () => Promise.resolve('1-1'), settle: () => undefined, renew: () => undefined },
  capabilities: ALL_CAPABILITIES,
  now: Date.now,
  elapsed: () => performance.now(),
  random: Math.random,
});

function head(over: Partial<RequestHead>): RequestHead {
  return {
    method: 'POST',
    path: '/v1/chat/completions',
    requestId: 'r',
    header: (name) => (name === 'authorization' ? 'Bearer tw-key' : undefined),
    endOfStream: false,
    ...over,
  };
}

async function decide(body: object | string, over: Partial<RequestHead> = {}) {
  const reading = pipeline.onHead(head(over));
  if (reading.kind !== 'read') throw new Error(`answered with ${reading.status}`);
  return reading.decide(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
}

describe('FrontPipeline', () => {
  it('lets no upstream read another body than the one that was judged', async () => {
    const forward = await decide({ model: 'fast', messages: [] });
    expect(forward.kind === 'forward' && forward.removeHeaders).toContain('content-encoding');
  });

  it.each(['{"include_usage":false,"include_usage":true}', '{"Include_Usage":false,"include_usage":true}'])(
    'refuses %s, of which parsers take either',
    async (options) => {
      const answer = await decide(`{"model":"fast","stream":true,"stream_options":${options}}`);
      expect(answer.kind === 'answer' && [answer.status, answer.error?.code]).toEqual([
        400,
        'invalid_request',
      ]);
    },
  );

  it('keeps the query but for the key', async () => {
    const forward = await decide({ model: 'fast' }, { path: '/v1/chat/completions?a=1&k%65y=tw-key&b=%20' });
    expect(forward.kind === 'forward' && forward.setHeaders[':path']).toBe('/v1/chat/completions?a=1&b=%20');
  });

  it.each([
    ['/v1/models/%zz', 404],
    ['/v1/models/constructor', 404],
    ['/v1/models/f%61st', 200],
  ])('answers %s with %i', (path, status) => {
    const answer = pipeline.onHead(head({ method: 'GET', path, endOfStream: true }));
    expect(answer.kind === 'answer' && answer.status).toBe(status);
  });

  it.each(['constructor', '__proto__', 'toString'])('knows no model %s', async (model) => {
    const answer = await decide({ model });
    expect(answer.kind === 'answer' && answer.error?.code).toBe('model_not_found');
  });
});
