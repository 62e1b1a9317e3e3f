import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { priceOf } from '../../prices/price-table.ts';
import { buildSnapshot } from '../../snapshot/build.ts';
import { mergeSources } from '../merge/merge.ts';
import { demoResources, impliedResources } from './implied-resources.ts';
import { probeOllama } from './ollama.ts';
import { WELL_KNOWN_MODELS } from './well-known-models.ts';

function snapshotOf(environment: ReturnType<typeof impliedResources>) {
  const merged = mergeSources({
    file: [],
    database: [],
    environment,
    builtIn: demoResources({ demoPort: 4000 }),
  });
  expect(merged.issues).toEqual([]);
  expect(merged.warnings).toEqual([]);
  return buildSnapshot(merged.resources.map(({ resource }) => resource));
}

describe('impliedResources', () => {
  it('makes a provider of each key, with models, prices and prefixes', () => {
    const { snapshot, credentials } = snapshotOf(
      impliedResources({
        environment: { OPENAI_API_KEY: 'a', ANTHROPIC_API_KEY: 'b', GOOGLE_API_KEY: 'c', GEMINI_API_KEY: '' },
      }),
    );
    expect(Object.keys(snapshot.providers)).toEqual(['anthropic', 'gemini', 'openai']);
    expect(snapshot.providers['gemini']).toMatchObject({
      type: 'gemini',
      host: 'generativelanguage.googleapis.com',
      basePath: '/v1beta',
    });
    expect(credentials).toEqual({
      openai: { kind: 'text', source: { env: 'OPENAI_API_KEY' } },
      anthropic: { kind: 'text', source: { env: 'ANTHROPIC_API_KEY' } },
      gemini: { kind: 'text', source: { env: 'GOOGLE_API_KEY' } },
    });
    expect(snapshot.models['gpt-4o-mini']).toMatchObject({
      targets: [
        {
          provider: 'openai',
          model: 'gpt-4o-mini',
          priority: 0,
          weight: 1,
          price: { input: 0.15, output: 0.6, cachedInput: 0.075 },
        },
      ],
    });
    expect(snapshot.aliases['claude-haiku-4-5-20251001']).toBe('claude-haiku-4-5');
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gemini-', provider: 'gemini' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'claude-', provider: 'anthropic' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gpt-', provider: 'openai' });
  });

  it('makes a provider of the variables of each cloud', () => {
    const { snapshot, credentials } = snapshotOf(
      impliedResources({
        environment: {
          AZURE_OPENAI_ENDPOINT: 'https://n.openai.azure.com/',
          AZURE_OPENAI_API_KEY: 'a',
          AWS_REGION: 'eu-central-1',
          AWS_ACCESS_KEY_ID: 'b',
          AWS_SECRET_ACCESS_KEY: 'c',
          AWS_SESSION_TOKEN: 'd',
          GOOGLE_APPLICATION_CREDENTIALS: '/home/ann/key.json',
          GOOGLE_CLOUD_PROJECT: 'p',
          GOOGLE_CLOUD_LOCATION: 'europe-west4',
        },
      }),
    );
    expect(snapshot.providers).toMatchObject({
      'azure-openai': { host: 'n.openai.azure.com', basePath: '/openai/v1' },
      bedrock: {
        host: 'bedrock-runtime.eu-central-1.amazonaws.com',
        options: { region: 'eu-central-1', authentication: 'sigv4' },
      },
      vertex: {
        host: 'europe-west4-aiplatform.googleapis.com',
        options: { project: 'p', location: 'europe-west4' },
      },
    });
    expect(credentials).toEqual({
      'azure-openai': { kind: 'text', source: { env: 'AZURE_OPENAI_API_KEY' } },
      bedrock: {
        kind: 'accessKey',
        source: {
          accessKeyId: { env: 'AWS_ACCESS_KEY_ID' },
          secretAccessKey: { env: 'AWS_SECRET_ACCESS_KEY' },
          sessionToken: { env: 'AWS_SESSION_TOKEN' },
        },
      },
      vertex: { kind: 'googleServiceAccount', source: { file: '/home/ann/key.json' } },
    });
    expect(snapshot.models['claude-sonnet-4-6']?.targets).toMatchObject([
      { provider: 'bedrock', model: 'global.anthropic.claude-sonnet-4-6', price: { input: 3, output: 15 } },
    ]);
    expect(snapshot.models['gemini-2.5-pro']?.targets).toMatchObject([{ provider: 'vertex' }]);
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gpt-', provider: 'azure-openai' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gemini-', provider: 'vertex' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'us.', provider: 'bedrock' });
  });

  it('leaves to a vendor what it serves itself, and to the clouds what is left', () => {
    const { snapshot } = snapshotOf(
      impliedResources({
        environment: {
          OPENAI_API_KEY: 'a',
          AZURE_OPENAI_ENDPOINT: 'https://n.openai.azure.com/',
          AZURE_OPENAI_API_KEY: 'b',
          GEMINI_API_KEY: 'c',
          GOOGLE_APPLICATION_CREDENTIALS: '/home/ann/key.json',
          GOOGLE_CLOUD_PROJECT: 'p',
        },
      }),
    );
    expect(Object.keys(snapshot.providers)).toEqual(['azure-openai', 'gemini', 'openai', 'vertex']);
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gpt-', provider: 'openai' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gemini-', provider: 'gemini' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'claude-', provider: 'vertex' });
    expect(snapshot.models['gemini-2.5-pro']?.targets).toMatchObject([{ provider: 'gemini' }]);
    expect(snapshot.models['claude-sonnet-4-5']?.targets).toMatchObject([
      { provider: 'vertex', model: 'claude-sonnet-4-5@20250929' },
    ]);
  });

  it.each([
    ['AWS keys for something else', { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }],
    ['a region alone', { AWS_REGION: 'us-east-1' }],
    ['a region that is none', { AWS_REGION: 'x/y', AWS_BEARER_TOKEN_BEDROCK: 'a' }],
    ['a project alone', { GOOGLE_CLOUD_PROJECT: 'p' }],
    ['an endpoint that is no URL', { AZURE_OPENAI_ENDPOINT: 'my-resource', AZURE_OPENAI_API_KEY: 'a' }],
  ])('makes nothing of %s', (_, environment) => {
    expect(impliedResources({ environment })).toEqual([]);
  });

  it('lists the models of a running Ollama, with the short name of the latest', () => {
    const ollama = { url: 'http://127.0.0.1:11434', models: ['llama3.2:latest', 'qwen3:8b', 'bad name'] };
    const { snapshot } = snapshotOf(impliedResources({ environment: {}, ollama }));
    expect(snapshot.providers['ollama']).toMatchObject({
      scheme: 'http',
      port: 11434,
      basePath: '/v1',
      hasCredential: false,
    });
    expect(Object.keys(snapshot.models)).toEqual(['llama3.2:latest', 'qwen3:8b']);
    expect(snapshot.aliases).toEqual({ 'llama3.2': 'llama3.2:latest' });
  });

  it('has a demo where there is nothing else', () => {
    const { snapshot } = snapshotOf(impliedResources({ environment: {} }));
    expect(snapshot.providers).toMatchObject({
      demo: { type: 'openai-compatible', host: '127.0.0.1', port: 4000, basePath: '/v1' },
      'demo-anthropic': { type: 'anthropic', port: 4000 },
    });
    expect(Object.keys(snapshot.models)).toEqual(['demo', 'demo-claude']);
    expect(snapshot.prefixes).toEqual([]);
  });
});

