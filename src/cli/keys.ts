import type { Command } from 'commander';
import {
  createdKeySchema,
  keyListSchema,
  keyViewSchema,
  type CreatedKey,
  type KeyView,
} from '../admin/contract.ts';
import { createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { parseDuration, parseExpiry } from './duration.ts';
import { allPages, parseLabels, parseList, toQuery } from './lists.ts';
import { readResponse } from './responses.ts';
import { formatFields, formatTable, formatTime, NOTHING } from './table.ts';

interface SettingFlags {
  readonly team?: string;
  readonly tenant?: string;
  readonly name?: string;
  readonly description?: string;
  readonly labels?: string;
  readonly surfaces?: string;
  readonly models?: string;
  readonly tools?: string;
  readonly scopes?: string;
  readonly permissions?: string;
  readonly expires?: string;
  readonly inactive?: string;
}

interface CreateFlags extends SettingFlags {
  readonly user: string;
  readonly json?: boolean;
}

interface ListFlags {
  readonly user?: string;
  readonly team?: string;
  readonly search?: string;
  readonly deleted?: boolean;
  readonly json?: boolean;
}

interface JsonFlag {
  readonly json?: boolean;
}

/** `limen keys create|list|show|set|rotate|revoke|delete|restore` */
export function registerKeysCommands(program: Command, context: CliContext): void {
  const keys = program.command('keys').description('virtual keys, with which clients call the gateway');
  registerCreate(keys, context);
  registerLook(keys, context);
  registerSet(keys, context);

  keys
    .command('rotate <id>')
    .description('give a key a new secret and show it, this once; the one before stays good for a while')
    .option(
      '--grace <duration>',
      'how long the secret before is good, too: 24h, 7d, 0m for not at all',
      '24h',
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen keys rotate key_0123456789abcdef01
  limen keys rotate key_0123456789abcdef01 --grace 0m   the one before was stolen`,
    )
    .action((id: string, flags: JsonFlag & { grace: string }) =>
      runCommand(context, async () => {
        const graceSeconds = parseDuration(flags.grace, '--grace') / 1000;
        const client = createAdminClient(context.settings());
        const answer = await client.call('POST', `${pathOf(id)}/rotate`, { graceSeconds });
        const key = readResponse(createdKeySchema, answer);
        const grace =
          key.graceUntil === undefined
            ? 'the secret before is refused from now on'
            : `the secret before is good until ${formatTime(key.graceUntil)} UTC`;
        printSecret(context, key, flags, grace);
      }),
    );

  registerChange(keys, context, {
    name: 'revoke',
    description: 'end a key for good, on every worker within a second',
    call: (client, id) => client.call('POST', `${pathOf(id)}/revoke`, {}),
    done: ({ id, user }) => `${id} of ${user} is revoked.`,
  });
  registerChange(keys, context, {
    name: 'delete',
    description: 'delete a key: refused at once, restorable for 30 days, then gone',
    call: (client, id) => client.call('DELETE', pathOf(id)),
    done: ({ id, user, purgedAt }) =>
      `${id} of ${user} is deleted; until ${formatTime(purgedAt)} UTC it can be restored: limen keys restore ${id}`,
  });
  registerChange(keys, context, {
    name: 'restore',
    description: 'undo the deletion of a key',
    call: (client, id) => client.call('POST', `${pathOf(id)}/restore`, {}),
    done: ({ id, user, status }) => `${id} of ${user} is back: ${status}.`,
  });
}

function registerCreate(keys: Command, context: CliContext): void {
  const create = keys
    .command('create')
    .description('make a key and show it, this once')
    .requiredOption('--user <name>', 'whose key it is; stands in every row');
  withSettings(create)
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen keys create --user ada
  limen keys create --user ci --team build --models 'gpt-4o-mini,claude-*' --expires 30d
  limen keys create --user ada --surfaces admin --permissions keys:read,users:read --inactive 90
  export OPENAI_API_KEY=$(limen keys create --user me --json | jq -r .key)`,
    )
    .action((flags: CreateFlags) => runCommand(context, () => createKey(context, flags)));
}

/** Adds what can be said of a key beside whose it is. */
function withSettings(command: Command): Command {
  return command
    .option('--team <name>', 'team of that user')
    .option('--tenant <name>', 'tenant whose credentials and limits it uses')
    .option('--name <text>', 'what you call this key')
    .option('--description <text>', 'what it is for')
    .option('--labels <list>', 'labels of your own: NAME=VALUE, separated by commas')
    .option(
      '--surfaces <names>',
      'where it may be used: model, mcp, a2a, backend, admin (default: all but admin)',
    )
    .option('--models <names>', 'models it may use, separated by commas, * as wildcard (default: all)')
    .option('--tools <names>', 'tools it may use, as server__tool, * as wildcard (default: all)')
    .option('--scopes <names>', 'scopes that it fulfils (default: none)')
    .option('--permissions <names>', "bounds what its user's roles allow (default: no bound)")
    .option(
      '--expires <when>',
      'when it ends: 30d, 12h, or a time such as 2027-01-31T00:00:00Z (default: never)',
    )
    .option('--inactive <days>', 'revoke it after so many days without use (default: never)');
}

function registerSet(keys: Command, context: CliContext): void {
  const set = keys
    .command('set <id>')
    .description("change a key: everything but whose it is and its secret; '' takes a value away");
  withSettings(set)
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen keys set key_0123456789abcdef01 --expires 30d --models 'gpt-4o-mini,claude-*'
  limen keys set key_0123456789abcdef01 --expires '' --inactive 90`,
    )
    .action((id: string, flags: SettingFlags & JsonFlag) =>
      runCommand(context, async () => {
        const settings = Object.entries(settingsOf(flags)).filter(([, value]) => value !== undefined);
        if (settings.length === 0) throw new CliError('There is nothing to change: see --help.', 2);
        const client = createAdminClient(context.settings());
        const answer = await client.call('PATCH', pathOf(id), Object.fromEntries(settings));
        const key = readResponse(keyViewSchema, answer);
        context.out(flags.json ? JSON.stringify(key) : describeKey(key));
      }),
    );
}

/** What the flags say of a key; null where they take a value away. */
function settingsOf(flags: SettingFlags) {
  const { team, tenant, name, description, labels, expires, inactive } = flags;
  return {
    team: orNull(team, (text) => text),
    tenant: orNull(tenant, (text) => text),
    name: orNull(name, (text) => text),
    description: orNull(description, (text) => text),
    labels: orNull(labels, parseLabels),
    surfaces: orNull(flags.surfaces, parseList),
    models: orNull(flags.models, parseList),
    tools: orNull(flags.tools, parseList),
    scopes: orNull(flags.scopes, parseList),
    permissions: orNull(flags.permissions, parseList),
    expiresAt: orNull(expires, (text) => parseExpiry(text, Date.now())),
    inactivityDays: orNull(inactive, parseDays),
  };
}

function orNull<Value>(text: string | undefined, parse: (text: string) => Value): Value | null | undefined {
  if (text === undefined) return undefined;
  return text === '' ? null : parse(text);
}

function registerLook(keys: Command, context: CliContext): void {
  keys
    .command('list')
    .description('every key, without the keys themselves')
    .option('--user <name>', 'those of this user')
    .option('--team <name>', 'those of this team')
    .option('--search <text>', 'those with this in their id, name, user or team')
    .option('--deleted', 'with those that are deleted and can be restored')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen keys list
  limen keys list --team build
  limen keys list --deleted`,
    )
    .action((flags: ListFlags) => runCommand(context, () => listKeys(context, flags)));

  keys
    .command('show <id>')
    .description('everything about a key, without the key itself')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen keys show key_0123456789abcdef01')
    .action((id: string, flags: JsonFlag) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const key = readResponse(keyViewSchema, await client.call('GET', pathOf(id)));
        context.out(flags.json ? JSON.stringify(key) : describeKey(key));
      }),
    );
}

