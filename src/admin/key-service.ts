import type { KeySettings, StoredKey, VirtualKeyStore } from '../core/configuration-store.ts';
import { matchesPattern } from '../core/pattern.ts';
import type { SourcedResource } from '../config/origin.ts';
import { tell, type AdminListener } from './admin-event.ts';
import { requirePermission, type Caller } from './caller.ts';
import type {
  CreatedKey,
  CreateKeyRequest,
  KeyList,
  KeyView,
  ListKeysRequest,
  RotateKeyRequest,
  UpdateKeyRequest,
} from './contract.ts';
import { AdminError } from './errors.ts';
import { iso, readPage } from './page.ts';
import { requireKeyWithin, type Rights } from './rights.ts';
import { mintKey } from './virtual-key.ts';

export interface KeyServiceOptions extends AdminListener {
  readonly keys: VirtualKeyStore;
  /** What new keys begin with: `tw-`. */
  readonly keyPrefix: string;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Everything in force at present, of all sources. */
  readonly resources: () => readonly SourcedResource[];
  readonly rights: Rights;
  /** Whether a user is in a team. */
  readonly isMember: (team: string, user: string) => boolean;
  /** How long a deleted key can be restored, in milliseconds. */
  readonly purgeAfterMs: number;
}

/**
 * Virtual keys. Who may not write (or read) all of them can do so with their own ones and those of the teams that they
 * manage; all others are not there for them. Every method throws AdminError not_found, forbidden, and read_only for a
 * key that the configuration declares.
 */
export interface KeyService {
  /** @throws AdminError invalid_request for an expiry that is over */
  create(request: CreateKeyRequest, caller: Caller): Promise<CreatedKey>;
  list(request: ListKeysRequest, caller: Caller): Promise<KeyList>;
  show(id: string, caller: Caller): Promise<KeyView>;
  /**
   * Changes everything but whose key it is and its secret.
   *
   * @throws AdminError conflict for a key that is revoked or deleted, invalid_request for an expiry that is over
   */
  update(id: string, request: UpdateKeyRequest, caller: Caller): Promise<KeyView>;
  /** @throws AdminError conflict for a key that is not in force */
  rotate(id: string, request: RotateKeyRequest, caller: Caller): Promise<CreatedKey>;
  revoke(id: string, caller: Caller): Promise<KeyView>;
  remove(id: string, caller: Caller): Promise<KeyView>;
  /** @throws AdminError conflict for a key that is not deleted */
  restore(id: string, caller: Caller): Promise<KeyView>;
}

