import type { Command } from 'commander';
import { userListSchema, userViewSchema, type EditUserRequest, type UserView } from '../admin/contract.ts';
import { createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { allPages, parseList, toQuery } from './lists.ts';
import { readResponse } from './responses.ts';
import { formatFields, formatTable, formatTime, NOTHING } from './table.ts';

interface JsonFlag {
  readonly json?: boolean;
}

interface ListFlags extends JsonFlag {
  readonly search?: string;
  readonly provider?: string;
  readonly team?: string;
  readonly group?: string;
  readonly disabled?: boolean;
}

interface SetFlags extends JsonFlag {
  readonly email?: string;
  readonly name?: string;
  readonly groups?: string;
  readonly roles?: string;
  readonly team?: string;
  readonly tenant?: string;
}

/** `limen users list|show|set|disable|enable` */
export function registerUsersCommands(program: Command, context: CliContext): void {
  const users = program
    .command('users')
    .description('users: made at their first verified token, or by `limen users set`');
  registerLook(users, context);

  users
    .command('set <id>')
    .description('set what this gateway says of a user, beside what tokens claim; makes the user if need be')
    .option('--email <address>', 'goes before the one that is claimed; empty: take it away')
    .option('--name <text>', 'goes before the one that is claimed; empty: take it away')
    .option('--groups <names>', 'groups beside those that are claimed, separated by commas; empty: none')
    .option('--roles <names>', 'roles, separated by commas; empty: none')
    .option('--team <name>', 'team; empty: take it away')
    .option('--tenant <name>', 'goes before the one that is claimed; empty: take it away')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen users set corp:ada --roles admin
  limen users set ada --team build --groups pilots,oncall
  limen users set corp:ada --roles ''`,
    )
    .action((id: string, flags: SetFlags) =>
      runCommand(context, async () => {
        const edit = editOf(flags);
        if (Object.keys(edit).length === 0) throw new CliError('There is nothing to set: see --help.', 2);
        const user = await editUser(context, id, edit);
        context.out(flags.json ? JSON.stringify(user) : describeUser(user));
      }),
    );

  registerSwitch(users, context, 'disable', true, 'refuse a user with every key and token, at once');
  registerSwitch(users, context, 'enable', false, 'let a user in again');
}

function registerLook(users: Command, context: CliContext): void {
  users
    .command('list')
    .description('every user')
    .option('--search <text>', 'those with this in their id, email or name')
    .option('--provider <name>', 'those of this identity provider')
    .option('--team <name>', 'those who were put into this team')
    .option('--group <name>', 'those in this group')
    .option('--disabled', 'those who are disabled')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen users list
  limen users list --search ada
  limen users list --group pilots --json | jq -r '.[].id'`,
    )
    .action((flags: ListFlags) => runCommand(context, () => listUsers(context, flags)));

  users
    .command('show <id>')
    .description('everything about a user')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen users show corp:ada')
    .action((id: string, flags: JsonFlag) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const user = readResponse(userViewSchema, await client.call('GET', pathOf(id)));
        context.out(flags.json ? JSON.stringify(user) : describeUser(user));
      }),
    );
}

function registerSwitch(
  users: Command,
  context: CliContext,
  name: 'disable' | 'enable',
  disabled: boolean,
  description: string,
): void {
  users
    .command(`${name} <id>`)
    .description(description)
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExample:\n  limen users ${name} corp:ada`)
    .action((id: string, flags: JsonFlag) =>
      runCommand(context, async () => {
        const user = await editUser(context, id, { disabled });
        context.out(flags.json ? JSON.stringify(user) : `${user.id} is ${name}d.`);
      }),
    );
}

async function editUser(context: CliContext, id: string, edit: EditUserRequest): Promise<UserView> {
  const client = createAdminClient(context.settings());
  return readResponse(userViewSchema, await client.call('PATCH', pathOf(id), edit));
}

function editOf({ email, name, groups, roles, team, tenant }: SetFlags): EditUserRequest {
  const texts = Object.entries({ email, name, team, tenant }).flatMap(([field, value]) =>
    value === undefined ? [] : [[field, value === '' ? null : value] as const],
  );
  return {
    ...Object.fromEntries(texts),
    ...(groups === undefined ? {} : { groups: parseList(groups) }),
    ...(roles === undefined ? {} : { roles: parseList(roles) }),
  };
}

function pathOf(id: string): string {
  return `/api/v1/users/${encodeURIComponent(id)}`;
}

async function listUsers(context: CliContext, flags: ListFlags): Promise<void> {
  const client = createAdminClient(context.settings());
  const { search, provider, team, group, disabled } = flags;
  const query = toQuery({ search, provider, team, group, disabled });
  const users = await allPages(async (after) => {
    const answer = await client.call('GET', `/api/v1/users?limit=1000${query}${after}`);
    const page = readResponse(userListSchema, answer);
    return { items: page.users, next: page.next };
  });
  if (flags.json) {
    context.out(JSON.stringify(users));
    return;
  }
  if (users.length === 0) {
    context.err(
      query === ''
        ? 'There are no users yet: they come with their first token, or by limen users set ID --roles NAMES'
        : 'There are no such users: limen users list shows all.',
    );
    return;
  }
  context.out(
    formatTable(
      ['id', 'email', 'groups', 'roles', 'team', 'state', 'last seen'],
      users.map((user) => [
        user.id,
        user.email ?? NOTHING,
        allGroups(user) || NOTHING,
        user.roles.join(',') || NOTHING,
        user.team ?? NOTHING,
        user.disabled ? 'disabled' : 'active',
        formatTime(user.lastSeenAt),
      ]),
    ),
  );
}

function allGroups({ groups, claimedGroups }: UserView): string {
  return [...new Set([...claimedGroups, ...groups])].join(',');
}

function describeUser(user: UserView): string {
  return formatFields([
    ['id', user.id],
    ['name', user.name],
    ['email', user.email],
    ['identity provider', user.provider],
    ['groups claimed', user.claimedGroups.join(', ')],
    ['groups set here', user.groups.join(', ')],
    ['roles', user.roles.join(', ')],
    ['team', user.team],
    ['tenant', user.tenant],
    ['state', user.disabled ? 'disabled' : 'active'],
    ['created', `${formatTime(user.createdAt)} UTC`],
    ['last seen', user.lastSeenAt && `${formatTime(user.lastSeenAt)} UTC`],
  ]);
}
