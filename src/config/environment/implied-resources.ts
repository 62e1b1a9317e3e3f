import type { Environment } from '../env.ts';
import { validateResource } from '../load/validate.ts';
import type { Origin, SourcedResource } from '../origin.ts';
import { API_VERSION } from '../resources/common.ts';
import type { Ollama } from './ollama.ts';
import { impliedProviders } from './provider-variables.ts';
import { WELL_KNOWN_MODELS } from './well-known-models.ts';

/**
 * Providers and models that need no file: one provider for each well-known key in the environment and one for
 * a running Ollama, each with its models. Pure. What a file or the database declares goes before (mergeSources).
 * A provider whose variables make no sense (an endpoint that is no URL) is left out.
 *
 * @param found the environment of the control plane, and the Ollama that answered
 */
export function impliedResources(found: {
  readonly environment: Environment;
  readonly ollama?: Ollama | undefined;
}): SourcedResource[] {
  const resources = impliedProviders(found.environment).flatMap(({ name, because, spec }) => {
    const origin: Origin = { source: 'environment', because };
    const { resource: provider } = validateResource(raw('Provider', name, { type: name, ...spec }));
    if (provider === undefined) return [];
    return [
      { resource: provider, origin },
      ...WELL_KNOWN_MODELS[name].map((model) => {
        const targets = [{ provider: name, model: model.target ?? model.name }];
        return resource('Model', model.name, { targets, aliases: model.aliases ?? [] }, origin);
      }),
    ];
  });
  return found.ollama ? [...resources, ...ollamaResources(found.ollama)] : resources;
}

function ollamaResources({ url, models }: Ollama): SourcedResource[] {
  const origin: Origin = { source: 'environment', because: `Ollama on ${new URL(url).host}` };
  const taken = new Set(models);
  return [
    resource('Provider', 'ollama', { type: 'openai-compatible', baseUrl: `${url}/v1` }, origin),
    ...models.flatMap((model) => {
      const short = model.replace(/:latest$/, '');
      const aliases = short === model || taken.has(short) ? [] : [short];
      const spec = { targets: [{ provider: 'ollama', model }], aliases, price: { input: 0, output: 0 } };
      // Ollama allows names that are none here (hf.co/…); such a model needs a declaration under another name.
      const validation = validateResource(raw('Model', model, spec));
      return validation.resource ? [{ resource: validation.resource, origin }] : [];
    }),
  ];
}

/** Ports and addresses of the demo provider's two doors, one for each wire format. */
export interface DemoAddress {
  /** TCP port on 127.0.0.1. */
  readonly demoPort: number;
}

/**
 * Two providers and two models that stand for the built-in demo, which really answers and streams in both
 * wire formats. In force only where there is no other provider (mergeSources).
 */
export function demoResources({ demoPort }: DemoAddress): SourcedResource[] {
  const origin: Origin = { source: 'built-in', because: 'no provider is configured yet' };
  const baseUrl = `http://127.0.0.1:${demoPort}/v1`;
  const price = { input: 0, output: 0 };
  return [
    resource('Provider', 'demo', { type: 'openai-compatible', baseUrl, modelPrefixes: [] }, origin),
    // The usual prefix claude- would pass the demo off as the real thing.
    resource('Provider', 'demo-anthropic', { type: 'anthropic', baseUrl, modelPrefixes: [] }, origin),
    resource('Model', 'demo', { targets: [{ provider: 'demo' }], price }, origin),
    resource('Model', 'demo-claude', { targets: [{ provider: 'demo-anthropic' }], price }, origin),
  ];
}

/** Limits that hold without a file. A LimitPolicy of the same name takes the place of each (mergeSources). */
export function defaultLimits(): SourcedResource[] {
  const origin: Origin = { source: 'built-in', because: 'LIMEN_DEFAULT_LIMITS is on' };
  const limit = (per: 'user' | 'address', requests: number) =>
    resource('LimitPolicy', `default-${per}-requests`, { per, requests, window: '1m' }, origin);
  return [limit('user', 100), limit('address', 1000)];
}

function raw(kind: string, name: string, spec: unknown) {
  return { apiVersion: API_VERSION, kind, metadata: { name }, spec };
}

function resource(kind: string, name: string, spec: unknown, origin: Origin): SourcedResource {
  const validation = validateResource(raw(kind, name, spec));
  if (!validation.resource) throw new TypeError(`The implied ${kind} ${name} does not fit its own schema.`);
  return { resource: validation.resource, origin };
}
