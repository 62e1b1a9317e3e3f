import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../snapshot/build.ts';
import { mergeSources } from '../merge.ts';
import { resourceId } from '../origin.ts';
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
    const { snapshot, secretSources } = snapshotOf(
      impliedResources({ providerVariables: ['OPENAI_API_KEY', 'ANTHROPIC_API_KEY', 'GEMINI_API_KEY'] }),
    );
    expect(Object.keys(snapshot.providers)).toEqual(['anthropic', 'gemini', 'openai']);
    expect(snapshot.providers['gemini']).toMatchObject({
      type: 'openai-compatible',
      host: 'generativelanguage.googleapis.com',
      basePath: '/v1beta/openai',
    });
    expect(secretSources).toEqual({
      openai: { env: 'OPENAI_API_KEY' },
      anthropic: { env: 'ANTHROPIC_API_KEY' },
      gemini: { env: 'GEMINI_API_KEY' },
    });
    expect(snapshot.models['gpt-4o-mini']).toMatchObject({
      targets: [{ provider: 'openai', model: 'gpt-4o-mini', priority: 0, weight: 1 }],
      price: { input: 0.15, output: 0.6, cachedInput: 0.075 },
    });
    expect(snapshot.aliases['claude-haiku-4-5-20251001']).toBe('claude-haiku-4-5');
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gemini-', provider: 'gemini' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'claude-', provider: 'anthropic' });
    expect(snapshot.prefixes).toContainEqual({ prefix: 'gpt-', provider: 'openai' });
  });

  it('lists the models of a running Ollama, with the short name of the latest', () => {
    const ollama = { url: 'http://127.0.0.1:11434', models: ['llama3.2:latest', 'qwen3:8b', 'bad name'] };
    const { snapshot } = snapshotOf(impliedResources({ providerVariables: [], ollama }));
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
    const { snapshot } = snapshotOf(impliedResources({ providerVariables: [] }));
    expect(snapshot.providers).toMatchObject({
      demo: { type: 'openai-compatible', host: '127.0.0.1', port: 4000, basePath: '/v1' },
      'demo-anthropic': { type: 'anthropic', port: 4000 },
    });
    expect(Object.keys(snapshot.models)).toEqual(['demo', 'demo-claude']);
    expect(snapshot.prefixes).toEqual([]);
  });
});

describe('WELL_KNOWN_MODELS', () => {
  it('names every model once, with sensible prices', () => {
    const all = Object.values(WELL_KNOWN_MODELS).flatMap(({ models }) => [...models]);
    const names = all.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
    expect(new Set(names).size).toBe(names.length);
    const odd = all.filter(
      ({ price }) => price.output <= price.input || (price.cachedInput ?? 0) >= price.input,
    );
    expect(odd).toEqual([]);
    expect(
      impliedResources({ providerVariables: ['OPENAI_API_KEY'] }).map(({ resource }) => resourceId(resource)),
    ).toContain('Provider/openai');
  });
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
