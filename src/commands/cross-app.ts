import type { CrossAppRoutesOptions } from '../admin/routes/cross-app.ts';
import type { SourcedResource } from '../config/origin.ts';
import type { DirectorySources } from '../control/directory-sources.ts';
import type { Directory } from '../core/access.ts';
import type { EventLog, LimenEvent } from '../core/events.ts';
import type { SigningKeyStore } from '../core/identity-store.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import type { OnceBook } from '../core/sessions.ts';
import type { Snapshot, SnapshotIdentityProvider } from '../core/snapshot.ts';
import { ASSERTION_TYPES } from '../oauth/assertion.ts';
import { CrossAppAccess, type ExchangeOutcome } from '../oauth/cross-app-access.ts';
import type { CrossAppSettings } from '../oauth/settings.ts';
import { SigningKeys } from '../oauth/signing-keys.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';
import type { Vault } from '../vault/vault.ts';

export interface CrossAppParts {
  /** The same for every control plane of the installation. */
  readonly signingKeys: SigningKeyStore;
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
/** While the keys cannot be had: until then nothing is exchanged, or with keys that may be old. */
const AGAIN_MS = 30_000;
const MINUTE_MS = 60_000;

/** The gateway's own authorization server for assertions of identity providers. */
export function createCrossApp(parts: CrossAppParts): RunningCrossApp {
  const { directory, sources, logger, now } = parts;
  let entries: readonly SnapshotIdentityProvider[] = [];
  const publish = (publicKeys: readonly JsonWebKey[]): Promise<void> =>
    sources.set(
      'gateway keys',
      entries.map(({ name: provider, issuer }) => ({
        type: 'issuer-keys',
        issuerKeys: { provider, issuer, keys: publicKeys, fetchedAt: 0 },
      })),
    );
  const keys = new SigningKeys({ store: parts.signingKeys, vault: parts.vault, publish, now });
  const settings = (): CrossAppSettings | undefined => crossAppSettings(parts.resources());

  /** False where it failed. */
  const tried = async (step: () => Promise<void>): Promise<boolean> => {
    try {
      await step();
      return true;
    } catch (error) {
      logger.error({ error }, 'the keys of Cross App Access cannot be read or brought into force');
      return false;
    }
  };
  let timer: NodeJS.Timeout | undefined;
  const refresh = async (): Promise<void> => {
    const isDone = entries.length === 0 || (await tried(() => keys.refresh()));
    clearTimeout(timer);
    timer = setTimeout(() => void inTurn(refresh), isDone ? REFRESH_MS : AGAIN_MS).unref();
  };
  // A key is read and published once, and what was read last is published last.
  let work: Promise<void> = Promise.resolve();
  const inTurn = (step: () => Promise<void>): Promise<void> => {
    work = afterwards(work, step);
    return work;
  };

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
      // Keys that nobody renewed here for a while are not at hand: others may have new ones.
      const atHand = before.length > 0 ? keys.publicKeys : [];
      if (entries.length > 0 && atHand.length === 0) await inTurn(refresh);
      // Never behind a database that does not answer. A key that is being read meanwhile signs no sooner than tomorrow.
      else if (entries.length + before.length > 0) await tried(() => publish(atHand));
    },
    close: () => clearTimeout(timer),
  };
}

async function afterwards(previous: Promise<void>, step: () => Promise<void>): Promise<void> {
  await previous;
  await step();
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
