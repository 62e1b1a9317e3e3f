import type { RoleResource, TeamResource } from '../config/resources/index.ts';
import { builtInRoles } from '../core/roles.ts';
import type { SnapshotRole, SnapshotTeam } from '../core/snapshot.ts';

/** Declared roles, and the built-in ones. */
export function compileRoles(roles: readonly RoleResource[]): SnapshotRole[] {
  return [...builtInRoles(), ...roles.map(({ metadata, spec }) => ({ name: metadata.name, ...spec }))];
}

export function compileTeam({ metadata, spec }: TeamResource): SnapshotTeam {
  return { name: metadata.name, ...spec };
}