describe('WELL_KNOWN_MODELS', () => {
  it.each(Object.entries(WELL_KNOWN_MODELS))('names every model of %s once', (_, models) => {
    const names = models.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(['openai', 'anthropic', 'gemini', 'bedrock'] as const)(
    'has a price for every model of %s',
    (type) => {
      const unpriced = WELL_KNOWN_MODELS[type].filter(
        ({ name, target = name }) => priceOf(type, target) === undefined,
      );
      expect(unpriced.map(({ name }) => name)).toEqual(type === 'bedrock' ? ['nova-2-lite'] : []);
    },
  );
});

describe('probeOllama', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  async function serve(status: number, body: string): Promise<string> {
    server = createServer((request, response) => {
      response
        .writeHead(request.url === '/api/tags' ? status : 404, { 'content-type': 'application/json' })
        .end(body);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  }

  it('lists its models', async () => {
    const url = await serve(200, JSON.stringify({ models: [{ name: 'llama3.2:latest', size: 1 }] }));
    expect(await probeOllama({ url: `${url}/` })).toEqual({ url, models: ['llama3.2:latest'] });
  });

  it.each([
    ['another server', 404, '{}'],
    ['something that is not JSON', 200, 'hello'],
    ['another shape', 200, '{"models": {}}'],
  ])('is not fooled by %s', async (_, status, body) => {
    expect(await probeOllama({ url: await serve(status, body) })).toBeUndefined();
  });

  it('finds nothing on a port where nobody listens', async () => {
    const url = await serve(200, '{}');
    server?.close();
    expect(await probeOllama({ url })).toBeUndefined();
  });
});
