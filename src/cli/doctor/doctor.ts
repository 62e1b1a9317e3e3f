import type { Command } from 'commander';
import { variableOf } from '../../config/env.ts';
import { readUpState } from '../../up/up-state.ts';
import { runCommand, type CliContext } from '../context.ts';
import { formatTable } from '../table.ts';
import type { Check } from './check.ts';
import { checkConfiguration } from './configuration.ts';
import { checkPrograms } from './programs.ts';
import { checkControlPlane, checkGateway, checkPorts, checkProcesses } from './running.ts';
import { checkStores } from './stores.ts';

/** `limen doctor` */
export function registerDoctorCommand(program: Command, context: CliContext): void {
  program
    .command('doctor')
    .description('what is up, which versions, what is wrong and how to mend it')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
It works whether or not the gateway runs. The exit status is 0 where all is well, else 1.

Examples:
  limen doctor
  limen doctor --json | jq '.checks[] | select(.state != "ok")'`,
    )
    .action((flags: { json?: boolean }) =>
      runCommand(context, async () => {
        const report = await examine(context);
        context.out(flags.json ? JSON.stringify(report, null, 2) : formatReport(report));
        if (!report.healthy) context.setExitCode(1);
      }),
    );
}

interface DoctorReport {
  /** The gateway runs and nothing is wrong. */
  readonly healthy: boolean;
  readonly running: boolean;
  readonly checks: readonly Check[];
}

async function examine(context: CliContext): Promise<DoctorReport> {
  const settings = context.settings();
  const state = readUpState(settings);
  const { checks: control, isRunning } = await checkControlPlane(settings);
  const running = isRunning || state !== undefined;
  const elsewhere = settings.adminUrl !== undefined;
  const checks = withoutRepeats([
    ...(await checkPrograms(context, settings.redisUrl === undefined)),
    ...(await checkConfiguration(settings)),
    ...checkProcesses(state),
    ...(await checkStores(
      {
        redis: settings.redisUrl ?? state?.endpoints.redisUrl,
        postgres: settings.postgresUrl ?? state?.endpoints.postgresUrl,
        clickhouse: settings.clickhouseUrl ?? state?.endpoints.clickhouseUrl,
      },
      {
        redis: variableOf('redisUrl'),
        postgres: variableOf('postgresUrl'),
        clickhouse: variableOf('clickhouseUrl'),
      },
    )),
    ...(running && !elsewhere ? [await checkGateway(settings)] : []),
    ...(running || elsewhere ? [] : await checkPorts(settings)),
    ...control,
  ]);
  return { healthy: running && !checks.some(({ state: found }) => found === 'problem'), running, checks };
}

/** What is said of the file here and by the control plane is said once. */
function withoutRepeats(checks: readonly Check[]): Check[] {
  const seen = new Set<string>();
  return checks.filter(({ name, detail }) => {
    const key = `${name}\0${detail}`;
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
}

const MARKS = { ok: 'ok', off: '-', warning: 'warning', problem: 'PROBLEM' } as const;

function formatReport({ healthy, running, checks }: DoctorReport): string {
  const table = formatTable(
    ['', 'part', 'found'],
    checks.map(({ name, state, detail }) => [MARKS[state], name, detail]),
  );
  const fixes = checks.flatMap(({ name, state, fix }) =>
    fix !== undefined && state !== 'ok' ? [`  ${name}: ${fix}`] : [],
  );
  const verdict = healthy
    ? 'All is well.'
    : running
      ? 'Something is wrong; see PROBLEM above.'
      : 'The gateway does not run here: npm start';
  return [table, ...(fixes.length > 0 ? ['', 'How to mend it:', ...new Set(fixes)] : []), '', verdict].join(
    '\n',
  );
}