export function createKeyService(options: KeyServiceOptions): KeyService {
  const { keys, now, rights } = options;
  const shown = (key: StoredKey): KeyView => view(key, now(), options.purgeAfterMs);

  /** A key that the caller may change. */
  const writable = async (id: string, caller: Caller): Promise<StoredKey> => {
    const key = await keys.get(id);
    if (key !== undefined && owns(caller, key, 'keys:write')) return key;
    if (key === undefined && declared(options, id) !== undefined && caller.permissions.has('keys:read')) {
      throw new AdminError('read_only', `${id} is declared in the configuration: change it there.`);
    }
    throw unknown(id);
  };

  /** Changes a key, and tells of it. */
  const change = async (
    id: string,
    act: () => Promise<StoredKey | undefined>,
    otherwise: () => AdminError,
  ): Promise<StoredKey> => {
    const changed = await act();
    if (changed === undefined) throw otherwise();
    await tell(options, { type: 'key-changed', id });
    return changed;
  };

  return {
    async create(request, caller) {
      const createdAt = now();
      const expiresAt = expiryOf(request.expiresAt, createdAt);
      requireMayMake(caller, request, options.isMember);
      requireKeyWithin(caller, request, rights);
      const { id, key, hash, hint } = mintKey(options.keyPrefix);
      const stored: StoredKey = {
        ...request,
        id,
        hash,
        prefix: options.keyPrefix,
        hint,
        createdAt,
        expiresAt,
      };
      await keys.create(stored, caller.actor);
      await tell(options, { type: 'key-changed', id });
      return { key, ...shown(stored), warnings: modelWarnings(stored.models ?? [], options.resources()) };
    },

    async list({ limit, after, user, team, search, deleted }, caller) {
      const ofTeam = team !== undefined && caller.managedTeams.includes(team);
      const all = caller.permissions.has('keys:read') || ofTeam;
      if (!all && user !== undefined && user !== caller.user) requirePermission(caller, 'keys:read');
      const query = { after, team, search, deleted, user: all ? user : requireUser(caller) };
      const page = await readPage(limit, (most) => keys.list({ ...query, limit: most }));
      const ofConfiguration =
        after === undefined && caller.permissions.has('keys:read')
          ? declaredKeys(options.resources(), now()).filter((key) => isFound(key, { user, team, search }))
          : [];
      return { keys: [...ofConfiguration, ...page.items.map(shown)], next: page.next };
    },

    async show(id, caller) {
      const key = await keys.get(id);
      if (key !== undefined && owns(caller, key, 'keys:read')) return shown(key);
      const found = key === undefined ? declared(options, id) : undefined;
      if (found !== undefined && caller.permissions.has('keys:read')) return found;
      throw unknown(id);
    },

    async update(id, request, caller) {
      await writable(id, caller);
      const settingsOf = (key: StoredKey): KeySettings => {
        const settings = updated(key, request, now());
        // As if it were made so: nobody widens a key to more than they could make.
        requireMayMake(caller, { ...settings, user: key.user }, options.isMember);
        requireKeyWithin(caller, { ...settings, user: key.user }, rights);
        return settings;
      };
      return shown(
        await change(
          id,
          () => keys.configure(id, settingsOf, caller.actor),
          () => new AdminError('conflict', `${id} is revoked or deleted: make a new key.`),
        ),
      );
    },

    async rotate(id, { graceSeconds }, caller) {
      // Whoever rotates it sees its new secret.
      requireKeyWithin(caller, await writable(id, caller), rights);
      const at = now();
      const { key, hash, hint } = mintKey(options.keyPrefix);
      const rotation = { hash, prefix: options.keyPrefix, hint, at, graceUntil: at + graceSeconds * 1000 };
      const rotated = await change(
        id,
        () => keys.rotate(id, rotation, caller.actor),
        () => new AdminError('conflict', `${id} is no longer in force: make a new key.`),
      );
      return { key, ...shown(rotated), warnings: [] };
    },

    async revoke(id, caller) {
      await writable(id, caller);
      return shown(
        await change(
          id,
          () => keys.revoke(id, now(), caller.actor),
          () => unknown(id),
        ),
      );
    },

    async remove(id, caller) {
      await writable(id, caller);
      return shown(
        await change(
          id,
          () => keys.remove(id, now(), caller.actor),
          () => unknown(id),
        ),
      );
    },

    async restore(id, caller) {
      requireKeyWithin(caller, await writable(id, caller), rights);
      return shown(
        await change(
          id,
          () => keys.restore(id, caller.actor),
          () => new AdminError('conflict', `${id} is not deleted.`),
        ),
      );
    },
  };
}

function unknown(id: string): AdminError {
  return new AdminError('not_found', `There is no key ${JSON.stringify(id)}.`);
}

/** Whether a key is the caller's: by the permission, by being its user, or by managing its team. */
function owns(
  caller: Caller,
  { user, team }: Pick<StoredKey, 'user' | 'team'>,
  permission: 'keys:read' | 'keys:write',
): boolean {
  if (caller.permissions.has(permission)) return true;
  if (!caller.permissions.has('own-keys:write')) return false;
  return user === caller.user || (team !== undefined && caller.managedTeams.includes(team));
}

/**
 * Who may not write all keys makes them for themselves, or for members of a team that they manage; always within a team
 * of that user, and with no more than anybody has of themselves: tenants have credentials of their own, and scopes are
 * given by others.
 */
function requireMayMake(
  caller: Caller,
  { user, team, tenant, scopes }: Pick<StoredKey, 'user' | 'team' | 'tenant' | 'scopes'>,
  isMember: KeyServiceOptions['isMember'],
): void {
  if (caller.permissions.has('keys:write')) return;
  requirePermission(caller, 'own-keys:write');
  const isManaged = team !== undefined && caller.managedTeams.includes(team);
  if (user !== caller.user && !isManaged) {
    throw new AdminError(
      'forbidden',
      'Keys of others need the permission keys:write, or managing their team.',
    );
  }
  if (team !== undefined && !isMember(team, user)) {
    throw new AdminError('forbidden', `${user} is not in the team ${team}.`);
  }
  if (tenant !== undefined || (scopes !== undefined && scopes.length > 0)) {
    throw new AdminError('forbidden', 'A key with a tenant or with scopes needs the permission keys:write.');
  }
}

/** @throws AdminError invalid_request for a time that is over */
function expiryOf(text: string | undefined, now: number): number | undefined {
  const expiresAt = text === undefined ? undefined : Date.parse(text);
  if (expiresAt !== undefined && expiresAt <= now) {
    throw new AdminError('invalid_request', 'expiresAt is over already.');
  }
  return expiresAt;
}

