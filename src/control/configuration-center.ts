import { openStoredResources } from '../admin/stored-resources.ts';
import type { OtherSources } from '../admin/resource-service.ts';
import { formatIssue, type ConfigIssue } from '../config/load/issue.ts';
import type { LoadResult } from '../config/load/load.ts';
import { mergeSources, type MergedConfig } from '../config/merge/merge.ts';
import type { SourcedResource } from '../config/origin.ts';
import type { PromotionSecrets } from '../config/secrets.ts';
import type { KnownTeamStore, ResourceStore } from '../core/configuration-store.ts';
import type { KnownTeam, Snapshot, VirtualKey } from '../core/snapshot.ts';
import { buildSnapshot, type BuiltSnapshot } from '../snapshot/build.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Vault } from '../vault/vault.ts';
import type { ListenerCertificate } from '../xds/build/index.ts';
import { AddressBook, type AddressPolicy } from './addresses.ts';
import { Credentials, type CredentialsOptions, type CredentialStatus } from './credentials.ts';
import type { DirectorySources } from './directory-sources.ts';
import type { IssuerKeysKeeper } from './issuer-keys.ts';
import type { LastGoodFile } from './last-good-file.ts';
import { readListenerCertificate } from './listener-certificate.ts';
import type { Configuration } from './publisher.ts';

export interface ConfigurationCenterOptions extends Omit<CredentialsOptions, 'onChange'> {
  readonly resources: ResourceStore;
  readonly teams: KnownTeamStore;
  readonly vault: Vault;
  /** Which addresses Backends may have. */
  readonly addressPolicy: AddressPolicy;
  /** Resources that the environment implies, and the demo. */
  readonly implied: Pick<OtherSources, 'environment' | 'builtIn'>;
  /** Folders in whose files secrets of the database may lie. */
  readonly secretFolders: readonly string[];
  readonly lastGoodFile: LastGoodFile;
  readonly publish: (configuration: Configuration) => Promise<void>;
  /** Where declared keys go. */
  readonly directory: Pick<DirectorySources, 'set'>;
  /** Where the issuers go whose keys are needed. */
  readonly issuers: Pick<IssuerKeysKeeper, 'setIssuers'>;
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** How often secret files and certificates are looked at, and the keys that have expired let go. */
const SECRETS_POLL_MS = 2000;

/** Of every Backend, by name. */
function urlsOf(resources: readonly SourcedResource[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    resources.flatMap(({ resource }) =>
      resource.kind === 'Backend' ? [[resource.metadata.name, resource.spec.url]] : [],
    ),
  );
}

/** Of these, what is kept in mind of teams. */
function teamsOf(resources: readonly SourcedResource[]): readonly KnownTeam[] {
  return resources.flatMap(({ resource: { kind, metadata, spec } }) =>
    kind === 'Team'
      ? [
          {
            name: metadata.name,
            tenant: spec.tenant,
            members: spec.members,
            groups: spec.groups,
            models: spec.models,
            defaultRoles: spec.roles.length > 0 ? spec.roles : undefined,
          },
        ]
      : [],
  );
}

type FileContent = Pick<LoadResult, 'resources' | 'invalid'>;

/** Where no file is configured. */
const NO_FILE: FileContent = { resources: [], invalid: new Set() };

/**
 * Where all sources meet: the file, the database, the environment. Each change of one of them is merged with the
 * rest; what is right is published, what is wrong is kept as issues beside the last good configuration.
 */
export class ConfigurationCenter {
  readonly #options: ConfigurationCenterOptions;
  readonly #credentials: Credentials;
  readonly #addresses: AddressBook;
  #fileIssues: readonly ConfigIssue[] = [];
  /** The file as it was last without errors of its own; undefined while it never was. */
  #goodFile: FileContent | undefined;
  /** What it said when it was right, as an earlier control plane has kept it; read where it is wrong at the start. */
  #keptFile: FileContent | undefined;
  #database: readonly SourcedResource[] = [];
  #databaseWarnings: readonly ConfigIssue[] = [];
  #merged: readonly SourcedResource[] = [];
  #mergeIssues: readonly ConfigIssue[] = [];
  #mergeWarnings: readonly ConfigIssue[] = [];
  /** Undefined until they were read. */
  #knownTeams: readonly KnownTeam[] | undefined;
  #built: BuiltSnapshot | undefined;
  #certificate: ListenerCertificate | undefined;
  #certificateWarning: ConfigIssue | undefined;
  #fingerprint = '';
  #work: Promise<void> = Promise.resolve();
  #onKeysComplete: (() => void) | undefined;
  #poll: NodeJS.Timeout | undefined;

