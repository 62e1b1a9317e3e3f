import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { formatIssue, type ConfigIssue } from '../config/load/issue.ts';
import { loadConfig, parseResources } from '../config/load/load.ts';
import type { SourcedResource } from '../config/origin.ts';
import { z } from 'zod';
import { AdminApiError, createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { applyResultSchema, issueSchema, readResponse } from './responses.ts';

interface ApplyFlags {
  readonly file: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** `limen apply -f FILE|DIR|-` */
export function registerApplyCommand(program: Command, context: CliContext): void {
  program
    .command('apply')
    .description('create or change resources in the database')
    .requiredOption('-f, --file <path>', 'YAML file, folder of them, or - for standard input')
    .option('--dry-run', 'only say what would change')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
All resources are applied, or none. What limen.yaml declares is changed there, not here.

Examples:
  limen apply -f models.yaml --dry-run
  limen apply -f config/
  limen get model fast -o yaml | sed s/gpt-4o/gpt-5/ | limen apply -f -`,
    )
    .action((flags: ApplyFlags) => runCommand(context, () => apply(context, flags)));
}

async function apply(context: CliContext, flags: ApplyFlags): Promise<void> {
  const { resources, issues } = await readInput(context, flags.file);
  if (issues.length > 0) throw new CliError(issueLines(issues));
  if (resources.length === 0) throw new CliError(`There are no resources in ${flags.file}.`);
  const body = { resources: resources.map(({ resource }) => resource), dryRun: flags.dryRun === true };
  const client = createAdminClient(context.settings());
  try {
    const answer = await client.call('PUT', '/api/v1/resources', body);
    const result = readResponse(applyResultSchema, answer);
    context.out(
      flags.json
        ? JSON.stringify(result)
        : result.changes.map((change) => describeChange(change, result.dryRun)).join('\n'),
    );
  } catch (error) {
    const issuesOfApi = error instanceof AdminApiError && placedIssues(error.details, resources);
    throw issuesOfApi ? new CliError(issueLines(issuesOfApi)) : error;
  }
}

async function readInput(
  context: CliContext,
  file: string,
): Promise<{ resources: readonly SourcedResource[]; issues: readonly ConfigIssue[] }> {
  if (file === '-') return parseResources([{ file: 'standard input', text: await context.stdin() }]);
  const path = resolve(file);
  if (!existsSync(path)) throw new CliError(`There is no file or folder ${file}.`, 2);
  return loadConfig(path);
}

function issueLines(issues: readonly ConfigIssue[]): string {
  const count = issues.length === 1 ? 'One thing is' : `${issues.length} things are`;
  return [
    `${count} wrong, and nothing was changed:`,
    ...issues.map((issue) => `  ${formatIssue(issue)}`),
  ].join('\n');
}

/** The server's issues at their places in our files; nothing where the details are no list of issues. */
function placedIssues(details: unknown, resources: readonly SourcedResource[]): ConfigIssue[] | undefined {
  const parsed = z.array(issueSchema).min(1).safeParse(details);
  if (!parsed.success) return undefined;
  return parsed.data.map(({ index, ...issue }) => {
    const sourced = index === undefined ? undefined : resources[index];
    if (sourced?.origin.source !== 'file') return issue;
    const position = sourced.positions?.get(issue.path);
    return {
      ...issue,
      file: sourced.origin.file,
      line: position?.line ?? sourced.origin.line,
      column: position?.column ?? 1,
    };
  });
}

type Change = z.infer<typeof applyResultSchema>['changes'][number];

function describeChange({ kind, name, action, fields }: Change, dryRun: boolean): string {
  const head = `${kind}/${name} ${dryRun && action !== 'unchanged' ? 'would be ' : ''}${action}`;
  if (action !== 'changed') return head;
  return [
    head,
    ...fields.map(({ path, before, after }) => `  ${path}: ${shown(before)} → ${shown(after)}`),
  ].join('\n');
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
