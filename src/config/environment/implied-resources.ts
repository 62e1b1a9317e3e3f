import type { ProviderVariable } from '../env.ts';
import { validateResource } from '../load/validate.ts';
import type { Origin, SourcedResource } from '../origin.ts';
import { API_VERSION } from '../resources/common.ts';
import type { Ollama } from './ollama.ts';
import { WELL_KNOWN_MODELS, type WellKnownModel } from './well-known-models.ts';

interface ImpliedProvider {
  readonly variable: ProviderVariable;
  readonly name: keyof typeof WELL_KNOWN_MODELS;
  readonly spec: Readonly<Record<string, unknown>>;
}

const IMPLIED_PROVIDERS: readonly ImpliedProvider[] = [
  { variable: 'OPENAI_API_KEY', name: 'openai', spec: { type: 'openai' } },
  { variable: 'ANTHROPIC_API_KEY', name: 'anthropic', spec: { type: 'anthropic' } },
  {
    variable: 'GEMINI_API_KEY',
    name: 'gemini',
    // Google's own OpenAI-compatible door: https://ai.google.dev/gemini-api/docs/openai
    spec: {
      type: 'openai-compatible',
      baseUrl: 'https://generativelanguage.googleapis.com/v1beta/openai',
      modelPrefixes: ['gemini-'],
    },
  },
];

/**
 * Providers and models that need no file: one provider for each well-known key in the environment and one for
 * a running Ollama, each with its models and their prices. Pure. What a file or the database declares goes
 * before (mergeSources).
 *
 * @param found names of the variables that are set, and the Ollama that answered
 */
export function impliedResources(found: {
  readonly providerVariables: readonly ProviderVariable[];
  readonly ollama?: Ollama | undefined;
}): SourcedResource[] {
  const resources = IMPLIED_PROVIDERS.filter(({ variable }) =>
    found.providerVariables.includes(variable),
  ).flatMap(({ variable, name, spec }) => {
    const origin: Origin = { source: 'environment', because: variable };
    return [
      resource('Provider', name, { ...spec, credential: { env: variable } }, origin),
      ...WELL_KNOWN_MODELS[name].models.map((model) => wellKnownModel(name, model, origin)),
    ];
  });
  return found.ollama ? [...resources, ...ollamaResources(found.ollama)] : resources;
}

function wellKnownModel(
  provider: string,
  { name, aliases = [], price }: WellKnownModel,
  origin: Origin,
): SourcedResource {
  return resource('Model', name, { targets: [{ provider, model: name }], aliases, price }, origin);
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

function raw(kind: string, name: string, spec: unknown) {
  return { apiVersion: API_VERSION, kind, metadata: { name }, spec };
}

function resource(kind: string, name: string, spec: unknown, origin: Origin): SourcedResource {
  const validation = validateResource(raw(kind, name, spec));
  if (!validation.resource) throw new TypeError(`The implied ${kind} ${name} does not fit its own schema.`);
  return { resource: validation.resource, origin };
}
