import type { Command } from 'commander';
import { revocationListSchema, revocationViewSchema } from '../admin/contract.ts';
import { createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { readResponse } from './responses.ts';
import { formatTable, formatTime, NOTHING } from './table.ts';

interface RevokeFlags {
  readonly jti?: string;
  readonly subject?: string;
  readonly issuer?: string;
  readonly reason?: string;
  readonly json?: boolean;
}

/** `limen tokens revoke|revocations` */
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
    .command('revocations')
    .description('what is revoked at present')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen tokens revocations')
    .action((flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const answer = await client.call('GET', '/api/v1/revocations?limit=1000');
        const { revocations } = readResponse(revocationListSchema, answer);
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
  context.out(
    flags.json
      ? JSON.stringify(revocation)
      : `${revocation.id}: tokens of ${revocation.kind} ${revocation.value} issued until ${formatTime(revocation.before)} UTC are refused.`,
  );
}
