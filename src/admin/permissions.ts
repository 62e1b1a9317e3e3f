import type { Permission } from '../core/access.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { withIncluded, type Caller } from './caller.ts';
import { AdminError } from './errors.ts';

/** What these roles allow together; a role that there is not allows nothing. */
export function permissionsOfRoles(
  snapshot: Pick<Snapshot, 'roles'>,
  roles: Iterable<string>,
): ReadonlySet<Permission> {
  const all = [...roles].flatMap((role) =>
    Object.hasOwn(snapshot.roles, role) ? (snapshot.roles[role]?.permissions ?? []) : [],
  );
  return withIncluded(all);
}

/** What roles allow within the bound of a key; no bound where it has none. */
export function withinBound(
  permissions: ReadonlySet<Permission>,
  bound: readonly Permission[] | undefined,
): ReadonlySet<Permission> {
  return bound === undefined ? permissions : permissions.intersection(withIncluded(bound));
}

/**
 * A principal as the admin API sees it.
 *
 * @throws AdminError forbidden for a key that is not for the admin API
 */
export function callerOf(principal: Principal, snapshot: Pick<Snapshot, 'roles' | 'teams'>): Caller {
  const { user, keyId, kind } = principal;
  if (kind === 'key' && !principal.surfaces.includes('admin')) {
    throw new AdminError('forbidden', 'This key is not for the admin API: it lacks the surface admin.');
  }
  return {
    actor: kind === 'key' ? `${keyId} of ${user}` : user,
    user,
    permissions: withinBound(permissionsOfRoles(snapshot, principal.roles), principal.permissions),
    managedTeams: Object.values(snapshot.teams)
      .filter(({ managers }) => managers.includes(user))
      .map(({ name }) => name),
  };
}
