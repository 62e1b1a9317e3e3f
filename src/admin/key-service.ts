import type { StoredKey, VirtualKeyStore } from '../core/configuration-store.ts';
import { matchesPattern } from '../core/pattern.ts';
import type { VirtualKey } from '../core/snapshot.ts';
import type { SourcedResource } from '../config/origin.ts';
import { AdminError } from './errors.ts';
import type { CreateKeyRequest, CreatedKey, KeyList, KeyView } from './contract.ts';
import { mintKey } from './virtual-key.ts';

/** Something that workers or the configuration must learn of at once. */
export type AdminEvent =
  | { readonly type: 'key-created'; readonly key: VirtualKey }
  | { readonly type: 'key-revoked'; readonly id: string; readonly hash: string }
  | { readonly type: 'resources-changed'; readonly revision: number };

export interface KeyServiceOptions {
  readonly keys: VirtualKeyStore;
  /** What new keys begin with: `tw-`. */
  readonly keyPrefix: string;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Everything in force at present, of all sources. */
  readonly resources: () => readonly SourcedResource[];
  /**
   * Told of each change after it is stored. An answer waits for it, so that a key works when its owner sees
   * it; what it throws reaches nobody but `onError`.
   */
  readonly onEvent: (event: AdminEvent) => void | Promise<void>;
  readonly onError: (error: unknown) => void;
}

/** Virtual keys: made, listed and revoked. */
export interface KeyService {
  /** @throws AdminError invalid_request for an expiry that is over */
  create(request: CreateKeyRequest, actor: string): Promise<CreatedKey>;
  list(page: { readonly limit: number; readonly after?: string | undefined }): Promise<KeyList>;
  /** @throws AdminError not_found, read_only */
  revoke(id: string, actor: string): Promise<KeyView>;
}

export function createKeyService(options: KeyServiceOptions): KeyService {
  const { keys, now } = options;

  return {
    async create(request, actor) {
      const createdAt = now();
      const expiresAt = request.expiresAt === undefined ? undefined : Date.parse(request.expiresAt);
      if (expiresAt !== undefined && expiresAt <= createdAt) {
        throw new AdminError('invalid_request', 'expiresAt is over already.');
      }
      const { id, key, hash, hint } = mintKey(options.keyPrefix);
      const { user, team, models, name } = request;
      const stored: StoredKey = {
        id,
        hash,
        prefix: options.keyPrefix,
        hint,
        name,
        user,
        team,
        models,
        createdAt,
        expiresAt,
      };
      await keys.create(stored, actor);
      await tell(options, { type: 'key-created', key: { id, hash, user, team, models, expiresAt } });
      return { key, ...view(stored, createdAt), warnings: modelWarnings(models ?? [], options.resources()) };
    },

    async list({ limit, after }) {
      // One more than asked for tells whether there is another page.
      const found = await keys.list({ limit: limit + 1, after });
      const page = found.slice(0, limit).map((key) => view(key, now()));
      const next = found.length > limit ? page.at(-1)?.id : undefined;
      const declared = after === undefined ? declaredKeys(options.resources(), now()) : [];
      return { keys: [...declared, ...page], next };
    },

    async revoke(id, actor) {
      const key = await keys.revoke(id, now(), actor);
      if (!key) {
        const declared = declaredKeys(options.resources(), now()).find((candidate) => candidate.id === id);
        if (declared)
          throw new AdminError('read_only', `${id} is declared in the configuration: remove it there.`);
        throw new AdminError('not_found', `There is no key ${JSON.stringify(id)}.`);
      }
      await tell(options, { type: 'key-revoked', id: key.id, hash: key.hash });
      return view(key, now());
    },
  };
}

/** Passes an event on; the change is stored by then, so a listener that fails does not undo it. */
export async function tell(
  options: Pick<KeyServiceOptions, 'onEvent' | 'onError'>,
  event: AdminEvent,
): Promise<void> {
  try {
    await options.onEvent(event);
  } catch (error) {
    options.onError(error);
  }
}

function iso(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}

function view(key: StoredKey, now: number): KeyView {
  return {
    id: key.id,
    name: key.name,
    user: key.user,
    team: key.team,
    models: key.models && [...key.models],
    hint: `${key.prefix}…${key.hint}`,
    source: 'database',
    status: key.revokedAt === undefined ? expiryStatus(key.expiresAt, now) : 'revoked',
    createdAt: iso(key.createdAt),
    expiresAt: iso(key.expiresAt),
    revokedAt: iso(key.revokedAt),
  };
}

function expiryStatus(expiresAt: number | undefined, now: number): 'active' | 'expired' {
  return expiresAt !== undefined && expiresAt <= now ? 'expired' : 'active';
}

function declaredKeys(resources: readonly SourcedResource[], now: number): KeyView[] {
  return resources.flatMap(({ resource, origin }) => {
    if (resource.kind !== 'ApiKey') return [];
    const { user, team, models, expiresAt } = resource.spec;
    return [
      {
        id: `config/${resource.metadata.name}`,
        name: resource.metadata.name,
        user,
        team,
        models,
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
