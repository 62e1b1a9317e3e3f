import { openStoredResources } from '../admin/stored-resources.ts';
import type { OtherSources } from '../admin/resource-service.ts';
import type { Environment } from '../config/env.ts';
import { formatIssue, type ConfigIssue } from '../config/load/issue.ts';
import type { LoadResult } from '../config/load/load.ts';
import { mergeSources } from '../config/merge.ts';
import type { SourcedResource } from '../config/origin.ts';
import { resolveSecrets, type ResolvedSecrets } from '../config/secrets.ts';
import type { ResourceStore, VirtualKeyStore } from '../core/configuration-store.ts';
import type { Snapshot, VirtualKey } from '../core/snapshot.ts';
import { buildSnapshot, type BuiltSnapshot } from '../snapshot/build.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Vault } from '../vault/vault.ts';
import type { ListenerCertificate } from '../xds/build/index.ts';
import { KeyDirectory, type KeyChange } from './key-directory.ts';
import { readListenerCertificate } from './listener-certificate.ts';
import type { Configuration } from './publisher.ts';

export interface ConfigurationCenterOptions {
  readonly resources: ResourceStore;
  readonly keys: VirtualKeyStore;
  readonly vault: Vault;
  readonly environment: Environment;
  /** Resources that the environment implies, and the demo. */
  readonly implied: Pick<OtherSources, 'environment' | 'builtIn'>;
  readonly publish: (configuration: Configuration) => Promise<void>;
  /** Resolves when the workers have it in force, or took too long. */
  readonly publishKeys: (change: KeyChange) => Promise<void>;
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** How often secret files and certificates are looked at, and the keys that have expired let go. */
const SECRETS_POLL_MS = 2000;

/**
 * Where all sources meet: the file, the database, the environment. Each change of one of them is merged with the
 * rest; what is right is published, what is wrong is kept as issues beside the last good configuration.
 */
export class ConfigurationCenter {
  readonly #options: ConfigurationCenterOptions;
  readonly #directory = new KeyDirectory();
  #file: Pick<LoadResult, 'resources' | 'issues' | 'invalid'> = {
    resources: [],
    issues: [],
    invalid: new Set(),
  };
  #goodFile: Pick<LoadResult, 'resources' | 'invalid'> = { resources: [], invalid: new Set() };
  #database: readonly SourcedResource[] = [];
  #databaseWarnings: readonly ConfigIssue[] = [];
  #merged: readonly SourcedResource[] = [];
  #mergeIssues: readonly ConfigIssue[] = [];
  #mergeWarnings: readonly ConfigIssue[] = [];
  #built: BuiltSnapshot | undefined;
  #resolved: ResolvedSecrets = { providers: {}, keys: [], warnings: [] };
  #certificate: ListenerCertificate | undefined;
  #certificateWarning: ConfigIssue | undefined;
  #fingerprint = '';
  #work: Promise<void> = Promise.resolve();
  /** Keys have a line of their own: a revocation never waits for an Envoy that is slow to take a configuration. */
  #keyWork: Promise<void> = Promise.resolve();
  #onKeysComplete: (() => void) | undefined;
  #poll: NodeJS.Timeout | undefined;

  constructor(options: ConfigurationCenterOptions) {
    this.#options = options;
  }

  /** Everything in force, of all sources. */
  get inForce(): readonly SourcedResource[] {
    return this.#merged;
  }

  get snapshot(): Snapshot | undefined {
    return this.#built?.snapshot;
  }

