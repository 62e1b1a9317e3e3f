import { describe, expect, it } from 'vitest';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../core/capabilities.ts';
import { targetAmong, targetOfCluster } from '../core/gateway-names.ts';
import type { TraceLine } from '../core/trace.ts';
import type { RequestTarget } from '../core/ledger.ts';
import type { Snapshot, SnapshotModel, SnapshotProvider } from '../core/snapshot.ts';
import { emptySnapshot } from '../core/testing/snapshot.ts';
import {
  pickCluster,
  planRoute,
  type ProviderShape,
  resolveModel,
  resolveTargets,
  type RoutedRequest,
  unknownModel,
  withoutOpenCircuits,
} from './route.ts';

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
    resource: name,
    identityHeaders: false,
    subjectAsUser: false,
    options: { region: name },
  };
}

function model(
  name: string,
  targets: SnapshotModel['targets'],
  more: Partial<SnapshotModel> = {},
): SnapshotModel {
  return { name, targets, usageChunk: 'hide', failoverOn: 'responseHeaders', losses: 'report', ...more };
}

const models = {
  plain: model('plain', [{ provider: 'a', priority: 0, weight: 1 }]),
  renamed: model('renamed', [{ provider: 'a', model: 'real', priority: 0, weight: 1 }]),
  shown: model('shown', [{ provider: 'a', priority: 0, weight: 1 }], { usageChunk: 'show' }),
  watched: model('watched', [{ provider: 'a', priority: 0, weight: 1 }], { failoverOn: 'firstEvent' }),
  alike: model('alike', [
    { provider: 'a', model: 'm', priority: 0, weight: 9, price: { input: 1, output: 2 } },
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
const snapshot: Snapshot = emptySnapshot({
  providers: {
    a: provider('a', 'openai'),
    b: provider('b', 'openai'),
    c: provider('c', 'openai'),
    anthropic: provider('anthropic', 'anthropic'),
  },
  models,
  aliases: { alias: 'plain', 'gpt-own': 'plain' },
  prefixes: [{ prefix: 'gpt-', provider: 'a' }],
});

/** Of no tenant. */
const NOBODY = { user: 'ada' };

const priceOf = (type: string, name: string) =>
  type === 'openai' && name === 'gpt-new' ? { input: 3, output: 4 } : undefined;

const REQUEST: RoutedRequest = {
  format: 'chat',
  stream: false,
  framing: 'sse',
  includeUsage: false,
  usageMustBeAsked: true,
  keepsAnswer: false,
  mustConvert: false,
};

function shapeOf({ type, basePath, model: name }: Omit<RequestTarget, 'cluster'>): ProviderShape {
  return {
    format: type === 'anthropic' ? 'messages' : 'chat',
    framing: 'sse',
    path: `${basePath}/${type === 'anthropic' ? 'messages' : 'chat/completions'}`,
    headers: {},
    edits: new Map([['model', JSON.stringify(name)]]),
  };
}

function plan(
  name: keyof typeof models,
  request: Partial<RoutedRequest> = {},
  more: {
    capabilities?: typeof ALL_CAPABILITIES;
    attempts?: number;
    shape?: (target: Omit<RequestTarget, 'cluster'>) => ProviderShape;
    open?: ReadonlyMap<string, number>;
  } = {},
) {
  const targets = withoutOpenCircuits(
    resolveTargets(snapshot, models[name], NOBODY, priceOf, []),
    more.open ?? new Map(),
    name,
  );
  return planRoute(targets, models[name], { ...REQUEST, ...request }, more.shape ?? shapeOf, {
    capabilities: more.capabilities ?? ALL_CAPABILITIES,
    attempts: more.attempts ?? 3,
  });
}

describe('resolveModel', () => {
  it('knows models, aliases and prefixes, and nothing of Object', () => {
    expect(resolveModel(snapshot, 'plain')).toBe(models.plain);
    expect(resolveModel(snapshot, 'alias')).toBe(models.plain);
    expect(resolveModel(snapshot, 'gpt-new')?.targets).toEqual([{ provider: 'a', priority: 0, weight: 1 }]);
    for (const name of [
      'gpt-',
      'gpt-\r\nx: y',
      'gpt-a/../b',
      'gpt-a/./b',
      'gpt-a/..',
      'nobody',
      '__proto__',
      'constructor',
      '',
      'PLAIN',
      'plаin',
      'plain ',
      'plain\u200b',
      'ｐlain',
      'gpt-é',
      'gpt-Own',
    ]) {
      expect(resolveModel(snapshot, name)).toBeUndefined();
    }
  });
});

describe('a model of which all targets are sent the same request in another format', () => {
  const foreign = { ...REQUEST, format: 'messages' } as const;

  it('is converted once, for plain clusters', () => {
    expect(plan('plain', foreign)).toMatchObject({
      route: 'processed/whole/alone',
      mode: 'processed',
      convertsOnce: true,
      shape: undefined,
      targets: [{ cluster: 'provider/a' }],
    });
    expect(plan('plain', { mustConvert: true }).convertsOnce).toBe(true);
  });

  it('is converted by each try where they differ, or where its beginning is watched', () => {
    expect(plan('mixed', foreign).convertsOnce).toBe(false);
    const watched = planRoute(
      resolveTargets(snapshot, models.plain, NOBODY, priceOf, []),
      { ...models.plain, failoverOn: 'firstEvent' },
      { ...foreign, stream: true },
      shapeOf,
      { capabilities: ALL_CAPABILITIES, attempts: 3 },
    );
    expect([watched.convertsOnce, watched.targets[0]?.cluster]).toEqual([false, 'provider/a/watched']);
  });
});

describe('unknownModel', () => {
  it('looks for no nearest one among very many: others wait meanwhile', () => {
    const many = Array.from({ length: 5000 }, (_, index) => `plain-${String(index)}`);
    expect(unknownModel('plain-x', many.slice(0, 300)).message).toContain('Did you mean');
    expect(unknownModel('plain-x', many).message).toBe('There is no model "plain-x" here.');
  });

  it('names the nearest', () => {
    expect(unknownModel('plian', ['plain', 'mixed']).message).toContain('Did you mean "plain"?');
    expect(unknownModel('zzz', ['plain']).message).not.toContain('Did you mean');
  });

  it('does not repeat a name of any length', () => {
    expect(unknownModel('x'.repeat(100_000), ['plain']).message.length).toBeLessThan(300);
  });
});

describe('resolveTargets', () => {
  it('has the usual price where no resource says one', () => {
    const byPrefix = resolveModel(snapshot, 'gpt-new');
    const [target] = byPrefix === undefined ? [] : resolveTargets(snapshot, byPrefix, NOBODY, priceOf, []);
    expect(target?.address).toMatchObject({ model: 'gpt-new', price: { input: 3, output: 4 } });
  });

  const shared = { ...provider('a', 'openai'), tenantsOnly: true };
  const own = { ...provider('a@acme', 'openai'), resource: 'a', tenant: 'acme', tenantsOnly: true };
  const withTenant: Snapshot = {
    ...snapshot,
    providers: { ...snapshot.providers, a: shared, 'a@acme': own },
  };
  const names = (tenant?: string) =>
    resolveTargets(withTenant, models.mixed, { user: 'ada', tenant }, priceOf, []).map(
      ({ address }) => address.provider,
    );

  it("puts a tenant's own account in the place of the shared one, and nobody else's", () => {
    expect(names('acme')).toContain('a@acme');
    expect(names('acme')).not.toContain('a');
    for (const other of [undefined, 'other', 'ACME', 'acme@acme', '__proto__']) {
      expect(names(other)).toEqual(['anthropic']);
    }
  });

  it('refuses whoever has no account of their own where nothing else is left', () => {
    const targets = [{ provider: 'a', priority: 0, weight: 1 }];
    const only = model('only', targets);
    const trace: TraceLine[] = [];
    expect(() => resolveTargets(withTenant, only, { user: 'ada', tenant: 'other' }, priceOf, trace)).toThrow(
      expect.objectContaining({ code: 'not_allowed', status: 403 }),
    );
    expect(trace).toEqual([['authorize', 'provider/a', 'other', 'left out', 'kept for tenants']]);
    expect(resolveTargets(withTenant, only, { user: 'ada', tenant: 'acme' }, priceOf, [])).toMatchObject([
      { provider: 'a@acme', address: { provider: 'a@acme' } },
    ]);
  });

  it('tells the verified user to those providers alone that ask for it', () => {
    const asks = { ...snapshot.providers['b'], ...provider('b', 'openai'), subjectAsUser: true };
    const some: Snapshot = { ...snapshot, providers: { ...snapshot.providers, b: asks } };
    const told = resolveTargets(some, models.alike, { user: 'ada' }, priceOf, []).map(
      ({ address }) => address.user,
    );
    expect(told).toEqual([undefined, 'ada', undefined]);
  });

  it('says so where no provider is left', () => {
    const orphan = model('orphan', [{ provider: 'gone', priority: 0, weight: 1 }]);
    expect(() => resolveTargets(snapshot, orphan, NOBODY, priceOf, [])).toThrow(
      expect.objectContaining({ code: 'unavailable' }),
    );
  });
});

describe('withoutOpenCircuits', () => {
  const targets = resolveTargets(snapshot, models.alike, NOBODY, priceOf, []);

  it('leaves out whose circuit is open', () => {
    const left = withoutOpenCircuits(targets, new Map([['a', 9]]), 'alike');
    expect(left.map(({ provider }) => provider)).toEqual(['b', 'c']);
  });

  it('says when to come back where none is left', () => {
    const open = new Map([
      ['a', 30],
      ['b', 7],
      ['c', 12],
    ]);
    expect(() => withoutOpenCircuits(targets, open, 'alike')).toThrow(
      expect.objectContaining({ code: 'upstream_unavailable', status: 503, retryAfterSeconds: 7 }),
    );
  });
});

describe('planRoute', () => {
  it('carries an answer in one piece natively', () => {
    expect(plan('plain')).toMatchObject({
      route: 'native/chat/whole/alone',
      mode: 'native',
      shape: { path: '/v1/chat/completions' },
      requestUsage: false,
      watched: false,
    });
  });

  it('asks for usage in a stream and hides it again', () => {
    expect(plan('plain', { stream: true })).toMatchObject({
      route: 'processed/stream/alone',
      mode: 'strip',
      requestUsage: true,
      groups: [{ clusters: [{ name: 'provider/a' }] }],
    });
  });

  it.each([
    ['the client asked for it itself', 'plain', { includeUsage: true }, false],
    ['the model shows it', 'shown', {}, true],
    ['the format always tells', 'plain', { usageMustBeAsked: false }, false],
  ] as const)('streams natively where %s', (_case, name, request, requestUsage) => {
    expect(plan(name, { stream: true, ...request })).toMatchObject({
      route: 'native/chat/stream/alone',
      mode: 'native',
      requestUsage,
    });
  });

  it('has the answer pass a worker where it is kept', () => {
    expect(plan('plain', { keepsAnswer: true })).toMatchObject({
      route: 'processed/whole/alone',
      mode: 'strip',
    });
  });

  it('has a JSON array pass a worker, for Envoy counts events only', () => {
    const request = { stream: true, includeUsage: true, framing: 'json-array' } as const;
    expect(plan('plain', request)).toMatchObject({ route: 'processed/stream/alone', mode: 'strip' });
    expect(plan('plain', { ...request, stream: false }).mode).toBe('native');
  });

  it('tells each try all that it needs, and the price at which it is charged', () => {
    expect(plan('alike').targets[0]).toEqual({
      cluster: 'provider/a',
      provider: 'a',
      type: 'openai',
      model: 'm',
      basePath: '/v1',
      defaultMaxOutputTokens: 1024,
      options: { region: 'a' },
      price: { input: 1, output: 2 },
    });
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
      route: 'native/chat/whole/failover',
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
      route: 'processed/stream/failover',
      mode: 'processed',
      shape: undefined,
      requestUsage: false,
    });
    for (const group of result.groups) {
      for (const cluster of group.clusters) expect(cluster.name).toMatch(/\/converted$/);
    }
  });

  it('is native again where what was unlike is left out', () => {
    expect(plan('mixed', {}, { open: new Map([['anthropic', 5]]) })).toMatchObject({
      route: 'native/chat/whole/alone',
      mode: 'native',
    });
  });

  it.each([
    ['another format', { format: 'messages', usageMustBeAsked: false }, {}],
    ['a body that cannot be edited in place', { mustConvert: true }, {}],
    ['frames that are no events', {}, { framing: 'aws-event-stream' }],
    ['errors of another shape', {}, { foreignErrors: true }],
  ] as const)('converts %s', (_case, request, shape) => {
    expect(plan('plain', request, { shape: (target) => ({ ...shapeOf(target), ...shape }) })).toMatchObject({
      route: 'processed/whole/alone',
      mode: 'processed',
      shape: undefined,
    });
  });

  it.each([
    ['path', (type: string) => ({ path: `/${type}` })],
    ['headers', (type: string) => ({ headers: { 'x-version': type } })],
    ['edits', (type: string) => ({ edits: new Map([[type, undefined]]) })],
  ])('converts where providers differ in their %s', (_case, shape) => {
    const differing = (target: Omit<RequestTarget, 'cluster'>) => ({
      ...shapeOf(target),
      ...shape(target.provider),
    });
    expect(plan('alike', {}, { shape: differing }).mode).toBe('processed');
    expect(plan('plain', {}, { shape: differing }).mode).toBe('native');
  });

  it('watches streams of models that ask for it, where another try could follow', () => {
    expect(plan('watched', { stream: true, includeUsage: true })).toMatchObject({
      route: 'processed/stream/alone',
      mode: 'processed',
      watched: true,
      groups: [{ clusters: [{ name: 'provider/a/watched' }] }],
    });
    expect(plan('watched', { stream: true, includeUsage: true }, { attempts: 1 }).mode).toBe('native');
    expect(plan('watched').mode).toBe('native');
  });

  it('reads usage in a worker where Envoy cannot, and stays with one provider where Envoy cannot do else', () => {
    expect(plan('alike', {}, { capabilities: LEAST_CAPABILITIES })).toMatchObject({
      route: 'processed/whole/alone',
      mode: 'strip',
    });
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
