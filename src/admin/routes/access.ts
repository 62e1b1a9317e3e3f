import { z } from 'zod';
import type { UserRecord } from '../../core/access.ts';
import { isBuiltInRole } from '../../core/roles.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { requireAtMostOwn } from '../caller.ts';
import {
  applyResultSchema,
  groupListSchema,
  roleListSchema,
  teamListSchema,
  teamMembersSchema,
} from '../contract.ts';
import { AdminError } from '../errors.ts';
import type { ResourceService } from '../resource-service.ts';
import type { Rights } from '../rights.ts';
import { defineRoute, type Route } from '../router.ts';

export interface AccessRoutesOptions {
  readonly inForce: () => Snapshot | undefined;
  /** Every user, as workers are told of them. */
  readonly users: { records(): Promise<readonly UserRecord[]> };
  readonly resources: ResourceService;
  readonly rights: Rights;
}

/** Roles, teams and groups. Roles and teams are changed as resources. */
export function accessRoutes(options: AccessRoutesOptions): readonly Route[] {
  const { inForce } = options;
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/roles',
      permission: 'roles:read',
      summary: 'List roles, those that are built in among them',
      tag: 'access',
      response: roleListSchema,
      handle: () => ({
        roles: Object.values(inForce()?.roles ?? {}).map((role) => ({
          ...role,
          builtIn: isBuiltInRole(role.name),
        })),
      }),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/teams',
      permission: 'teams:read',
      summary: 'List teams',
      tag: 'access',
      response: teamListSchema,
      handle: () => ({ teams: Object.values(inForce()?.teams ?? {}) }),
    }),
    teamMembersRoute(options),
    defineRoute({
      method: 'GET',
      path: '/api/v1/groups',
      permission: 'users:read',
      summary: 'List groups: what tokens and the console say of users, and what roles and teams name',
      tag: 'access',
      response: groupListSchema,
      handle: async () => ({ groups: groupsOf(await options.users.records(), inForce()) }),
    }),
  ];
}

/** What managers of a team may do without being able to change what the team is allowed. */
function teamMembersRoute({ resources, rights }: AccessRoutesOptions): Route {
  return defineRoute({
    method: 'PUT',
    path: '/api/v1/teams/:name/members',
    permission: ['teams:write', 'teams:read'],
    summary: 'Set the members of a team; managers may do so for their own teams',
    tag: 'access',
    params: z.object({ name: z.string() }),
    body: teamMembersSchema,
    response: applyResultSchema,
    handle: async ({ params: { name }, body: { members }, caller }) => {
      if (!caller.permissions.has('teams:write') && !caller.managedTeams.includes(name)) {
        throw new AdminError(
          'forbidden',
          `This needs the permission teams:write, or to be a manager of the team ${name}.`,
        );
      }
      return resources.apply(
        (present) => {
          const team = present.find(
            (resource) => resource.kind === 'Team' && resource.metadata.name === name,
          );
          if (team?.kind !== 'Team') throw unknownTeam(name);
          // Whoever comes in gets what the team has.
          const added = members.filter((member) => !team.spec.members.includes(member));
          if (added.length > 0) requireAtMostOwn(caller, rights.ofRoles(team.spec.roles));
          return [{ ...team, spec: { ...team.spec, members } }];
        },
        { dryRun: false, actor: caller.actor, review: () => undefined },
      );
    },
  });
}

function unknownTeam(name: string): AdminError {
  return new AdminError('not_found', `There is no Team/${name}.`);
}

interface Group {
  readonly name: string;
  users: number;
  claimed: number;
  readonly roles: string[];
  readonly teams: string[];
}

function groupsOf(users: readonly UserRecord[], snapshot: Snapshot | undefined): Group[] {
  const groups = new Map<string, Group>();
  const group = (name: string): Group => {
    const known = groups.get(name) ?? { name, users: 0, claimed: 0, roles: [], teams: [] };
    groups.set(name, known);
    return known;
  };
  for (const { groups: set, claimGroups: claimed = [] } of users) {
    for (const name of new Set([...set, ...claimed])) group(name).users += 1;
    for (const name of new Set(claimed)) group(name).claimed += 1;
  }
  for (const { name, groups: having } of Object.values(snapshot?.roles ?? {}))
    for (const one of having) group(one).roles.push(name);
  for (const { name, groups: having } of Object.values(snapshot?.teams ?? {}))
    for (const one of having) group(one).teams.push(name);
  return [...groups.values()].sort((left, right) => left.name.localeCompare(right.name));
}
