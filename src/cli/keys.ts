import type { Command } from 'commander';
import { createdKeySchema, keyListSchema, keyViewSchema, type KeyView } from '../admin/contract.ts';
import { createAdminClient, type AdminClient } from './admin-client.ts';
import { runCommand, type CliContext } from './context.ts';
import { parseExpiry } from './duration.ts';
import { readResponse } from './responses.ts';
import { formatTable, formatTime, NOTHING } from './table.ts';

interface CreateFlags {
  readonly user: string;
  readonly team?: string;
  readonly name?: string;
  readonly models?: string;
  readonly expires?: string;
  readonly json?: boolean;
}

/** `limen keys create|list|revoke` */
export function registerKeysCommands(program: Command, context: CliContext): void {
  const keys = program.command('keys').description('virtual keys, with which clients call the gateway');

  keys
    .command('create')
    .description('make a key and show it, this once')
    .requiredOption('--user <name>', 'whose key it is; stands in every row')
    .option('--team <name>', 'team of that user')
    .option('--name <text>', 'what you call this key')
    .option('--models <names>', 'models it may use, separated by commas, * as wildcard (default: all)')
    .option(
      '--expires <when>',
      'when it ends: 30d, 12h, or a time such as 2027-01-31T00:00:00Z (default: never)',
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen keys create --user ada
  limen keys create --user ci --team build --models 'gpt-4o-mini,claude-*' --expires 30d
  export OPENAI_API_KEY=$(limen keys create --user me --json | jq -r .key)`,
    )
    .action((flags: CreateFlags) => runCommand(context, () => createKey(context, flags)));

  keys
    .command('list')
    .description('every key, without the keys themselves')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen keys list')
    .action((flags: { json?: boolean }) => runCommand(context, () => listKeys(context, flags.json === true)));

  keys
    .command('revoke <id>')
    .description('end a key, on every worker within a second')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen keys revoke key_0123456789abcdef01')
    .action((id: string, flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const answer = await client.call('DELETE', `/api/v1/keys/${encodeURIComponent(id)}`);
        const key = readResponse(keyViewSchema, answer);
        context.out(flags.json ? JSON.stringify(key) : `${key.id} of ${key.user} is revoked.`);
      }),
    );
}

async function createKey(context: CliContext, flags: CreateFlags): Promise<void> {
  const { user, team, name } = flags;
  const models = flags.models
    ?.split(',')
    .map((model) => model.trim())
    .filter((model) => model !== '');
  const expiresAt = flags.expires === undefined ? undefined : parseExpiry(flags.expires, Date.now());
  const client = createAdminClient(context.settings());
  const created = readResponse(
    createdKeySchema,
    await client.call('POST', '/api/v1/keys', { user, team, name, models, expiresAt }),
  );
  for (const warning of created.warnings) context.err(`warning: ${warning}`);
  if (flags.json) {
    context.out(JSON.stringify(created));
    return;
  }
  context.out(created.key);
  const ends = created.expiresAt === undefined ? '' : `, ends ${formatTime(created.expiresAt)} UTC`;
  context.err(`${created.id} of ${created.user}${ends}. Copy the key now: it is not shown again.`);
}

async function listKeys(context: CliContext, json: boolean): Promise<void> {
  const keys = await allKeys(createAdminClient(context.settings()));
  if (json) {
    context.out(JSON.stringify(keys));
    return;
  }
  if (keys.length === 0) {
    context.err('There are no keys yet: limen keys create --user NAME');
    return;
  }
  context.out(
    formatTable(
      ['id', 'user', 'team', 'key', 'models', 'status', 'created', 'expires'],
      keys.map((key) => [
        key.id,
        key.user,
        key.team ?? NOTHING,
        key.hint || NOTHING,
        key.models?.join(',') ?? '*',
        key.status,
        formatTime(key.createdAt),
        formatTime(key.expiresAt),
      ]),
    ),
  );
}

async function allKeys(client: AdminClient): Promise<KeyView[]> {
  const keys: KeyView[] = [];
  for (let after = ''; ;) {
    const query = after === '' ? '' : `&after=${encodeURIComponent(after)}`;
    const page = readResponse(keyListSchema, await client.call('GET', `/api/v1/keys?limit=1000${query}`));
    keys.push(...page.keys);
    if (page.next === undefined) return keys;
    after = page.next;
  }
}
