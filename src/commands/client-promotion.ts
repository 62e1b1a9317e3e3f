import type { IdentityLogRoutesOptions } from '../admin/routes/identity-logs.ts';
import type { SourcedResource } from '../config/origin.ts';
import type { IdentityProviderResource } from '../config/resources/index.ts';
import type { PromotionSecrets } from '../config/secrets.ts';
import {
  ClientPromoter,
  type PromotionOutcome,
  type PromotionSettings,
  type PromotionStatus,
} from '../control/client-promotion/promoter.ts';
import type { GuardedFetch } from '../control/guarded-fetch.ts';
import type { EventLog, LimenEvent } from '../core/events.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { scopesOf } from '../pipeline/protected-resource.ts';
import type { ControlMetrics } from '../telemetry/control-metrics.ts';
import type { Logger } from '../telemetry/logger.ts';
import { onceAMinute } from '../telemetry/once-a-minute.ts';

export interface ClientPromotionParts {
  /** Everything in force at present, of all sources. */
  readonly resources: () => readonly SourcedResource[];
  /** Undefined where one of them is not to be had. */
  readonly secretsOf: (provider: string) => PromotionSecrets | undefined;
  readonly snapshot: () => Snapshot | undefined;
  readonly fetch: GuardedFetch;
  readonly events: EventLog;
  readonly metrics: Pick<ControlMetrics, 'clientPromotion'>;
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

export interface RunningClientPromotion {
  readonly logs: IdentityLogRoutesOptions['logs'];
  /** Of an IdentityProvider whose clients are promoted; undefined for others. */
  statusOf(provider: string): (PromotionStatus & { readonly ready: boolean }) | undefined;
  /** What can be done at once is done before. */
  close(): Promise<void>;
}

const MINUTE_MS = 60_000;

/** Clients that register themselves at an identity provider, made ready for use as its log tells of them. */
export function createClientPromotion(parts: ClientPromotionParts): RunningClientPromotion {
  const { resources, secretsOf, snapshot, fetch, events, metrics, logger, now } = parts;
  const specOf = (provider: string) =>
    resources()
      .map(({ resource }) => resource)
      .filter((resource) => resource.kind === 'IdentityProvider')
      .find(({ metadata, spec }) => metadata.name === provider && spec.enabled)?.spec;
  const settings = (provider: string): PromotionSettings | undefined => {
    const spec = specOf(provider);
    const secrets = secretsOf(provider);
    if (spec === undefined || secrets === undefined) return undefined;
    return settingsOf(spec, secrets, snapshot());
  };
  const isToBeLogged = onceAMinute();
  const promoter = new ClientPromoter({
    settings,
    fetch,
    now,
    onOutcome: (outcome) => {
      metrics.clientPromotion(outcome.provider, outcome.outcome);
      if (outcome.outcome === 'retried' && isToBeLogged())
        logger.warn(outcome, 'a client could not be promoted; it is tried again');
      const event = eventOf(outcome, now());
      if (event === undefined) return;
      events.record([event]).catch((error: unknown) => {
        logger.warn({ error, ...outcome }, 'the promotion of a client could not be recorded as an event');
      });
    },
    onError: (error) => logger.error({ error }, 'the promotion of a client failed'),
  });
  return {
    logs: promoter,
    statusOf: (provider) =>
      specOf(provider)?.clientPromotion === undefined
        ? undefined
        : { ready: settings(provider) !== undefined, ...promoter.statusOf(provider) },
    close: () => promoter.close(),
  };
}

function settingsOf(
  { issuer, audiences, clientPromotion }: IdentityProviderResource['spec'],
  secrets: PromotionSecrets,
  snapshot: Snapshot | undefined,
): PromotionSettings | undefined {
  const audience = clientPromotion?.audience ?? audiences[0];
  if (clientPromotion === undefined || audience === undefined || snapshot === undefined) return undefined;
  const { tenantUrl, clientId, callbacks, appType, connections, scopes } = clientPromotion;
  return {
    ...secrets,
    tenantUrl: new URL(tenantUrl ?? issuer).origin,
    clientId,
    callbacks,
    appType,
    connections,
    audience,
    scopes: scopes ?? scopesOf(snapshot),
  };
}

/** Undefined for what is nothing to know of. */
function eventOf(outcome: PromotionOutcome, time: number): LimenEvent | undefined {
  const { provider, client = 'a client without a name of its own', ...others } = outcome;
  const common = { time, kind: 'identity', subject: provider, detail: { client, ...others } } as const;
  // Anybody may register there: however many a minute brings, how many there were is in the metrics.
  const once = (what: string) => `client-promotion/${provider}/${what}/${Math.floor(time / MINUTE_MS)}`;
  switch (outcome.outcome) {
    case 'promoted':
      return {
        ...common,
        severity: 'info',
        message: `${client} registered itself at ${provider} and was promoted: ${outcome.changes.join(', ')}.`,
      };
    case 'refused':
      return {
        ...common,
        severity: 'warning',
        message: `${client} registered itself at ${provider} and was left as it is: ${outcome.reason}.`,
        once: once(outcome.reason),
      };
    case 'failed':
      return {
        ...common,
        severity: 'warning',
        message: `${client} registered itself at ${provider} and could not be promoted: ${outcome.problem}`,
        once: once('failed'),
      };
    case 'retried':
    case 'unchanged':
      return undefined;
  }
}
