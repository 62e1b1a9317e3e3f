import type { Permission } from '../core/access.ts';
import { PERMISSIONS } from '../core/access.ts';
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
}

/** Nobody in particular: what public routes see. */
export const NOBODY: Caller = { actor: 'nobody', permissions: new Set(), managedTeams: [] };

/** Whoever has the admin token: everything. */
export const ADMIN_TOKEN_CALLER: Caller = {
  actor: 'admin token',
  permissions: new Set(PERMISSIONS),
  managedTeams: [],
};

/** Adds what a permission includes: `keys:write` also gives `keys:read` and `own-keys:write`. */
export function withIncluded(permissions: Iterable<Permission>): ReadonlySet<Permission> {
  const all = new Set<string>(permissions);
  for (const permission of [...all]) {
    if (permission.endsWith(':write')) all.add(permission.replace(/:write$/, ':read'));
  }
  if (all.has('keys:write')) all.add('own-keys:write');
  return new Set(PERMISSIONS.filter((permission) => all.has(permission)));
}

/**
 * Refuses to let anybody hand on more than they have: permissions of a key that they make or of a role that they give.
 *
 * @throws AdminError forbidden that names what the caller lacks
 */
export function requireAtMostOwn(caller: Caller, permissions: Iterable<Permission>): void {
  const beyond = [...withIncluded(permissions)].filter((permission) => !caller.permissions.has(permission));
  if (beyond.length === 0) return;
  throw new AdminError(
    'forbidden',
    `Nobody can give more than they have: you lack ${beyond.sort((left, right) => left.localeCompare(right)).join(', ')}.`,
  );
}

/** @throws AdminError forbidden that names the permission; with several, any one of them is enough */
export function requirePermission(caller: Caller, ...anyOf: readonly Permission[]): void {
  if (anyOf.some((permission) => caller.permissions.has(permission))) return;
  throw new AdminError('forbidden', `This needs the permission ${anyOf.join(' or ')}.`);
}
