import { join } from 'node:path';
import type { CrossAppRoutesOptions } from '../admin/routes/cross-app.ts';
import type { SourcedResource } from '../config/origin.ts';
import type { DirectorySources } from '../control/directory-sources.ts';
import type { Directory } from '../core/access.ts';
import type { EventLog, LimenEvent } from '../core/events.ts';
import type { OnceBook } from '../core/sessions.ts';
import type { Snapshot, SnapshotIdentityProvider } from '../core/snapshot.ts';
import {
  ASSERTION_TYPES,
  CrossAppAccess,
  type CrossAppSettings,
  type ExchangeOutcome,
} from '../oauth/cross-app-access.ts';
import { SigningKeys } from '../oauth/signing-keys.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';
import type { Vault } from '../vault/vault.ts';

export interface CrossAppParts {
  /** The data folder. */
  readonly data: string;
  readonly vault: Vault;
  /** Everything in force at present, of all sources. */
  readonly resources: () => readonly SourcedResource[];
  readonly snapshot: () => Snapshot | undefined;
  readonly directory: Directory;
  readonly sources: Pick<DirectorySources, 'set'>;
  readonly keyMissing: (provider: string, kid: string) => void;
  readonly once: OnceBook;
  readonly events: EventLog;
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

export interface RunningCrossApp extends Pick<CrossAppRoutesOptions, 'access' | 'settings'> {
  /** To be called before a snapshot goes to the workers: its entries' keys are there first. Never rejects. */
  onSnapshot(snapshot: Snapshot): Promise<void>;
  close(): void;
}

const REFRESH_MS = 3_600_000;
const MINUTE_MS = 60_000;

/** The gateway's own authorization server for assertions of identity providers. */
export function createCrossApp(parts: CrossAppParts): RunningCrossApp {
  const { directory, sources, logger, now } = parts;
  let entries: readonly SnapshotIdentityProvider[] = [];
  const keys = new SigningKeys({
    path: join(parts.data, 'keys', 'cross-app-access.json'),
    vault: parts.vault,
    publish: (publicKeys) =>
      sources.set(
        'gateway keys',
        entries.map(({ name: provider, issuer }) => ({
          type: 'issuer-keys',
          issuerKeys: { provider, issuer, keys: publicKeys, fetchedAt: 0 },
        })),
      ),
    now,
  });
  const settings = (): CrossAppSettings | undefined => crossAppSettings(parts.resources());

  // One after another: a key must not be made twice.
  let work: Promise<void> = Promise.resolve();
  const refresh = (): Promise<void> => {
    work = work
      .then(() => keys.refresh())
      .catch((error: unknown) => {
        logger.error({ error }, 'the keys of Cross App Access cannot be read or brought into force');
      });
    return work;
  };
  const timer = setInterval(() => {
    if (entries.length > 0) void refresh();
  }, REFRESH_MS).unref();

  const access = new CrossAppAccess({
    settings,
    snapshot: parts.snapshot,
    directory,
    assertions: createTokenVerifier({
      directory,
      reports: { keyMissing: parts.keyMissing },
      types: ASSERTION_TYPES,
      now,
    }),
    keys,
    once: parts.once,
    onOutcome: (outcome) => {
      parts.events.record([eventOf(outcome, now())]).catch((error: unknown) => {
        logger.warn({ error, ...outcome }, 'an exchange could not be recorded as an event');
      });
    },
    now,
  });

  return {
    access,
    settings,
    onSnapshot: async ({ identityProviders }) => {
      const before = entries;
      entries = Object.values(identityProviders).filter(({ exchangedFor }) => exchangedFor !== undefined);
      if (entries.length > 0) await refresh();
      else if (before.length > 0) await sources.set('gateway keys', []);
    },
    close: () => clearInterval(timer),
  };
}

/** As the Gateway resource in force says; undefined where it is not enabled. */
export function crossAppSettings(resources: readonly SourcedResource[]): CrossAppSettings | undefined {
  const gateway = resources.map(({ resource }) => resource).find(({ kind }) => kind === 'Gateway');
  if (gateway?.kind !== 'Gateway') return undefined;
  const { publicUrl: issuer } = gateway.spec.access;
  const { enabled, resource, tokenSeconds, scopes, clients } = gateway.spec.crossAppAccess;
  if (!enabled || issuer === undefined) return undefined;
  return { issuer, resource: resource ?? issuer, tokenSeconds, scopes, clients };
}

function eventOf(outcome: ExchangeOutcome, time: number): LimenEvent {
  const { client = 'a client that nobody declared', user, identityProvider, refusal } = outcome;
  const detail = { ...outcome };
  if (refusal === undefined) {
    const message = `${client} exchanged an assertion of ${identityProvider ?? ''} for a token of ${user ?? ''}.`;
    return { time, kind: 'identity', severity: 'info', subject: client, message, detail };
  }
  return {
    time,
    kind: 'identity',
    severity: 'warning',
    subject: client,
    message: `An exchange of ${client} was refused: ${refusal}.`,
    detail,
    // However many a minute brings: how many there were is in the statistics.
    once: `cross-app/${client}/${refusal}/${Math.floor(time / MINUTE_MS)}`,
  };
}