  /** Sources beside the database, as an apply is checked against them. */
  get otherSources(): OtherSources {
    return { file: this.#goodFile.resources, invalid: this.#goodFile.invalid, ...this.#options.implied };
  }

  /** What keeps the latest configuration from being in force. */
  get issues(): readonly ConfigIssue[] {
    return this.#file.issues.length > 0 ? this.#file.issues : this.#mergeIssues;
  }

  get warnings(): readonly ConfigIssue[] {
    const secrets = this.#resolved.warnings.map(({ resource, message }): ConfigIssue => ({
      resource,
      path: '',
      message,
    }));
    const certificate = this.#certificateWarning === undefined ? [] : [this.#certificateWarning];
    return [...this.#mergeWarnings, ...this.#databaseWarnings, ...secrets, ...certificate];
  }

  /** Whether the credential of a provider could be read. */
  hasSecret(provider: string): boolean {
    return Object.hasOwn(this.#resolved.providers, provider);
  }

  /**
   * Reads everything for the first time and publishes it. What is wrong then is not published without the rest:
   * workers and Envoy keep what they had of an earlier control plane until all of it is right.
   *
   * @param onKeysComplete called once, when every key has been published
   */
  async start(file: LoadResult | undefined, onKeysComplete: () => void): Promise<void> {
    this.#onKeysComplete = onKeysComplete;
    if (file !== undefined) this.#takeFile(file);
    await this.#readDatabase();
    await this.#readKeys();
    await this.#rebuild();
    this.#poll = setInterval(() => void this.#enqueue(() => this.#refresh()), SECRETS_POLL_MS);
    this.#poll.unref();
  }

  /** The file has changed. */
  onFile(result: LoadResult): Promise<void> {
    return this.#enqueue(async () => {
      this.#takeFile(result);
      await this.#rebuild();
    });
  }

  /** Resources of the database have changed. */
  onResources(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#readDatabase();
      await this.#rebuild();
    });
  }

  /** Keys of the database have changed. */
  onKeys(): Promise<void> {
    this.#keyWork = this.#after(this.#keyWork, () => this.#readKeys());
    return this.#keyWork;
  }

  async close(): Promise<void> {
    clearInterval(this.#poll);
    await Promise.all([this.#work, this.#keyWork]);
  }

  #enqueue(step: () => Promise<void>): Promise<void> {
    this.#work = this.#after(this.#work, step);
    return this.#work;
  }

  #after(previous: Promise<void>, step: () => Promise<void>): Promise<void> {
    return previous.then(step).catch((error: unknown) => {
      this.#options.logger.error({ error }, 'a change of configuration could not be brought into force');
    });
  }

  #takeFile(result: LoadResult): void {
    this.#file = result;
    if (result.issues.length === 0) this.#goodFile = result;
    else {
      const issues = result.issues.map((issue) => formatIssue(issue));
      this.#options.logger.warn({ issues }, 'the configuration has errors; the last good one stays');
    }
  }

  async #readDatabase(): Promise<void> {
    const { resources, warnings } = openStoredResources(
      await this.#options.resources.list(),
      this.#options.vault,
    );
    this.#database = resources;
    this.#databaseWarnings = warnings;
  }

  async #readKeys(): Promise<void> {
    const stored = await this.#options.keys.listActive(this.#options.now());
    await this.#publishKeys(this.#directory.setStored(stored));
  }

  async #publishKeys(change: KeyChange): Promise<void> {
    if (change.upsert.length > 0 || change.remove.length > 0) await this.#options.publishKeys(change);
  }

  async #rebuild(): Promise<void> {
    // There is no last good file yet: without its part, models and keys that are in use would go.
    if (this.#built === undefined && this.#file.issues.length > 0) return;
    const merged = mergeSources({ ...this.otherSources, database: this.#database });
    this.#mergeIssues = merged.issues;
    this.#mergeWarnings = merged.warnings;
    if (merged.issues.length > 0) return;
    this.#merged = merged.resources;
    this.#built = buildSnapshot(merged.resources.map(({ resource }) => resource));
    await this.#refresh();
  }

  /** Reads secrets and certificates afresh, and publishes if anything differs from what is in force. */
  async #refresh(): Promise<void> {
    const built = this.#built;
    if (built === undefined) return;
    const { environment, publish } = this.#options;
    this.#resolved = await resolveSecrets(built, environment);
    await this.#publishKeys(this.#directory.setDeclared(this.#inForceKeys(this.#resolved.keys)));
    this.#onKeysComplete?.();
    this.#onKeysComplete = undefined;
    await this.#readCertificate(built.snapshot);
    const listenerCertificate = this.#certificate;
    const fingerprint = JSON.stringify([
      built.snapshot.version,
      this.#resolved.providers,
      listenerCertificate,
    ]);
    if (fingerprint === this.#fingerprint) return;
    await publish({ snapshot: built.snapshot, secrets: this.#resolved.providers, listenerCertificate });
    this.#fingerprint = fingerprint;
  }

  #inForceKeys(keys: readonly VirtualKey[]): readonly VirtualKey[] {
    const now = this.#options.now();
    return keys.filter((key) => key.expiresAt === undefined || key.expiresAt > now);
  }

  /** Files that cannot be used leave the last good certificate in force, and are told of once. */
  async #readCertificate({ gateway: { tls } }: Snapshot): Promise<void> {
    const found = tls === undefined ? undefined : await readListenerCertificate(tls);
    const earlier = this.#certificateWarning?.message;
    if (found === undefined || 'certificate' in found) {
      this.#certificate = found?.certificate;
      this.#certificateWarning = undefined;
      return;
    }
    const state = this.#certificate === undefined ? 'TLS has none' : 'the last good one stays';
    const message = `The certificate is not in force, ${state}: ${found.problem}`;
    this.#certificateWarning = { resource: 'Gateway/default', path: 'spec.tls', message };
    if (message !== earlier)
      this.#options.logger.error(
        { problem: found.problem },
        'the certificate of the listener is not in force',
      );
  }
}
