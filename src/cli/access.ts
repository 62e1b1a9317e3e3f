import type { Command } from 'commander';
import type { z } from 'zod';
import { endOfUnknown } from '../core/nearest.ts';
import { groupListSchema, roleListSchema, teamListSchema } from '../admin/contract.ts';
import { createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { applyResultSchema, readResponse } from './responses.ts';
import { formatFields, formatTable, NOTHING } from './table.ts';

/** A list that is fetched and shown. */
interface Listing<Schema extends z.ZodType> {
  /** Plural. */
  readonly name: string;
  readonly about: string;
  readonly path: string;
  readonly schema: Schema;
  readonly items: (answer: z.output<Schema>) => readonly unknown[];
  readonly head: readonly string[];
  readonly rows: (answer: z.output<Schema>) => readonly (readonly string[])[];
  /** What is said where there is nothing. */
  readonly empty: string;
}

/** `limen roles|teams|groups list` */
export function registerAccessCommands(program: Command, context: CliContext): void {
  const roles = registerList(program, context, {
    name: 'roles',
    about: 'roles and what they allow',
    path: '/api/v1/roles',
    schema: roleListSchema,
    items: ({ roles }) => roles,
    head: ['name', 'built in', 'users', 'groups', 'models', 'permissions'],
    rows: ({ roles }) =>
      roles.map((role) => [
        role.name,
        role.builtIn ? 'yes' : 'no',
        list(role.users),
        list(role.groups),
        role.models?.join(',') ?? '*',
        list(role.permissions),
      ]),
    empty: 'There are no roles.',
  });
  registerShowRole(roles, context);
  const teams = registerList(program, context, {
    name: 'teams',
    about: 'teams, who is in them and who manages them',
    path: '/api/v1/teams',
    schema: teamListSchema,
    items: ({ teams }) => teams,
    head: ['name', 'tenant', 'members', 'groups', 'managers', 'roles', 'models'],
    rows: ({ teams }) =>
      teams.map((team) => [
        team.name,
        team.tenant ?? NOTHING,
        list(team.members),
        list(team.groups),
        list(team.managers),
        list(team.roles),
        team.models?.join(',') ?? '*',
      ]),
    empty: 'There are no teams: declare a Team.',
  });
  registerDeleteTeam(teams, context);
  registerList(program, context, {
    name: 'groups',
    about: 'groups of tokens, of the console, and those that roles and teams name',
    path: '/api/v1/groups',
    schema: groupListSchema,
    items: ({ groups }) => groups,
    head: ['name', 'users', 'by tokens', 'roles', 'teams'],
    rows: ({ groups }) =>
      groups.map((group) => [
        group.name,
        String(group.users),
        String(group.claimed),
        list(group.roles),
        list(group.teams),
      ]),
    empty: 'There are no groups yet: tokens bring them, or limen users set ID --groups NAMES.',
  });
}

function registerShowRole(roles: Command, context: CliContext): void {
  roles
    .command('show <name>')
    .description('everything about a role')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen roles show team-manager')
    .action((name: string, flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const answer = await createAdminClient(context.settings()).call('GET', '/api/v1/roles');
        const all = readResponse(roleListSchema, answer).roles;
        const role = all.find((one) => one.name === name);
        if (role === undefined) {
          const names = all.map((one) => one.name);
          throw new CliError(`There is no role ${JSON.stringify(name)}${endOfUnknown(name, names)}`);
        }
        if (flags.json) context.out(JSON.stringify(role));
        else
          context.out(
            formatFields([
              ['name', role.name],
              ['built in', role.builtIn ? 'yes' : 'no'],
              ['permissions', role.permissions.join(', ') || NOTHING],
              ['models', role.models?.join(', ') ?? '*'],
              ['tools', role.tools?.join(', ') ?? '*'],
              ['backends', role.backends?.join(', ') ?? '*'],
              ['users', role.users.join(', ') || NOTHING],
              ['groups', role.groups.join(', ') || NOTHING],
            ]),
          );
      }),
    );
}

function registerDeleteTeam(teams: Command, context: CliContext): void {
  teams
    .command('delete <name>')
    .description('delete a team of the database that bounds nobody any more')
    .option('--force', 'give up what it bounds, also of a team that is no longer declared')
    .option('--dry-run', 'only say whether it would be deleted')
    .addHelpText(
      'after',
      '\nExamples:\n  limen teams delete core --dry-run\n  limen teams delete core --force',
    )
    .action((name: string, flags: { force?: boolean; dryRun?: boolean }) =>
      runCommand(context, async () => {
        const query = `force=${flags.force === true}&dryRun=${flags.dryRun === true}`;
        const path = `/api/v1/resources/Team/${encodeURIComponent(name)}?${query}`;
        const answer = await createAdminClient(context.settings()).call('DELETE', path);
        const { dryRun } = readResponse(applyResultSchema, answer);
        context.out(`Team/${name} ${dryRun ? 'would be' : 'is'} deleted.`);
      }),
    );
}

/** @returns the command that the list is one of */
function registerList<Schema extends z.ZodType>(
  program: Command,
  context: CliContext,
  listing: Listing<Schema>,
): Command {
  const parent = program.command(listing.name).description(listing.about);
  parent
    .command('list')
    .description(`every ${listing.name.slice(0, -1)}`)
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExamples:\n  limen ${listing.name} list\n  limen ${listing.name} list --json`)
    .action((flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const answer = readResponse(
          listing.schema,
          await createAdminClient(context.settings()).call('GET', listing.path),
        );
        const rows = listing.rows(answer);
        if (flags.json) context.out(JSON.stringify(listing.items(answer)));
        else if (rows.length === 0) context.err(listing.empty);
        else context.out(formatTable(listing.head, rows));
      }),
    );
  return parent;
}

const MOST_NAMES = 6;

/** Some names, and how many more there are. */
function list(names: readonly string[]): string {
  if (names.length === 0) return NOTHING;
  const more = names.length - MOST_NAMES;
  // To say that there is one more takes the room of that one.
  return more > 1 ? `${names.slice(0, MOST_NAMES).join(',')} and ${more} more` : names.join(',');
}
