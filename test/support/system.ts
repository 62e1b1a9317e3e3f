import { startBenchUpstream } from '../../bench/upstream.ts';
import {
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from './gateway.ts';
import { exchange } from './system/exchange.ts';

/** Credentials that must show up nowhere but at their provider. */
export const CREDENTIALS = {
  chat: 'sk-chat-3f1c6bd2a97e4850',
  messages: 'sk-messages-9d04e7715bca62f8',
} as const;

export const METRICS_TOKEN = 'metrics-token-of-the-system-tests';
/** So that a test sees the reconciler at work; `limen up` gives a request two minutes. */
export const LEASE_SECONDS = 5;

/**
 * Two providers on one scripted server, and a model on each: `chat-model` and `messages-model`.
 *
 * @param rotation how often the credentials have changed
 */
export function systemResources(upstreamPort: number, rotation = 0): ResourceObject[] {
  const url = `http://127.0.0.1:${upstreamPort}`;
  const price = { input: 1, output: 2 };
  return [
    providerResource('chat', {
      type: 'openai-compatible',
      baseUrl: `${url}/v1`,
      credential: rotated(CREDENTIALS.chat, rotation),
    }),
    providerResource('messages', {
      type: 'anthropic',
      baseUrl: `${url}/v1`,
      credential: rotated(CREDENTIALS.messages, rotation),
    }),
    modelResource('chat-model', [{ provider: 'chat' }], { price }),
    modelResource('messages-model', [{ provider: 'messages' }], { price }),
  ];
}

function rotated(credential: string, rotation: number): string {
  return rotation === 0 ? credential : `${credential}-${rotation}`;
}

/** A running all-in-one with an upstream that costs next to nothing. */
export interface TestSystem {
  readonly gateway: TestGateway;
  /** A new key whose rows can be told from all others by its user. */
  keyOf(user: string): Promise<string>;
  stop(): Promise<void>;
}

export interface SystemOptions {
  /** Milliseconds between two chunks of a stream. */
  readonly paceMs: number;
  readonly env?: Readonly<Record<string, string>>;
  /** In the place of `systemResources`, by the port of the upstream. */
  readonly config?: (upstreamPort: number) => readonly ResourceObject[];
}

/** Starts the all-in-one with `systemResources`. Stop it at the end. */
export async function startSystem(options: SystemOptions): Promise<TestSystem> {
  const upstream = await startBenchUpstream({ paceMs: options.paceMs });
  try {
    const gateway = await startGateway({
      config: (options.config ?? systemResources)(upstream.port),
      env: {
        LIMEN_METRICS_TOKEN: METRICS_TOKEN,
        LIMEN_LEASE_SECONDS: String(LEASE_SECONDS),
        ...options.env,
      },
    });
    return {
      gateway,
      keyOf: (user) => gateway.createKey({ user }),
      stop: async () => {
        await gateway.stop();
        await upstream.close();
      },
    };
  } catch (error) {
    await upstream.close();
    throw error;
  }
}

/** A figure of `/metrics`, summed over its labels; undefined where there is none of that name. */
export async function metric(gateway: TestGateway, name: string): Promise<number | undefined> {
  const { body } = await exchange({
    url: gateway.url,
    method: 'GET',
    path: '/metrics',
    headers: { authorization: `Bearer ${METRICS_TOKEN}` },
  });
  const values = body.split('\n').flatMap((line) => {
    const [label = '', value] = line.split(' ');
    return label.split('{')[0] === name && value !== undefined ? [Number(value)] : [];
  });
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0);
}