interface Change {
  readonly name: string;
  readonly description: string;
  readonly call: (client: ReturnType<typeof createAdminClient>, id: string) => Promise<unknown>;
  readonly done: (key: KeyView) => string;
}

function registerChange(keys: Command, context: CliContext, change: Change): void {
  keys
    .command(`${change.name} <id>`)
    .description(change.description)
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExample:\n  limen keys ${change.name} key_0123456789abcdef01`)
    .action((id: string, flags: JsonFlag) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const key = readResponse(keyViewSchema, await change.call(client, id));
        context.out(flags.json ? JSON.stringify(key) : change.done(key));
      }),
    );
}

function pathOf(id: string): string {
  return `/api/v1/keys/${encodeURIComponent(id)}`;
}

async function createKey(context: CliContext, flags: CreateFlags): Promise<void> {
  const given = Object.entries(settingsOf(flags)).filter(([, value]) => value !== null);
  const request = { user: flags.user, ...Object.fromEntries(given) };
  const client = createAdminClient(context.settings());
  const created = readResponse(createdKeySchema, await client.call('POST', '/api/v1/keys', request));
  const ends = created.expiresAt === undefined ? undefined : `ends ${formatTime(created.expiresAt)} UTC`;
  printSecret(context, created, flags, ends);
}

function parseDays(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) > 0) return Number(text);
  throw new CliError(`--inactive ${JSON.stringify(text)} is not allowed; a whole number of days`, 2);
}

/** The key on standard output, all that is said of it beside. */
function printSecret(
  context: CliContext,
  created: CreatedKey,
  flags: JsonFlag,
  more: string | undefined,
): void {
  for (const warning of created.warnings) context.err(`warning: ${warning}`);
  if (flags.json) {
    context.out(JSON.stringify(created));
    return;
  }
  context.out(created.key);
  const said = more === undefined ? '' : `, ${more}`;
  context.err(`${created.id} of ${created.user}${said}. Copy the key now: it is not shown again.`);
}

async function listKeys(context: CliContext, flags: ListFlags): Promise<void> {
  const client = createAdminClient(context.settings());
  const { user, team, search, deleted } = flags;
  const query = toQuery({ user, team, search, deleted });
  const keys = await allPages(async (after) => {
    const answer = await client.call('GET', `/api/v1/keys?limit=1000${query}${after}`);
    const page = readResponse(keyListSchema, answer);
    return { items: page.keys, next: page.next };
  });
  if (flags.json) {
    context.out(JSON.stringify(keys));
    return;
  }
  if (keys.length === 0) {
    context.err(
      query === ''
        ? 'There are no keys yet: limen keys create --user NAME'
        : 'There are no such keys: limen keys list shows all.',
    );
    return;
  }
  context.out(
    formatTable(
      ['id', 'user', 'team', 'key', 'models', 'status', 'created', 'used', 'expires'],
      keys.map((key) => [
        key.id,
        key.user,
        key.team ?? NOTHING,
        key.hint || NOTHING,
        key.models?.join(',') ?? '*',
        key.status,
        formatTime(key.createdAt),
        formatTime(key.lastUsedAt),
        formatTime(key.expiresAt),
      ]),
    ),
  );
}

function describeKey(key: KeyView): string {
  const time = (value: string | undefined) => (value === undefined ? undefined : `${formatTime(value)} UTC`);
  return formatFields([
    ['id', key.id],
    ['name', key.name],
    ['description', key.description],
    ['labels', labelsOf(key)],
    ['user', key.user],
    ['team', key.team],
    ['tenant', key.tenant],
    ['key', key.hint],
    ['source', key.source],
    ['status', key.status],
    ['surfaces', key.surfaces?.join(', ') ?? 'all but admin'],
    ['models', key.models?.join(', ') ?? '*'],
    ['tools', key.tools?.join(', ') ?? '*'],
    ['scopes', key.scopes?.join(', ')],
    ['permissions', key.permissions?.join(', ') ?? "its user's"],
    ['created', time(key.createdAt)],
    ['last used', time(key.lastUsedAt)],
    ['expires', time(key.expiresAt)],
    ['revoked when unused', key.inactivityDays === undefined ? undefined : `for ${key.inactivityDays} days`],
    ['rotated', time(key.rotatedAt)],
    ['secret before good until', time(key.graceUntil)],
    ['revoked', time(key.revokedAt)],
    ['because', key.revokedReason],
    ['deleted', time(key.deletedAt)],
    ['restorable until', time(key.purgedAt)],
  ]);
}

function labelsOf({ labels }: KeyView): string | undefined {
  return (
    labels &&
    Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(', ')
  );
}
