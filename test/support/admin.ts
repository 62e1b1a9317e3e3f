import { createHash, randomBytes } from 'node:crypto';
import type { AdminEvent } from '../../src/admin/admin-event.ts';
import { createKeyService } from '../../src/admin/key-service.ts';
import { createResourceService, type OtherSources } from '../../src/admin/resource-service.ts';
import { adminAuthentication } from '../../src/commands/admin.ts';
import { createCrossApp } from '../../src/commands/cross-app.ts';
import { createRevocationService } from '../../src/admin/revocation-service.ts';
import { createRights } from '../../src/admin/rights.ts';
import type { LimitAdmin } from '../../src/admin/routes/limits.ts';
import { createAdminServer } from '../../src/admin/server.ts';
import { createUserService } from '../../src/admin/user-service.ts';
import { openStoredResources } from '../../src/admin/stored-resources.ts';
import type { StatusSource } from '../../src/admin/contract.ts';
import { demoResources } from '../../src/config/environment/implied-resources.ts';
import { formatIssue } from '../../src/config/load/issue.ts';
import { parseResources } from '../../src/config/load/load.ts';
import { mergeSources } from '../../src/config/merge/merge.ts';
import type { SourcedResource } from '../../src/config/origin.ts';
import type { Directory, IssuerKeys, Revocation, UserRecord, VirtualKey } from '../../src/core/access.ts';
import type { RequestLog } from '../../src/core/ledger.ts';
import { isMember } from '../../src/core/roles.ts';
import type { OnceBook, SessionBook } from '../../src/core/sessions.ts';
import type { Snapshot } from '../../src/core/snapshot.ts';
import { buildSnapshot } from '../../src/snapshot/build.ts';
import { openPostgres, type PostgresConnection } from '../../src/store/postgres/database.ts';
import { createEventStore } from '../../src/store/postgres/repositories/events.ts';
import { createKnownTeamStore } from '../../src/store/postgres/repositories/known-teams.ts';
import { createResourceStore } from '../../src/store/postgres/repositories/resources.ts';
import { createRevocationStore } from '../../src/store/postgres/repositories/revocations.ts';
import { createSigningKeyStore } from '../../src/store/postgres/repositories/signing-keys.ts';
import { createUserStore } from '../../src/store/postgres/repositories/users.ts';
import { createVirtualKeyStore } from '../../src/store/postgres/repositories/virtual-keys.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createVault } from '../../src/vault/vault.ts';

/** The admin API on a real Postgres, with a file of the test's own and a control plane that only takes notes. */
export interface TestAdmin {
  readonly url: string;
  readonly token: string;
  readonly connection: PostgresConnection;
  readonly events: AdminEvent[];
  /** Everything that the server logged. */
  readonly log: string[];
  /** What stands in `limen.yaml`; checked, and in force at once. */
  setFile(text: string): void;
  status: StatusSource;
  /** Milliseconds by which the clock of credentials and sessions is ahead. */
  clockOffset: number;
  /** What callers other than the admin token are known by: the configuration's roles, teams and issuers. */
  configure(text: string): Promise<void>;
  readonly directory: TestDirectory;
  /** What workers would have. */
  snapshot(): Snapshot | undefined;
  /** A request with the token, or with another credential; the parsed answer. */
  call(
    method: string,
    path: string,
    body?: unknown,
    credential?: string,
  ): Promise<{ status: number; body: unknown; headers: Headers }>;
  close(): Promise<void>;
}

/** Keys, users and the rest as the control plane knows them; a test puts them in. */
export class TestDirectory implements Directory {
  readonly keys = new Map<string, VirtualKey>();
  readonly users = new Map<string, UserRecord>();
  readonly issuers = new Map<string, IssuerKeys>();
  readonly revocations: Revocation[] = [];
  generation = 0;

  /** A key that is good at once. */
  addKey(key: Omit<VirtualKey, 'id' | 'hash'>): string {
    const text = `tw-${randomBytes(32).toString('base64url')}`;
    const hash = createHash('sha256').update(text).digest('hex');
    this.keys.set(hash, { ...key, id: `key_${hash.slice(0, 18)}`, hash });
    return text;
  }

