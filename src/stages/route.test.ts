import { describe, expect, it } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../core/capabilities.ts';
import { targetAmong, targetOfCluster } from '../core/gateway-names.ts';
import type { Snapshot, SnapshotModel, SnapshotProvider } from '../core/snapshot.ts';
import { pickCluster, planRoute, resolveModel, unknownModel } from './route.ts';

function provider(name: string, type: string, basePath = '/v1'): SnapshotProvider {
  return {
    name,
    type,
    scheme: 'https',
    host: `${name}.example`,
    port: 443,
    basePath,
    hasCredential: true,
    serverName: `${name}.example`,
    connectTimeoutSeconds: 5,
    defaultMaxOutputTokens: 1024,
  };
}

function model(
  name: string,
  targets: SnapshotModel['targets'],
  usageChunk: 'hide' | 'show' = 'hide',
): SnapshotModel {
  return { name, targets, usageChunk };
}

const models = {
  plain: model('plain', [{ provider: 'a', priority: 0, weight: 1 }]),
  renamed: model('renamed', [{ provider: 'a', model: 'real', priority: 0, weight: 1 }]),
  shown: model('shown', [{ provider: 'a', priority: 0, weight: 1 }], 'show'),
  alike: model('alike', [
    { provider: 'a', model: 'm', priority: 0, weight: 9 },
    { provider: 'b', model: 'm', priority: 0, weight: 1 },
    { provider: 'c', model: 'm', priority: 1, weight: 1 },
  ]),
  mixed: model('mixed', [
    { provider: 'a', model: 'm', priority: 0, weight: 1 },
    { provider: 'anthropic', model: 'n', priority: 1, weight: 1 },
  ]),
  siblings: model('siblings', [
    { provider: 'a', model: 'm', priority: 0, weight: 9 },
    { provider: 'a', model: 'n', priority: 0, weight: 1 },
    { provider: 'b', model: 'm', priority: 1, weight: 1 },
  ]),
  twoNames: model('twoNames', [
    { provider: 'a', model: 'm', priority: 0, weight: 1 },
    { provider: 'b', model: 'n', priority: 1, weight: 1 },
  ]),
};
const snapshot: Snapshot = {
  version: 'v',
  gateway: {
    trust: { hops: 0, internalRanges: [] },
    cors: { allowOrigins: [] },
    limits: { requestBody: 1, bytesInFlightPerWorker: 1 },
    timeouts: { requestSeconds: 1, perTrySeconds: 1, streamIdleSeconds: 1, uploadIdleSeconds: 1 },
    retries: { attempts: 3 },
  },
  providers: {
    a: provider('a', 'openai'),
    b: provider('b', 'openai'),
    c: provider('c', 'openai'),
    anthropic: provider('anthropic', 'anthropic'),
  },
  models,
  aliases: { alias: 'plain' },
  prefixes: [{ prefix: 'gpt-', provider: 'a' }],
};
const shapeOf = ({ type, basePath }: SnapshotProvider) =>
  type === 'anthropic'
    ? { format: 'messages', path: `${basePath}/messages` }
    : { format: 'chat', path: `${basePath}/chat/completions` };

function plan(
  name: keyof typeof models,
  request: Partial<Parameters<typeof planRoute>[2]> = {},
  capabilities = ALL_CAPABILITIES,
) {
  const full = { format: 'chat', stream: false, includeUsage: false, usageMustBeAsked: true, ...request };
  return planRoute(snapshot, models[name], full, shapeOf, capabilities, name);
}

describe('resolveModel', () => {
  it('knows models, aliases and prefixes, and nothing of Object', () => {
    expect(resolveModel(snapshot, 'plain')).toBe(models.plain);
    expect(resolveModel(snapshot, 'alias')).toBe(models.plain);
    expect(resolveModel(snapshot, 'gpt-new')?.targets).toEqual([{ provider: 'a', priority: 0, weight: 1 }]);
    for (const name of ['gpt-', 'gpt-\r\nx: y', 'nobody', '__proto__', 'constructor', '']) {
      expect(resolveModel(snapshot, name)).toBeUndefined();
    }
  });
});