function updated(key: StoredKey, request: UpdateKeyRequest, now: number): KeySettings {
  const { expiresAt } = request;
  return {
    name: chosen(request.name, key.name),
    description: chosen(request.description, key.description),
    labels: chosen(request.labels, key.labels),
    team: chosen(request.team, key.team),
    tenant: chosen(request.tenant, key.tenant),
    surfaces: chosen(request.surfaces, key.surfaces),
    models: chosen(request.models, key.models),
    tools: chosen(request.tools, key.tools),
    scopes: chosen(request.scopes, key.scopes),
    permissions: chosen(request.permissions, key.permissions),
    expiresAt: chosen(expiresAt === null ? null : expiryOf(expiresAt, now), key.expiresAt),
    inactivityDays: chosen(request.inactivityDays, key.inactivityDays),
  };
}

/** What is asked for; null: nothing any more; undefined: what is. */
function chosen<Value>(asked: Value | null | undefined, present: Value | undefined): Value | undefined {
  return asked === undefined ? present : (asked ?? undefined);
}

function requireUser({ user }: Caller): string {
  if (user === undefined) throw new AdminError('forbidden', 'This needs the permission keys:read.');
  return user;
}

function view(key: StoredKey, now: number, purgeAfterMs: number): KeyView {
  const graceUntil = key.previous?.expiresAt ?? 0;
  return {
    id: key.id,
    name: key.name,
    description: key.description,
    labels: key.labels && { ...key.labels },
    user: key.user,
    team: key.team,
    tenant: key.tenant,
    surfaces: copied(key.surfaces),
    models: copied(key.models),
    tools: copied(key.tools),
    scopes: copied(key.scopes),
    permissions: copied(key.permissions),
    hint: `${key.prefix}…${key.hint}`,
    source: 'database',
    status: statusOf(key, now),
    createdAt: iso(key.createdAt),
    expiresAt: iso(key.expiresAt),
    inactivityDays: key.inactivityDays,
    lastUsedAt: iso(key.lastUsedAt),
    rotatedAt: iso(key.rotatedAt),
    graceUntil: graceUntil > now ? iso(graceUntil) : undefined,
    revokedAt: iso(key.revokedAt),
    revokedReason: key.revokedReason,
    deletedAt: iso(key.deletedAt),
    purgedAt: key.deletedAt === undefined ? undefined : iso(key.deletedAt + purgeAfterMs),
  };
}

function copied<Item>(list: readonly Item[] | undefined): Item[] | undefined {
  return list && [...list];
}

function statusOf(key: StoredKey, now: number): KeyView['status'] {
  if (key.deletedAt !== undefined) return 'deleted';
  return key.revokedAt === undefined ? expiryStatus(key.expiresAt, now) : 'revoked';
}

function expiryStatus(expiresAt: number | undefined, now: number): 'active' | 'expired' {
  return expiresAt !== undefined && expiresAt <= now ? 'expired' : 'active';
}

function declared({ resources, now }: KeyServiceOptions, id: string): KeyView | undefined {
  return declaredKeys(resources(), now()).find((key) => key.id === id);
}

function isFound(key: KeyView, { user, team, search }: Pick<ListKeysRequest, 'user' | 'team' | 'search'>) {
  return (
    (user === undefined || key.user === user) &&
    (team === undefined || key.team === team) &&
    (search === undefined ||
      [key.id, key.name, key.user, key.team].some((text) =>
        text?.toLowerCase().includes(search.toLowerCase()),
      ))
  );
}

function declaredKeys(resources: readonly SourcedResource[], now: number): KeyView[] {
  return resources.flatMap(({ resource, origin }) => {
    if (resource.kind !== 'ApiKey') return [];
    const { secret: _, expiresAt, ...rest } = resource.spec;
    return [
      {
        ...rest,
        id: `config/${resource.metadata.name}`,
        name: resource.metadata.name,
        labels: resource.metadata.labels,
        hint: '',
        source: origin.source === 'database' ? 'database' : 'file',
        status: expiryStatus(expiresAt === undefined ? undefined : Date.parse(expiresAt), now),
        expiresAt,
      },
    ];
  });
}

/** Patterns that no model has at present: most likely a slip, but models may come later. */
function modelWarnings(patterns: readonly string[], resources: readonly SourcedResource[]): string[] {
  const names = resources.flatMap(({ resource }) =>
    resource.kind === 'Model' ? [resource.metadata.name] : [],
  );
  return patterns
    .filter((pattern) => !names.some((name) => matchesPattern(pattern, name)))
    .map((pattern) => `No model at present is ${pattern}.`);
}