  removeKey(text: string): void {
    this.keys.delete(createHash('sha256').update(text).digest('hex'));
  }

  setUser(user: UserRecord): void {
    this.users.set(user.id, user);
    this.generation += 1;
  }

  key(hash: string): VirtualKey | undefined {
    return this.keys.get(hash);
  }

  user(id: string): UserRecord | undefined {
    return this.users.get(id);
  }

  issuerKeys(provider: string): IssuerKeys | undefined {
    return this.issuers.get(provider);
  }

  revocation(kind: Revocation['kind'], value: string): Revocation | undefined {
    return this.revocations.find((one) => one.kind === kind && one.value === value);
  }
}

/** What a test brings in the place of something that is not there, or in memory alone. */
export interface TestAdminParts {
  readonly sessions?: SessionBook;
  readonly limits?: LimitAdmin;
  readonly requests?: RequestLog;
  readonly once?: OnceBook;
}

export async function startAdmin(postgresUrl: string, parts: TestAdminParts = {}): Promise<TestAdmin> {
  const connection = await openPostgres(postgresUrl, () => undefined);
  const vault = createVault(randomBytes(32).toString('hex'), 'a test');
  const store = createResourceStore(connection.database);
  const token = `admin-${randomBytes(32).toString('base64url')}`;
  const events: AdminEvent[] = [];
  const log: string[] = [];
  let file: readonly SourcedResource[] = [];
  let inForce: readonly SourcedResource[] = [];
  let snapshot: Snapshot | undefined;
  let configured: readonly SourcedResource[] = [];
  const directory = new TestDirectory();

  const otherSources = (): OtherSources => ({
    file,
    environment: [],
    builtIn: demoResources({ demoPort: 4000 }),
  });
  const reload = async () => {
    const database = openStoredResources(await store.list(), vault).resources;
    inForce = mergeSources({ ...otherSources(), database }).resources;
  };
  const onEvent = async (event: AdminEvent) => {
    events.push(event);
    await reload();
  };
  await reload();

  const fail = (error: unknown): never => {
    throw error;
  };
  const status: StatusSource = {
    version: '0.0.0-test',
    startedAt: Date.UTC(2026, 0, 1),
    snapshot: () => ({ version: '0123456789abcdef', models: 2, providers: 1 }),
    configuration: () => ({ path: 'limen.yaml', issues: [], warnings: [] }),
    providers: () => [{ name: 'openai', type: 'openai', source: 'file', credential: 'ready' }],
    envoys: () => [],
    workers: () => [
      { worker: 'processor-0', connectedAt: Date.UTC(2026, 0, 1), snapshot: '0123456789abcdef' },
    ],
    stores: async () => [{ name: 'postgres', healthy: true, version: (await connection.check()).version }],
    circuits: () => Promise.resolve([]),
    identityProviders: () => [],
  };

  const listener = { onEvent, onError: fail };
  const rights = createRights({ snapshot: () => snapshot, user: (id) => directory.user(id) });
  const userStore = createUserStore(connection.database);
  const keys = createKeyService({
    ...listener,
    keys: createVirtualKeyStore(connection.database),
    keyPrefix: 'tw-',
    now: () => Date.now(),
    resources: () => inForce,
    rights,
    isMember: (team, user) => snapshot !== undefined && isMember(snapshot, team, user, directory.user(user)),
    purgeAfterMs: 30 * 86_400_000,
  });
  const keyStore = createVirtualKeyStore(connection.database);
  const knownTeams = createKnownTeamStore(connection.database);
  const resources = createResourceService({
    ...listener,
    store,
    vault,
    otherSources,
    knownTeams,
    teamUse: { keys: keyStore, users: userStore },
  });
  const admin = { status, clockOffset: 0 };
  const crossApp = createCrossApp({
    signingKeys: createSigningKeyStore(connection.database, 'cross-app-access'),
    vault,
    resources: () => configured,
    snapshot: () => snapshot,
    directory,
    sources: {
      set: (_, entries) => {
        for (const entry of entries)
          if (entry.type === 'issuer-keys')
            directory.issuers.set(entry.issuerKeys.provider, entry.issuerKeys);
        return Promise.resolve();
      },
    },
    keyMissing: () => undefined,
    once: parts.once ?? { claim: () => Promise.resolve(true) },
    events: createEventStore(connection.database),
    logger: createLogger('admin', 'silent'),
    now: () => Date.now() + admin.clockOffset,
  });
  const server = createAdminServer({
    token,
    authentication: adminAuthentication({
      snapshot: () => snapshot,
      directory,
      reports: { keyUsed: () => undefined, userSeen: () => undefined, keyMissing: () => undefined },
      sessions: parts.sessions ?? sessionsInMemory(),
      now: () => Date.now() + admin.clockOffset,
    }),
    rights,
    inForce: () => snapshot,
    keys,
    users: createUserService({ ...listener, users: userStore, rights, now: Date.now }),
    userRecords: userStore,
    revocations: createRevocationService({
      ...listener,
      revocations: createRevocationStore(connection.database),
      now: Date.now,
      longestLifetimeMs: () => 86_400_000,
      isIssuer: (name) => Object.hasOwn(snapshot?.identityProviders ?? {}, name),
    }),
    events: createEventStore(connection.database),
    limits: parts.limits ?? NO_LIMITS,
    crossApp,
    identityLogs: {
      isSecret: (_, given) => given.includes(WEBHOOK_SECRET),
      take: () => ({ registrations: 0 }),
    },
    requests: parts.requests ?? { read: () => Promise.resolve(undefined) },
    resources,
    // Through the test's own object, so that a test can say something else.
    status: new Proxy(status, { get: (_, name) => Reflect.get(admin.status, name) }),
    logger: createLogger('admin', 'debug', { write: (line) => void log.push(line) }),
  });
  const url = `http://127.0.0.1:${await server.listen(0)}`;

  return {
    url,
    token,
    connection,
    events,
    log,
    setFile(text) {
      const parsed = parseResources([{ file: 'limen.yaml', text }]);
      if (parsed.issues.length > 0) throw new Error('The test file is not right.');
      file = parsed.resources;
    },
    get status() {
      return admin.status;
    },
    set status(other) {
      admin.status = other;
    },
    get clockOffset() {
      return admin.clockOffset;
    },
    set clockOffset(offset) {
      admin.clockOffset = offset;
    },
    directory,
    snapshot: () => snapshot,
    async configure(text) {
      const parsed = parseResources([{ file: 'limen.yaml', text }]);
      if (parsed.issues.length > 0) throw new Error(parsed.issues.map(formatIssue).join('; '));
      configured = parsed.resources;
      snapshot = buildSnapshot(parsed.resources.map(({ resource }) => resource)).snapshot;
      await crossApp.onSnapshot(snapshot);
    },
    async call(method, path, body, credential = token) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${credential}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const answer: unknown = response.headers.get('content-type')?.includes('json')
        ? JSON.parse(text)
        : text;
      return { status: response.status, body: answer, headers: response.headers };
    },
    async close() {
      crossApp.close();
      await server.close();
      await connection.close();
    },
  };
}

/** Of the log of any identity provider. */
export const WEBHOOK_SECRET = 'of a webhook';

/** For tests that are not about limits. */
const NO_LIMITS: LimitAdmin = {
  usage: () => Promise.resolve([]),
  reset: () => Promise.resolve(0),
  drift: () => Promise.resolve([]),
};

/** For tests that are not about sessions. */
function sessionsInMemory(): SessionBook {
  const sessions = new Map<string, string>();
  return {
    put: (name, value) => Promise.resolve(void sessions.set(name, value)),
    get: (name) => Promise.resolve(sessions.get(name)),
    extend: (name, value) => Promise.resolve(void (sessions.has(name) && sessions.set(name, value))),
    remove: (name) => Promise.resolve(void sessions.delete(name)),
  };
}
