import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { parseResources } from '../config/load/load.ts';
import { mergeSources } from '../config/merge/merge.ts';
import type { Resource } from '../config/resources/index.ts';
import { buildSnapshot } from './build.ts';
import { canonicalJson } from './canonical-json.ts';

const TEXT = `
apiVersion: limen.dev/v1alpha1
kind: Gateway
metadata: {name: default}
spec: {limits: {requestBody: 1048576}}
---
apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {type: openai, credential: {env: OPENAI_API_KEY}}
---
apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec:
  type: openai-compatible
  baseUrl: http://[::1]:8000/some/path/
  modelPrefixes: [gpt-4, llama]
---
apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: claude}
spec: {type: anthropic, tls: {serverName: api.example}, baseUrl: 'https://proxy.example:8443'}
---
apiVersion: limen.dev/v1alpha1
kind: Model
metadata: {name: fast}
spec:
  targets:
    - provider: claude
      model: claude-haiku-4-5
      priority: 1
      price: {input: 1, output: 5, cacheWrite: 1.25}
    - {provider: openai, model: gpt-4o-mini, weight: 9}
    - {provider: local}
  aliases: [quick]
  price: {input: 0.15, output: 0.6}
  cache: {ttlSeconds: 60}
---
apiVersion: limen.dev/v1alpha1
kind: ApiKey
metadata: {name: ci}
spec: {user: ci, secret: {env: CI_KEY}, models: [fast], expiresAt: '2027-01-31T00:00:00Z'}
`;

function resources(text: string): Resource[] {
  const parsed = parseResources([{ file: 'limen.yaml', text }]);
  expect(parsed.issues).toEqual([]);
  const merged = mergeSources({ file: parsed.resources, database: [], environment: [], builtIn: [] });
  expect(merged.issues).toEqual([]);
  return merged.resources.map(({ resource }) => resource);
}

function provider(spec: string) {
  const built = buildSnapshot(
    resources(`apiVersion: limen.dev/v1alpha1\nkind: Provider\nmetadata: {name: p}\nspec: ${spec}\n`),
  );
  const compiled = built.snapshot.providers['p'];
  const { scheme, host, port, basePath, options } = compiled ?? {};
  return { url: `${scheme}://${host}:${port}${basePath}`, options, credential: built.credentials['p']?.kind };
}

