import { createHash } from 'node:crypto';
import type { UserRecord } from '../../core/access.ts';
import { ALL_CAPABILITIES, type EnvoyCapabilities } from '../../core/capabilities.ts';
import { LimenError } from '../../core/errors.ts';
import { builtInRoles } from '../../core/roles.ts';
import type { Admission, AdmitRequest } from '../../core/ledger.ts';
import type { Snapshot, SnapshotModel, SnapshotProvider, VirtualKey } from '../../core/snapshot.ts';
import { emptySnapshot } from '../../core/testing/snapshot.ts';
import type { VerifiedToken } from '../../core/verified-token.ts';
import type { RequestHead } from '../answer.ts';
import { FrontPipeline } from '../front.ts';

const KEY_HASH = createHash('sha256').update('tw-key').digest('hex');

export function provider(name: string, more: Partial<SnapshotProvider> = {}): SnapshotProvider {
  return {
    name,
    resource: name,
    identityHeaders: false,
    subjectAsUser: false,
    type: name,
    scheme: 'https',
    host: `${name}.example`,
    port: 443,
    basePath: '',
    hasCredential: true,
    serverName: `${name}.example`,
    connectTimeoutSeconds: 1,
    defaultMaxOutputTokens: 64,
    options: {},
    ...more,
  };
}

export function model(name: string, providers: string[], more: Partial<SnapshotModel> = {}): SnapshotModel {
  const targets = providers.map((target, priority) => ({ provider: target, priority, weight: 1 }));
  return { name, targets, usageChunk: 'hide', failoverOn: 'responseHeaders', losses: 'report', ...more };
}

export const SNAPSHOT: Snapshot = emptySnapshot({
  gateway: {
    limits: { requestBody: 100_000, bytesInFlightPerWorker: 400_000 },
    retries: { attempts: 2, maxRetryAfterSeconds: 1 },
    circuitBreaker: { failures: 5, openSeconds: 30 },
  },
  providers: {
    openai: provider('openai', { basePath: '/v1' }),
    anthropic: provider('anthropic'),
    gemini: provider('gemini', { basePath: '/v1beta' }),
  },
  models: {
    fast: model('fast', ['openai']),
    claude: model('claude', ['anthropic']),
    flash: model('flash', ['gemini']),
    both: model('both', ['openai', 'anthropic']),
    cached: model('cached', ['openai'], { cache: { ttlSeconds: 60, scope: 'user' } }),
  },
  aliases: { quick: 'fast' },
  roles: Object.fromEntries(builtInRoles().map((role) => [role.name, role])),
});

/** A front pipeline over a ledger that remembers what it was asked, and answers as it is told. */
export class Front {
  readonly admitted: AdmitRequest[] = [];
  /** Ids of keys and users that were told of. */
  readonly sightings: string[] = [];
  readonly #pipeline: FrontPipeline;

  constructor(
    more: {
      snapshot?: Snapshot;
      key?: Partial<VirtualKey>;
      users?: readonly UserRecord[];
      /** Good tokens, by what is sent. */
      tokens?: Readonly<Record<string, VerifiedToken | Promise<VerifiedToken>>>;
      admission?: (request: AdmitRequest) => Partial<Admission>;
      capabilities?: EnvoyCapabilities;
    } = {},
  ) {
    this.#pipeline = new FrontPipeline({
      snapshot: () => more.snapshot ?? SNAPSHOT,
      directory: {
        key: (hash) =>
          hash === KEY_HASH ? { id: 'k', hash, user: 'ann', ...more.key } : undefined,
        user: (id) => more.users?.find((user) => user.id === id),
        issuerKeys: () => undefined,
        revocation: () => undefined,
        generation: 0,
      },
      tokens: {
        verify: (token) => {
          const verified = more.tokens?.[token];
          if (verified === undefined) throw new LimenError('invalid_token', 'This token is not valid here.');
          return verified;
        },
      },
      reports: {
        keyUsed: (id) => this.sightings.push(id),
        userSeen: ({ id }) => this.sightings.push(id),
      },
      ledger: {
        admit: (request) => {
          this.admitted.push(request);
          return Promise.resolve({ intentId: '1-1', open: new Map(), limits: [], holds: [], storeAway: false, ...more.admission?.(request) });
        },
        settle: () => undefined,
        recordAttempts: () => undefined,
        renew: () => undefined,
      },
      capabilities: more.capabilities ?? ALL_CAPABILITIES,
      priceOf: () => undefined,
      reasoningCarrierFor: () => undefined,
      now: () => 1_700_000_000_000,
      elapsed: () => performance.now(),
      random: Math.random,
    });
  }

  /** What is answered, or asked for, by the head alone. */
  async head(path: string, over: Partial<RequestHead> & { readonly headers?: Record<string, string> } = {}) {
    return this.#pipeline.onHead({
      method: 'GET',
      path,
      requestId: 'r',
      header: (name) => over.headers?.[name] ?? (name === 'authorization' ? 'Bearer tw-key' : undefined),
      endOfStream: true,
      ...over,
    });
  }

  async post(path: string, body: object | string, headers: Record<string, string> = {}) {
    const reading = await this.head(path, { method: 'POST', endOfStream: false, headers });
    if (reading.kind === 'forward head') throw new Error('decided by its head alone');
    if (reading.kind !== 'read') return reading;
    return reading.decide(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
  }

  /** The same for a request that goes on. */
  async forward(path: string, body: object | string, headers: Record<string, string> = {}) {
    const result = await this.post(path, body, headers);
    if (result.kind === 'answer') throw new Error(`answered with ${result.status}: ${result.body.toString()}`);
    return result;
  }

  /** The same for a request that is answered. */
  async answer(path: string, body: object | string, headers: Record<string, string> = {}) {
    const result = await this.post(path, body, headers);
    if (result.kind === 'forward') throw new Error('the request went on');
    return result;
  }
}

export function jsonOf(body: Buffer): unknown {
  const value: unknown = JSON.parse(body.toString('utf8'));
  return value;
}
