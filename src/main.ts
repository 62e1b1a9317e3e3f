import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { text as readAll } from 'node:stream/consumers';
import { z } from 'zod';
import { registerAdminCommands } from './cli/index.ts';
import {
  processEnvironment,
  readSettings,
  settingFlags,
  SettingsError,
  type Settings,
} from './config/env.ts';

const ROOT = join(import.meta.dirname, '..');

function packageVersion(): string {
  const schema = z.object({ version: z.string() });
  return schema.parse(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))).version;
}

/** Gives a command a flag for every setting, and hands it the settings that come out. */
function settingsCommand(
  command: Command,
  run: (settings: Settings) => Promise<number | undefined>,
): Command {
  for (const { flag, variable, about } of settingFlags()) {
    command.option(`${flag} <value>`, `${about} [${variable}]`);
  }
  return command.action(async () => {
    const settings = readSettings(processEnvironment(), command.opts());
    for (const warning of settings.warnings) process.stderr.write(`warning: ${warning}\n`);
    process.exitCode = (await run(settings)) ?? 0;
  });
}

function workerIndex(value: unknown): number {
  const index = z.coerce.number().int().min(0).max(255).safeParse(value);
  if (!index.success)
    throw new SettingsError('--index is not allowed to be that; allowed: a whole number from 0 to 255.');
  return index.data;
}

/** A command's code is loaded when it is run: the parts of Limen need little of each other. */
function program(): Command {
  const limen = new Command('limen')
    .description('AI governance for Envoy: one governed door for model calls, tools and agents.')
    .version(packageVersion())
    .showHelpAfterError('(limen --help shows what there is)')
    // 2: it was asked for wrongly, as everywhere here.
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
    .addHelpText(
      'after',
      `
Examples:
  limen up                              everything on this machine (what npm start does)
  limen keys create --user ann          a virtual key, shown once
  limen apply -f limen.yaml             put resources into the database
  limen get models                      what is configured, and from where
  limen demo issuer                     an issuer of tokens on this machine, to try what one does
  limen doctor                          what is up, what is wrong and how to mend it`,
    );
  settingsCommand(
    limen.command('up').description('run everything on this machine: stores, control plane, workers, Envoy'),
    async (settings) => (await import('./commands/up.ts')).up(settings, ROOT),
  );
  settingsCommand(limen.command('control').description('run the control plane alone'), async (settings) =>
    (await import('./commands/control.ts')).control(settings, packageVersion()),
  );
  const processor = limen
    .command('processor')
    .description('run one processor worker')
    .option('--index <number>', 'which worker this is, from 0', '0');
  settingsCommand(processor, async (settings) => {
    const index = workerIndex(processor.opts()['index']);
    return (await import('./commands/processor.ts')).processor(settings, index);
  });
  settingsCommand(
    limen.command('clickhouse').description('run the embedded ClickHouse engine behind its HTTP interface'),
    async (settings) => (await import('./commands/clickhouse.ts')).clickhouse(settings),
  );
  registerAdminCommands(limen, {
    settings: () => readSettings(processEnvironment()),
    environment: processEnvironment(),
    root: ROOT,
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(`${text}\n`),
    stdin: () => readAll(process.stdin),
    setExitCode: (code) => {
      process.exitCode = code;
    },
  });
  return limen;
}

/** One line for the person at the terminal; anything unforeseen keeps its stack. */
function report(error: unknown): void {
  const foreseen = error instanceof SettingsError || (error instanceof Error && error.name === 'StartError');
  const text = foreseen
    ? `error: ${error.message}`
    : error instanceof Error
      ? (error.stack ?? error.message)
      : String(error);
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
}

await program().parseAsync().catch(report);
