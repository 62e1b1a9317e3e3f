import {
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from '../test/support/gateway.ts';
import type { Variant } from './measure.ts';

/** A model for each way that an answer can go back. */
const MODELS = [
  { variant: 'Limen native', model: 'native', provider: 'openai', usageChunk: 'show' },
  { variant: 'Limen strip', model: 'strip', provider: 'openai', usageChunk: 'hide' },
  { variant: 'Limen converting', model: 'converting', provider: 'anthropic', usageChunk: 'hide' },
  {
    variant: 'Limen native, first event',
    model: 'watched',
    provider: 'openai',
    usageChunk: 'show',
    failoverOn: 'firstEvent',
  },
  { variant: 'Limen native, 3 limits', model: 'limited', provider: 'openai', usageChunk: 'show' },
  {
    variant: 'Limen native, 3 limits and a hard budget',
    model: 'budgeted',
    provider: 'openai',
    usageChunk: 'show',
  },
] as const;

/** Rules that are never met: what is measured is what it costs to ask. */
const ENOUGH = 1_000_000_000;
const LIMITS = [
  limitPolicy('a-minute', {
    per: 'user',
    match: { models: ['limited', 'budgeted'] },
    requests: ENOUGH,
    window: '1m',
  }),
  limitPolicy('an-address', {
    per: 'address',
    match: { models: ['limited', 'budgeted'] },
    requests: ENOUGH,
    window: '1m',
  }),
  limitPolicy('a-day', {
    per: 'user',
    match: { models: ['limited', 'budgeted'] },
    tokens: ENOUGH,
    period: 'day',
    mode: 'soft',
  }),
  limitPolicy('a-month', {
    per: 'user',
    match: { models: ['budgeted'] },
    usd: 1_000_000,
    period: 'month',
    mode: 'hard',
  }),
];

function limitPolicy(name: string, spec: Readonly<Record<string, unknown>>): ResourceObject {
  return { apiVersion: 'limen.dev/v1alpha1', kind: 'LimitPolicy', metadata: { name }, spec };
}

/**
 * A whole Limen (real Redis, Postgres and ClickHouse), shared by its variants: pass-through, hiding the usage
 * chunk that it asked for, converting Chat Completions to Messages and back, holding the headers of a stream until
 * its first content, and passing under limits. Measured are Envoy and the
 * workers, not the control plane and the stores, which work beside the request.
 */
export function limen(upstreamPort: number, workers: number): readonly Variant[] {
  let shared: Promise<TestGateway> | undefined;
  let users = 0;
  const upstream = { baseUrl: `http://127.0.0.1:${upstreamPort}/v1`, credential: 'bench-credential' };
  const acquire = (): Promise<TestGateway> => {
    users += 1;
    shared ??= startGateway({
      config: [
        providerResource('openai', { type: 'openai-compatible', ...upstream }),
        providerResource('anthropic', { type: 'anthropic', ...upstream }),
        ...MODELS.map(({ model, provider, variant: _variant, ...more }) =>
          modelResource(model, [{ provider }], { ...more, price: { input: 1, output: 1 } }),
        ),
        ...LIMITS,
      ],
      env: { LIMEN_WORKERS: String(workers), LIMEN_DEFAULT_LIMITS: 'off' },
    });
    return shared;
  };
  const release = async (gateway: TestGateway): Promise<void> => {
    users -= 1;
    if (users === 0) await gateway.stop();
  };
  return MODELS.map(({ variant, model }) => ({
    name: variant,
    start: async () => {
      const gateway = await acquire();
      const pids = gateway.pids();
      const named = (prefix: string): number[] =>
        Object.entries(pids).flatMap(([name, pid]) => (name.startsWith(prefix) ? [pid] : []));
      return {
        url: gateway.url,
        headers: { authorization: `Bearer ${gateway.key}` },
        model,
        pids: { envoy: named('envoy'), processor: named('processor') },
        stop: () => release(gateway),
      };
    },
  }));
}