  constructor(options: ConfigurationCenterOptions) {
    this.#options = options;
    this.#credentials = new Credentials({
      ...options,
      onChange: () => void this.#enqueue(() => this.#refresh()),
    });
    this.#addresses = new AddressBook({
      ...options.addressPolicy,
      onChange: () => void this.#enqueue(() => this.#refresh()),
    });
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
    return this.#sourcesWith(this.#goodFile ?? this.#keptFile ?? NO_FILE);
  }

  /** What keeps the latest configuration from being in force. */
  get issues(): readonly ConfigIssue[] {
    return this.#fileIssues.length > 0 ? this.#fileIssues : this.#mergeIssues;
  }

  get warnings(): readonly ConfigIssue[] {
    const certificate = this.#certificateWarning === undefined ? [] : [this.#certificateWarning];
    return [
      ...this.#mergeWarnings,
      ...this.#databaseWarnings,
      ...this.#credentials.warnings,
      ...this.#addressWarnings(),
      ...this.#formerTeamWarnings(),
      ...certificate,
    ];
  }

  #formerTeamWarnings(): readonly ConfigIssue[] {
    return Object.keys(this.#built?.snapshot.formerTeams ?? {}).map((name) => ({
      resource: `Team/${name}`,
      path: '',
      message: 'is no longer declared, and still bounds who was in it',
      allowed: `declare it again, or give its bounds up (limen teams delete ${name} --force)`,
    }));
  }

  #addressWarnings(): readonly ConfigIssue[] {
    return [...this.#addresses.problems].map(([name, message]) => ({
      resource: `Backend/${name}`,
      path: 'spec.url',
      message,
    }));
  }

  /** How the credential of a provider stands that has one. */
  credentialOf(provider: string): CredentialStatus {
    return this.#credentials.statusOf(provider);
  }

  /** What the promotion of clients at an identity provider needs; undefined where it is not to be had. */
  promotionSecretsOf(provider: string): PromotionSecrets | undefined {
    const { promotions } = this.#credentials;
    return Object.hasOwn(promotions, provider) ? promotions[provider] : undefined;
  }

  /**
   * Reads everything for the first time and publishes it. Where the file is wrong then, what it said before takes its
   * place; where nobody knows that, nothing is published: workers and Envoy keep what they had of an earlier control
   * plane until all of it is right.
   *
   * @param onKeysComplete called once, when every declared key has been published
   */
  async start(file: LoadResult | undefined, onKeysComplete: () => void): Promise<void> {
    this.#onKeysComplete = onKeysComplete;
    if (file === undefined) this.#goodFile = NO_FILE;
    else this.#takeFile(file);
    if (file !== undefined) await this.#readKeptFile();
    await this.#readDatabase();
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

  async close(): Promise<void> {
    clearInterval(this.#poll);
    this.#credentials.close();
    this.#addresses.close();
    await this.#work;
  }

  #enqueue(step: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(step).catch((error: unknown) => {
      this.#options.logger.error({ error }, 'a change of configuration could not be brought into force');
    });
    return this.#work;
  }

  #takeFile(result: LoadResult): void {
    this.#fileIssues = result.issues;
    if (result.issues.length === 0) this.#goodFile = result;
    else {
      const issues = result.issues.map((issue) => formatIssue(issue));
      this.#options.logger.warn({ issues }, 'the configuration has errors; the last good one stays');
    }
  }

  async #readKeptFile(): Promise<void> {
    const resources = await this.#options.lastGoodFile.read();
    if (resources !== undefined) this.#keptFile = { resources, invalid: new Set() };
  }

  #sourcesWith(file: FileContent): OtherSources {
    const { implied, secretFolders } = this.#options;
    return { file: file.resources, invalid: file.invalid, secretFolders, ...implied };
  }

  async #readDatabase(): Promise<void> {
    const { resources, warnings } = openStoredResources(
      await this.#options.resources.list(),
      this.#options.vault,
    );
    this.#database = resources;
    this.#databaseWarnings = warnings;
  }

  async #rebuild(): Promise<void> {
    const file = this.#goodFile ?? this.#keptFile;
    // There is no last good file: without its part, models and keys that are in use would go.
    if (file === undefined) return;
    const merged = this.#mergedWith(file);
    this.#mergeIssues = merged.issues;
    this.#mergeWarnings = merged.warnings;
    const isRight = merged.issues.length === 0;
    if (isRight) await this.#bringIntoForce(merged.resources, this.#goodFile);
    else if (this.#built === undefined && this.#keptFile !== undefined) {
      const kept = this.#mergedWith(this.#keptFile);
      if (kept.issues.length === 0) await this.#bringIntoForce(kept.resources, undefined);
    }
  }

  #mergedWith(file: FileContent): MergedConfig {
    return mergeSources({ ...this.#sourcesWith(file), database: this.#database });
  }

  /** @param file what is to be kept as the last good one; undefined: nothing new */
  async #bringIntoForce(resources: readonly SourcedResource[], file: FileContent | undefined): Promise<void> {
    await this.#rememberTeams(teamsOf(resources));
    this.#merged = resources;
    this.#built = buildSnapshot(
      resources.map(({ resource }) => resource),
      this.#knownTeams,
    );
    if (file !== undefined && file !== NO_FILE) await this.#keep(file);
    await this.#refresh();
  }

  /** Before they come into force: one that vanishes must be missed, also by a control plane that starts later. */
  async #rememberTeams(declared: readonly KnownTeam[]): Promise<void> {
    const { teams, logger } = this.#options;
    const known = await this.#readKnownTeams();
    this.#knownTeams = [...new Map([...known, ...declared].map((team) => [team.name, team])).values()];
    const texts = new Map(known.map((team) => [team.name, JSON.stringify(team)]));
    try {
      await teams.remember(declared.filter((team) => texts.get(team.name) !== JSON.stringify(team)));
    } catch (error) {
      logger.warn({ error }, 'the teams in force cannot be kept at the moment');
    }
  }

  /** @throws what the store throws where they were never read: without what they bound nothing comes into force */
  async #readKnownTeams(): Promise<readonly KnownTeam[]> {
    try {
      return await this.#options.teams.list();
    } catch (error) {
      if (this.#knownTeams === undefined) throw error;
      this.#options.logger.warn({ error }, 'the teams that were in force cannot be read at the moment');
      return this.#knownTeams;
    }
  }

  async #keep({ resources }: FileContent): Promise<void> {
    try {
      await this.#options.lastGoodFile.write(resources);
    } catch (error) {
      this.#options.logger.warn({ error }, 'the good configuration cannot be kept for the next start');
    }
  }

  /** Reads secrets and certificates afresh, and publishes if anything differs from what is in force. */
  async #refresh(): Promise<void> {
    const built = this.#built;
    if (built === undefined) return;
    await this.#credentials.read(built);
    const declared = this.#inForceKeys(this.#credentials.keys);
    await this.#options.directory.set(
      'declared keys',
      declared.map((key) => ({ type: 'key', key })),
    );
    await this.#options.issuers.setIssuers(built.issuers, this.#credentials.sharedSecrets);
    this.#onKeysComplete?.();
    this.#onKeysComplete = undefined;
    await this.#readCertificate(built.snapshot);
    await this.#addresses.setServices(urlsOf(this.#merged));
    const backendAddresses = this.#addresses.addresses;
    const listenerCertificate = this.#certificate;
    const { secrets } = this.#credentials;
    const fingerprint = JSON.stringify([
      built.snapshot.version,
      secrets,
      listenerCertificate,
      backendAddresses,
    ]);
    if (fingerprint === this.#fingerprint) return;
    await this.#options.publish({ snapshot: built.snapshot, secrets, listenerCertificate, backendAddresses });
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