describe('unknownModel', () => {
  it('names the nearest', () => {
    expect(unknownModel('plian', ['plain', 'mixed']).message).toContain('Did you mean "plain"?');
    expect(unknownModel('zzz', ['plain']).message).not.toContain('Did you mean');
  });

  it('does not repeat a name of any length', () => {
    expect(unknownModel('x'.repeat(100_000), ['plain']).message.length).toBeLessThan(300);
  });
});

describe('planRoute', () => {
  it('carries an answer in one piece natively', () => {
    expect(plan('plain')).toMatchObject({
      route: 'native/chat/whole',
      mode: 'native',
      path: '/v1/chat/completions',
      model: undefined,
      requestUsage: false,
    });
  });

  it('asks for usage in a stream and hides it again', () => {
    expect(plan('plain', { stream: true })).toMatchObject({
      route: 'response/chat/stream',
      mode: 'strip',
      requestUsage: true,
    });
  });

  it.each([
    ['the client asked for it itself', 'plain', { includeUsage: true }, false],
    ['the model shows it', 'shown', {}, true],
    ['the format always tells', 'plain', { usageMustBeAsked: false }, false],
  ] as const)('streams natively where %s', (_case, name, request, requestUsage) => {
    expect(plan(name, { stream: true, ...request })).toMatchObject({
      route: 'native/chat/stream',
      mode: 'native',
      requestUsage,
    });
  });

  it('writes the provider’s name of the model', () => {
    expect(plan('renamed')).toMatchObject({ mode: 'native', model: 'real' });
  });

  it('gives each target of one provider a cluster of its own, by which a try knows it', () => {
    const { groups } = plan('siblings');
    expect(groups).toEqual([
      {
        priority: 0,
        clusters: [
          { name: 'provider/a/converted', weight: 9 },
          { name: 'provider/a/converted/1', weight: 1 },
        ],
      },
      { priority: 1, clusters: [{ name: 'provider/b/converted', weight: 1 }] },
    ]);
    const tried = groups.flatMap(({ clusters }) => clusters.map(({ name }) => targetOfCluster(name)));
    expect(tried.map((target) => target && targetAmong(models.siblings.targets, target))).toEqual(
      models.siblings.targets,
    );
  });

  it('keeps targets that are alike native, grouped by priority and weighted', () => {
    expect(plan('alike')).toMatchObject({
      mode: 'native',
      groups: [
        {
          priority: 0,
          clusters: [
            { name: 'provider/a', weight: 9 },
            { name: 'provider/b', weight: 1 },
          ],
        },
        { priority: 1, clusters: [{ name: 'provider/c', weight: 1 }] },
      ],
    });
  });

  it.each(['mixed', 'twoNames'] as const)('converts each try of %s', (name) => {
    const result = plan(name, { stream: true });
    expect(result).toMatchObject({
      route: 'converted/stream',
      mode: 'processed',
      path: undefined,
      model: undefined,
    });
    for (const group of result.groups) {
      for (const cluster of group.clusters) expect(cluster.name).toMatch(/\/converted$/);
    }
  });

  it('converts another format', () => {
    expect(plan('plain', { format: 'messages', usageMustBeAsked: false })).toMatchObject({
      route: 'converted/whole',
      mode: 'processed',
    });
  });

  it('reads usage in a worker where Envoy cannot', () => {
    expect(plan('plain', {}, LEAST_CAPABILITIES)).toMatchObject({
      route: 'response/chat/whole',
      mode: 'strip',
    });
  });

  it('says so where no provider is left', () => {
    const orphan = model('orphan', [{ provider: 'gone', priority: 0, weight: 1 }]);
    const request = { format: 'chat', stream: false, includeUsage: false, usageMustBeAsked: true };
    expect(() => planRoute(snapshot, orphan, request, shapeOf, ALL_CAPABILITIES, 'orphan')).toThrow(
      expect.objectContaining({ code: 'unavailable' }),
    );
  });
});

describe('pickCluster', () => {
  const groups = plan('alike').groups;

  it('goes by weight within the first group', () => {
    expect(pickCluster(groups, 0)).toBe('provider/a');
    expect(pickCluster(groups, 0.89)).toBe('provider/a');
    expect(pickCluster(groups, 0.91)).toBe('provider/b');
    expect(pickCluster([], 0.5)).toBeUndefined();
  });
});
