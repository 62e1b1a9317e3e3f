import type { Command } from 'commander';
import type { z } from 'zod';
import {
  limitDriftListSchema,
  limitListSchema,
  limitUsageListSchema,
  resetLimitResultSchema,
  type limitViewSchema,
} from '../admin/contract.ts';
import { createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { readResponse } from './responses.ts';
import { formatTable, formatTime, NOTHING } from './table.ts';

interface UsageFlags {
  readonly rule?: string;
  readonly subject?: string;
  readonly limit?: string;
  readonly drift?: boolean;
  readonly json?: boolean;
}

/** `limen limits list|usage|reset` */
export function registerLimitsCommands(program: Command, context: CliContext): void {
  const limits = program
    .command('limits')
    .description('rate limits and budgets, and how much of them is used');

  limits
    .command('list')
    .description('every limit in force')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen limits list')
    .action((flags: { json?: boolean }) =>
      runCommand(context, () => listLimits(context, flags.json === true)),
    );

  limits
    .command('usage')
    .description('how much is used of each limit, by whom, fullest first')
    .option('--rule <name>', 'of this limit alone')
    .option('--subject <name>', 'of this user, key, team, model … alone')
    .option('--limit <count>', 'most lines (default: 1000)')
    .option('--drift', 'calendar budgets whose counter differs from the rows of the ledger')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen limits usage
  limen limits usage --rule team-budget
  limen limits usage --subject ada --json
  limen limits usage --drift           after a failover of Redis`,
    )
    .action((flags: UsageFlags) =>
      runCommand(context, () => (flags.drift ? showDrift(context, flags) : showUsage(context, flags))),
    );

  limits
    .command('reset <rule>')
    .description('forget what somebody has used; what open requests hold stays held')
    .requiredOption('--subject <name>', 'whose counter: as limen limits usage names it')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  limen limits reset team-budget --subject research')
    .action((rule: string, flags: { subject: string; json?: boolean }) =>
      runCommand(context, async () => {
        const { subject } = flags;
        const path = `/api/v1/limits/${encodeURIComponent(rule)}/reset`;
        const answer = await createAdminClient(context.settings()).call('POST', path, { subject });
        const { counters } = readResponse(resetLimitResultSchema, answer);
        if (flags.json) context.out(JSON.stringify({ rule, subject, counters }));
        else if (counters === 0) context.err(`${subject} has used nothing of ${rule}.`);
        else context.out(`What ${subject} has used of ${rule} is forgotten.`);
      }),
    );
}

async function listLimits(context: CliContext, json: boolean): Promise<void> {
  const answer = await createAdminClient(context.settings()).call('GET', '/api/v1/limits');
  const { limits } = readResponse(limitListSchema, answer);
  if (json) context.out(JSON.stringify(limits));
  else if (limits.length === 0) context.err('There are no limits: declare a LimitPolicy.');
  else
    context.out(
      formatTable(
        ['name', 'per', 'limit', 'span', 'mode', 'on shortfall', 'for'],
        limits.map((limit) => [
          limit.name,
          limit.per,
          amount(limit.limit, limit.unit),
          limit.timeZone === undefined ? limit.span : `${limit.span} (${limit.timeZone})`,
          limit.shadow ? `${limit.mode}, shadow` : limit.mode,
          limit.onShortfall,
          matchText(limit.match),
        ]),
      ),
    );
}

async function showUsage(context: CliContext, flags: UsageFlags): Promise<void> {
  const { rule, subject, limit } = flags;
  const answer = await createAdminClient(context.settings()).call(
    'GET',
    `/api/v1/limits/usage${queryOf({ rule, subject, limit })}`,
  );
  const { usage, truncated } = readResponse(limitUsageListSchema, answer);
  if (flags.json) context.out(JSON.stringify(usage));
  else if (usage.length === 0)
    context.err(
      rule === undefined && subject === undefined
        ? 'Nothing is used of any limit.'
        : 'Nothing is used of that: limen limits list names the rules, limen limits usage whom they count.',
    );
  else
    context.out(
      formatTable(
        ['rule', 'subject', '% used', 'used', 'reserved', 'limit', 'overrun', 'resets'],
        usage.map((one) => [
          one.rule,
          one.subject,
          `${one.percentUsed.toFixed(1)} %`.padStart(8),
          amount(one.used, one.unit),
          amount(one.reserved, one.unit),
          amount(one.limit, one.unit),
          one.overrun === 0 ? NOTHING : amount(one.overrun, one.unit),
          formatTime(one.resetsAt),
        ]),
      ),
    );
  if (truncated) context.err('There are more: ask for a rule or a subject, or set --limit.');
}

async function showDrift(context: CliContext, { rule, subject, json }: UsageFlags): Promise<void> {
  if (subject !== undefined) throw new CliError('--drift goes with --rule, not with --subject.', 2);
  const answer = await createAdminClient(context.settings()).call(
    'GET',
    `/api/v1/limits/drift${queryOf({ rule })}`,
  );
  const { drift } = readResponse(limitDriftListSchema, answer);
  if (json) context.out(JSON.stringify(drift));
  else if (drift.length === 0) context.err('Every calendar budget is what the ledger says.');
  else
    context.out(
      formatTable(
        ['rule', 'subject', 'counter', 'ledger', 'drift', 'limit'],
        drift.map((one) => [
          one.rule,
          one.subject,
          amount(one.used, one.unit),
          amount(one.ledger, one.unit),
          amount(one.drift, one.unit),
          amount(one.limit, one.unit),
        ]),
      ),
    );
}

function amount(value: number, unit: string): string {
  if (unit === 'usd') return `${value < 0 ? '-' : ''}$${Math.abs(value).toFixed(4)}`;
  return `${value} ${value === 1 ? unit.replace(/s$/, '') : unit}`;
}

function matchText(match: z.infer<typeof limitViewSchema>['match']): string {
  const parts = Object.entries(match).flatMap(([name, patterns]) =>
    patterns === undefined ? [] : [`${name} ${patterns.join(',')}`],
  );
  return parts.length === 0 ? 'everybody' : parts.join('; ');
}

/** Query of the parameters that have a value. */
export function queryOf(parameters: Readonly<Record<string, string | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) query.set(name, value);
  }
  return query.size === 0 ? '' : `?${query.toString()}`;
}
