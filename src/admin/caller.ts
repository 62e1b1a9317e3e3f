import { PERMISSIONS, type Permission } from '../core/access.ts';
import type { Principal } from '../core/principal.ts';
import { permissionsOf } from '../core/roles.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { AdminError } from './errors.ts';

/** Who asks something of the admin API, and what they may. */
export interface Caller {
  /** For the record of changes: `admin token`, `key_… of ada`, `corp:ada`. */
  readonly actor: string;
  /** Canonical user; absent for the admin token. */
  readonly user?: string | undefined;
  /** With every `…:read` that a `…:write` includes. */
  readonly permissions: ReadonlySet<Permission>;
  /** Teams whose keys and members the caller manages beyond what its permissions allow. */
  readonly managedTeams: readonly string[];
  /** Patterns that bound the key with which it asks; absent: none beyond its roles'. */
  readonly models?: readonly string[] | undefined;
  readonly tools?: readonly string[] | undefined;
}

/** Nobody in particular: what public routes see. */
export const NOBODY: Caller = { actor: 'nobody', permissions: new Set(), managedTeams: [] };

/** Whoever has the admin token: everything. */
export const ADMIN_TOKEN_CALLER: Caller = {
  actor: 'admin token',
  permissions: new Set(PERMISSIONS),
  managedTeams: [],
};

/**
 * A principal as the admin API sees it.
 *
 * @throws AdminError forbidden for a key that is not for the admin API
 */
export function callerOf(principal: Principal, snapshot: Snapshot): Caller {
  const { user, keyId, kind, models, tools } = principal;
  if (!principal.surfaces.includes('admin')) {
    throw new AdminError(
      'forbidden',
      kind === 'key'
        ? 'This key is not for the admin API: it lacks the surface admin.'
        : 'This token was made for an application: it is not for the admin API.',
    );
  }
  const permissions = new Set(permissionsOf(snapshot, principal));
  // A key that is bound to less than its user's rights is not to manage a team by another way.
  const manages = permissions.has('own-keys:write') || permissions.has('keys:write');
  return {
    actor: kind === 'key' ? `${keyId} of ${user}` : user,
    user,
    permissions: permissions.has('keys:write') ? permissions.add('own-keys:write') : permissions,
    managedTeams: Object.values(snapshot.teams)
      .filter(({ managers }) => manages && managers.includes(user))
      .map(({ name }) => name),
    models,
    tools,
  };
}

/** @throws AdminError forbidden that names the permission; with several, any one of them is enough */
export function requirePermission(caller: Caller, ...anyOf: readonly Permission[]): void {
  if (anyOf.some((permission) => caller.permissions.has(permission))) return;
  throw new AdminError('forbidden', `This needs the permission ${anyOf.join(' or ')}.`);
}

/**
 * Refuses to let anybody hand on more than they have: permissions of a key that they make or of a role that they give.
 *
 * @throws AdminError forbidden that names what the caller lacks
 */
export function requireAtMostOwn(caller: Caller, permissions: Iterable<Permission>): void {
  const beyond = [...new Set(permissions)].filter((permission) => !caller.permissions.has(permission));
  if (beyond.length === 0) return;
  throw new AdminError(
    'forbidden',
    `Nobody can give more than they have: you lack ${beyond.sort((left, right) => left.localeCompare(right)).join(', ')}.`,
  );
}
