import { z } from 'zod';
import type { ConfigIssue } from '../../config/load/issue.ts';
import type { CircuitStatus } from '../../core/ledger.ts';
import { issueSchema } from './common.ts';

/** Unix time in milliseconds. */
const time = z.number().describe('Unix time in milliseconds');

const storeStatusSchema = z.object({
  name: z.string(),
  healthy: z.boolean(),
  version: z.string().optional(),
  problem: z.string().optional().describe('What is wrong, without addresses or credentials'),
});
/** Whether a store answers. */
export type StoreStatus = Readonly<z.infer<typeof storeStatusSchema>>;

const envoyStatusSchema = z.object({
  node: z.string(),
  protocol: z.string(),
  connectedAt: time,
  kinds: z.record(
    z.string(),
    z.object({
      state: z.string(),
      acknowledgedVersion: z.string(),
      publishedVersion: z.string(),
      lastNack: z.object({ message: z.string(), at: z.number(), version: z.string() }).optional(),
    }),
  ),
});
/** An Envoy that is connected by ADS. */
export type EnvoyStatus = Readonly<z.infer<typeof envoyStatusSchema>>;

const workerStatusSchema = z.object({
  worker: z.string(),
  connectedAt: time,
  snapshot: z.string().describe('Version that it said it has in force; empty before the first'),
});
/** A processor worker that is connected to the snapshot stream. */
export type WorkerStatus = Readonly<z.infer<typeof workerStatusSchema>>;

const providerStatusSchema = z.object({
  name: z.string(),
  type: z.string(),
  source: z.enum(['file', 'database', 'environment', 'built-in']),
  credential: z.enum(['ready', 'missing', 'none']).describe('none: it is configured without one'),
  expiresAt: time
    .optional()
    .describe(
      'When its access token expires, in Unix milliseconds; absent where its credential is none that expires',
    ),
  problem: z.string().optional().describe('Why the latest try to renew that token failed; ends a sentence'),
});
/** A provider as operators want to see it. */
export type ProviderStatus = Readonly<z.infer<typeof providerStatusSchema>>;

const identityProviderStatusSchema = z.object({
  name: z.string(),
  issuer: z.string(),
  source: z.enum(['file', 'database', 'environment', 'built-in']),
  enabled: z.boolean(),
  keySource: z
    .enum(['discovery', 'jwksUri', 'inline', 'sharedSecret'])
    .optional()
    .describe('Where its keys come from; absent where it is not in force'),
  reachable: z
    .boolean()
    .optional()
    .describe(
      'Whether its keys could be fetched last; absent before the first try, and where nothing is fetched',
    ),
  problem: z.string().optional().describe('Why not; ends a sentence'),
  keys: z
    .array(z.object({ kty: z.string(), kid: z.string().optional(), alg: z.string().optional() }))
    .describe('With which its tokens are verified at the moment'),
  fetchedAt: time.optional(),
  clientPromotion: z
    .object({
      ready: z.boolean().describe('false: a secret for it is missing, and its log is refused'),
      deliveredAt: time.optional().describe('When its log was delivered last'),
      waiting: z.number().int().describe('Clients that are still to be promoted'),
      promoted: z.number().int(),
      refused: z.number().int(),
      failed: z.number().int().describe('Given up after an hour'),
      problem: z.string().optional().describe('Why the latest try went wrong; ends a sentence'),
    })
    .optional()
    .describe('Of clients that registered themselves there, counted since the control plane started'),
});
/** An issuer of tokens as operators want to see it. */
export type IdentityProviderStatus = Readonly<z.infer<typeof identityProviderStatusSchema>>;

const snapshotStatusSchema = z.object({
  version: z.string(),
  models: z.number().int(),
  providers: z.number().int(),
});

const circuitSchema = z.object({
  state: z.enum(['closed', 'open', 'probing']),
  failures: z.number().int(),
  retryInSeconds: z.number(),
});

/** GET /api/v1/status */
export const statusReportSchema = z
  .object({
    version: z.string(),
    node: z.string(),
    startedAt: z.string(),
    snapshot: snapshotStatusSchema.optional(),
    configuration: z.object({
      path: z.string().optional(),
      issues: z.array(issueSchema),
      warnings: z.array(issueSchema),
    }),
    providers: z.array(
      providerStatusSchema.extend({
        circuit: circuitSchema.optional().describe('Absent while Redis is away'),
      }),
    ),
    identityProviders: z.array(identityProviderStatusSchema),
    envoys: z.array(envoyStatusSchema),
    workers: z.array(workerStatusSchema),
    stores: z.array(storeStatusSchema),
  })
  .meta({ id: 'Status' });

/** What the control plane tells about itself; all but `stores` and `circuits` without waiting for anybody. */
export interface StatusSource {
  /** Version of Limen. */
  readonly version: string;
  /** Unix time in milliseconds. */
  readonly startedAt: number;
  /** The snapshot in force; nothing before the first. */
  snapshot(): Readonly<z.infer<typeof snapshotStatusSchema>> | undefined;
  configuration(): {
    /** File or folder, where there is one. */
    readonly path?: string | undefined;
    /** What is wrong with it; while there is anything, the last good configuration stays in force. */
    readonly issues: readonly ConfigIssue[];
    readonly warnings: readonly ConfigIssue[];
  };
  providers(): readonly ProviderStatus[];
  identityProviders(): readonly IdentityProviderStatus[];
  envoys(): readonly EnvoyStatus[];
  workers(): readonly WorkerStatus[];
  stores(): Promise<readonly StoreStatus[]>;
  /** Of providers that are not closed and clean; rejects where nobody knows. */
  circuits(): Promise<readonly CircuitStatus[]>;
}
