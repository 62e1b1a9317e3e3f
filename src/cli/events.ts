import { Option, type Command } from 'commander';
import { eventListSchema } from '../admin/contract.ts';
import { EVENT_KINDS } from '../core/events.ts';
import { createAdminClient } from './admin-client.ts';
import { runCommand, type CliContext } from './context.ts';
import { queryOf } from './limits.ts';
import { readResponse } from './responses.ts';
import { formatTable, formatTime } from './table.ts';

interface EventsFlags {
  readonly kind?: string;
  readonly subject?: string;
  readonly from?: string;
  readonly limit?: string;
  readonly json?: boolean;
}

/** `limen events` */
export function registerEventsCommand(program: Command, context: CliContext): void {
  program
    .command('events')
    .description('what operators may want to know of: keys that expire, limits that fill, news of identity')
    .addOption(new Option('--kind <kind>', 'of this kind alone').choices([...EVENT_KINDS]))
    .option('--subject <name>', 'about this key, user, limit or identity provider alone')
    .option('--from <time>', 'at or after it: 2027-01-31T00:00:00Z')
    .option('--limit <count>', 'most lines (default: 100)')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  limen events
  limen events --kind limit --limit 20
  limen events --subject corp --json`,
    )
    .action(({ json, ...query }: EventsFlags) =>
      runCommand(context, async () => {
        const client = createAdminClient(context.settings());
        const answer = await client.call('GET', `/api/v1/events${queryOf({ ...query })}`);
        const { events, next } = readResponse(eventListSchema, answer);
        if (json) context.out(JSON.stringify(events));
        else if (events.length === 0)
          context.err(
            Object.keys(query).length === 0
              ? 'There are no events yet.'
              : 'There are no such events: limen events shows all.',
          );
        else
          context.out(
            formatTable(
              ['time', 'kind', 'severity', 'subject', 'message'],
              events.map((one) => [formatTime(one.time), one.kind, one.severity, one.subject, one.message]),
            ),
          );
        if (next !== undefined && !json) context.err('There are older ones: set --limit.');
      }),
    );
}