describe('buildSnapshot', () => {
  it('compiles every kind', () => {
    const { snapshot, credentials, keys } = buildSnapshot(resources(TEXT));
    expect(snapshot.gateway.limits).toEqual({ requestBody: 1_048_576, bytesInFlightPerWorker: 536_870_912 });
    expect(snapshot.providers).toEqual({
      claude: {
        name: 'claude',
        resource: 'claude',
        tenant: undefined,
        tenantsOnly: undefined,
        identityHeaders: false,
        subjectAsUser: false,
        type: 'anthropic',
        scheme: 'https',
        host: 'proxy.example',
        port: 8443,
        basePath: '',
        hasCredential: false,
        caFile: undefined,
        serverName: 'api.example',
        connectTimeoutSeconds: 5,
        defaultMaxOutputTokens: 8192,
        options: {},
      },
      local: expect.objectContaining({
        scheme: 'http',
        host: '::1',
        port: 8000,
        basePath: '/some/path',
        serverName: '::1',
        options: { apis: 'chat' },
      }),
      openai: expect.objectContaining({
        scheme: 'https',
        host: 'api.openai.com',
        port: 443,
        basePath: '/v1',
        hasCredential: true,
        serverName: 'api.openai.com',
        options: { apis: 'chat,responses' },
      }),
    });
    const price = { input: 0.15, output: 0.6 };
    expect(snapshot.models['fast']).toEqual({
      name: 'fast',
      targets: [
        { provider: 'openai', model: 'gpt-4o-mini', priority: 0, weight: 9, price },
        { provider: 'local', priority: 0, weight: 1, price },
        {
          provider: 'claude',
          model: 'claude-haiku-4-5',
          priority: 1,
          weight: 1,
          price: { input: 1, output: 5, cacheWrite: 1.25 },
        },
      ],
      usageChunk: 'hide',
      perTryTimeoutSeconds: undefined,
      failoverOn: 'responseHeaders',
      losses: 'report',
      cache: { ttlSeconds: 60, scope: 'key' },
    });
    expect(snapshot.aliases).toEqual({ quick: 'fast' });
    expect(credentials).toEqual({ openai: { kind: 'text', source: { env: 'OPENAI_API_KEY' } } });
    expect(keys).toEqual([
      {
        key: {
          id: 'config/ci',
          user: 'ci',
          team: undefined,
          models: ['fast'],
          expiresAt: Date.UTC(2027, 0, 31),
        },
        secret: { env: 'CI_KEY' },
      },
    ]);
    expect(snapshot.version).toMatch(/^[0-9a-f]{16}$/);
  });

  it.each([
    ['{type: openai}', 'https://api.openai.com:443/v1', { apis: 'chat,responses' }],
    ['{type: openai, apis: [chat]}', 'https://api.openai.com:443/v1', { apis: 'chat' }],
    ['{type: anthropic}', 'https://api.anthropic.com:443/v1', {}],
    ['{type: gemini}', 'https://generativelanguage.googleapis.com:443/v1beta', {}],
    [
      '{type: vertex, project: my-project}',
      'https://aiplatform.googleapis.com:443/v1',
      { project: 'my-project', location: 'global' },
    ],
    [
      '{type: vertex, project: p, location: europe-west4}',
      'https://europe-west4-aiplatform.googleapis.com:443/v1',
      { project: 'p', location: 'europe-west4' },
    ],
    [
      '{type: vertex, project: p, location: eu}',
      'https://aiplatform.eu.rep.googleapis.com:443/v1',
      { project: 'p', location: 'eu' },
    ],
    [
      '{type: bedrock, region: eu-central-1}',
      'https://bedrock-runtime.eu-central-1.amazonaws.com:443',
      { region: 'eu-central-1' },
    ],
    [
      '{type: azure-openai, baseUrl: "https://n.openai.azure.com/"}',
      'https://n.openai.azure.com:443/openai/v1',
      { apis: 'chat,responses' },
    ],
    [
      '{type: azure-openai, baseUrl: "https://n.services.ai.azure.com/openai/v1/"}',
      'https://n.services.ai.azure.com:443/openai/v1',
      { apis: 'chat,responses' },
    ],
    [
      '{type: azure-openai, baseUrl: "https://n.openai.azure.com", apiVersion: 2024-10-21, apis: [chat]}',
      'https://n.openai.azure.com:443/openai/v1',
      { apis: 'chat', apiVersion: '2024-10-21' },
    ],
  ])('compiles %s', (spec, url, options) => {
    expect(provider(spec)).toEqual({ url, options, credential: undefined });
  });

  it('knows what is to be made of a credential', () => {
    const aws = 'type: bedrock, region: us-east-1';
    expect(
      provider(`{${aws}, credential: {accessKeyId: {env: A}, secretAccessKey: {env: B}}}`),
    ).toMatchObject({
      credential: 'accessKey',
      options: { authentication: 'sigv4' },
    });
    expect(provider(`{${aws}, credential: {env: AWS_BEARER_TOKEN_BEDROCK}}`)).toMatchObject({
      credential: 'text',
      options: { authentication: 'bearer' },
    });
    expect(provider('{type: vertex, project: p, credential: {file: /a.json}}').credential).toBe(
      'googleServiceAccount',
    );
    expect(provider('{type: gemini, credential: {env: A}}').credential).toBe('text');
  });

  it('routes names by prefix, the longest first', () => {
    expect(buildSnapshot(resources(TEXT)).snapshot.prefixes).toEqual([
      { prefix: 'chatgpt-', provider: 'openai' },
      { prefix: 'claude-', provider: 'claude' },
      { prefix: 'gpt-4', provider: 'local' },
      { prefix: 'llama', provider: 'local' },
      { prefix: 'gpt-', provider: 'openai' },
      { prefix: 'o1-', provider: 'openai' },
      { prefix: 'o3-', provider: 'openai' },
      { prefix: 'o4-', provider: 'openai' },
    ]);
  });

  it('gives the usual prefixes to nobody where two of a type could be meant', () => {
    const named = (...names: string[]) =>
      buildSnapshot(
        resources(
          names
            .map(
              (name) =>
                `apiVersion: limen.dev/v1alpha1\nkind: Provider\nmetadata: {name: ${name}}\nspec: {type: anthropic}\n`,
            )
            .join('---\n'),
        ),
      ).snapshot.prefixes;
    expect(named('eu', 'us')).toEqual([]);
    expect(named('eu', 'anthropic')).toEqual([{ prefix: 'claude-', provider: 'anthropic' }]);
    expect(named('eu')).toEqual([{ prefix: 'claude-', provider: 'eu' }]);
  });

  it('gives the same version whatever the order, and another for another content', () => {
    const all = resources(TEXT);
    const { version } = buildSnapshot(all).snapshot;
    fc.assert(
      fc.property(fc.shuffledSubarray(all, { minLength: all.length }), (shuffled) => {
        expect(buildSnapshot(shuffled)).toEqual(buildSnapshot(all));
      }),
    );
    expect(buildSnapshot(resources(TEXT.replace('weight: 9', 'weight: 8'))).snapshot.version).not.toBe(
      version,
    );
    // A rotated credential or a new key must not disturb requests.
    expect(
      buildSnapshot(resources(TEXT.replace('env: OPENAI_API_KEY', 'env: OTHER_KEY'))).snapshot.version,
    ).toBe(version);
  });

  it('is an ordinary gateway where nothing is declared', () => {
    const { snapshot } = buildSnapshot([]);
    expect(snapshot).toMatchObject({ providers: {}, models: {}, aliases: {}, prefixes: [] });
    expect(snapshot.gateway).toMatchObject({
      timeouts: { requestSeconds: 600 },
      retries: { attempts: 3, maxRetryAfterSeconds: 10 },
      circuitBreaker: { failures: 5, openSeconds: 30 },
      responses: { storeSeconds: 0 },
    });
  });

  it('names teams that were in force and are no longer', () => {
    const team = `apiVersion: limen.dev/v1alpha1\nkind: Team\nmetadata: {name: core}\nspec: {members: [ada]}\n`;
    const known = (name: string) => ({ name, members: ['ada'], groups: [] });
    const { snapshot } = buildSnapshot(resources(team), [known('core'), known('b'), known('a')]);
    expect(snapshot.formerTeams).toEqual({ a: known('a'), b: known('b') });
    const without = buildSnapshot(resources(team), [known('core')]).snapshot;
    expect(without).not.toHaveProperty('formerTeams');
    expect(without.version).not.toBe(snapshot.version);
  });

  it('survives JSON unchanged, as workers get it', () => {
    const { snapshot } = buildSnapshot(resources(TEXT));
    expect(canonicalJson(JSON.parse(JSON.stringify(snapshot)))).toBe(canonicalJson(snapshot));
  });

  it('compiles thousands of models in a fraction of a second', () => {
    const many = Array.from({ length: 2000 }, (_, index) => model(`model-${index}`));
    const started = process.cpuUsage();
    expect(Object.keys(buildSnapshot(many).snapshot.models)).toHaveLength(2000);
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(1000);
  });
});

function model(name: string): Resource {
  return {
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Model',
    metadata: { name },
    spec: {
      targets: [{ provider: 'openai', priority: 0, weight: 1 }],
      aliases: [],
      usageChunk: 'hide',
      failoverOn: 'responseHeaders',
      losses: 'report',
    },
  };
}
