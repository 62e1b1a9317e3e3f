import type { Command } from 'commander';
import type { z } from 'zod';
import { revocationListSchema, revocationViewSchema } from '../admin/contract.ts';
import { createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { allPages } from './lists.ts';
import { readResponse } from './responses.ts';
import { formatTable, formatTime, NOTHING } from './table.ts';

interface RevokeFlags {
  readonly jti?: string;
  readonly subject?: string;
  readonly issuer?: string;
  readonly reason?: string;
  readonly json?: boolean;
}

/** `limen tokens revoke|restore|revocations` */
export function registerTokensCommands(program: Command, context: CliContext): void {
  const tokens = program.command('tokens').description('tokens of identity providers');

  tokens
    .command('revoke')
    .description('refuse tokens that were issued until now, on every worker within a second')
    .option('--jti <id>', 'the one token with this jti')
    .option('--subject <user>', 'all of this user, as rows and limits name it: corp:ada')
    .option('--issuer <name>', 'all of this IdentityProvider')
    .option('--reason <text>', 'why, for the record')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen tokens revoke --jti 0f8fad5b-d9cb-469f-a165-70867728950e
  limen tokens revoke --subject corp:ada --reason "laptop lost"
  limen tokens revoke --issuer corp`,
    )
    .action((flags: RevokeFlags) => runCommand(context, () => revoke(context, flags)));

  tokens
    .command('restore <id>')
    .description('take a revocation back')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen tokens restore rev_0f8fad5b-d9cb-469f-a165-70867728950e')
    .action((id: string, flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const answer = await client.call('DELETE', `/api/v1/revocations/${encodeURIComponent(id)}`);
        const revocation = readResponse(revocationViewSchema, answer);
        context.out(
          flags.json
            ? JSON.stringify(revocation)
            : `${id} is taken back: ${revocation.kind} ${revocation.value} is not refused by it any more.`,
        );
      }),
    );

  tokens
    .command('revocations')
    .description('what is revoked at present')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen tokens revocations')
    .action((flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const revocations = await allPages(async (after) => {
          const answer = await client.call('GET', `/api/v1/revocations?limit=1000${after}`);
          const page = readResponse(revocationListSchema, answer);
          return { items: page.revocations, next: page.next };
        });
        if (flags.json) context.out(JSON.stringify(revocations));
        else if (revocations.length === 0) context.err('Nothing is revoked.');
        else
          context.out(
            formatTable(
              ['id', 'kind', 'value', 'issued until', 'ends', 'by', 'reason'],
              revocations.map((one) => [
                one.id,
                one.kind,
                one.value,
                formatTime(one.before),
                formatTime(one.until),
                one.actor,
                one.reason ?? NOTHING,
              ]),
            ),
          );
      }),
    );
}

/** What is refused from now on, in words. */
function saidOf({ id, kind, value, before, until }: z.infer<typeof revocationViewSchema>): string {
  const which = {
    jti: `the token ${value} is refused`,
    subject: `tokens of ${value} that were issued until ${formatTime(before)} UTC are refused`,
    issuer: `tokens of the identity provider ${value} that were issued until ${formatTime(before)} UTC are refused`,
  };
  return `${id}: ${which[kind]}, until ${formatTime(until)} UTC. To take it back: limen tokens restore ${id}`;
}

async function revoke(context: CliContext, flags: RevokeFlags): Promise<void> {
  const { jti, subject, issuer, reason } = flags;
  const given = Object.entries({ jti, subject, issuer }).flatMap(([kind, value]) =>
    value === undefined ? [] : [{ kind, value }],
  );
  const [wanted] = given;
  if (wanted === undefined || given.length > 1)
    throw new CliError('Say what to revoke by one of --jti, --subject and --issuer.', 2);
  const client = createAdminClient(context.settings());
  const answer = await client.call('POST', '/api/v1/revocations', { ...wanted, reason });
  const revocation = readResponse(revocationViewSchema, answer);
  context.out(flags.json ? JSON.stringify(revocation) : saidOf(revocation));
}
